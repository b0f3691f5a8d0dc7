"""A store of objects driven step by step on given files, and the ledger of what it promised."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, PushedStream, read_all
from storehouse.errors import NoSuchObject, NoSuchUpload, StorageFailed
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from tests.crash.explorer import Broken
from tests.crash.recording import Killed, RecordingFiles

__all__ = [
    "Contents",
    "HandSource",
    "ObjectLedger",
    "ObjectSession",
    "Stored",
    "check_no_leaks",
    "history",
    "use",
    "verify",
]

#: Metadata that can be compared and pickled.
Frozen = tuple[tuple[str, tuple[str, ...]], ...]


def _frozen(metadata: Mapping[str, Sequence[str]]) -> Frozen:
    return tuple((name, tuple(values)) for name, values in metadata.items())


@attrs.frozen
class Stored:
    """
    What an object holds, or a part.

    @ivar metadata: of an object.
    @ivar etag: empty if it was not told.
    """

    data: bytes
    metadata: Frozen = ()
    etag: str = ""

    def __str__(self) -> str:
        return f"{len(self.data)} bytes {self.data[:40]!r}, {self.metadata}, {self.etag}"

    def allows(self, found: Stored) -> bool:
        """Whether C{found} is this."""
        return (self.data, self.metadata) == (found.data, found.metadata) and self.etag in ("", found.etag)


@attrs.frozen
class Going:
    """An upload that goes on. Never changed."""

    metadata: Frozen
    parts: Mapping[int, Stored]


@attrs.frozen
class Begun:
    """
    Somebody asked for something.

    @ivar kind: C{object}, to be C{value}, or gone if that is C{None}; C{upload}, to be there with C{value}'s metadata,
        or gone; C{part}, to be C{value}; C{complete}, an object to be C{value} and the C{upload} then gone.
    """

    number: int
    kind: str
    id: str
    value: Stored | None = None
    part: int = 0
    upload: str = ""


@attrs.frozen
class Ended:
    """
    He was answered.

    @ivar etag: C{None} if it was refused.
    """

    number: int
    etag: str | None


@attrs.frozen
class Found:
    """What a process found at its start: whatever was open is decided."""

    objects: Mapping[str, Stored]
    uploads: Mapping[str, Going]


class ObjectLedger:
    """
    What was promised up to some moment, told by the notes of a history.

    @ivar objects: those that must be there, unless what is pending is done.
    @ivar uploads: those that must be there, likewise.
    @ivar pending: what was begun and not answered, by number.
    @ivar ever: everything that was ever to be stored as an object, by ID.
    @ivar seen: all upload IDs that were ever used.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Going] = {}
        self.pending: dict[int, Begun] = {}
        self.ever: dict[str, tuple[Stored, ...]] = {}
        self.seen: set[str] = set()

    def clone(self) -> ObjectLedger:
        other = ObjectLedger()
        other.objects, other.uploads = dict(self.objects), dict(self.uploads)
        other.pending, other.ever, other.seen = dict(self.pending), dict(self.ever), set(self.seen)
        return other

    def take(self, note: Any) -> None:
        if isinstance(note, Begun):
            self.pending[note.number] = note
            if note.kind in ("object", "complete"):
                self.ever[note.id] = self.ever.get(note.id, ()) + ((note.value,) if note.value else ())
            else:
                self.seen.add(note.id)
        elif isinstance(note, Ended):
            begun = self.pending.pop(note.number)
            if note.etag is not None:
                self._done(begun, note.etag)
        elif isinstance(note, Found):
            self.objects, self.uploads = dict(note.objects), dict(note.uploads)
            self.pending.clear()

    def _done(self, begun: Begun, etag: str) -> None:
        value = None if begun.value is None else attrs.evolve(begun.value, etag=etag)
        if begun.kind in ("object", "complete"):
            self.objects.pop(begun.id, None)
            if value is not None:
                self.objects[begun.id] = value
            if begun.upload and not any(
                other.kind == "upload" and other.id == begun.upload for other in self.pending.values()
            ):
                self.uploads.pop(begun.upload, None)
        elif begun.kind == "upload":
            self.uploads.pop(begun.id, None)
            if value is not None:
                self.uploads[begun.id] = Going(value.metadata, {})
        elif begun.id in self.uploads:
            assert value is not None
            upload = self.uploads[begun.id]
            self.uploads[begun.id] = attrs.evolve(upload, parts={**upload.parts, begun.part: value})

    def candidates(self, id: str) -> list[Stored | None]:
        """What an object may be."""
        ways = [
            begun.value for begun in self.pending.values() if begun.kind in ("object", "complete") and begun.id == id
        ]
        return [self.objects.get(id), *ways]

    def part_candidates(self, upload_id: str, number: int) -> list[Stored | None]:
        """What a part of an upload may be, the one that was promised first."""
        upload = self.uploads.get(upload_id)
        ways = [
            begun.value
            for begun in self.pending.values()
            if begun.kind == "part" and (begun.id, begun.part) == (upload_id, number)
        ]
        return [upload.parts.get(number) if upload else None, *ways]


class HandSource(PushedStream):
    """A stream that is fed by hand, as long as it is wanted."""

    def __init__(self) -> None:
        super().__init__(lambda: None, lambda: None)

    def feed(self, data: bytes) -> None:
        """More of it."""
        self.write(data)

    def end(self, error: Exception | None = None) -> None:
        """That was all, or is all that can be had."""
        if error is None:
            super().end()
        else:
            self.fail(error)


class Contents:
    """Bytes that are all different, and tell where they are torn."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._number = 0

    def __call__(self, size: int | None = None) -> bytes:
        """So many of them, or as many as chance will have it: within a block, exactly some, over several."""
        if size is None:
            size = self._random.choice((0, 1, 40, 511, 512, 513, 1024, 1500, 3000))
        self._number += 1
        head = b"<%d %d>" % (self._number, self._random.getrandbits(32))
        return (head + self._random.randbytes(max(0, size - len(head))))[:size]


_numbers = itertools.count(1)


class ObjectSession:
    """
    One life of a process.

    @param top: the store is in C{objects} below it.
    @param recorder: is told, by C{note}, what is begun and answered.
    @param files: what to use in place of L{RecordingFiles}.
    @ivar extra: what is in the store's directory beside the usual.
    @ivar view: what is there, as far as this session knows.
    @ivar tolerated: errors with which operations may fail.
    @ivar failures: those with which they did.
    """

    def __init__(
        self,
        top: str,
        recorder: Any,
        block_size: int = 512,
        hash: str = "CRC32C",
        durable: bool = True,
        files: Any = None,
    ) -> None:
        self.recorder = recorder
        self.files = RecordingFiles(top, recorder) if files is None else files
        self.root = f"{top}/objects"
        self.extra = frozenset() if durable else frozenset({"relaxed"})
        self.stopped: list[Exception] = []
        settings = WormerSettings(self.root, hash, block_size, durable)
        self.space = WormerDataSpace(settings, InlineDisk(), self.stopped.append, self.files)
        self.view = ObjectLedger()
        self.tolerated: tuple[type[Exception], ...] = ()
        self.failures: list[Exception] = []

    def start(self) -> None:
        self.space.start()
        if self.files.killed:
            raise Killed
        assert self.space.cleaned.called

    def stop(self) -> None:
        self.wait(self.space.stop())

    def abandon(self) -> None:
        self.files.abandon()

    def wait(self, deferred: Deferred[Any]) -> Any:
        """The result of a call."""
        outcome: list[Any] = []
        deferred.addBoth(outcome.append)
        return self._result(outcome)

    def _result(self, outcome: list[Any]) -> Any:
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

    def begin(self, text: str, begun: Begun, call: Callable[[], Deferred[Any]]) -> list[Any]:
        """Ask for something. @return: gets the outcome, once it is there."""
        outcome: list[Any] = []

        def done(result: Any) -> None:
            outcome.append(result)
            if self.files.killed:
                return
            if isinstance(result, Failure) and result.check(StorageFailed):
                return  # nobody knows
            if (
                not isinstance(result, Failure)
                and begun.upload
                and (self.stopped or os.path.exists(self.space._directory.layout.upload(begun.upload)))
            ):
                # It goes later.
                self._note(f"  with {begun.upload} still there", Begun(next(_numbers), "upload", begun.upload))
            if isinstance(result, Failure):
                self._note(f"refused {text}: {result.value}", Ended(begun.number, None))
            else:
                etag = result.etag if isinstance(result, Part) else result or ""
                self._note(f"acknowledged {text}", Ended(begun.number, etag))

        self._note(text, begun)
        call().addBoth(done)
        return outcome

    def _do(self, text: str, begun: Begun, call: Callable[[], Deferred[Any]]) -> Any:
        try:
            return self._result(self.begin(text, begun, call))
        except self.tolerated as error:
            self.failures.append(error)
            return None

    # -- operations ----------------------------------------------------------------------------

    def begin_put(self, id: str, source: Any, data: bytes, size: int | None = None, **metadata: list[str]) -> list[Any]:
        """See L{begin}."""
        value = Stored(data, _frozen(metadata))
        return self.begin(
            f"put {id} {len(data)}",
            Begun(next(_numbers), "object", id, value),
            lambda: self.space.put(id, source, size, metadata),
        )

    def put(self, id: str, data: bytes, sized: bool = True, **metadata: list[str]) -> Part | None:
        value = Stored(data, _frozen(metadata))
        return self._do(
            f"put {id} {len(data)}",
            Begun(next(_numbers), "object", id, value),
            lambda: self.space.put(id, BytesStream(data), len(data) if sized else None, metadata),
        )

    def describe(self, id: str, **metadata: list[str]) -> None:
        """Have it say something else of itself."""
        value = Stored(self.view.objects[id].data, _frozen(metadata))
        self._do(
            f"describe {id}",
            Begun(next(_numbers), "object", id, value),
            lambda: self.space.replace_metadata(id, metadata),
        )

    def delete(self, id: str) -> None:
        self._do(f"delete {id}", Begun(next(_numbers), "object", id), lambda: self.space.delete(id))

    def copy(self, id: str, source: str, offset: int = 0, length: int | None = None, **metadata: list[str]) -> None:
        stored = self.view.objects[source]
        data = stored.data[offset:] if length is None else stored.data[offset : offset + length]
        value = Stored(data, _frozen(metadata) if metadata else stored.metadata)
        self._do(
            f"copy {id} {source} {offset} {length}",
            Begun(next(_numbers), "object", id, value),
            lambda: self.space.copy(id, source, offset, length, metadata or None),
        )

    def init(self, upload_id: str, **metadata: list[str]) -> None:
        value = Stored(b"", _frozen(metadata))
        self._do(
            f"init {upload_id}",
            Begun(next(_numbers), "upload", upload_id, value),
            lambda: self.space.init_upload(upload_id, metadata),
        )

    def begin_part(self, upload_id: str, number: int, source: Any, data: bytes) -> list[Any]:
        """See L{begin}."""
        return self.begin(
            f"part {upload_id} {number} {len(data)}",
            Begun(next(_numbers), "part", upload_id, Stored(data), number),
            lambda: self.space.upload_part(upload_id, number, source, None),
        )

    def _part_kind(self, upload_id: str, number: int) -> str:
        return "replace" if number in self.view.uploads[upload_id].parts else "part"

    def part(self, upload_id: str, number: int, data: bytes, sized: bool = True) -> None:
        self._do(
            f"{self._part_kind(upload_id, number)} {upload_id} {number} {len(data)}",
            Begun(next(_numbers), "part", upload_id, Stored(data), number),
            lambda: self.space.upload_part(upload_id, number, BytesStream(data), len(data) if sized else None),
        )

    def part_copy(self, upload_id: str, number: int, source: str, offset: int = 0, length: int | None = None) -> None:
        stored = self.view.objects[source].data
        data = stored[offset:] if length is None else stored[offset : offset + length]
        self._do(
            f"{self._part_kind(upload_id, number)}-copy {upload_id} {number} {source} {offset} {length}",
            Begun(next(_numbers), "part", upload_id, Stored(data), number),
            lambda: self.space.upload_part_copy(upload_id, number, source, offset, length),
        )

    def complete(self, id: str, upload_id: str, *numbers: int, **metadata: list[str]) -> None:
        """With these parts, or with all."""
        upload = self.view.uploads[upload_id]
        chosen = [(number, upload.parts[number]) for number in numbers or sorted(upload.parts)]
        value = Stored(
            b"".join(stored.data for _, stored in chosen), _frozen(metadata) if metadata else upload.metadata
        )
        parts = [Part(number, stored.etag, len(stored.data)) for number, stored in chosen]
        self._do(
            f"complete {id} {upload_id} {numbers}",
            Begun(next(_numbers), "complete", id, value, upload=upload_id),
            lambda: self.space.complete_upload(id, upload_id, parts, metadata or None),
        )

    def abort(self, upload_id: str) -> None:
        self._do(
            f"abort {upload_id}",
            Begun(next(_numbers), "upload", upload_id),
            lambda: self.space.abort_upload(upload_id),
        )

    # -- reading -------------------------------------------------------------------------------

    def read(self, id: str, offset: int = 0, length: int | None = None) -> bytes:
        """A range of an object."""
        reader = self.wait(self.space.get(id, offset, length))
        return self.drain(reader)

    def drain(self, reader: Any) -> bytes:
        """What an open reader gives."""
        data: bytes = self.wait(Deferred.fromCoroutine(read_all(reader)))
        return data

    def fetch(self, id: str) -> Stored:
        """All of an object."""
        reader = self.wait(self.space.get(id))
        data = self.drain(reader)
        metadata = self.wait(self.space.get_metadata(id))
        if (reader.metadata, reader.size) != (metadata, len(data)):
            raise Broken(f"{id}: the reader tells of {reader.metadata} and {reader.size} bytes")
        return Stored(data, _frozen(metadata), reader.etag)

    def ids(self) -> list[str]:
        """Of all objects."""
        return [id for index in self.wait(self.space.list_indexes()) for id in self.wait(self.space.list_ids(index))]


# -- checking --------------------------------------------------------------------------------------


def verify(session: ObjectSession, ledger: ObjectLedger, random: Random) -> Found:
    """
    Read everything back and compare. What was open goes into the ledger as it was decided, and into the session's view.

    @raise Broken: if a promise was not kept.
    """
    objects: dict[str, Stored] = {}
    for id in session.ids():
        found = session.fetch(id)
        allowed = ledger.candidates(id)
        if not any(value is not None and value.allows(found) for value in allowed):
            raise Broken(f"{id} is {found}, not one of {[str(value) for value in allowed]}")
        objects[id] = found
        offset = random.randint(0, len(found.data))
        length = random.randint(0, len(found.data) - offset)
        if session.read(id, offset, length) != found.data[offset : offset + length]:
            raise Broken(f"{id} from {offset}, {length} bytes, is not what the whole has there")
    for id in ledger.ever.keys() | ledger.objects.keys():
        if id in objects:
            continue
        if None not in ledger.candidates(id):
            raise Broken(f"{id} is lost")
        for call in (session.space.get, session.space.get_metadata):
            try:
                session.wait(call(id))
            except NoSuchObject:
                continue
            raise Broken(f"{id} is not there, and {call.__name__} finds it")
    uploads = {
        upload.id: _verify_upload(session, ledger, upload) for upload in session.wait(session.space.list_uploads())
    }
    for upload_id in ledger.seen - uploads.keys():
        _verify_ended(session, ledger, upload_id, objects)
    check_no_leaks(session.root, session.extra)
    if session.stopped:
        raise session.stopped[0]
    result = Found(objects, uploads)
    ledger.take(result)
    session.view = ledger.clone()
    return result


def _verify_upload(session: ObjectSession, ledger: ObjectLedger, told: Any) -> Going:
    ways = [begun.value for begun in ledger.pending.values() if begun.kind == "upload" and begun.id == told.id]
    upload = ledger.uploads.get(told.id)
    metadata = [upload.metadata] if upload else [value.metadata for value in ways if value is not None]
    if not metadata:
        raise Broken(f"the upload {told.id} should not be there")
    directory = f"{session.root}/uploads/{told.id[:2]}/{told.id}"
    with open(f"{directory}/upload.json", "rb") as file:
        found_metadata = _frozen(json.load(file)["metadata"])
    if found_metadata not in metadata:
        raise Broken(f"the upload {told.id} has the metadata {found_metadata}")
    parts: dict[int, Stored] = {}
    for part in session.wait(session.space.list_parts(told.id)):
        with open(f"{directory}/part.{part.number}", "rb") as file:
            found = Stored(file.read(), (), part.etag)
        allowed = ledger.part_candidates(told.id, part.number)
        if part.size != len(found.data) or not any(value is not None and value.allows(found) for value in allowed):
            raise Broken(
                f"part {part.number} of {told.id} is {found}, listed with {part.size} bytes, not one of "
                f"{[str(value) for value in allowed]}"
            )
        parts[part.number] = found
    for number in upload.parts if upload else ():
        if number not in parts:
            raise Broken(f"part {number} of the upload {told.id} is lost")
    if (told.parts, told.size) != (len(parts), sum(len(part.data) for part in parts.values())):
        raise Broken(f"the upload {told.id} is listed as {told}")
    return Going(found_metadata, parts)


def _verify_ended(session: ObjectSession, ledger: ObjectLedger, upload_id: str, objects: Mapping[str, Stored]) -> None:
    if upload_id in ledger.uploads:
        pending = ledger.pending.values()
        aborted = any(begun.kind == "upload" and begun.id == upload_id and begun.value is None for begun in pending)
        completed = any(
            begun.upload == upload_id
            and begun.value is not None
            and begun.id in objects
            and begun.value.allows(objects[begun.id])
            for begun in pending
        )
        if not aborted and not completed:
            raise Broken(f"the upload {upload_id} is lost")
    try:
        session.wait(session.space.list_parts(upload_id))
    except NoSuchUpload:
        return
    raise Broken(f"the upload {upload_id} is not there, and has parts")


def _part_files(numbers: Any) -> set[str]:
    return {f"part.{number}{end}" for number in numbers for end in ("", ".checksum")}


def check_no_leaks(root: str, extra: frozenset[str] = frozenset()) -> None:
    """
    No file lies in a store that nothing names.

    @raise Broken: if one does.
    """

    def expect(path: str, names: set[str]) -> None:
        there = set(os.listdir(path))
        if there != names:
            raise Broken(f"in {path} are {sorted(there)}, not {sorted(names)}")

    def entries(kind: str) -> list[str]:
        top = f"{root}/{kind}"
        return [f"{top}/{index}/{id}" for index in os.listdir(top) for id in os.listdir(f"{top}/{index}")]

    expect(root, {"format.json", "data", "uploads", "tmp", *extra})
    expect(f"{root}/tmp", set())
    for path in entries("data"):
        with open(f"{path}/data.json", "rb") as file:
            parts = json.load(file)["parts"]
        expect(path, {"data.json", *_part_files(part["number"] for part in parts)})
    for path in entries("uploads"):
        with open(f"{path}/parts.json", "rb") as file:
            expect(path, {"upload.json", "parts.json", *_part_files(json.load(file))})


# -- using -----------------------------------------------------------------------------------------


def use(session: ObjectSession, contents: Contents, random: Random) -> None:
    """Continue with what is there: whatever it is, all operations must work on it."""
    view = session.view
    absent = sorted(view.ever.keys() - view.objects.keys())
    for id in random.sample(absent, min(2, len(absent))):
        session.put(id, contents(), random.random() < 0.5, key=["again"])
    for upload_id in sorted(view.uploads):
        numbers = sorted(view.uploads[upload_id].parts)
        kind = random.randrange(4)
        if kind == 0 and numbers:
            session.complete(f"cc{random.getrandbits(64):016x}", upload_id)
        elif kind == 1 and numbers:
            session.part(upload_id, random.choice(numbers), contents())
            chosen = sorted(random.sample(numbers, random.randint(1, len(numbers))))
            session.complete(f"cc{random.getrandbits(64):016x}", upload_id, *chosen)
        elif kind == 2:
            session.part(upload_id, max(numbers, default=0) + 1, contents())
        elif kind == 3 and random.random() < 0.5:
            session.abort(upload_id)
    there = sorted(view.objects)
    if there:
        source = random.choice(there)
        size = len(view.objects[source].data)
        start = random.randint(0, size)
        session.copy(f"dd{random.getrandbits(64):016x}", source, start, random.randint(0, size - start))
        if random.random() < 0.5:
            session.delete(random.choice(there))


def history(session: ObjectSession, contents: Contents) -> None:
    """Something of everything, in little: for lives that are ended at each of its calls."""
    session.put("aa01", contents(1300), key=["first"], other=["a", "b"])
    session.put("aa02", contents(40), sized=False)
    session.init("aaf1", key=["of the upload"])
    session.part("aaf1", 3, contents(700))
    reader = session.wait(session.space.get("aa01"))
    session.part("aaf1", 1, contents(512))
    session.part("aaf1", 3, contents(600))
    session.part_copy("aaf1", 7, "aa01", 512)
    session.part_copy("aaf1", 1, "aa01", 100, 700)
    session.copy("bb01", "aa01", key=["whole"])
    session.copy("bb02", "aa01", 30, 900)
    session.delete("aa01")
    session.put("aa01", contents(100), key=["second"])
    if session.drain(reader) != session.view.objects["bb01"].data:
        raise Broken("a reader was disturbed")
    session.complete("bb03", "aaf1", 1, 3)
    session.init("aaf2")
    session.part("aaf2", 1, contents(513))
    session.abort("aaf2")
    session.copy("aa03", "bb03", 500)
