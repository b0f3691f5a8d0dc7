"""A whole object store driven step by step on given files, and the ledger of what it promised."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import NoSpace, NoSuchKey, StorageFailed, Unavailable
from storehouse.events import Events, ObjectDeleted, ObjectReplaced, ObjectStored
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.interfaces import NULL, OFF, Usage
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.storage.objects.store import LocalObjectStore
from tests.crash.explorer import Broken, Explorer
from tests.crash.objects import Contents
from tests.crash.recording import Killed, Recorder, RecordingFiles

__all__ = [
    "StoreExplorer",
    "StoreLedger",
    "StoreSession",
    "store_history",
    "use_store",
    "verify_store",
    "version_history",
]

BUCKET = "bucket"

#: Bytes, content type, metadata as pairs.
Value = tuple[bytes, str, tuple[tuple[str, tuple[str, ...]], ...]]


@attrs.frozen
class Begun:
    """
    Somebody asked for a change.

    @ivar kind: C{key}, to become C{value}, or to go if that is C{None}; C{rename}, to go, and C{target} to become C{value};
        C{begin} and C{abort} of an upload; C{part};
        C{bucket}; C{left}, an upload that could not be removed when it was completed.
    @ivar upload: the upload that ends with it, or has the part.
    """

    number: int
    kind: str
    name: str
    value: Value | None = None
    part: int = 0
    upload: str = ""
    target: str = ""


@attrs.frozen
class Ended:
    """He was answered, or somebody else was told by an event. C{None}: it was refused."""

    number: int
    done: bool
    name: str = ""


@attrs.frozen
class Found:
    """What a process found at its start: whatever was open is decided."""

    keys: Mapping[str, Value]
    uploads: Mapping[str, tuple[str, Mapping[int, bytes]]]


@attrs.frozen
class Kept:
    """A version was acknowledged, which stays until it is removed by its ID."""

    version: str
    data: bytes


@attrs.frozen
class Gone:
    """It is to be removed: from now on it may be there or not."""

    version: str


class StoreLedger:
    """
    What was promised.

    @ivar kept: versions that must be there, with their bytes.
    @ivar keys: what each key must have, unless what is pending is done.
    @ivar uploads: C{ID: (key, parts)} of those that go on.
    """

    def __init__(self) -> None:
        self.keys: dict[str, Value] = {}
        self.uploads: dict[str, tuple[str, dict[int, bytes]]] = {}
        self.pending: dict[int, Begun] = {}
        self.bucket = False
        self.kept: dict[str, bytes] = {}

    def clone(self) -> StoreLedger:
        other = StoreLedger()
        other.keys, other.pending, other.bucket = dict(self.keys), dict(self.pending), self.bucket
        other.uploads = {id: (key, dict(parts)) for id, (key, parts) in self.uploads.items()}
        other.kept = dict(self.kept)
        return other

    def take(self, note: Any) -> None:
        if isinstance(note, Begun):
            self.pending[note.number] = note
        elif isinstance(note, Ended):
            begun = self.pending.pop(note.number, None)
            if begun is not None and note.done:
                self._done(begun, note.name)
        elif isinstance(note, Kept):
            self.kept[note.version] = note.data
        elif isinstance(note, Gone):
            self.kept.pop(note.version, None)
        elif isinstance(note, Found):
            self.keys = dict(note.keys)
            self.uploads = {id: (key, dict(parts)) for id, (key, parts) in note.uploads.items()}
            self.pending.clear()

    def _done(self, begun: Begun, name: str) -> None:
        if begun.kind == "bucket":
            self.bucket = True
        elif begun.kind == "key":
            self.keys.pop(begun.name, None)
            if begun.value is not None:
                self.keys[begun.name] = begun.value
            self.uploads.pop(begun.upload, None)
        elif begun.kind == "rename":
            assert begun.value is not None
            self.keys.pop(begun.name, None)
            self.keys[begun.target] = begun.value
        elif begun.kind == "begin":
            self.uploads[name] = (begun.name, {})
        elif begun.kind == "abort":
            self.uploads.pop(begun.upload, None)
        elif begun.kind == "part" and begun.upload in self.uploads:
            assert begun.value is not None
            self.uploads[begun.upload][1][begun.part] = begun.value[0]

    def candidates(self, key: str) -> list[Value | None]:
        """What a key may have."""
        ways = [begun.value for begun in self.pending.values() if begun.kind == "key" and begun.name == key]
        for begun in self.pending.values():
            if begun.kind == "rename" and key in (begun.name, begun.target):
                ways.append(begun.value if key == begun.target else None)
        return [self.keys.get(key), *ways]


_numbers = itertools.count(1)


class StoreSession:
    """
    One life of a process: see L{tests.crash.objects.ObjectSession}.

    @ivar view: what is there, as far as this session knows.
    """

    def __init__(self, top: str, recorder: Any, files: Any = None, durable: bool = True, checkpoint: int = 7) -> None:
        self.recorder = recorder
        self.files = RecordingFiles(top, recorder) if files is None else files
        self.top = top
        self.stopped: list[Exception] = []
        settings = WormerSettings(f"{top}/data", "CRC32C", 512, durable)
        self.space = WormerDataSpace(settings, InlineDisk(), self.stopped.append, self.files)
        self.names = LocalNamespace(
            NamespaceSettings(f"{top}/names", durable, checkpoint_records=checkpoint),
            Clock(),
            InlineDisk(),
            self.stopped.append,
            self.files,
        )
        self.events = Events()
        self.store = LocalObjectStore(self.space, self.names, InlineDisk(), self.events)
        self.view = StoreLedger()
        self.tolerated: tuple[type[Exception], ...] = ()
        self.failures: list[Exception] = []
        self._current: Begun | None = None
        for kind in (ObjectStored, ObjectReplaced, ObjectDeleted):
            self.events.subscribe(kind, self._heard)

    def start(self) -> None:
        self.space.start()
        self.names.start()
        self.store.start()
        if self.files.killed:
            raise Killed
        assert self.space.cleaned.called
        assert self.store.recovered.called

    def stop(self) -> None:
        for room in (self.store, self.names, self.space):
            self.wait(room.stop())

    def abandon(self) -> None:
        self.files.abandon()
        try:
            self.names.upkeep.index.close()
        except Exception:  # it was never opened, or is half made
            pass

    def wait(self, deferred: Deferred[Any]) -> Any:
        outcome: list[Any] = []
        deferred.addBoth(outcome.append)
        if self.files.killed:
            raise Killed
        if not outcome:
            raise AssertionError("waited in vain")
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    def _note(self, text: str, note: Any) -> None:
        self.recorder.note(text, note)
        self.view.take(note)

    def _heard(self, event: Any) -> None:
        # A subscriber takes it for done.
        if self._current is not None and not self.files.killed:
            self._note(f"told of {event.key}", Ended(self._current.number, True))

    def _do(self, text: str, begun: Begun, call: Callable[[], Deferred[Any]]) -> Any:
        self._note(text, begun)
        self._current = begun
        try:
            result = self.wait(call())
        except Killed:
            raise
        except StorageFailed as error:
            # Nobody knows.
            if not isinstance(error, self.tolerated):
                raise
            self.failures.append(error)
            return None
        except Exception as error:
            if begun.upload and begun.kind == "key" and isinstance(error, (NoSpace, Unavailable)):
                # Its parts were an object already that could then not be given the key.
                self._note(
                    "  perhaps without its upload", Begun(next(_numbers), "abort", begun.name, None, 0, begun.upload)
                )
            self._note(f"refused {text}: {error}", Ended(begun.number, False))
            if not isinstance(error, self.tolerated):
                raise
            self.failures.append(error)
            return None
        finally:
            self._current = None
        if begun.kind == "key" and begun.upload and os.path.exists(self.space._directory.layout.upload(begun.upload)):
            # It could not be removed, and expires.
            self._note("  with its upload still there", Begun(next(_numbers), "left", begun.name, upload=begun.upload))
        self._note(f"acknowledged {text}", Ended(begun.number, True, result if isinstance(result, str) else ""))
        return result

    # -- operations ----------------------------------------------------------------------------

    def create(self) -> None:
        self._do("create", Begun(next(_numbers), "bucket", BUCKET), lambda: self.store.create_bucket(BUCKET))

    def put(self, key: str, data: bytes, md5: bool = True, **options: Any) -> None:
        kind = "replace" if key in self.view.keys else "put"
        info = self._do(
            f"{kind} {key} {len(data)}",
            Begun(next(_numbers), "key", key, (data, "a/b", (("k", (key,)),))),
            lambda: self.store.put(BUCKET, key, BytesStream(data), len(data), "a/b", {"k": [key]}, md5=md5, **options),
        )
        if info is not None and info.version not in ("", NULL):
            self._note(f"  kept {key}", Kept(info.version, data))

    def set_versioning(self, state: str) -> None:
        """What is kept must be there whatever it is."""
        begun = Begun(next(_numbers), "none", "")
        self._do(f"versioning {state}", begun, lambda: self.store.set_versioning(BUCKET, state))

    def remove_version(self, key: str) -> None:
        """Remove the current version for good, or the marker that hides the others."""
        page = self.wait(self.store.list_versions(BUCKET, key))
        current, *older = [each for each in page.versions if each.key == key]
        value = self.fetch(key, older[0].version) if older and not older[0].marker else None
        self._note(f"  may go {key}", Gone(current.version))
        self._do(
            f"remove-version {key}",
            Begun(next(_numbers), "key", key, value),
            lambda: self.store.delete(BUCKET, key, version=current.version),
        )

    def delete(self, key: str) -> None:
        self._do(f"delete {key}", Begun(next(_numbers), "key", key), lambda: self.store.delete(BUCKET, key))

    def copy(self, key: str, source: str) -> None:
        data, content_type, _ = self.view.keys[source]
        self._do(
            f"copy {key} {source}",
            Begun(next(_numbers), "key", key, (data, content_type, (("c", (key,)),))),
            lambda: self.store.copy(BUCKET, key, BUCKET, source, metadata={"c": [key]}),
        )

    def append(self, key: str, data: bytes) -> None:
        before, content_type, metadata = self.view.keys.get(key, (b"", "a/b", (("k", (key,)),)))
        self._do(
            f"{'append' if before else 'append-new'} {key} {len(data)}",
            Begun(next(_numbers), "key", key, (before + data, content_type, metadata)),
            lambda: self.store.append(
                BUCKET, key, len(before), BytesStream(data), len(data), "a/b", {"k": [key]}, note=lambda: "note"
            ),
        )

    def rename(self, key: str, new_key: str) -> None:
        if self.names.versioning(BUCKET) != OFF:
            return  # it is refused there
        kind = "rename-over" if new_key in self.view.keys else "rename"
        self._do(
            f"{kind} {key} {new_key}",
            Begun(next(_numbers), "rename", key, self.view.keys[key], target=new_key),
            lambda: self.store.rename(BUCKET, key, new_key),
        )

    def begin(self, key: str) -> str:
        begun = Begun(next(_numbers), "begin", key)
        id: str = self._do(f"begin {key}", begun, lambda: self.store.begin_upload(BUCKET, key, "u/p", {"u": [key]}))
        return id

    def part(self, upload_id: str, number: int, data: bytes) -> None:
        key = self.view.uploads[upload_id][0]
        self._do(
            f"part {key} {number}",
            Begun(next(_numbers), "part", key, (data, "", ()), number, upload_id),
            lambda: self.store.upload_part(
                BUCKET, key, upload_id, number, BytesStream(data), len(data), True
            ).addCallback(lambda etag: None),
        )

    def complete(self, upload_id: str, *numbers: int) -> None:
        """With these parts, or all."""
        key, parts = self.view.uploads[upload_id]
        chosen = numbers or sorted(parts)
        data = b"".join(parts[number] for number in chosen)
        named = [Part(number, hashlib.md5(parts[number]).hexdigest(), 0) for number in chosen]
        self._do(
            f"complete {key}",
            Begun(next(_numbers), "key", key, (data, "u/p", (("u", (key,)),)), upload=upload_id),
            lambda: self.store.complete_upload(BUCKET, key, upload_id, named),
        )

    def abort(self, upload_id: str) -> None:
        key = self.view.uploads[upload_id][0]
        begun = Begun(next(_numbers), "abort", key, upload=upload_id)
        self._do(f"abort {key}", begun, lambda: self.store.abort_upload(BUCKET, key, upload_id))

    def reindex(self) -> None:
        self._do("reindex", Begun(next(_numbers), "none", ""), lambda: self.store.reindex())

    # -- reading -------------------------------------------------------------------------------

    def fetch(self, key: str, version: str | None = None) -> Value:
        reader = self.wait(self.store.get(BUCKET, key, version=version))
        data: bytes = self.wait(Deferred.fromCoroutine(read_all(reader)))
        if reader.info.size != len(data):
            raise Broken(f"{key} has {len(data)} bytes, not {reader.info.size}")
        # Of another length it is the data space's own.
        if len(reader.info.etag) == 32 and reader.info.etag != hashlib.md5(data).hexdigest():
            raise Broken(f"{key} has the etag {reader.info.etag}")
        metadata = tuple((name, tuple(values)) for name, values in reader.info.metadata.items())
        return data, reader.info.content_type, metadata

    def infos(self) -> Sequence[Any]:
        infos: Sequence[Any] = self.wait(self.store.list_objects(BUCKET)).objects
        return infos


# -- checking --------------------------------------------------------------------------------------


def verify_store(session: StoreSession, ledger: StoreLedger) -> Found:
    """
    Read everything back and compare. What was open goes into the ledger as it was decided, and into the session's view.

    @raise Broken: if a promise was not kept.
    """
    buckets = [bucket.name for bucket in session.wait(session.store.list_buckets())]
    if not buckets:
        if ledger.bucket:
            raise Broken("the bucket is lost")
        session.create()
    ledger.bucket = bool(buckets)
    infos = session.infos()
    keys = {info.key: session.fetch(info.key) for info in infos}
    for key, found in keys.items():
        if found not in ledger.candidates(key):
            raise Broken(f"{key} is {_short(found)}, not one of {list(map(_short, ledger.candidates(key)))}")
    for begun in ledger.pending.values():
        if begun.kind == "rename":
            _verify_rename(ledger, begun, keys.get(begun.name), keys.get(begun.target))
    for key in {*ledger.keys, *(begun.name for begun in ledger.pending.values() if begun.kind == "key")} - set(keys):
        if None not in ledger.candidates(key):
            raise Broken(f"{key} is lost")
        try:
            session.wait(session.store.head(BUCKET, key))
        except NoSuchKey:
            continue
        raise Broken(f"{key} is found and not listed")
    uploads = _verify_uploads(session, ledger, keys)
    space = session.space
    indexes: list[str] = session.wait(space.list_indexes())
    stored = [id for index in indexes for id in session.wait(space.list_ids(index))]
    versions = session.wait(session.store.list_versions(BUCKET)).versions
    named = sorted(info.id for info in versions if not info.marker)
    if stored != named:
        raise Broken(f"orphans {set(stored) - set(named)}, lost {set(named) - set(stored)}")
    problems = session.wait(session.store.check())
    if problems:
        raise Broken(f"{problems}")
    there = {
        info.version: session.fetch(info.key, info.version)[0] for info in versions if not info.marker and info.version
    }
    for version, data in ledger.kept.items():
        if there.get(version) != data:
            raise Broken(f"the version {version} is {there.get(version)!r}, not {data!r}")
    older = [info for info in versions if not info.marker and not info.is_latest]
    if session.wait(session.store.usage(BUCKET)) != Usage(
        len(infos),
        sum(len(value[0]) for value in keys.values()),
        len(older),
        sum(info.size for info in older),
        sum(info.marker for info in versions),
    ):
        raise Broken("the usage is wrong")
    for part in ("names", "data"):
        if os.listdir(f"{session.top}/{part}/tmp"):
            raise Broken(f"something was left in tmp of {part}")
    if session.stopped:
        raise session.stopped[0]
    result = Found(keys, uploads)
    ledger.take(result)
    session.view = ledger.clone()
    return result


def _verify_rename(ledger: StoreLedger, rename: Begun, found: Value | None, target: Value | None) -> None:
    """Both keys change together. After a failed sync other changes of both may be pending, too."""

    def before(name: str) -> list[Value | None]:
        pending = ledger.pending.values()
        return [ledger.keys.get(name), *(each.value for each in pending if (each.kind, each.name) == ("key", name))]

    has_not_happened = found in before(rename.name) and target in before(rename.target)
    has_happened = found is None and target is not None and target in (rename.value, *before(rename.name))
    if not has_not_happened and not has_happened:
        raise Broken(f"of {rename.name} and {rename.target} there are {_short(found)} and {_short(target)}")


def _short(value: Value | None) -> str:
    return "nothing" if value is None else f"{len(value[0])} bytes {value[0][:20]!r} {value[1:]}"


def _verify_uploads(
    session: StoreSession, ledger: StoreLedger, keys: Mapping[str, Value]
) -> dict[str, tuple[str, dict[int, bytes]]]:
    """Parts that were acknowledged are in an upload that goes on, or in the object that it has become."""
    pending = ledger.pending.values()
    found: dict[str, tuple[str, dict[int, bytes]]] = {}
    for upload in session.wait(session.store.list_uploads(BUCKET)):
        if any(begun.kind == "left" and begun.upload == upload.upload_id for begun in pending):
            continue
        known = ledger.uploads.get(upload.upload_id)
        if known is None and not any(begun.kind == "begin" and begun.name == upload.key for begun in pending):
            raise Broken(f"the upload {upload} should not be there")
        allowed = dict(known[1]) if known else {}
        # A part that was not acknowledged may be there all the same, and so may one that was sent before under its number.
        ways = [
            (begun.part, begun.value[0])
            for begun in pending
            if begun.kind == "part" and begun.upload == upload.upload_id and begun.value is not None
        ]
        parts: dict[int, bytes] = {}
        for part in session.wait(session.store.list_parts(BUCKET, upload.key, upload.upload_id)):
            of_part = [data for number, data in (*allowed.items(), *ways) if number == part.number]
            for data in of_part:
                if hashlib.md5(data).hexdigest() == part.etag:
                    parts[part.number] = data
            if part.number not in parts:
                raise Broken(f"part {part} of {upload.key} was never stored")
        if set(allowed) - set(parts):
            raise Broken(f"of {upload.key} the parts {set(allowed) - set(parts)} are lost")
        found[upload.upload_id] = (upload.key, parts)
    for upload_id in set(ledger.uploads) - set(found):
        aborted = any(begun.kind == "abort" and begun.upload == upload_id for begun in pending)
        completed = any(
            begun.kind == "key" and begun.upload == upload_id and keys.get(begun.name) == begun.value
            for begun in pending
        )
        if not aborted and not completed:
            raise Broken(f"the upload {upload_id} of {ledger.uploads[upload_id][0]} is lost")
    return found


# -- using -----------------------------------------------------------------------------------------


def use_store(session: StoreSession, contents: Contents, random: Random) -> None:
    """Continue with what is there."""
    for upload_id, (_, parts) in sorted(session.view.uploads.items(), key=lambda item: item[1][0]):
        if parts and random.random() < 0.6:
            session.complete(upload_id)
        elif random.random() < 0.5:
            session.abort(upload_id)
        else:
            session.part(upload_id, 9, contents(40))
    there = sorted(session.view.keys)
    for key in random.sample(there, min(2, len(there))):
        session.put(key, contents(100))
    if there:
        session.copy("used", there[0])
        session.append("used", contents(30))
        session.rename("used", random.choice(["moved", *there]))
        session.delete(random.choice(there))


def store_history(session: StoreSession, contents: Contents) -> None:
    """Something of everything, in little: for lives that are ended at each of its calls."""
    long = "long/" + "x" * 300
    session.create()
    session.put("a", contents(1300))
    session.put(long, contents(40), md5=False)
    session.put("a", contents(600))
    session.copy("b", "a")
    session.copy("b", "a")
    session.copy("a", "a")
    upload_id = session.begin("c")
    session.part(upload_id, 3, contents(700))
    session.part(upload_id, 1, contents(512))
    session.part(upload_id, 3, contents(600))
    session.complete(upload_id)
    session.reindex()
    session.delete("b")
    upload_id = session.begin("a")
    session.part(upload_id, 1, contents(513))
    session.part(upload_id, 2, contents(100))
    session.complete(upload_id, 1)
    other = session.begin("d")
    session.part(other, 1, contents(10))
    session.abort(other)
    session.append("c", contents(300))
    session.append("log", contents(20))
    session.append("log", contents(600))
    session.rename("c", "moved")
    session.rename("moved", long)
    session.delete(long)
    session.put("b", contents(0))
    session.begin("e")


def version_history(session: StoreSession, contents: Contents) -> None:
    """What becomes of versions and markers."""
    session.create()
    session.put("a", contents(700))
    session.set_versioning("enabled")
    session.put("a", contents(30))
    session.put("a", contents(600))
    session.delete("a")
    session.remove_version("a")
    session.remove_version("a")
    session.copy("b", "a")
    session.append("a", contents(40))
    upload_id = session.begin("a")
    session.part(upload_id, 1, contents(513))
    session.part(upload_id, 2, contents(100))
    session.complete(upload_id)
    session.put("b", contents(10))
    session.delete("b")
    session.set_versioning("suspended")
    session.put("a", contents(50))
    session.put("a", contents(60))
    session.put("b", contents(20))
    session.delete("a")
    session.set_versioning("enabled")
    session.put("a", contents(70))
    session.set_versioning("suspended")
    session.put("a", contents(80))
    session.remove_version("a")
    session.remove_version("a")
    session.reindex()
    session.delete("b")


class StoreExplorer(Explorer[StoreSession, StoreLedger]):
    """
    Cuts histories of a whole store.  The index of keys is SQLite's own business: after a cut it is never there, which
    is for the namespace's own tests.
    """

    def session(self, recorder: Recorder, top: str, **options: Any) -> StoreSession:
        return StoreSession(top, recorder, **options)

    def ledger(self) -> StoreLedger:
        return StoreLedger()

    def live_on(self, recorder: Recorder, top: str, ledger: StoreLedger) -> None:
        """Open what the cut left, check it, use it, and open it once more."""
        first = self.session(recorder, top)
        try:
            first.start()
            verify_store(first, ledger)
            use_store(first, Contents(self.random.getrandbits(32)), self.random)
            if self.random.random() < 0.3:
                first.abandon()
            else:
                first.stop()
        except BaseException:
            first.abandon()
            raise
        if self.random.random() < 0.3:
            after = ledger.clone()
            self.follow(recorder, after)
            again = self.session(recorder, top)
            again.start()
            verify_store(again, after)
            again.stop()

    def verify_kill(self, session: StoreSession) -> None:
        """After a kill without a power cut, everything acknowledged is there. What else is there is so for good."""
        ledger = self.ledger()
        self.follow(session.recorder, ledger)
        found = verify_store(session, ledger)
        session.recorder.note("decided", found)
