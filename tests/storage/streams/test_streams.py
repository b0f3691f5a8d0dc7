"""Tests of L{storehouse.storage.streams}."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from storehouse.archive.archive import ArchiveReader
from storehouse.archive.handlers import ChangeExtension, CompressFile, DeleteFile, MoveFile
from storehouse.archive.roll_checker import RecordCountRollChecker, TimeRollChecker
from storehouse.core.files import Files
from storehouse.errors import (
    DamagedObject,
    InvalidRecord,
    InvalidSetting,
    NoSpace,
    NoSuchStream,
    RemoteUnavailable,
    StorageFailed,
    Unavailable,
)
from storehouse.events import ArchiveClosed, ArchiveOpened
from storehouse.storage.streams.catalogue import Catalogue
from storehouse.storage.streams.interfaces import IRecordSource, IStream, IStreams, State
from tests.core.test_jobs import HandDisk
from tests.storage.streams.rig import Room, all_of, outcome, told


class StreamCase(SynchronousTestCase):
    """A room of a stream."""

    def room(self, **how: Any) -> Room:
        self.made = Room(self.mktemp(), **how)
        return self.made

    def append(self, stream: Any, *payloads: Any) -> None:
        """One after the other."""
        for payload in payloads:
            outcome(stream.append([({"n": str(payload)}, payload)]))


class WritingTests(StreamCase):
    """Records in."""

    def test_interfaces(self) -> None:
        stream = self.room().start()
        verifyObject(IStream, stream)
        verifyObject(IStreams, self.made.streams)
        verifyObject(IRecordSource, stream.read())
        self.assertEqual(self.made.streams.names(), ["a"])
        self.assertRaises(NoSuchStream, self.made.streams.stream, "b")
        self.made.stop()

    def test_events(self) -> None:
        stream = self.room().start()
        self.append(stream, *"abcdef")
        self.made.stop()
        kinds = [type(event) for event in self.made.happened]
        self.assertEqual(kinds, [ArchiveOpened, ArchiveClosed] * 2)
        closed = self.made.happened[1]
        self.assertEqual((closed.stream, closed.records), ("a", 5))
        self.assertEqual(closed.path, self.made.happened[0].path)
        self.assertEqual(stream.counters.rolls, 2)

    def test_groups(self) -> None:
        """What comes while a job writes is written by the next one, with one sync for all."""
        disk = HandDisk()
        stream = self.room(disk=disk).start()
        first = stream.append([({}, "0")])
        rest = [stream.append([({}, str(number))]) for number in range(1, 4)]
        self.assertEqual(len(disk.jobs), 1)
        syncs: list[int] = []
        sync = self.made.files.sync_data
        self.made.files.sync_data = lambda fd: (syncs.append(fd), sync(fd))[1]  # type: ignore[method-assign,func-returns-value]
        disk.do()
        self.assertEqual(outcome(first).records, 1)
        self.assertFalse(any(done.called for done in rest))
        syncs.clear()
        disk.do()
        self.assertEqual([outcome(done).sync for done in rest], ["record"] * 3)
        self.assertEqual(len(syncs), 1)
        stopped = self.made.streams.stop()
        disk.do_all()
        outcome(stopped)

    def test_one_to_blame(self) -> None:
        """A record that is none is refused; those that came with it are not."""
        disk = HandDisk()
        stream = self.room(disk=disk).start()
        work = [stream.append([({}, "0")])]
        work += [stream.append([({}, payload)]) for payload in ("1", "\ud800", "2")]
        disk.do_all()
        self.assertRaises(InvalidRecord, outcome, work.pop(2))
        self.assertEqual([outcome(done).records for done in work], [1, 1, 1])
        self.assertRaises(InvalidRecord, outcome, stream.append([(None, 3)]))
        source = stream.read()
        batch = source.next_batch()
        disk.do_all()
        self.assertEqual([record.payload for record in outcome(batch)], ["0", "1", "2"])
        source.close()
        stopped = self.made.streams.stop()
        disk.do_all()
        outcome(stopped)

    def test_full_disk(self) -> None:
        """Nothing is acknowledged while there is no room, and it goes on when there is."""
        stream = self.room().start()
        self.append(stream, "a")
        write = self.made.files.write_at

        def full(fd: int, pieces: Any, offset: int) -> None:
            raise OSError(errno.ENOSPC, "no space")

        self.made.files.write_at = full  # type: ignore[method-assign]
        self.assertRaises(NoSpace, outcome, stream.append([({}, "b"), ({}, "c")]))
        self.made.files.write_at = write  # type: ignore[method-assign]
        self.append(stream, "d")
        self.assertEqual(all_of(stream.read()), ["a", "d"])
        self.made.stop()
        self.assertEqual(all_of(self.made.start().read()), ["a", "d"])
        self.made.stop()

    def test_failed_sync(self) -> None:
        """It is final."""
        stream = self.room().start()
        self.append(stream, "a")

        def broken(fd: int) -> None:
            raise OSError(errno.EIO, "input/output error")

        sync = self.made.files.sync_data
        self.made.files.sync_data = broken  # type: ignore[method-assign]
        self.assertRaises(StorageFailed, outcome, stream.append([({}, "b")]))
        self.made.files.sync_data = sync  # type: ignore[method-assign]
        self.assertRaises(StorageFailed, outcome, stream.append([({}, "c")]))
        self.assertEqual(len(self.made.failures), 1)
        self.assertIsInstance(self.made.streams.failed, StorageFailed)
        self.assertEqual(all_of(stream.read()), ["a"])
        self.made.stop()
        self.flushLoggedErrors()

    def test_time(self) -> None:
        """An archive rolls in time although nothing is written."""
        room = self.room()
        room.settings["checker"] = TimeRollChecker(roll_minutes=1, clock=room.reactor)
        stream = room.start()
        self.append(stream, "a")
        room.reactor.pump([1] * 30)
        self.assertEqual(stream.archives()[0].state, State.OPEN)
        room.reactor.pump([1] * 31)
        self.assertEqual(stream.archives()[0].state, State.FINISHED)
        room.stop()

    def test_stopped(self) -> None:
        stream = self.room().start()
        self.made.stop()
        self.assertRaises(Unavailable, outcome, stream.append([({}, "a")]))

    def test_settings(self) -> None:
        for how in (
            {"sync": "roll"},
            {"ship": "there", "callbacks": (DeleteFile(),)},
            {"level": 3},
            {"compression": "zstd", "level": 99},
            {"keep_local": False},
        ):
            self.assertRaises(InvalidSetting, self.room(**how).start)


class ReadingTests(StreamCase):
    """Records out."""

    def test_under_the_reader(self) -> None:
        """What was durable when the source was made comes, whatever becomes of the archives."""
        room = self.room(ship="there", keep_local=False, callbacks=(CompressFile(method="gzip"),))
        stream = room.start()
        self.append(stream, *"abcdefg")
        early, late = stream.read(), stream.read()
        first = outcome(early.next_batch())
        self.append(stream, *"hijkl")
        self.assertEqual([archive.state for archive in stream.archives()][:2], [State.SHIPPED] * 2)
        self.assertEqual([archive.path for archive in stream.archives()][:2], ["", ""])
        self.assertEqual([record.payload for record in first] + all_of(early), list("abcdefg"))
        self.assertEqual(all_of(late), list("abcdefg"))
        self.assertEqual(all_of(stream.read()), list("abcdefghijkl"))
        room.stop()

    def test_range(self) -> None:
        """Of a time, and only what lies there is fetched."""
        room = self.room(ship="there", keep_local=False)
        stream = room.start()
        times = []
        for number in range(22):
            room.reactor.advance(1)
            times.append(int(room.reactor.seconds()) * 10**9)
            self.append(stream, str(number))
        for start, end in [(0, 22), (3, 4), (4, 17), (19, 22), (7, 7)]:
            top = times[end] if end < 22 else None
            room.destination.calls.clear()
            self.assertEqual(all_of(stream.read(times[start], top)), [str(number) for number in range(start, end)])
        room.destination.calls.clear()
        all_of(stream.read(times[6], times[8]))
        self.assertEqual({name for _, name in room.destination.calls}, {stream.archives()[1].remote})
        room.stop()

    def flip(self, path: str, at: int) -> None:
        """Flip a bit of a file; C{at} may count from the end."""
        data = bytearray(Path(path).read_bytes())
        data[at] ^= 1
        Path(path).write_bytes(data)

    def test_damage(self) -> None:
        """The damage is reported, with the archive, and whole records behind it follow, whatever is damaged."""
        for compression, callbacks in ((None, ()), ("zstd", ()), (None, (CompressFile(),))):
            room = self.room(compression=compression, callbacks=callbacks)
            stream = room.start()
            self.append(stream, *"abcdefghijklm")
            path = stream.archives()[1].path
            whole = Path(path).read_bytes()
            for number, at in enumerate((1, 10, 33, 60, 105, len(whole) // 2, -90, -20)):
                self.flip(path, at)
                found, damages = told(stream.read())
                self.assertTrue(damages, at)
                self.assertEqual({damage.file for damage in damages}, {path})
                self.assertEqual([each for each in found if each not in "fghij"], list("abcdeklm"), at)
                # A bit of what gzip wrote can be the distance of what is repeated: then a whole record is there twice.
                once = list(dict.fromkeys(found)) if callbacks else found
                self.assertEqual(once, sorted(once), at)
                self.assertGreaterEqual(stream.counters.failures, number + 1)
                if at in (60, 105, -90, -20) and not (compression or callbacks):
                    self.assertGreaterEqual(len(found), 12, at)
                Path(path).write_bytes(whole)
            for size in (0, 3, 20, 36, 80, len(whole) - 1):
                Path(path).write_bytes(whole[:size])
                found, damages = told(stream.read())
                self.assertEqual({damage.file for damage in damages}, {path}, size)
                self.assertEqual([each for each in found if each not in "fghij"], list("abcdeklm"))
            os.unlink(path)
            found, damages = told(stream.read())
            self.assertEqual((found, len(damages)), (list("abcdeklm"), 1))
            self.assertIn("gone", str(damages[0]))
            room.stop()

    def test_damaged_header(self) -> None:
        """An archive that was compressed and whose header is another when it is decompressed is damaged, and the next follows."""
        room = self.room(callbacks=(CompressFile(),))
        stream = room.start()
        self.append(stream, *"abcdefghijklm")
        path = stream.archives()[1].path
        whole = gzip.decompress(Path(path).read_bytes())
        for other in (b"?" + whole[1:], whole[:4] + b"\x63" + whole[5:], b"none"):
            Path(path).write_bytes(gzip.compress(other))
            found, damages = told(stream.read())
            self.assertEqual((found, [damage.file for damage in damages]), (list("abcdeklm"), [path]))
        room.stop()

    def test_damaged_destination(self) -> None:
        """What a destination cannot give as it was sent is damaged as a file is: told, and all else is given."""
        for compression in ("none", "gzip"):
            room = self.room(ship="there", keep_local=False)
            room.compression = compression
            stream = room.start()
            self.append(stream, *"abcdefghijklm")
            name = stream.archives()[1].remote
            data, rest = room.destination.held[name]

            def damaged(verb: str, asked: str, name: str = name) -> None:
                if (verb, asked) == ("get", name):
                    raise DamagedObject("0badc0de", "its checksum is wrong", 1, 0)

            room.destination.before = damaged
            found, damages = told(stream.read())
            self.assertEqual(([each for each in found if each not in "fghij"], len(damages)), (list("abcdeklm"), 1))
            self.assertIn("0badc0de", str(damages[0]))
            room.destination.before = lambda verb, name: None
            for other in (b"", b"x", data[: len(data) // 2], bytes(len(data)), b"x" * 2 * len(data)):
                room.destination.held[name] = (other, rest)
                found, damages = told(stream.read())
                self.assertEqual([each for each in found if each not in "fghij"], list("abcdeklm"))
                self.assertEqual({damage.file for damage in damages}, {name})
            room.stop()

    def test_compressed_once(self) -> None:
        """Also if a callback gives it another name than compressed files have, and it is only where it was shipped to."""
        for callbacks in (
            (CompressFile(), ChangeExtension()),
            (CompressFile(method="zstd"), ChangeExtension(new_extension="gz")),
        ):
            room = self.room(callbacks=callbacks, ship="there", keep_local=False)
            room.compression = "gzip"
            stream = room.start()
            self.append(stream, *"abcdefg")
            room.reactor.advance(1)
            self.assertEqual(stream.archives()[0].path, "")
            self.assertEqual(all_of(stream.read()), list("abcdefg"))
            for data, _ in room.destination.held.values():
                with ArchiveReader(data) as reader:
                    self.assertEqual(reader._source._expander.methods, [callbacks[0].method])
            room.stop()

    def test_destination_away(self) -> None:
        """A destination that cannot be reached, or has lost what it had, is an error."""
        room = self.room(ship="there", keep_local=False)
        stream = room.start()
        self.append(stream, *"abcde")

        def away(verb: str, name: str) -> None:
            raise RemoteUnavailable("nobody is there")

        room.destination.before = away
        self.assertRaises(RemoteUnavailable, outcome, stream.read().next_batch())
        room.destination.before = lambda verb, name: None
        self.assertEqual(all_of(stream.read()), list("abcde"))
        source = stream.read()
        room.destination.before = away
        self.assertRaises(RemoteUnavailable, outcome, source.next_batch())
        room.destination.before = lambda verb, name: None
        self.assertEqual(all_of(source), list("abcde"), "the next call tries again")
        room.destination.held.clear()
        self.append(stream, "f")
        found, damages = told(stream.read())
        self.assertEqual((found, len(damages)), (["f"], 1))
        room.stop()

    def test_callbacks(self) -> None:
        """Archives that are moved are found, and those that are deleted are no part of the stream."""
        target = os.path.abspath(self.mktemp())
        room = self.room(callbacks=(ChangeExtension(new_extension=".done"), MoveFile(destination_folder=target)))
        stream = room.start()
        self.append(stream, *"abcdefg")
        self.assertTrue(stream.archives()[0].path.startswith(target))
        self.assertEqual(all_of(stream.read()), list("abcdefg"))
        room.stop()
        self.assertEqual(all_of(room.start().read()), list("abcdefg"))
        room.stop()
        room = self.room(callbacks=(DeleteFile(),))
        stream = room.start()
        self.append(stream, *"abcdefg")
        self.assertEqual(all_of(stream.read()), list("fg"))
        room.stop()

    def test_failure_is_named(self) -> None:
        """The log names the callback that failed, not what is around it."""
        room = self.room(callbacks=(MoveFile(destination_folder=os.devnull),))
        stream = room.start()
        said: list[str] = []
        observer = lambda event: said.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.append(stream, *"abcdefg")
        room.stop()
        self.assertTrue([line for line in said if line.startswith("MoveFile failed at the closing of")], said)
        self.assertTrue(self.flushLoggedErrors(OSError))


class FullFiles(Files):
    """A disk that is full when a test says so, or after so many more writes."""

    is_full = False
    left: int | None = None

    def _check(self, counts: bool = True) -> None:
        if self.left is not None and counts:
            self.left -= 1
        if self.is_full or (self.left is not None and self.left < 0):
            raise OSError(errno.ENOSPC, "No space left on device")

    def open(self, path: str, flags: int) -> int:
        if flags & os.O_CREAT and not os.path.lexists(path):
            self._check(False)
        return super().open(path, flags)

    def write_at(self, fd: int, pieces: Any, offset: int) -> None:
        self._check()
        super().write_at(fd, pieces, offset)


class NotedFiles(Files):
    """Keeps what is written and synced, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def write_at(self, fd: int, pieces: Any, offset: int) -> None:
        self.calls.append(("write", b"".join(pieces).decode("latin-1")))
        super().write_at(fd, pieces, offset)

    def sync_data(self, fd: int) -> None:
        self.calls.append(("sync", os.readlink(f"/proc/self/fd/{fd}")))
        super().sync_data(fd)

    def sync_directory(self, path: str) -> None:
        self.calls.append(("sync_directory", path))
        super().sync_directory(path)


class RestartTests(StreamCase):
    """From one process to the next."""

    def test_crash(self) -> None:
        """What was open is recovered, and goes the way of all closed archives."""
        room = self.room(ship="there", keep_local=False, callbacks=(CompressFile(method="zstd"),))
        stream = room.start()
        self.append(stream, *"abcdefg")
        room.kill()
        stream = room.start()
        room.reactor.advance(1)
        self.assertEqual([archive.state for archive in stream.archives()], [State.SHIPPED] * 2)
        self.append(stream, "h")
        self.assertEqual(all_of(stream.read()), list("abcdefgh"))
        room.stop()

    def test_crash_between_callbacks(self) -> None:
        """An archive that a callback had renamed or moved, when nobody had noted that yet, is found again."""
        here = self.mktemp()
        for callback in (ChangeExtension(), CompressFile(), MoveFile(destination_folder=here)):
            room = self.room(callbacks=(MoveFile(destination_folder=os.devnull),))
            stream = room.start()
            self.append(stream, *"abcdefg")
            self.assertEqual(stream.archives()[0].state, State.CLOSED)
            callback.on_close(stream.archives()[0].path)
            room.kill()
            self.flushLoggedErrors(OSError)
            room.settings["callbacks"] = (callback,)
            stream = room.start()
            self.assertEqual(all_of(stream.read()), list("abcdefg"))
            self.assertEqual([archive.state for archive in stream.archives()], [State.FINISHED] * 2)
            self.assertTrue(all(os.path.isabs(archive.path) for archive in stream.archives()))
            room.stop()

    def test_other_template(self) -> None:
        """What a crash left open under a template that is no more is recovered all the same, and its callbacks are called."""
        room = self.room(template="old_%H.events", callbacks=(ChangeExtension(),))
        stream = room.start()
        self.append(stream, *"abcdefg")
        room.kill()
        room.settings["template"] = "new_%H.notes"
        stream = room.start()
        self.append(stream, "h")
        self.assertEqual(all_of(stream.read()), list("abcdefgh"))
        last = stream.archives()[1]
        self.assertEqual((last.state, last.records), (State.FINISHED, 2))
        self.assertTrue(last.path.endswith(".events.done"), last.path)
        room.stop()

    def test_other_destination(self) -> None:
        """Where an archive was shipped to is noted; if that is no longer known, reading says so."""
        room = self.room(ship="there", keep_local=False)
        stream = room.start()
        self.append(stream, *"abcde")
        room.reactor.advance(1)
        self.assertEqual((stream.archives()[0].state, stream.archives()[0].destination), (State.SHIPPED, "there"))
        room.stop()
        room.settings.update(ship="", keep_local=True)
        stream = room.start()
        self.assertEqual(all_of(stream.read()), list("abcde"))
        stream.destinations = {}
        self.assertIn("'there'", str(self.assertRaises(Unavailable, outcome, stream.read().next_batch())))
        room.stop()

    def test_not_shipped(self) -> None:
        """What could not be shipped is shipped by the next one."""
        room = self.room(ship="there", keep_local=False)

        def away(verb: str, name: str) -> None:
            raise RemoteUnavailable("nobody is there")

        room.destination.before = away
        stream = room.start()
        self.append(stream, *"abcde")
        self.assertEqual(stream.archives()[0].state, State.FINISHED)
        room.stop()
        room.destination.before = lambda verb, name: None
        stream = room.start()
        room.reactor.advance(1)
        self.assertEqual((stream.archives()[0].state, stream.archives()[0].path), (State.SHIPPED, ""))
        self.assertEqual(all_of(stream.read()), list("abcde"))
        room.stop()

    def test_catalogue(self) -> None:
        """Without it the archives that are here are found again; a torn end is dropped; damage is not passed over."""
        room = self.room()
        stream = room.start()
        self.append(stream, *"abcdefghijk")
        room.stop()
        path = os.path.join(room.directory, "catalogue", "a")
        with open(path, "ab") as file:
            file.write(b'{"number":9')
        self.assertEqual(all_of(room.start().read()), list("abcdefghijk"))
        room.stop()
        os.unlink(path)
        self.assertEqual(all_of(room.start().read()), list("abcdefghijk"))
        room.stop()
        with open(path, "rb") as file:
            data = file.read()
        with open(path, "wb") as file:
            file.write(data.replace(b'"records":5', b'"records":6', 1))
        # The line is lost, the archive is not.
        stream = room.start()
        found, damages = told(stream.read())
        self.assertEqual((found, [damage.file for damage in damages]), (list("abcdefghijk"), [f"{path}.damaged-1"]))
        self.assertIn("was damaged", room.streams.degraded)
        with open(f"{path}.damaged-1", "rb") as file:
            self.assertIn(b'"records":6', file.read())
        room.stop()

    def test_destroyed_catalogue(self) -> None:
        """What was shipped may be missing: that is said, also after the next start, until the damaged file is moved away."""
        for destroyed in (bytes, lambda size: b"\xff" * size, lambda size: b"x\n" * 3, lambda size: b"\0"):
            room = self.room(ship="there", keep_local=False)
            stream = room.start()
            self.append(stream, *"abcdefghijk")
            room.stop()
            path = os.path.join(room.directory, "catalogue", "a")
            Path(path).write_bytes(destroyed(os.path.getsize(path)))
            for _ in range(2):
                stream = room.start()
                self.assertIn(f"{path}.damaged-1", room.streams.degraded)
                metrics = {sample.name: sample.value for each in room.streams.collect() for sample in each.samples}
                self.assertEqual(
                    (metrics["storehouse_streams_served"], metrics["storehouse_streams_damaged_catalogues"]), (0, 1)
                )
                _, damages = told(stream.read())
                self.assertEqual([damage.file for damage in damages], [f"{path}.damaged-1"])
                room.stop()
            stream = room.start()
            os.unlink(f"{path}.damaged-1")
            room.reactor.advance(1)
            self.assertEqual((told(stream.read())[1], room.streams.degraded), ([], ""))
            room.stop()

    def test_found_at_destination(self) -> None:
        """A store of our own is asked what it has, whatever happened to the catalogue; the order is that of the writing."""

        def lose_a_line(path: Path) -> None:
            lines = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join([lines[0], bytes(len(lines[1]) - 1), b"\n", *lines[2:]]))

        for compression in ("none", "gzip"):
            for destroy in (
                lambda path: path.write_bytes(bytes(path.stat().st_size)),
                lambda path: path.write_bytes(b""),
                lambda path: path.unlink(),
                lose_a_line,
            ):
                room = self.room(ship="there", keep_local=False)
                room.destination.is_own = True
                room.compression = compression
                stream = room.start()
                for payload in "abcdefghijklm":
                    self.append(stream, payload)
                    room.reactor.advance(1)
                room.stop()
                room.start()
                room.stop()
                room.destination.held["a/notes-of-another.events"] = (b"", "")
                room.destination.held["a/other-0123456789abcdef.events"] = (b"no archive", "")
                destroy(Path(room.directory, "catalogue", "a"))

                def away(verb: str, name: str) -> None:
                    raise RemoteUnavailable("nobody is there")

                room.destination.before = away
                stream = room.start()
                self.append(stream, "n")
                room.reactor.advance(1)
                room.destination.before = lambda verb, name: None
                room.reactor.pump([1] * 32)
                for _ in range(2):
                    self.assertEqual(told(stream.read())[0], list("abcdefghijklmn"))
                    room.stop()
                    stream = room.start()
                    room.reactor.advance(2)
                room.stop()

    def test_deleted_as_configured(self) -> None:
        """A callback that removes each archive is no reason to warn; one that removes it before others is."""

        class Other:
            """A callback that removes the file before others were called."""

            def on_open(self, filename: str) -> None:
                """Nothing."""

            def on_close(self, filename: str) -> None:
                """Remove it."""
                os.unlink(filename)

        for callbacks, expected in (((DeleteFile(),), False), ((Other(), DeleteFile()), True)):
            room = self.room(callbacks=callbacks)
            stream = room.start()
            with capturedLogs() as events:
                self.append(stream, *"abcdefghijk")
            said = [event["left"] for event in events if "left" in event]
            self.assertEqual(bool(said), expected, said)
            room.stop()

    def test_flipped_bit(self) -> None:
        """Any one bit of the catalogue: what was shipped, and is only known there, is read as before."""
        room = self.room(ship="there", keep_local=False)
        stream = room.start()
        self.append(stream, *"abcdefghijk")
        room.stop()
        room.start()
        room.stop()
        path = os.path.join(room.directory, "catalogue", "a")
        data = Path(path).read_bytes()
        for at in (*range(0, 40, 7), *(data.index(b"\n") + offset for offset in range(-14, 4)), len(data) - 1):
            for bit in (0, 3, 7):
                broken = bytearray(data)
                broken[at] ^= 1 << bit
                Path(path).write_bytes(broken)
                catalogue = Catalogue(path, room.files, root=room.directory)
                catalogue.open()
                self.assertEqual((len(catalogue.all()), catalogue.lost), (3, 0), f"{at} {bit}")
                self.assertEqual((len(catalogue.problems), catalogue.lacking), (2, ()))
                catalogue.close()
                self.assertEqual(Path(path).read_bytes(), data)
        # Two bits are too many: it is said, and what is here is served.
        Path(path).write_bytes(data.replace(b"shipped", b"shopped", 1))
        room.settings["ship"], room.settings["keep_local"] = "", True
        stream = room.start()
        self.assertEqual(told(stream.read())[0], list("fghijk"))
        self.assertIn("may be missing", room.streams.degraded)
        room.stop()

    def test_moved_root(self) -> None:
        """All is found where the root is now, also by notes that have absolute paths, and never where it was."""
        for absolute in (False, True):
            room = self.room()
            top = room.directory
            stream = room.start()
            self.append(stream, *"abcdefg")
            room.stop()
            path = os.path.join(top, "catalogue", "a")
            if absolute:
                old = Catalogue(path, room.files)
                old.open()
                for archive in old.all():
                    old.change(archive.number, path=os.path.join(top, archive.path))
                old.close()
            self.assertEqual(top.encode() in Path(path).read_bytes(), absolute)
            copy = f"{top}.copy"
            shutil.copytree(top, copy)
            room.directory = copy
            stream = room.start()
            self.assertTrue(all(archive.path.startswith(copy) for archive in stream.archives()))
            self.assertEqual(all_of(stream.read()), list("abcdefg"))
            room.stop()
            self.assertNotIn(top.encode() + b"/", Path(copy, "catalogue", "a").read_bytes())
            shutil.rmtree(top)
            moved = f"{top}.moved"
            os.rename(copy, moved)
            room.directory = moved
            stream = room.start()
            self.assertEqual(all_of(stream.read()), list("abcdefg"))
            room.stop()

    def test_full_disk_at_start(self) -> None:
        """What is there is read; what is to be written waits for room."""
        for kill in (False, True):
            room = self.room()
            stream = room.start()
            self.append(stream, *"abcdefg")
            (room.kill if kill else room.stop)()
            room.files = files = FullFiles()
            files.is_full = True
            stream = room.start()
            self.assertEqual(room.streams.degraded, "")
            self.assertEqual(all_of(stream.read()), list("abcdefg"))
            self.assertRaises(NoSpace, outcome, stream.append([({}, "x")]))
            files.is_full = False
            room.reactor.advance(1)
            self.append(stream, *"hij")
            self.assertEqual(all_of(stream.read()), list("abcdefghij"))
            room.stop()
            self.assertEqual(all_of(room.start().read()), list("abcdefghij"))
            room.stop()

    def test_unusable(self) -> None:
        """A stream that cannot be used is tried again, and says why; what it has is not given as nothing."""
        room = self.room()
        path = Path(room.directory, "catalogue", "a")
        path.mkdir(parents=True)
        stream = room.start()
        self.assertIn("cannot be opened", room.streams.degraded)
        self.assertRaises(Unavailable, stream.read)
        self.assertRaises(Unavailable, outcome, stream.append([({}, "x")]))
        path.rmdir()
        room.reactor.advance(31)
        self.assertEqual(room.streams.degraded, "")
        self.append(stream, "x")
        self.assertEqual(all_of(stream.read()), ["x"])
        room.stop()

    def test_full_disk_at_a_roll(self) -> None:
        """Whatever cannot be written when an archive is closed or opened: what was acknowledged is read at once, and always."""
        for most in range(12):
            room = self.room(checker=RecordCountRollChecker(roll_records=3))
            room.files = files = FullFiles()
            stream = room.start()
            self.append(stream, *"ab")
            files.left = most
            done: list[str] = list("ab")
            for payload in "cdef":
                try:
                    self.append(stream, payload)
                    done.append(payload)
                except NoSpace:
                    pass
                self.assertEqual(all_of(stream.read()), done, most)
            files.left = None
            room.reactor.advance(1)
            self.assertEqual(all_of(stream.read()), done, most)
            self.append(stream, "g")
            self.assertEqual(all_of(stream.read()), [*done, "g"], most)
            room.kill()
            self.assertEqual(all_of(room.start().read()), [*done, "g"], most)
            room.stop()
            self.flushLoggedErrors(OSError)

    def test_power_cut(self) -> None:
        """The catalogue says nothing of an archive that is not on disk, also if records are not brought there."""
        room = self.room(sync="os", callbacks=(ChangeExtension(),))
        room.files = files = NotedFiles()
        stream = room.start()
        self.append(stream, *"abcde")
        self.assertEqual(stream.archives()[0].state, State.FINISHED)
        for state in ("closed", "finished"):
            said = next(at for at, (verb, what) in enumerate(files.calls) if verb == "write" and state in what)
            before = files.calls[:said]
            self.assertTrue(any(verb == "sync" and ".events" in what for verb, what in before), state)
            self.assertIn(("sync_directory", os.path.join(room.directory, "a")), before)
        room.stop()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(
            st.one_of(
                st.integers(1, 7),
                st.sampled_from(["stop", "kill", "roll", "read", "away", "back", "tick"]),
            ),
            max_size=20,
        ),
        st.sampled_from([None, "zstd"]),
        st.sampled_from([(), (CompressFile(method="gzip"),), (ChangeExtension(),)]),
        st.sampled_from(["none", "gzip"]),
        st.booleans(),
    )
    def test_model(self, steps: list[Any], blocks: Any, callbacks: Any, compression: str, keep: bool) -> None:
        """Whatever happens, a read gives what was acknowledged: each record once, in order."""
        room = self.room(compression=blocks, callbacks=callbacks, ship="there", keep_local=keep)
        room.compression = compression
        stream = room.start()
        expected: list[str] = []
        open_sources: list[tuple[Any, int]] = []

        def away(verb: str, name: str) -> None:
            if verb == "put":
                raise RemoteUnavailable("nobody is there")

        for step in steps:
            if isinstance(step, int):
                records = [str(len(expected) + number) for number in range(step)]
                outcome(stream.append([({}, record) for record in records]))
                expected += records
            elif step in ("stop", "kill"):
                for source, length in open_sources:
                    self.assertEqual(all_of(source), expected[:length])
                open_sources.clear()
                room.stop() if step == "stop" else room.kill()
                stream = room.start()
            elif step == "roll":
                stream._manager.roll()
            elif step == "read":
                open_sources.append((stream.read(), len(expected)))
            elif step == "tick":
                room.reactor.pump([1] * 3)
            else:
                room.destination.before = away if step == "away" else lambda verb, name: None
            self.assertEqual(all_of(stream.read()), expected)
        for source, length in open_sources:
            self.assertEqual(all_of(source), expected[:length])
        room.stop()
