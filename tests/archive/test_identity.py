"""A crash between a callback and the note of it: only a file that is provably the archive is handed on."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import storehouse
from storehouse.archive.finding import Identity
from storehouse.archive.handlers import CallbackChain, CompressFile
from storehouse.archive.names import marker_of, numbered
from storehouse.archive.roll_manager import WritingRollManager
from tests.archive.killed import BELOW, CASES, NAME, callback_of
from tests.archive.rig import files_in, read, write
from tests.archive.test_handlers import Scripted
from tests.integration.forked import Forked

_CHECKOUT = str(Path(storehouse.__file__).resolve().parent.parent)


class RerunTests(SynchronousTestCase):
    """A real kill, and what the next manager does."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        self.below = os.path.join(self.directory, BELOW)
        os.makedirs(self.below)
        self.path = os.path.join(self.directory, NAME)
        self.process = Forked(
            [sys.executable, "-m", "tests.archive.killed"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_CHECKOUT,
            env={**os.environ, "PYTHONPATH": _CHECKOUT},
        )

    def tearDown(self) -> None:
        self.process.communicate()

    def cases(self) -> Iterator[tuple[str, Callable[[], Any], str]]:
        """Of each callback its name, what makes it, and what it makes of the archive if the name is free."""
        for case, target in CASES.items():
            yield case, partial(callback_of, case, self.directory), os.path.join(self.directory, target)
            shutil.rmtree(self.directory)
            os.makedirs(self.below)

    def manager(self, *callbacks: Any, **how: Any) -> WritingRollManager:
        return WritingRollManager(NAME, None, self.directory, callbacks=callbacks, **how)

    def kill(self, case: str, taken: str | None = None, by: bytes = b"precious", version: int = 2) -> None:
        """
        A process that is killed once a callback has dealt with an archive, before that is noted.

        @param taken: a name that somebody takes while the archive is written.
        """
        asked, answered = self.process.stdin, self.process.stdout
        assert asked is not None and answered is not None
        asked.write(json.dumps([self.directory, case, version, taken, by.hex()]).encode() + b"\n")
        asked.flush()
        self.assertEqual(int(answered.readline()), signal.SIGKILL)
        self.assertFalse(os.path.exists(self.path))
        self.assertTrue(os.path.exists(marker_of(self.path)))

    def files(self) -> list[str]:
        return [*(name for name in files_in(self.directory) if name != BELOW), *os.listdir(self.below)]

    def second(self, target: str) -> str:
        """Where it goes if the name is taken."""
        if target.endswith((".gz", ".zst")):
            stem, dot, extension = target.rpartition(".")
            return numbered(stem, 1) + dot + extension
        return os.path.join(os.path.dirname(target), numbered(os.path.basename(target), 1))

    def test_name_taken(self) -> None:
        """A stranger's file stays as it is, and ours is deleted."""
        for version in (1, 2):
            for case, make_one, target in self.cases():
                stranger = gzip.compress(b"precious")
                self.kill(case, target, stranger, version=version)
                self.assertTrue(os.path.exists(self.second(target)), case)
                self.manager(make_one(), "delete", version=version)
                self.assertEqual(Path(target).read_bytes(), stranger, case)
                self.assertEqual(self.files(), [os.path.basename(target)], case)

    def test_name_taken_by_a_like_one(self) -> None:
        """Also if it is another archive of the same records, size and time; and if it comes afterwards."""
        for case, make_one, target in self.cases():
            self.kill(case, target)
            ours = self.second(target)
            write(self.path, [({"kept": "yes"}, "x" * 10_000)])
            os.unlink(target)
            os.rename(CompressFile(method=case).on_close(self.path) if case in ("gzip", "zstd") else self.path, target)
            found = os.stat(ours)
            os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
            stranger = Path(target).read_bytes()
            self.manager(make_one(), "delete")
            self.assertEqual(Path(target).read_bytes(), stranger, case)
            self.assertEqual(self.files(), [os.path.basename(target)], case)

    def test_name_free(self) -> None:
        """Ours is deleted, even if another has a name with a number."""
        for case, make_one, target in self.cases():
            self.kill(case)
            Path(self.second(target)).write_bytes(b"precious")
            self.manager(make_one(), "delete")
            self.assertEqual(self.files(), [os.path.basename(self.second(target))], case)

    def test_name_free_again(self) -> None:
        """It is found under its number, too, when the name that it wanted is free by now."""
        for case, make_one, target in self.cases():
            self.kill(case, target)
            os.unlink(target)
            self.manager(make_one(), "delete")
            self.assertEqual(self.files(), [], case)

    def test_ours_is_gone(self) -> None:
        """Nothing is touched, the log tells of it, and the marker stays for the next one, too."""
        for case, make_one, target in self.cases():
            self.kill(case, target)
            aside = self.mktemp()
            os.rename(self.second(target), aside)
            for _ in range(2):
                clock = Clock()
                manager = self.manager(make_one(), "delete", attempts=2, clock=clock)
                clock.advance(10)
                manager.poll()
                self.assertEqual(len(self.flushLoggedErrors(FileNotFoundError)), 2)
                self.assertEqual(Path(target).read_bytes(), b"precious", case)
                self.assertTrue(os.path.exists(marker_of(self.path)))
            os.rename(aside, self.second(target))
            self.manager(make_one(), "delete")
            self.assertEqual(self.files(), [os.path.basename(target)], case)

    def test_old_name_taken(self) -> None:
        """Another file has the name that ours had: no callback is called."""
        for case, *_ in self.cases():
            self.kill(case)
            stranger = write(self.path, [({}, "precious")])
            before = sorted(self.files())
            after = Scripted()
            self.manager(after, "delete")
            self.assertEqual((Path(self.path).read_bytes(), after.calls), (stranger, []), case)
            self.assertEqual(sorted(self.files()), before)

    def test_not_begun(self) -> None:
        """What is where it was is taken up: also if it was copied back, or a callback has added to it."""
        for change in (
            lambda: None,
            lambda: os.replace(shutil.copy(self.path, self.path + ".copy"), self.path),
            lambda: os.truncate(self.path, os.stat(self.path).st_size + 1),
        ):
            manager = self.manager(Scripted(100), clock=Clock())
            manager.write({}, "x" * 10_000)
            manager.stop()
            change()
            after = Scripted()
            self.manager(after)
            self.assertEqual((after.calls, self.files()), ([self.path], [NAME]))
            os.unlink(self.path)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_chain_in_a_chain(self) -> None:
        """The callbacks of a chain that is one callback find theirs as well."""
        for case, make_one, target in self.cases():
            self.kill(case, target)
            self.manager(CallbackChain(callbacks=[make_one(), "delete"]), Scripted())
            self.assertEqual(self.files(), [os.path.basename(target)], case)

    def test_buried(self) -> None:
        """Killed when it was among the dead letters, beside another of its name."""
        for case, _, target in self.cases():
            if case not in ("move", "copy"):
                continue
            self.kill(case, target)
            self.manager(Scripted(100), "delete", attempts=1, dead_letter=self.below)
            self.assertEqual(sorted(self.files()), [NAME, numbered(NAME, 1)])
            self.flushLoggedErrors(ZeroDivisionError)

    # -- markers of earlier programs -----------------------------------------------------------------------------------

    def forget(self) -> None:
        """Make the marker one of an earlier program."""
        marker = Path(marker_of(self.path))
        said = json.loads(marker.read_bytes())
        del said["identity"]
        marker.write_text(json.dumps(said), "ascii")

    def test_without_identity(self) -> None:
        """Of a single file it is believed; of two, neither is taken."""
        for case, make_one, target in self.cases():
            self.kill(case)
            self.forget()
            second = self.second(target)
            Path(second).write_bytes(b"precious")
            before = sorted(self.files())
            manager = self.manager(make_one(), "delete", attempts=1)
            self.assertEqual(len(self.flushLoggedErrors(FileNotFoundError)), 1)
            self.assertEqual((sorted(self.files()), manager.pending), (before, ()), case)
            os.unlink(second)
            self.manager(make_one(), "delete")
            self.assertEqual(self.files(), [], case)

    def test_without_identity_not_begun(self) -> None:
        manager = self.manager(Scripted(100), clock=Clock())
        manager.write({}, "x")
        manager.stop()
        self.forget()
        after = Scripted()
        self.manager(after)
        self.assertEqual((after.calls, self.files()), ([self.path], [NAME]))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_longer_before(self) -> None:
        """A kill keeps the end of a longer note from being cut off."""
        self.kill("extension")
        with open(marker_of(self.path), "ab") as marker:
            marker.write(b'ok": 1}\n')
        after = Scripted()
        self.manager("extension", after)
        self.assertEqual(after.calls, [self.path + ".done"])
        self.assertEqual(self.files(), [NAME + ".done"])


class IdentityTests(SynchronousTestCase):
    """What tells a file from others."""

    def setUp(self) -> None:
        directory = self.mktemp()
        os.mkdir(directory)
        self.path = os.path.join(directory, NAME)
        self.other = os.path.join(directory, "other")
        write(self.path, [({}, "x" * 10_000)])
        found = Identity.of(self.path)
        assert found is not None
        self.identity = found

    def test_no_file(self) -> None:
        for path in (self.other, os.path.dirname(self.path)):
            self.assertIsNone(Identity.of(path))
            self.assertFalse(self.identity.has(path))
            self.assertIsNone(self.identity.find([path]))
        wrong: tuple[Any, ...] = (None, [], {}, {"device": 1, "inode": 2, "size": 3, "mtime": "x", "head": ""})
        for said in wrong:
            self.assertIsNone(Identity.from_json(said))

    def test_same_file_first(self) -> None:
        """A copy that is like it in everything is not taken for it, wherever it stands; of two copies neither is."""
        shutil.copy2(self.path, self.other)
        os.link(self.path, self.path + ".link")
        third = shutil.copy2(self.path, self.path + ".third")
        self.assertEqual(self.identity.find([self.other, self.path + ".link"]), self.path + ".link")
        self.assertEqual(self.identity.find([self.other]), self.other)
        self.assertIsNone(self.identity.find([self.other, third]))

    def test_differences(self) -> None:
        """Of copies: the time, the size, and what is at the front."""
        for change in (
            lambda: os.utime(self.other, ns=(1, self.identity.mtime + 1)),
            lambda: self.rewrite(Path(self.other).read_bytes() + b"x"),
            lambda: self.rewrite(b"x" + Path(self.other).read_bytes()[1:]),
            lambda: self.rewrite(gzip.compress(Path(self.other).read_bytes() + b"x")),
            lambda: self.rewrite(gzip.compress(Path(self.other).read_bytes())[:-9]),
            lambda: self.rewrite(gzip.compress(Path(self.other).read_bytes()[:-1])),
        ):
            shutil.copy2(self.path, self.other)
            self.assertEqual(self.identity.find([self.other]), self.other)
            change()
            self.assertIsNone(self.identity.find([self.other]))
        self.rewrite(gzip.compress(Path(self.path).read_bytes()))
        self.assertEqual(self.identity.find([self.other]), self.other)
        self.assertEqual(len(read(self.other)), 1)

    def rewrite(self, data: bytes) -> None:
        Path(self.other).write_bytes(data)
        os.utime(self.other, ns=(1, self.identity.mtime))

    def test_cannot_be_read(self) -> None:
        """It is not taken."""

        def refused(*how: Any) -> Any:
            raise OSError(errno.EIO, "broken")

        self.patch(os, "pread", refused)
        self.assertIsNone(self.identity.find([self.path]))
