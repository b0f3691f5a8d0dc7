"""What the next manager makes of what an earlier process left."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive.archive import ArchiveReader, ArchiveWriter
from storehouse.archive.handlers import ArchiveCallback, CompressFile
from storehouse.archive.roll_manager import ReadingRollManager, WritingRollManager
from tests.archive.rig import KINDS, files_in, write
from tests.archive.test_handlers import Scripted


class Dies(ArchiveCallback):
    """As if the process was killed in a callback."""

    def on_close(self, filename: str) -> Any:
        raise _Killed


class _Killed(BaseException):
    pass


class LeftoverTests(SynchronousTestCase):
    """Archives left open, and callbacks not called."""

    def setUp(self) -> None:
        self.directory = self.mktemp()

    def manager(self, **how: Any) -> WritingRollManager:
        return WritingRollManager("a_%f", None, self.directory, **how)

    def killed(self, manager: WritingRollManager) -> str:
        """What a kill does: locks go, buffers go."""
        path = manager.active_filename
        assert path is not None
        manager.active_archive.abandon()
        manager._marker.release()  # type: ignore[union-attr]
        return path

    def names(self) -> list[str]:
        return files_in(self.directory)

    def test_directory_was_moved(self) -> None:
        """What was left to do is done where the directory is now; of a copy, the other one is left alone."""
        self.directory = os.path.abspath(self.directory)
        for copy, old in ((False, False), (True, False), (False, True)):
            manager = self.manager(callbacks=[CompressFile(), Dies()])
            manager.write({}, "a")
            self.assertRaises(_Killed, manager.close)
            for marker in manager._markers:
                marker.release()
            if old:
                # As earlier versions wrote it.
                (path,) = Path(self.directory).glob(".*.open")
                said = json.loads(path.read_bytes())
                del said["beside"]
                path.write_bytes(json.dumps(said).encode() + b"\n")
            before, self.directory = self.directory, f"{self.directory}.new"
            shutil.copytree(before, self.directory)
            if copy:
                kept = files_in(before)
            else:
                shutil.rmtree(before)
            done = Scripted()
            self.manager(callbacks=[CompressFile(), done]).stop()
            self.assertEqual([os.path.dirname(path) for path in done.calls], [self.directory])
            self.assertEqual([name for name in os.listdir(self.directory) if name.endswith(".open")], [])
            if copy:
                self.assertEqual(files_in(before), kept)
            shutil.rmtree(self.directory)

    def test_open(self) -> None:
        """It is cut, completed, and handed to the callbacks."""
        for how in KINDS.values():
            manager = self.manager(**how)
            manager.write({}, "a")
            manager.flush()
            manager.write({}, "b" * 100)
            path = self.killed(manager)
            data = Path(path).read_bytes()
            Path(path).write_bytes(data + data[-10:-5] * 5)
            after = Scripted()
            manager = self.manager(archive_callback=after, **how)
            (recovered,) = manager.recovered
            self.assertEqual((recovered.path, recovered.records, recovered.torn), (path, 1, 25))
            self.assertEqual(after.calls, [path])
            self.assertEqual(self.names(), [os.path.basename(path), os.path.basename(path) + ".torn"])
            self.assertEqual(self.manager(archive_callback=after, **how).recovered, ())
            self.assertEqual(len(after.calls), 1)
            with ArchiveReader(path) as reader:
                self.assertEqual(reader.complete, how["version"] == 2)
            os.unlink(path)
            os.unlink(path + ".torn")

    def test_no_marker(self) -> None:
        """An archive of version 2 tells by itself that it was not closed."""
        manager = self.manager()
        manager.write({}, "a")
        manager.flush()
        path = self.killed(manager)
        os.unlink(os.path.join(self.directory, f".{os.path.basename(path)}.open"))
        self.assertEqual(len(self.manager().recovered), 1)
        self.assertEqual(self.names(), [os.path.basename(path)])

    def test_nothing_in_it(self) -> None:
        """One without a record is removed; no callback hears of it."""
        manager = self.manager()
        manager.write({}, "a")
        self.killed(manager)
        after = Scripted()
        (recovered,) = self.manager(archive_callback=after).recovered
        self.assertTrue(recovered.removed)
        self.assertEqual((self.names(), after.calls), ([], []))

    def test_marker_alone(self) -> None:
        """A kill between the marker and the archive leaves nothing behind."""
        os.makedirs(self.directory)
        Path(self.directory, ".a_000001.open").touch()
        self.assertEqual(self.manager().recovered, ())
        self.assertEqual(self.names(), [])

    def test_others(self) -> None:
        """What is in use, of another template, or no archive is let alone."""
        used = self.manager()
        used.write({}, "a")
        used.flush()
        other = ArchiveWriter(os.path.join(self.directory, "b_1"))
        other.abandon()
        Path(self.directory, "a_text").write_bytes(b"no archive")
        before = self.names()
        self.assertEqual(self.manager().recovered, ())
        self.assertEqual(self.names(), before)
        used.close()

    def test_header_damaged(self) -> None:
        """It is left as it is, and said so; other leftovers are recovered."""
        for number in range(2):
            manager = self.manager()
            manager.write({}, str(number))
            manager.flush()
            path = self.killed(manager)
            if not number:
                data = bytearray(Path(path).read_bytes())
                data[10] ^= 1
                Path(path).write_bytes(data)
                bad = path
        self.assertEqual([found.path for found in self.manager().recovered], [path])
        self.assertEqual(Path(bad).read_bytes(), bytes(data))
        self.assertTrue(self.flushLoggedErrors())

    def test_callbacks_not_called(self) -> None:
        """Those that have not succeeded are called by the next manager, those that have are not."""
        first, second, third = Scripted(), Scripted(5), Scripted()
        manager = self.manager(callbacks=[first, second, third], clock=Clock())
        manager.write({}, "a")
        manager.stop()
        self.assertEqual([len(callback.calls) for callback in (first, second, third)], [1, 1, 1])
        again = [Scripted(), Scripted(), Scripted()]
        manager = self.manager(callbacks=again)
        self.assertEqual([len(callback.calls) for callback in again], [0, 1, 0])
        self.assertEqual(len(self.names()), 1)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_renamed_before(self) -> None:
        """The next manager knows where the file is by now."""
        manager = self.manager(callbacks=["extension", Scripted(5)], clock=Clock())
        manager.write({}, "a")
        path = manager.active_filename
        manager.stop()
        after = Scripted()
        self.manager(callbacks=["extension", after])
        self.assertEqual(after.calls, [f"{path}.done"])
        self.assertEqual(self.names(), [os.path.basename(f"{path}.done")])
        self.flushLoggedErrors(ZeroDivisionError)

    def test_other_callbacks(self) -> None:
        """If there is another number of them now, all are called."""
        manager = self.manager(callbacks=[Scripted(), Scripted(5)], clock=Clock())
        manager.write({}, "a")
        manager.stop()
        after = Scripted()
        self.manager(callbacks=[after])
        self.assertEqual(len(after.calls), 1)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_killed_in_a_callback(self) -> None:
        manager = self.manager(callbacks=["compress", Dies()])
        manager.write({}, "a")
        path = manager.active_filename
        self.assertRaises(_Killed, manager.close)
        for marker in manager._markers:
            marker.release()
        after = Scripted()
        self.manager(callbacks=["compress", after])
        self.assertEqual(after.calls, [f"{path}.gz"])

    def test_killed_before_it_was_noted(self) -> None:
        """What a callback did is found, and those behind it are called."""
        for callback, change in (
            ("extension", lambda path: (path, f"{path}.done")),
            ("compress", lambda path: (path, f"{path}.gz")),
            ({"class": "move", "destination_folder": self.directory + "/to"}, self.elsewhere),
        ):
            manager = self.manager(callbacks=[Dies(), Scripted()])
            manager.write({}, "a")
            path = manager.active_filename
            assert path is not None
            self.assertRaises(_Killed, manager.close)
            source, target = change(path)
            os.rename(source, target)
            for marker in manager._markers:
                marker.release()
            after = Scripted()
            self.manager(callbacks=[callback, after])
            self.assertEqual(after.calls, [target])
            os.unlink(target)
            self.assertEqual([name for name in self.names() if name.endswith(".open")], [])
        self.flushLoggedErrors(ZeroDivisionError)

    def elsewhere(self, path: str) -> tuple[str, str]:
        os.makedirs(self.directory + "/to")
        return path, os.path.join(self.directory, "to", os.path.basename(path))

    def test_given_up(self) -> None:
        """What was given up, and has no dead letters to go to, is tried again by the next manager."""
        bad = Scripted(100)
        manager = self.manager(callbacks=[bad], attempts=1)
        manager.write({}, "a")
        manager.close()
        self.assertEqual(manager.pending, ())
        after = Scripted()
        self.manager(callbacks=[after])
        self.assertEqual(len(after.calls), 1)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_buried(self) -> None:
        dead = self.mktemp()
        manager = self.manager(callbacks=[Scripted(100)], attempts=1, dead_letter=dead)
        manager.write({}, "a")
        manager.close()
        self.assertEqual((self.names(), len(os.listdir(dead))), ([], 1))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_not_asked(self) -> None:
        manager = self.manager()
        manager.write({}, "a")
        manager.flush()
        self.killed(manager)
        before = self.names()
        self.assertEqual(self.manager(recover=False).recovered, ())
        self.assertEqual(self.names(), before)

    def test_many(self) -> None:
        """In the order of writing."""
        paths = []
        aside = self.mktemp()
        for number in range(5):
            manager = self.manager()
            manager.write({}, str(number))
            manager.flush()
            paths.append(self.killed(manager))
            # The next one is not to recover it.
            os.rename(paths[-1], f"{aside}{number}")
        for number, path in enumerate(paths):
            os.rename(f"{aside}{number}", path)
        after = Scripted()
        self.manager(callbacks=[after])
        self.assertEqual(after.calls, paths)
        found = [payload for _, payload in ReadingRollManager("a_*", self.directory)]
        self.assertEqual(found, [str(number) for number in range(5)])

    def test_sealed_without_marker(self) -> None:
        """A complete archive that somebody put there is none of our business."""
        os.makedirs(self.directory)
        write(os.path.join(self.directory, "a_000001"), [({}, "x")])
        after = Scripted()
        self.manager(callbacks=[after])
        self.assertEqual(after.calls, [])
