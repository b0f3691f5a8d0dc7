"""A process that is killed at any of its system calls on files: the next one finds everything acknowledged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.crash import SOAK
from tests.crash.disk import World, read_tree
from tests.crash.failpoint import BUCKETS, read_notes
from tests.crash.powercut import Explorer
from tests.crash.recording import Recorder
from tests.integration.process import CHECKOUT


class FailpointTests(SynchronousTestCase):
    """Real kills, at one call after another."""

    def live(self, directory: str, *numbers: int) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [CHECKOUT, os.environ.get("PYTHONPATH")])),
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.crash.failpoint", directory, *map(str, numbers)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_every_call(self) -> None:
        directory = os.path.abspath(self.mktemp())
        self.live(directory, 0)
        with open(os.path.join(directory, "0", "calls"), encoding="ascii") as file:
            calls = int(file.read())
        self.assertGreater(calls, 150)
        fatal = list(range(1, calls + 1, 1 if SOAK else 5))
        self.live(directory, *fatal)
        explorer = Explorer(self.mktemp(), 0, buckets=BUCKETS)
        for number in [0, *fatal]:
            top = os.path.join(directory, str(number))
            notes = list(read_notes(os.path.join(top, "notes"))) if os.path.exists(os.path.join(top, "notes")) else []
            # Opened twice: the second time after what the first one made of it, and its stop.
            for _ in range(2):
                recorder = Recorder(World(read_tree(top)))
                for text, note in notes:
                    recorder.note(text, note)
                session = explorer.session(recorder, top)
                session.start()
                try:
                    explorer.verify_kill(session)
                except AssertionError as error:
                    raise AssertionError(f"killed at call {number} of {calls}: {error}") from error
                session.stop()
            shutil.rmtree(top)
