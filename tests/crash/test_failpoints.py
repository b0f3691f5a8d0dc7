"""A process that is killed at any of its system calls on files: the next one finds everything acknowledged."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.crash import SOAK
from tests.crash.disk import World, read_tree
from tests.crash.explorer import Explorer
from tests.crash.failpoint import BUCKETS, read_notes
from tests.crash.objects import Contents, use
from tests.crash.powercut import AppendLogExplorer
from tests.crash.powercut_objects import ObjectExplorer
from tests.crash.recording import Recorder
from tests.crash.store import StoreExplorer
from tests.integration.forked import run_forked
from tests.integration.process import CHECKOUT
from tests.soak import long_loop


class FailpointTests(SynchronousTestCase):
    """Real kills, at one call after another."""

    def live(self, room: str, directory: str, *numbers: int) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [CHECKOUT, os.environ.get("PYTHONPATH")])),
        }
        done = run_forked(
            [sys.executable, "-m", "tests.crash.failpoint", room, directory, *map(str, numbers)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def kill_everywhere(self, room: str, explorer: Explorer[Any, Any], step: int) -> list[str]:
        """
        Kill lives at every call, or in some: at every call so many apart, and at the first of each kind for each
        purpose.

        @return: the calls of a life.
        """
        directory = tempfile.mkdtemp("-kill", "storehouse-", "/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.addCleanup(shutil.rmtree, directory)
        self.live(room, directory, 0)
        with open(os.path.join(directory, "0", "calls"), encoding="ascii") as file:
            calls = file.read().split("\n")
        kinds = {call: number for number, call in reversed(list(enumerate(calls, 1)))}
        fatal = sorted({*kinds.values(), *range(1, len(calls) + 1, 1 if SOAK else step)})
        self.live(room, directory, *fatal)
        for number in [0, *fatal]:
            top = os.path.join(directory, str(number))
            notes = list(read_notes(os.path.join(top, "notes"))) if os.path.exists(os.path.join(top, "notes")) else []
            # Opened twice: the second time after what the first one made of it, and its stop.
            for life in range(2):
                recorder = Recorder(World(read_tree(top)))
                for text, note in notes:
                    recorder.note(text, note)
                session = explorer.session(recorder, top)
                session.start()
                try:
                    self.check(explorer, session)
                except AssertionError as error:
                    what = calls[number - 1] if number else "none"
                    raise AssertionError(f"killed at call {number} of {len(calls)} ({what}): {error}") from error
                if life and isinstance(explorer, ObjectExplorer):
                    use(session, Contents(number), explorer.random)
                session.stop()
            shutil.rmtree(top)
        return calls

    def check(self, explorer: Any, session: Any) -> None:
        explorer.verify_kill(session)

    @long_loop
    def test_every_call(self) -> None:
        calls = self.kill_everywhere("log", AppendLogExplorer(self.mktemp(), 0, buckets=BUCKETS), 11)
        self.assertGreater(len(calls), 150)

    @long_loop
    def test_objects(self) -> None:
        """Every kind of call of every operation on objects, and of a start."""
        calls = self.kill_everywhere("objects", ObjectExplorer(self.mktemp(), 0), 19)
        self.assertGreater(len(calls), 300)
        for call in (
            "start: rename",
            "put: write_at",
            "put: sync_data",
            "put: sync_directory",
            "put: rename",
            "init: rename",
            "part: rename",
            "replace: link",
            "replace: exchange",
            "replace-copy: exchange",
            "part-copy: copy_range",
            "complete: link",
            "complete: rename",
            "complete: unlink",
            "copy: link",
            "copy: copy_range",
            "delete: rename",
            "abort: rmdir",
        ):
            self.assertIn(call, calls)

    @long_loop
    def test_store(self) -> None:
        """Every kind of call of every operation of a whole store: keys, uploads, and the index of keys."""
        calls = self.kill_everywhere("store", StoreExplorer(self.mktemp(), 0), 97)
        self.assertGreater(len(calls), 500)
        for call in (
            "start: rename",
            "put: write_synced",
            "put: sync_data",
            "put: rename",
            "put: symlink",
            "replace: rename",
            "replace: symlink",
            "replace: unlink",
            "copy: link",
            "copy: symlink",
            "complete: link",
            "complete: rename",
            "complete: symlink",
            "append: link",
            "append: write_at",
            "append: sync_data",
            "append: rename",
            "append: unlink",
            "append-new: rename",
            "rename: link",
            "rename: symlink",
            "rename: write_synced",
            "rename: rename",
            "rename-over: rename",
            "rename-over: unlink",
            "delete: rename",
            "delete: remove_directory",
            "reindex: rename",
        ):
            self.assertIn(call, calls)
