"""What is done with closed archives, and what becomes of it when that fails."""

from __future__ import annotations

import errno
import gzip
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive.finding import Identity, NotedPath
from storehouse.archive.handlers import (
    ArchiveCallback,
    CallbackChain,
    ChangeExtension,
    CompressFile,
    DeleteFile,
    MoveFile,
)
from storehouse.archive.roll_manager import ReadingRollManager, WritingRollManager
from storehouse.core.compression import GZIP, ZSTD
from storehouse.core.files import Files
from storehouse.errors import InvalidSetting
from storehouse.testing.files import FailingFiles
from tests.archive.rig import files_in, read, write


class Scripted(ArchiveCallback):
    """Fails as often as configured, then succeeds."""

    def __init__(self, failures: int = 0, result: Any = None) -> None:
        super().__init__()
        self.failures = failures
        self.result = result
        self.calls: list[str] = []

    def on_open(self, filename: str) -> Any:
        raise ZeroDivisionError

    def on_close(self, filename: str) -> Any:
        self.calls.append(filename)
        if len(self.calls) <= self.failures:
            raise ZeroDivisionError
        return self.result


class _Stop(BaseException):
    """As if the process was killed."""


class FileTests(SynchronousTestCase):
    """Our callbacks, one by one."""

    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.path = os.path.join(self.directory, "a.ev")
        self.data = write(self.path, [({"n": str(n)}, "x" * 100) for n in range(100)])

    def names(self) -> list[str]:
        return sorted(os.listdir(self.directory))

    def test_extension(self) -> None:
        for given in (".done", "done"):
            self.assertEqual(ChangeExtension(new_extension=given).on_close(self.path), self.path + ".done")
            self.assertEqual(self.names(), ["a.ev.done"])
            os.rename(self.path + ".done", self.path)
        for wrong in ("", ".", "a/b"):
            self.assertRaises(InvalidSetting, ChangeExtension, new_extension=wrong)

    def test_nothing_is_overwritten(self) -> None:
        Path(self.path + ".done").write_bytes(b"precious")
        moved = ChangeExtension().on_close(self.path)
        self.assertEqual(Path(moved).read_bytes(), self.data)
        self.assertEqual(Path(self.path + ".done").read_bytes(), b"precious")

    def test_move(self) -> None:
        for files in (Files(), FailingFiles().fail("link", error=errno.EXDEV)):
            target = os.path.join(self.directory, "below", "deeper")
            before = os.stat(self.path).st_mtime_ns
            moved = MoveFile(destination_folder=target, files=files).on_close(self.path)
            self.assertEqual(moved, os.path.join(target, "a.ev"))
            self.assertEqual(Path(moved).read_bytes(), self.data)
            self.assertEqual(os.stat(moved).st_mtime_ns, before)
            self.assertEqual(self.names(), ["below"])
            self.assertEqual(os.listdir(target), ["a.ev"])
            os.rename(moved, self.path)

    def test_move_to_where_it_is(self) -> None:
        moved = MoveFile(destination_folder=self.directory).on_close(self.path)
        self.assertEqual(Path(moved).read_bytes(), self.data)
        self.assertEqual(self.names(), ["a.ev"])

    def test_delete(self) -> None:
        self.assertIsNone(DeleteFile().on_close(self.path))
        self.assertIsNone(DeleteFile().on_close(self.path))
        self.assertEqual(self.names(), [])

    def test_compress(self) -> None:
        for method, suffix in ((GZIP, ".gz"), (ZSTD, ".zst")):
            packed = CompressFile(method=method, level=3).on_close(self.path)
            self.assertEqual(self.names(), ["a.ev" + suffix])
            self.assertEqual(packed, self.path + suffix)
            self.assertEqual(len(read(packed)), 100)
            os.unlink(packed)
            Path(self.path).write_bytes(self.data)
        self.assertRaises(InvalidSetting, CompressFile, method="lzw")
        self.assertRaises(InvalidSetting, CompressFile, level="high")
        self.assertRaises(InvalidSetting, CompressFile, method="zstd", level=1000)

    def test_compressed_already(self) -> None:
        """The first bytes of a file tell: another name keeps nothing from being seen, and makes nothing compressed."""
        packed = Path(self.path + ".done")
        packed.write_bytes(gzip.compress(self.data))
        before = packed.read_bytes()
        for method in (GZIP, ZSTD):
            self.assertEqual(CompressFile(method=method).on_close(str(packed)), str(packed))
            self.assertEqual(packed.read_bytes(), before)
        named = Path(self.path + ".gz")
        os.rename(self.path, named)
        again = CompressFile().on_close(str(named))
        self.assertEqual(gzip.decompress(Path(again).read_bytes()), self.data)

    def test_compressed_twice(self) -> None:
        for second in (CompressFile(method="zstd"), CallbackChain(callbacks=[CompressFile()])):
            with self.assertRaisesRegex(InvalidSetting, "two callbacks compress"):
                CallbackChain(callbacks=[CompressFile(), ChangeExtension(), second])
        CallbackChain(callbacks=[ChangeExtension(), CompressFile()])

    def test_compress_beside_another(self) -> None:
        """A compressed file of that name which holds something else is left alone."""
        Path(self.path + ".gz").write_bytes(gzip.compress(b"precious"))
        packed = CompressFile().on_close(self.path)
        self.assertEqual(gzip.decompress(Path(packed).read_bytes()), self.data)
        self.assertEqual(gzip.decompress(Path(self.path + ".gz").read_bytes()), b"precious")

    def test_killed_anywhere(self) -> None:
        """After a stop at any point the whole file is there, and a repeat comes to the one end."""
        below = os.path.join(self.directory, "below")
        os.mkdir(below)
        for make_one in (
            lambda files: CompressFile(files=files),
            lambda files: CompressFile(method=ZSTD, files=files),
            lambda files: ChangeExtension(files=files),
            lambda files: MoveFile(destination_folder=below, files=files),
        ):
            steps = 0
            while True:
                noted = NotedPath(self.path, Identity.of(self.path))
                try:
                    end = make_one(FailingFiles().fail(error=_Stop(), skip=steps)).on_close(self.path)
                except _Stop:
                    steps += 1
                    end = make_one(Files()).on_close(noted)
                    stopped = True
                else:
                    stopped = False
                self.assertEqual(len(read(end)), 100)
                left = [name for name in self.names() if name != "below"] + os.listdir(below)
                self.assertEqual(left, [os.path.basename(end)])
                os.unlink(end)
                Path(self.path).write_bytes(self.data)
                if not stopped:
                    break
            self.assertGreater(steps, 2)

    def test_gone(self) -> None:
        """Who has no proof that a file is the one that is gone takes none."""
        os.unlink(self.path)
        for make_one, name in (
            (CompressFile, "a.ev.gz"),
            (ChangeExtension, "a.ev.done"),
            (lambda: MoveFile(destination_folder=os.path.join(self.directory, "below")), "below/a.ev"),
        ):
            self.assertRaises(FileNotFoundError, make_one().on_close, self.path)
            other = Path(self.directory, name)
            other.write_bytes(b"precious")
            self.assertRaises(FileNotFoundError, make_one().on_close, self.path)
            self.assertEqual(other.read_bytes(), b"precious")

    def test_removal_not_on_disk(self) -> None:
        """The file is where it was to go: that is no failure, and the log tells of it."""
        for make_one in (CompressFile, ChangeExtension):
            files = FailingFiles().fail("sync_directory", error=errno.EIO, skip=1, times=1)
            moved = make_one(files=files).on_close(self.path)
            self.assertEqual(self.names(), [os.path.basename(moved)])
            os.unlink(moved)
            Path(self.path).write_bytes(self.data)


class ChainTests(SynchronousTestCase):
    """Several callbacks, of which some fail."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = self.mktemp()
        write(self.path, [({}, "x")])

    def chain(self, *callbacks: Any, **how: Any) -> CallbackChain:
        return CallbackChain(callbacks=callbacks, clock=self.clock, **how)

    def failures(self, count: int) -> None:
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), count)

    def test_order(self) -> None:
        """Each gets the name that the one before gave; nothing changes it, too."""
        first, second, third = Scripted(result=self.path + ".1"), Scripted(), Scripted()
        self.assertEqual(self.chain(first, second, third).on_close(self.path), None)
        self.assertEqual([callback.calls for callback in (first, second, third)], [[self.path], [self.path + ".1"], []])

    def test_none_is_where_it_was(self) -> None:
        self.assertEqual(self.chain(Scripted(), Scripted()).on_close(self.path), self.path)

    def test_others_are_called(self) -> None:
        """One that fails is tried again; the others were called at once, and are not called again."""
        bad, good = Scripted(2), Scripted()
        chain = self.chain(bad, good)
        done = chain.on_close(self.path)
        self.assertNoResult(done)
        self.assertEqual((len(bad.calls), len(good.calls)), (1, 1))
        for seconds, calls in ((0.9, 1), (0.1, 2), (1.9, 2), (0.1, 3), (100, 3)):
            self.clock.advance(seconds)
            chain.poll()
            self.assertEqual(len(bad.calls), calls)
        self.assertEqual(self.successResultOf(done), self.path)
        self.assertEqual(len(good.calls), 1)
        self.assertEqual(chain.pending, ())
        self.failures(2)

    def test_never_deleted_before(self) -> None:
        """What takes the file away waits until all before it have succeeded."""
        bad, deletes, after = Scripted(1), DeleteFile(), Scripted()
        chain = self.chain(bad, deletes, after)
        done = chain.on_close(self.path)
        self.assertTrue(os.path.exists(self.path))
        self.assertEqual(len(after.calls), 1)
        self.clock.advance(1)
        chain.poll()
        self.assertFalse(os.path.exists(self.path))
        self.assertIsNone(self.successResultOf(done))
        self.failures(1)

    def test_given_up(self) -> None:
        """After so many attempts the file stays where it is."""
        bad = Scripted(100)
        chain = self.chain(bad, DeleteFile(), attempts=4, delay=10, most_delay=15)
        done = chain.on_close(self.path)
        for _ in range(10):
            self.clock.advance(15)
            chain.poll()
        self.assertEqual(len(bad.calls), 4)
        self.assertEqual(self.successResultOf(done), self.path)
        self.assertTrue(os.path.exists(self.path))
        self.failures(4)

    def test_dead_letter(self) -> None:
        directory = os.path.join(self.mktemp(), "dead")
        chain = self.chain(Scripted(100), attempts=1, dead_letter=directory)
        moved = chain.on_close(self.path)
        self.assertEqual(moved, os.path.join(directory, os.path.basename(self.path)))
        self.assertEqual(read(moved), [({}, "x")])
        self.assertFalse(os.path.exists(self.path))
        self.failures(1)

    def test_deferreds(self) -> None:
        """Those after it wait; other files do not."""
        waiting: list[Deferred[Any]] = []

        class Slow(ArchiveCallback):
            def on_close(self, filename: str) -> Deferred[Any]:
                waiting.append(Deferred())
                return waiting[-1]

        after = Scripted()
        chain = self.chain(Slow(), after)
        first = chain.on_close(self.path)
        chain.on_close(self.path)
        self.assertEqual((len(waiting), after.calls), (2, []))
        self.clock.advance(1000)
        chain.poll()
        self.assertEqual(len(waiting), 2)
        waiting[1].callback(None)
        self.assertEqual(len(after.calls), 1)
        waiting[0].errback(ZeroDivisionError())
        self.assertNoResult(first)
        self.assertEqual(len(after.calls), 2)
        self.clock.advance(1)
        chain.poll()
        waiting[2].callback(self.path + ".elsewhere")
        self.assertEqual(self.successResultOf(first), self.path + ".elsewhere")
        self.failures(1)

    def test_opening(self) -> None:
        """A failure at the opening is logged, and nothing else."""

        class Late(ArchiveCallback):
            def on_open(self, filename: str) -> Deferred[Any]:
                failed: Deferred[Any] = Deferred()
                failed.errback(ZeroDivisionError())
                return failed

        self.chain(Scripted(), Late(), Scripted()).on_open(self.path)
        self.failures(3)

    def test_manager(self) -> None:
        """In a manager nothing that fails stops the writing."""
        directory = self.mktemp()
        bad = Scripted(3)
        manager = WritingRollManager(
            "a_%f",
            {"class": "records", "roll_records": 2},
            directory,
            archive_callback=bad,
            callbacks=["compress"],
            clock=self.clock,
        )
        for number in range(10):
            manager.write({}, str(number))
        manager.close()
        self.assertEqual(len(manager.pending), 3)
        self.clock.advance(1)
        manager.poll()
        self.assertEqual(manager.pending, ())
        found = list(ReadingRollManager("a_*.gz", directory))
        self.assertEqual([payload for _, payload in found], [str(number) for number in range(10)])
        self.assertEqual([name for name in files_in(directory) if not name.endswith(".gz")], [])
        # Three at the closing, and one a file at the opening.
        self.failures(3 + 5)

    def test_bad_settings(self) -> None:
        self.assertRaises(InvalidSetting, CallbackChain, attempts=0)
        self.assertRaises(InvalidSetting, CallbackChain, delay=-1)
