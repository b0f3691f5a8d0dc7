"""
Names of objects in a backup: those of one moment, a transaction of the index, while the service runs.

The files of keys are copied as they happen to be; then they are made to agree with a copy of the index. What the index knows
nothing of, since it is damaged, stays as it is. Without a service nothing changes, and all of it is copied as it is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from urllib.parse import quote

from storehouse.app.local.backup.target import Target
from storehouse.core.files import Files
from storehouse.errors import StorageFailed, StorehouseError
from storehouse.storage.namespace.interfaces import Entry
from storehouse.storage.namespace.journal import NEW, read_journal
from storehouse.storage.namespace.tree import DEFAULT, KeyPath, Tree
from storehouse.storage.namespace.values import CURRENT, decode_row, id_of_file, kind_of_file

__all__ = ["NAMESPACE", "NamesBackup", "bytes_of_keys", "keys_in"]

NAMESPACE = "namespace"

# The current versions of keys, delete markers among them; and the others of one.
_CURRENT = (
    "SELECT key, text FROM keys WHERE bucket = ? "
    f"UNION ALL SELECT key, text FROM versions WHERE bucket = ? AND rank = {CURRENT}"
)
_OLDER = f"SELECT id, text FROM versions WHERE bucket = ? AND key = ? AND rank > {CURRENT}"

#: How often a moment is chosen.
_TRIES = 100


class NamesBackup:
    """
    See the module.

    @param has_bytes: whether there are bytes of an ID, or were when the backup began.
    @ivar arriving: IDs that the journal says are on their way to a key.
    @ivar warning: what may be missing; empty if nothing is.
    """

    def __init__(self, target: Target, directory: str, is_live: bool, has_bytes: Callable[[str], bool]) -> None:
        self.arriving: set[str] = set()
        self.warning = ""
        self._target = target
        self._directory = directory
        self._tree = Tree(directory, Files(), False)
        self._ours = Tree(target.path_of(NAMESPACE), Files(), False)
        self._is_live = is_live
        self._has_bytes = has_bytes
        self._snapshot: sqlite3.Connection | None = None
        self._is_behind = False
        self._made_anew: list[tuple[str, str]] = []

    def run(self, before_moment: Callable[[], None]) -> None:
        """
        Copy them.

        @param before_moment: called before the moment, each time one is chosen.
        """
        try:
            self._target.make(f"{NAMESPACE}/buckets")
            self._copy_tree(self._tree.buckets, f"{NAMESPACE}/buckets")
            self._choose_moment(before_moment)
            with suppress(OSError):
                for _, _, ids, how in read_journal(self._target.path_of(f"{NAMESPACE}/journal")).intents:
                    if how == NEW:
                        self.arriving.update(ids)
            if self._snapshot is not None:
                self._agree(self._snapshot)
        finally:
            self._drop_snapshot()

    def _drop_snapshot(self) -> None:
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None
        with suppress(FileNotFoundError):
            os.unlink(self._target.path_of(".index"))

    # -- as it happens to be -------------------------------------------------------------------

    def _copy_tree(self, source: str, name: str) -> None:
        """A directory with all below it, as far as it is there still."""
        self._target.make(name)
        with suppress(FileNotFoundError), os.scandir(source) as entries:
            for entry in entries:
                place = f"{name}/{entry.name}"
                with suppress(FileNotFoundError, FileExistsError):
                    if entry.is_dir(follow_symlinks=False):
                        self._copy_tree(entry.path, place)
                    elif entry.is_symlink():
                        self._target.symlink(os.readlink(entry.path), place)
                    elif entry.is_file(follow_symlinks=False):
                        of_bucket = entry.name == "bucket.json" or kind_of_file(entry.name) is not None
                        self._target.link(entry.path, place, is_listed=of_bucket and name.count("/") == 2)

    # -- the moment ----------------------------------------------------------------------------

    def _choose_moment(self, before: Callable[[], None]) -> None:
        journal = os.path.join(self._directory, "journal")
        for _ in range(_TRIES):
            before()
            generation = _generation(journal)
            self._take_snapshot()
            with suppress(FileNotFoundError):
                self._target.copy(journal, f"{NAMESPACE}/journal", is_settled=False)
            # A journal that began anew in between may have forgotten what was open at that moment.
            if generation == _generation(self._target.path_of(f"{NAMESPACE}/journal")):
                return
        raise StorageFailed(f"{journal} is restarted too often")

    def _take_snapshot(self) -> None:
        """Copy the index, if a service changes it."""
        if not self._is_live:
            return
        self._drop_snapshot()
        snapshot: sqlite3.Connection | None = None
        path = os.path.join(self._directory, "index", "keys.db")
        try:
            if os.path.exists(os.path.join(os.path.dirname(path), "damaged")):
                raise sqlite3.DatabaseError("it is damaged")
            snapshot = sqlite3.connect(self._target.path_of(".index"), isolation_level=None)
            with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=60)) as source:
                source.backup(snapshot)
            snapshot.execute("PRAGMA journal_mode = OFF")
            snapshot.text_factory = bytes
            snapshot.execute("SELECT count(*) FROM buckets").fetchall()
            self._snapshot = snapshot
            self.warning = ""
        except sqlite3.Error as error:
            if snapshot is not None:
                snapshot.close()
            self.warning = (
                f"the index of keys cannot be used ({error}): keys that were renamed during the backup may be missing"
            )

    # -- agreement -----------------------------------------------------------------------------

    def _agree(self, snapshot: sqlite3.Connection) -> None:
        """Have the tree in the backup be that of the moment."""
        numbers: dict[str, int] = {}
        for number, name, text in snapshot.execute("SELECT number, name, text FROM buckets").fetchall():
            numbers[name.decode()] = number
            bucket = f"{NAMESPACE}/buckets/{name.decode()}"
            self._target.make(f"{bucket}/objects")
            if not os.path.lexists(self._target.path_of(f"{bucket}/bucket.json")):
                self._target.write(f"{bucket}/bucket.json", text)
        for name, number in numbers.items():
            has_versions = snapshot.execute("SELECT 1 FROM versions WHERE bucket = ? LIMIT 1", (number,)).fetchone()
            for key, text in snapshot.execute(_CURRENT, (number, number)):
                self._target.alive()
                older = snapshot.execute(_OLDER, (number, key)).fetchall() if has_versions is not None else []
                self._agree_on(name, key, text, {id.decode(): each for id, each in older})
        for name in self._ours.bucket_names():
            number = numbers.get(name, -1)
            if number < 0 and not os.path.lexists(os.path.join(self._tree.buckets, name)):
                self._target.forget(f"{NAMESPACE}/buckets/{name}")
                continue
            for _, key in _walk(self._ours, name):
                if key is not None and not _has_row(snapshot, number, key):
                    self._settle_unknown(name, key)
        self._settle_made_anew()

    def _agree_on(self, bucket: str, key: bytes, text: bytes, older: Mapping[str, bytes]) -> None:
        """@param older: the entries of versions that are not current, by their IDs; empty where they cannot be read."""
        try:
            _, entry = decode_row(text)
        except ValueError:
            return  # the row is damaged: what was copied stays
        ours = self._ours.key_path(bucket, key.decode(), key)
        name = os.path.relpath(ours.directory, self._target.directory)
        live = self._tree.key_path(bucket, key.decode(), key).directory
        wanted = {**older, entry.id: text}
        try:
            there = set(os.listdir(ours.directory))
        except FileNotFoundError:
            there = set()
        default = f"{entry.id}.json"
        with suppress(OSError):
            if {f"{id}.json" for id in wanted} | {DEFAULT} == there and os.readlink(
                f"{ours.directory}/{DEFAULT}"
            ) == default:
                return
        if not self._may_be(ours, self._tree.key_path(bucket, key.decode(), key), entry):
            return
        for each in there:
            id = id_of_file(each)
            if id is not None and id not in wanted:
                self._target.forget(f"{name}/{each}")
        for id, row in wanted.items():
            if f"{id}.json" not in there:
                try:
                    self._target.link(f"{live}/{id}.json", f"{name}/{id}.json")
                except FileNotFoundError:
                    if row:
                        self._target.write(f"{name}/{id}.json", row, is_listed=False)
        if not os.path.isfile(f"{ours.directory}/{DEFAULT}") or os.path.islink(f"{ours.directory}/{DEFAULT}"):
            self._target.symlink(default, f"{name}/{DEFAULT}")

    def _may_be(self, ours: KeyPath, live: KeyPath, entry: Entry) -> bool:
        """
        Whether a row of the index that differs from what was copied can be right. On a full disk the index may be behind: a key
        that has not changed since it was copied had the same then, and one whose bytes are gone was not there.
        """
        try:
            copied = self._ours.current(ours)
            if copied is None:
                return entry.marker or self._has_bytes(entry.id)
            is_same = copied == self._tree.current(live)
            self._is_behind = self._is_behind or is_same
            return not is_same
        except (StorehouseError, OSError):
            return True  # what cannot be compared is kept: too much in a backup does no harm

    def _settle_unknown(self, bucket: str, key: str) -> None:
        """
        A key that the index did not have at the moment. If it is gone it went before. If it has not changed since it was copied it
        was there, and the index is behind: there was no room for a row, or it is damaged, which is why it has none.
        """
        ours = self._ours.key_path(bucket, key, key.encode())
        live = self._tree.key_path(bucket, key, key.encode())
        if not os.path.lexists(live.directory):
            self._target.forget(os.path.relpath(ours.directory, self._target.directory))
            return
        try:
            current = self._tree.current(live)
            if current is not None and current != self._ours.current(ours):
                self._made_anew.append((bucket, key))
                return
            self._is_behind = self._is_behind or current is not None
        except (StorehouseError, OSError):
            pass  # unreadable on one side: the live files are copied as they are
        self._take_live(bucket, key)

    def _settle_made_anew(self) -> None:
        """
        Keys that the index did not have at the moment, and that have something else by now: they were removed and are there again,
        unless it is known to be behind.
        """
        for bucket, key in self._made_anew:
            if self._is_behind:
                self._take_live(bucket, key)
            else:
                ours = self._ours.key_path(bucket, key, key.encode())
                self._target.forget(os.path.relpath(ours.directory, self._target.directory))

    def _take_live(self, bucket: str, key: str) -> None:
        """Take what the key has now: there is nothing better."""
        name = os.path.relpath(self._ours.key_path(bucket, key, key.encode()).directory, self._target.directory)
        self._target.forget(name)
        self._copy_tree(self._tree.key_path(bucket, key, key.encode()).directory, name)


def _walk(tree: Tree, bucket: str) -> Iterator[tuple[str, str | None]]:
    with suppress(FileNotFoundError):
        yield from tree.walk(bucket)


def _has_row(snapshot: sqlite3.Connection, number: int, key: str) -> bool:
    queries = (f"SELECT 1 FROM {table} WHERE bucket = ? AND key = ?" for table in ("keys", "versions"))
    return any(snapshot.execute(query, (number, key.encode())).fetchone() is not None for query in queries)


def _generation(path: str) -> tuple[str, int] | None:
    try:
        found = read_journal(path)
    except FileNotFoundError:
        return None
    return found.stamp, found.generation


def keys_in(directory: str) -> Iterator[tuple[str, bool, list[str]]]:
    """
    Each key of a namespace: its name for people, whether what it has can be read, and the IDs that it names, but for those of
    delete markers, which have no bytes.
    """
    tree = Tree(directory, Files(), False)
    if not os.path.isdir(tree.buckets):
        return
    for bucket in tree.bucket_names():
        for _, key in _walk(tree, bucket):
            if key is None:
                continue  # not a name of a key
            place = tree.key_path(bucket, key, key.encode())
            current = None
            try:
                current = tree.current(place)
                is_whole = current is not None
            except (StorehouseError, OSError):
                is_whole = False
            with suppress(OSError):
                names = os.listdir(place.directory)
                with suppress(OSError):
                    names.append(os.readlink(f"{place.directory}/{DEFAULT}"))
                ids = {id for id in map(id_of_file, names) if id is not None}
                markers = {id for id in ids if _is_marker(tree, place, current, id)}
                yield f"{bucket}/{key}", is_whole, sorted(ids - markers)


def _is_marker(tree: Tree, key_path: KeyPath, current: Entry | None, id: str) -> bool:
    if current is not None and current.id == id:
        return current.marker
    try:
        entry = tree.read(key_path, id)
    except StorehouseError:
        return False
    return entry is not None and entry.marker


def bytes_of_keys(namespace: str) -> int:
    """What the index says that all objects have, for a progress bar: 0 if it cannot be asked."""
    path = os.path.join(namespace, "index", "keys.db")
    if not os.path.exists(path):
        return 0
    try:
        # As if nobody changed it: to look at it otherwise SQLite makes files beside it, owned by the user who looks.
        with closing(sqlite3.connect(f"file:{quote(path)}?immutable=1", uri=True, timeout=5)) as source:
            return int(source.execute("SELECT coalesce(sum(bytes + versions_bytes), 0) FROM buckets").fetchone()[0])
    except sqlite3.Error:
        return 0
