"""Resumable uploads whose process is killed at any of its calls on files: what was acknowledged is there, and goes on."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from tests.crash import SOAK
from tests.crash.resumable import ResumableSession, read, verify
from tests.integration.forked import run_forked
from tests.integration.process import CHECKOUT
from tests.soak import long_loop

_STEP = 401


class KilledTests(SynchronousTestCase):
    """Real kills."""

    def live(self, directory: str, *numbers: int) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [CHECKOUT, os.environ.get("PYTHONPATH")])),
        }
        command = [sys.executable, "-m", "tests.crash.resumable", directory, *map(str, numbers)]
        done = run_forked(command, env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    @long_loop
    def test_every_call(self) -> None:
        """At the first call of each kind for each purpose, and at others so many apart."""
        directory = tempfile.mkdtemp("-kill", "storehouse-", "/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.addCleanup(shutil.rmtree, directory)
        self.live(directory, 0)
        with open(os.path.join(directory, "0", "calls"), encoding="ascii") as file:
            calls = file.read().split("\n")
        # The starts of what it stands on have tests of their own.
        numbered = [(number, call) for number, call in enumerate(calls, 1) if not call.startswith(("start", "stop"))]
        kinds = {call: number for number, call in reversed(numbered)}
        for call in ("whole: rename", "whole: link", "joined: unlink", "concatenated: link", "removed: rename"):
            self.assertIn(call, calls)
        fatal = sorted({*kinds.values(), *range(numbered[0][0], len(calls) + 1, 1 if SOAK else _STEP)})
        self.live(directory, *fatal)
        for number in [0, *fatal]:
            self.look(os.path.join(directory, str(number)), calls[number - 1] if number else "none")

    def look(self, top: str, call: str) -> None:
        """Twice: the second time at what the first one made of it."""
        promises: list[str] = []
        if os.path.exists(f"{top}/promises"):
            with open(f"{top}/promises", encoding="utf-8") as file:
                promises = file.read().splitlines()
        ledger = read(promises)
        for _ in range(2):
            session = ResumableSession(top, promises.append)
            session.start()
            try:
                verify(session, ledger)
            except Exception as error:
                raise AssertionError(f"killed at {call}: {error}") from error
            session.stop()
        shutil.rmtree(top)
