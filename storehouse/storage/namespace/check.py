"""
What is wrong with a namespace: its files each for itself, and the index as against them.

The walks are generators, for L{in_slices<storehouse.core.jobs.in_slices>}: they yield L{Problem}s, keys
to look at again while nobody changes them, and C{None} for each key.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeVar

from storehouse.core.jobs import Run, in_slices
from storehouse.errors import Damaged, DamagedEntry, InvalidName, NoSuchBucket, Unavailable
from storehouse.storage.namespace.index import Index, KeyRows, Row, Upkeep, VersionRow, row_of, version_row
from storehouse.storage.namespace.interfaces import Bucket, Entry, Problem
from storehouse.storage.namespace.journal import read_journal
from storehouse.storage.namespace.tree import DEFAULT, TOP, KeyPath, Tree
from storehouse.storage.namespace.values import CURRENT, VERSIONING, id_of_file, kind_of_file, state_of

__all__ = ["check", "problems_of"]

T = TypeVar("T")

_STRETCH = 200

_NOTHING = "; a repair changes nothing here"
_LOST = (
    "; a repair writes it again if its bytes exist and no other key has them; otherwise it is removed from the index"
)
_ROW = "; a rebuild of the index repairs it"


def _unknown(bucket: str, path: str) -> Problem:
    return Problem("unknown", bucket, None, None, f"{path} is not part of the namespace{_NOTHING}", False)


def check_top(tree: Tree, journal: str, numbers: Mapping[str, tuple[int, Bucket]]) -> Iterator[Problem | None]:
    """All but the keys: the journal, the buckets, and files that are not part of the namespace."""
    for name in sorted(set(os.listdir(tree.directory)) - TOP):
        yield _unknown("", os.path.join(tree.directory, name))
    try:
        damage = read_journal(journal).damage
    except OSError as error:
        damage = str(error)
    if damage is not None:
        yield Problem("damaged", "", None, None, f"{journal}: {damage}; the next start rebuilds the index", True)
    names, known = set(os.listdir(tree.buckets)), sorted(numbers)
    for name in sorted(names.difference(known)):
        yield _unknown("", os.path.join(tree.buckets, name))
    for name in known:
        if name not in numbers:
            continue  # it was removed since
        path = os.path.join(tree.buckets, name)
        if name not in names:
            yield Problem(
                "extra", name, None, None, f"the index has a bucket {name}, but {path} is not there{_LOST}", True
            )
            continue
        inside = set(os.listdir(path))
        try:
            tree.read_bucket(name)
        except DamagedEntry as error:
            yield Problem("damaged", name, None, None, f"{error}{_NOTHING}", False)
        for other in sorted(inside - {"bucket.json", "objects"}):
            kind = kind_of_file(other)
            try:
                if kind is None:
                    yield _unknown(name, os.path.join(path, other))
                else:
                    data = tree.read_config(name, kind)
                    if kind == VERSIONING:
                        state_of(data)
            except (DamagedEntry, InvalidName) as error:
                yield Problem("damaged", name, None, None, f"{error}{_NOTHING}", False)
        if "objects" not in inside:
            yield Problem("damaged", name, None, None, f"{path}/objects is missing{_NOTHING}", False)
        # Other programs write none; then the bucket has no metadata either.
        if "bucket.json" not in inside and numbers[name][1].metadata:
            text = f"{path}/bucket.json is missing, and with it the metadata of the bucket{_NOTHING}"
            yield Problem("damaged", name, None, None, text, False)
        yield None


def check_bucket_rows(tree: Tree, index: Index, number: int, bucket: str) -> Iterator[Problem | tuple[str, str] | None]:
    """All keys of a bucket, in the tree and in the index: those that differ are yielded."""
    keys: list[bytes] = []
    for path, key in tree.walk(bucket):
        if key is not None:
            keys.append(key.encode())
        elif path:
            yield _unknown(bucket, os.path.join(tree.buckets, bucket, "objects", path))
    keys.sort()
    at = 0
    last = b""
    while True:
        try:
            rows = index.rows(number, last, _STRETCH)
        except sqlite3.Error as error:
            yield Problem("index", bucket, None, None, f"{index.path} cannot be read: {error}{_ROW}", True)
            return
        for data, row, versions in rows:
            while at < len(keys) and keys[at] < data:
                yield bucket, keys[at].decode()
                at += 1
            if at == len(keys) or keys[at] != data:
                try:
                    yield bucket, data.decode()
                except UnicodeDecodeError:
                    yield Problem(
                        "extra", bucket, None, None, f"the index has {data!r}, which is not a key{_ROW}", True
                    )
                continue
            key = data.decode()
            if not _is_fine(tree, tree.key_path(bucket, key, data), (data, row, versions)):
                yield bucket, key
            yield None
            at += 1
        if len(rows) < _STRETCH:
            break
        last = rows[-1][0]
    for data in keys[at:]:
        yield bucket, data.decode()
        yield None


def _is_fine(tree: Tree, key_path: KeyPath, rows: KeyRows) -> bool:
    try:
        names = os.listdir(key_path.directory)
        ids = [id_of_file(name) for name in names if name != DEFAULT]
        current = tree.current(key_path)
        if current is None or None in ids:
            return False
        _, row, versions = rows
        expected = [version_row(current, key_path.key, True)] if current.marker else []
        for id in ids:
            if id is not None and id != current.id:
                entry = tree.read(key_path, id)
                if entry is None:
                    return False
                expected.append(version_row(entry, key_path.key))
        return row == row_of(key_path, current) and sorted(expected, key=_id) == sorted(versions, key=_id)
    except (DamagedEntry, OSError):
        return False


def _id(row: VersionRow) -> bytes:
    return row.id


def problems_of(
    upkeep: Upkeep, tree: Tree, number: int, data: bytes, key_path: KeyPath, repair: bool = False
) -> list[Problem]:
    """
    What is wrong with one key, its versions and its row. To be called while nobody changes it.

    @param repair: give a key that has lost its C{default.json}, and has but one version, that one as default.
    """
    problems = _problems(tree, upkeep.index, number, data, key_path)
    if any(each.kind == "missing" for each in problems):
        upkeep.share()  # perhaps it is a copy of another key
    if repair and any(each.kind == "dangling" and each.repairable for each in problems):
        tree.mend(key_path)
        upkeep.repair(number, data, key_path)
    return problems


def _problems(tree: Tree, index: Index, number: int, data: bytes, key_path: KeyPath) -> list[Problem]:
    bucket, key = key_path.bucket, key_path.key
    row = unreadable = None
    versions: dict[str, VersionRow] = {}
    try:
        row = index.row(number, data)
        versions = {each.id.decode(): each for each in index.versions(number, data)}
    except sqlite3.Error as error:
        unreadable = Problem("index", bucket, key, None, f"{index.path} cannot be read: {error}{_ROW}", True)
    there = os.path.isdir(key_path.directory)
    marker = next((each for each in versions.values() if each.rank == CURRENT), None)
    listed = row if row is not None or marker is None else (0, marker.text)
    problems, default, older = _check_files(
        tree, key_path, sorted(os.listdir(key_path.directory)) if there else [], listed
    )
    if unreadable is not None:
        return [*problems, unreadable]
    what = f"the key {key!r} of {bucket}"
    ids = versions.keys() - ({marker.id.decode()} if marker is not None else set())
    for id in sorted(ids - older.keys() if there else ()):
        if default is None or id != default.id:
            text = f"{key_path.directory}/{id}.json is missing, an older version of {what}; a repair writes it again if its bytes exist"
            problems.append(Problem("lost", bucket, key, id, text, True))
    if listed is None:
        if default is not None or (ids and not there):
            kind = "missing" if default is not None else "extra"
            problems.append(Problem(kind, bucket, key, None, f"the index lacks {what}{_ROW}", True))
    elif not there:
        text = f"the index has {what}, but {key_path.directory} is not there{_LOST}"
        problems.append(Problem("extra", bucket, key, None, text, True))
    # Of what is damaged the index may still have the right entry.
    elif default is not None:
        current = version_row(default, key, True) if default.marker else None
        is_same = row == row_of(key_path, default) and marker == current
        if not is_same or default.id in ids or any(versions.get(id) != each for id, each in older.items() if each):
            text = f"the index and the files differ about {what}{_ROW}"
            problems.append(Problem("different", bucket, key, None, text, True))
    return problems


def _check_files(
    tree: Tree, key_path: KeyPath, names: list[str], row: Row | None
) -> tuple[list[Problem], Entry | None, dict[str, VersionRow | None]]:
    """
    @return: the problems; the current version; the IDs of the others, with the rows that they must have, if they can be read.
    """
    bucket, key = key_path.bucket, key_path.key
    problems: list[Problem] = []
    ids: dict[str, VersionRow | None] = {}
    if row is None:
        listed = "it is not listed"
    else:
        listed = "it is listed with its old entry" if row[1] else "it is listed as damaged"
    ends = f"; {listed}, until it is stored again or removed{_NOTHING}"
    try:
        default = tree.default_of(key_path)
    except DamagedEntry as error:
        default = None
        problems.append(Problem("dangling", bucket, key, None, f"{error}{ends}", False))
    if names and DEFAULT not in names:
        only = tree.only_version(key_path)
        tail = ends if only is None else f"; {listed}; it has only one version, which a repair makes the default"
        text = f"{key_path.directory}/{DEFAULT} is missing{tail}"
        problems.append(Problem("dangling", bucket, key, only.id if only else None, text, only is not None))
    expected = None
    for name in names:
        id = id_of_file(name)
        if id is None:
            if name != DEFAULT:
                problems.append(_unknown(bucket, os.path.join(key_path.directory, name)))
            continue
        ids[id] = None
        try:
            entry = tree.read(key_path, id)
            if entry is not None:
                ids[id] = version_row(entry, key)
                expected = entry if id == default else expected
        except DamagedEntry as error:
            tail = ends if id == default else _NOTHING
            problems.append(Problem("damaged", bucket, key, id, f"{error}{tail}", False))
    if default is not None and default not in ids:
        text = f"{key_path.directory}/{DEFAULT} points to {default}.json, which is missing{ends}"
        problems.append(Problem("dangling", bucket, key, default, text, False))
    if not names and os.path.isdir(key_path.directory):
        problems.append(Problem("unknown", bucket, None, None, f"{key_path.directory} is empty{_NOTHING}", False))
    ids.pop(default or "", None)
    return problems, expected, ids


async def check(
    upkeep: Upkeep,
    tree: Tree,
    journal: str,
    run: Run,
    buckets: Mapping[str, tuple[int, Bucket]],
    found: Callable[[Problem], object],
    look_closer: Callable[[str, str], Awaitable[None]],
    progress: Callable[[int], object],
) -> None:
    """
    Look at everything while the namespace is in use.

    @param journal: the path of the journal.
    @param run: runs a function in a disk thread while no bucket comes or goes.
    @param buckets: by name, each with its number; it changes as they do.
    @param look_closer: called with each key that may have a problem, to look at it with the key held.
    @raise Unavailable: if the index is rebuilt meanwhile.
    """
    count = [0]
    suspects: list[tuple[str, str]] = []
    index = upkeep.index

    def take(item: Problem | tuple[str, str] | None) -> None:
        if isinstance(item, Problem):
            found(item)
        elif item is not None:
            suspects.append(item)
        else:
            count[0] += 1
            if count[0] % 1000 == 0:
                progress(count[0])

    async def with_index(f: Callable[[], T]) -> T:
        def same() -> T:
            if upkeep.index is not index:
                raise Unavailable("the index was rebuilt during the check: check again")
            return f()

        return await run(same)

    if upkeep.broken is not None:
        found(Problem("index", "", None, None, f"{index.path} is damaged: {upkeep.broken}", True))
    for text in await with_index(index.faults):
        found(Problem("index", "", None, None, f"{index.path} is damaged: {text}; a rebuild helps", True))
    await in_slices(with_index, check_top(tree, journal, buckets), take)
    if await with_index(lambda: set(tree.bucket_names()).difference(buckets)):
        await with_index(upkeep.share)  # perhaps one is a copy of another
    for name in sorted(buckets):
        if name not in buckets:
            continue
        await in_slices(with_index, check_bucket_rows(tree, index, buckets[name][0], name), take)
        for bucket, key in suspects:
            try:
                await look_closer(bucket, key)
            except NoSuchBucket:
                break
            except Damaged as error:
                found(Problem("damaged", bucket, key, None, str(error), False))
        suspects.clear()
    progress(count[0])
