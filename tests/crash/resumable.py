"""
Resumable uploads driven step by step on given files, the ledger of what they promised, and a process that kills itself in
the midst of it.

C{python -m tests.crash.resumable DIRECTORY NUMBER...} lives one life for each number, in C{DIRECTORY/NUMBER}, and dies at
the call on files of that number. Number 0 dies at none, and writes down all calls.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from storehouse.core.files import Files
from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, PushedStream, read_all
from storehouse.errors import AlreadyExists, ChecksumMismatch, NoSuchKey, UploadGone
from storehouse.storage.resumable.local import LocalResumableUploads, ResumableSettings
from tests.conformance.dataspace import content
from tests.crash.failpoint import DyingFiles
from tests.crash.store import StoreSession

__all__ = ["ResumableSession", "Told", "live", "verify"]

#: After all that the store beneath makes, by the machine's clock: what is older than a start is what it may clear away.
_NOW = 4_000_000_000.0


@attrs.define
class Told:
    """
    What was promised of an upload.

    @ivar offset: bytes that are stored for good.
    @ivar key: of the object that it is; empty if that was not said.
    @ivar gone: whether it was to be given up.
    """

    id: str
    data: bytes
    pieces: list[str]
    offset: int = 0
    key: str = ""
    is_partial: bool = False
    gone: bool = False


def _interrupted(data: bytes) -> PushedStream:
    """A stream that fails behind these bytes."""
    stream = PushedStream(lambda: None, lambda: None)
    stream.write(data)
    stream.fail(ConnectionError("interrupted"))
    return stream


class ResumableSession:
    """
    One life of a process.

    @param tell: called with each promise, as JSON.
    """

    def __init__(self, top: str, tell: Callable[[str], None], recorder: Any = None, files: Any = None) -> None:
        self.base = StoreSession(
            top,
            recorder if recorder is not None else _Silent(),
            files=files if files is not None or recorder is not None else _RealFiles(),
        )
        clock = Clock()
        clock.advance(_NOW)
        settings = ResumableSettings(f"{top}/resumable")
        self.uploads = LocalResumableUploads(self.base.store, InlineDisk(), clock, settings, self.base.files)
        self._tell = tell
        self._doing = ""

    def start(self) -> None:
        self.base.start()
        try:
            self.base.wait(self.base.store.create_bucket("uploads"))
        except AlreadyExists:
            pass
        self.uploads.start()

    def stop(self) -> None:
        self.base.wait(self.uploads.stop())
        self.base.stop()

    def wait(self, deferred: Deferred[Any]) -> Any:
        return self.base.wait(deferred)

    def do(self, name: str) -> None:
        """What follows is about this."""
        files = self.base.files
        if isinstance(files, DyingFiles):
            files.doing = name

    def tell(self, **promise: Any) -> None:
        self._tell(json.dumps(promise))

    # -- a life --------------------------------------------------------------------------------

    def create(self, data: bytes, name: str, length: int | None = None, **options: Any) -> str:
        id: str = self.wait(self.uploads.create("ann", name, length, **options)).id
        self.tell(id=id, data=data.hex(), is_partial=options.get("is_partial", False))
        return id

    def append(self, id: str, data: bytes, offset: int, size: int, **options: Any) -> None:
        piece = data[offset : offset + size]
        told = self.wait(self.uploads.append(id, offset, BytesStream(piece), size, **options))
        self.tell(id=id, offset=told.offset, key=told.key)

    def live(self) -> None:
        """All that there is to be done."""
        self.do("whole")
        data = content(3000, 1)
        id = self.create(data, "a", 3000)
        for offset in (0, 1000, 2000):
            self.append(id, data, offset, 1000)
        self.do("unknown-length")
        id = self.create(data, "a")
        self.append(id, data, 0, 1500)
        self.wait(self.uploads.set_length(id, 3000))
        self.append(id, data, 1500, 1500, is_last=True)
        self.do("broken-off")
        data = content(2000, 2)
        id = self.create(data, "b", 2000)
        self.broken(self.uploads.append(id, 0, _interrupted(data[:700]), None), ConnectionError)
        self.tell(id=id, offset=700)
        self.do("verified")
        self.broken(self.uploads.append(id, 700, BytesStream(b"x" * 500), 500, verify=_wrong), ChecksumMismatch)
        self.append(id, data, 700, 500, verify=lambda: None)
        self.do("joined")
        data = content(1000, 3)
        id = self.create(data, "c", 1000)
        for offset in range(0, 700, 10):
            self.append(id, data, offset, 10)
        self.do("concatenated")
        datas = [content(600, 4), content(700, 5)]
        ids = [self.create(each, "piece", len(each), is_partial=True) for each in datas]
        self.append(ids[1], datas[1], 0, 700)
        final = self.wait(self.uploads.concatenate("ann", "d", ids)).id
        self.tell(id=final, data=(datas[0] + datas[1]).hex(), pieces=ids)
        self.append(ids[0], datas[0], 0, 600)
        self.do("removed")
        data = content(500, 6)
        id = self.create(data, "e", 500)
        self.append(id, data, 0, 100)
        self.tell(id=id, gone=True)
        self.wait(self.uploads.remove(id))
        self.do("stop")

    def broken(self, deferred: Deferred[Any], error: type[Exception]) -> None:
        try:
            self.wait(deferred)
        except error:
            return
        raise AssertionError("it was to fail")


class _RealFiles(Files):
    killed = False


class _Silent:
    def note(self, text: str, note: Any) -> None: ...


def _wrong() -> None:
    raise ChecksumMismatch("it is wrong")


def read(promises: list[str]) -> dict[str, Told]:
    """What was promised in all."""
    ledger: dict[str, Told] = {}
    for promise in map(json.loads, promises):
        id = promise.pop("id")
        if "data" in promise:
            ledger[id] = Told(id, bytes.fromhex(promise["data"]), promise.get("pieces", []))
            ledger[id].is_partial = promise.get("is_partial", False)
            continue
        for name, value in promise.items():
            setattr(ledger[id], name, value)
    return ledger


def verify(session: ResumableSession, ledger: dict[str, Told]) -> None:
    """
    Everything that was promised is there; whatever is there can be resumed, and becomes what it was to be.

    @raise AssertionError: saying what is wrong.
    """
    for told in sorted(ledger.values(), key=lambda told: bool(told.pieces)):
        try:
            upload = session.wait(session.uploads.get(told.id))
        except UploadGone:
            if not told.gone:
                raise AssertionError(f"{told} is gone") from None
            continue
        if upload.offset < told.offset or (told.key and (upload.key, upload.is_complete) != (told.key, True)):
            raise AssertionError(f"{told.offset} of {told.key!r} were promised: {upload}")
        if not upload.is_complete and not told.pieces:
            rest = told.data[upload.offset :]
            upload = session.wait(
                session.uploads.append(told.id, upload.offset, BytesStream(rest), len(rest), is_last=True)
            )
            told.offset = upload.offset
        if not upload.is_complete:
            raise AssertionError(f"it is not complete: {upload}")
        if not told.is_partial:
            told.key = upload.key
            check_bytes(session, upload.key, told.data)
    session.wait(session.uploads.recovered)
    listed = session.wait(session.base.store.list_uploads("uploads"))
    for upload in listed:
        if not session.uploads.keeps(upload.upload_id):
            raise AssertionError(f"nobody knows of {upload}")


def check_bytes(session: ResumableSession, key: str, data: bytes) -> None:
    """@raise AssertionError: unless the object has these."""

    async def get() -> bytes:
        return await read_all(await session.base.store.get("uploads", key))

    try:
        found = session.wait(Deferred.fromCoroutine(get()))
    except NoSuchKey:
        raise AssertionError(f"there is no {key}") from None
    if found != data:
        raise AssertionError(f"{key} has {len(found)} bytes that are not the {len(data)} that were sent")


def live(top: str, fatal: int) -> None:
    """A life that ends at a call."""
    files = DyingFiles(fatal)
    notes = os.open(os.path.join(top, "promises"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    session = ResumableSession(top, lambda text: _write(notes, text), files=files)
    session.start()
    session.live()
    session.stop()
    with open(os.path.join(top, "calls"), "w", encoding="ascii") as file:
        file.write("\n".join(files.calls))


def _write(fd: int, text: str) -> None:
    os.write(fd, text.encode() + b"\n")


def _main(directory: str, *numbers: str) -> None:
    for number in map(int, numbers):
        top = os.path.join(directory, str(number))
        os.makedirs(top)
        child = os.fork()
        if not child:
            try:
                live(top, number)
            finally:
                sys.stderr.flush()
                os._exit(0 if os.path.exists(os.path.join(top, "calls")) else 1)
        _, status = os.waitpid(child, 0)
        if status not in (0, signal.SIGKILL):
            sys.exit(f"the life {number} ended with {status}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
