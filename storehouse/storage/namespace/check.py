"""
What is wrong with a namespace: its files each for itself, and the index as against them.

Generators, for L{in_slices<storehouse.storage.namespace.rebuild.in_slices>}: they yield L{Problem}s, keys to look at
again while nobody changes them, and C{None} for each key.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping

from storehouse.errors import DamagedEntry
from storehouse.storage.namespace.entries import encode_entry
from storehouse.storage.namespace.index import Index
from storehouse.storage.namespace.interfaces import Problem
from storehouse.storage.namespace.journal import read_journal
from storehouse.storage.namespace.names import id_of_file
from storehouse.storage.namespace.tree import DEFAULT, Place, Tree

__all__ = ["check_bucket_rows", "check_key", "check_top"]

_TOP = {"format.json", "buckets", "journal", "index", "tmp"}

_STRETCH = 200

_NOTHING = "; a repair changes nothing here"
_ROW = "; a rebuild of the index makes it good"


def _unknown(bucket: str, path: str) -> Problem:
    return Problem("unknown", bucket, None, None, f"{path} is none of ours{_NOTHING}", False)


def check_top(tree: Tree, journal: str, numbers: Mapping[str, int]) -> Iterator[Problem | None]:
    """What is around the keys."""
    for name in sorted(set(os.listdir(tree.directory)) - _TOP):
        yield _unknown("", os.path.join(tree.directory, name))
    try:
        damage = read_journal(journal).damage
    except OSError as error:
        damage = str(error)
    if damage is not None:
        yield Problem("damaged", "", None, None, f"{journal}: {damage}; the next start makes the index anew", True)
    names = set(os.listdir(tree.buckets))
    for name in sorted(names - set(numbers)):
        yield _unknown("", os.path.join(tree.buckets, name))
    for name in sorted(set(numbers)):
        path = os.path.join(tree.buckets, name)
        if name not in names:
            yield Problem(
                "extra", name, None, None, f"the index has a bucket {name}, but {path} is not there{_ROW}", True
            )
            continue
        try:
            tree.read_bucket(name)
        except DamagedEntry as error:
            yield Problem("damaged", name, None, None, f"{error}{_NOTHING}", False)
        inside = set(os.listdir(path))
        for other in sorted(inside - {"bucket.json", "objects"}):
            yield _unknown(name, os.path.join(path, other))
        for lost in sorted({"bucket.json", "objects"} - inside):
            yield Problem("damaged", name, None, None, f"{os.path.join(path, lost)} is missing{_NOTHING}", False)
        yield None


def check_bucket_rows(tree: Tree, index: Index, number: int, bucket: str) -> Iterator[Problem | tuple[str, str] | None]:
    """All keys of a bucket, in the tree and in the index."""
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
        for data, size, text in rows:
            while at < len(keys) and keys[at] < data:
                yield bucket, keys[at].decode()
                at += 1
            if at == len(keys) or keys[at] != data:
                try:
                    yield bucket, data.decode()
                except UnicodeDecodeError:
                    yield Problem("extra", bucket, None, None, f"the index has {data!r}, which is no key{_ROW}", True)
                continue
            key = data.decode()
            if not _is_fine(tree, tree.place(bucket, key, data), (size, text)):
                yield bucket, key
            yield None
            at += 1
        if len(rows) < _STRETCH:
            break
        last = rows[-1][0]
    for data in keys[at:]:
        yield bucket, data.decode()
        yield None


def _is_fine(tree: Tree, place: Place, row: tuple[int, bytes]) -> bool:
    try:
        names = os.listdir(place.path)
        ids = [id_of_file(name) for name in names if name != DEFAULT]
        current = tree.current(place)
        if current is None or None in ids:
            return False
        for id in ids:
            if id is not None and id != current.id and tree.read(place, id) is None:
                return False
        return row == (current.size, encode_entry(current, place.key))
    except (DamagedEntry, OSError):
        return False


def check_key(tree: Tree, index: Index, number: int, data: bytes, place: Place) -> list[Problem]:
    """One key, its versions and its row. To be called while nobody changes it."""
    bucket, key = place.bucket, place.key
    problems = []
    names = sorted(os.listdir(place.path)) if os.path.isdir(place.path) else []
    expected = None
    for name in names:
        id = id_of_file(name)
        if id is None:
            if name != DEFAULT:
                problems.append(_unknown(bucket, os.path.join(place.path, name)))
            continue
        try:
            tree.read(place, id)
        except DamagedEntry as error:
            problems.append(Problem("damaged", bucket, key, id, f"{error}{_NOTHING}", False))
    try:
        current = tree.current(place)
        if current is not None:
            expected = (current.size, encode_entry(current, key))
        elif names or os.path.isdir(place.path):
            text = f"{os.path.join(place.path, DEFAULT)} is missing{_NOTHING}"
            problems.append(Problem("dangling", bucket, key, None, text, False))
    except DamagedEntry as error:
        if not any(problem.id == error.id and problem.kind == "damaged" for problem in problems if error.id):
            problems.append(Problem("dangling", bucket, key, error.id, f"{error}{_NOTHING}", False))
    try:
        row = index.row(number, data)
    except sqlite3.Error as error:
        problems.append(Problem("index", bucket, key, None, f"{index.path} cannot be read: {error}{_ROW}", True))
        return problems
    # Of a damaged key the index may still have the row that was right once.
    if row == expected or (row is not None and problems and os.path.isdir(place.path)):
        return problems
    if row is None:
        problems.append(
            Problem("missing", bucket, key, None, f"the index lacks the key {key!r} of {bucket}{_ROW}", True)
        )
    elif expected is None:
        text = f"the index has the key {key!r} of {bucket}, but {place.path} is not there{_ROW}"
        problems.append(Problem("extra", bucket, key, None, text, True))
    else:
        text = f"the index says something else of the key {key!r} of {bucket} than the files{_ROW}"
        problems.append(Problem("different", bucket, key, None, text, True))
    return problems
