"""A process that is killed at its calls, one life after the other: the next one finds what was answered."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import NoSuchBucket
from tests.crash import SOAK
from tests.crash.failpoint import read_notes
from tests.crash.names import verify_names
from tests.integration.forked import run_forked
from tests.integration.process import CHECKOUT
from tests.soak import long_loop
from tests.storage.namespace.rig import Driven


class FailpointTests(SynchronousTestCase):
    """See the module."""

    def live(self, directory: str, *numbers: int) -> None:
        done = run_forked(
            [sys.executable, "-m", "tests.crash.failpoint", "namespace", directory, *map(str, numbers)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [CHECKOUT, os.environ.get("PYTHONPATH")]))},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    @long_loop
    def test_every_kind_of_call(self) -> None:
        directory = tempfile.mkdtemp("-kill", "storehouse-", "/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.addCleanup(shutil.rmtree, directory)
        self.live(directory, 0)
        with open(os.path.join(directory, "0", "calls"), encoding="ascii") as file:
            calls = file.read().split("\n")
        self.assertGreater(len(calls), 200)
        for call in (
            *("start: rename", "create: rename", "stop: write_synced", "stop: rename", "reindex: rename"),
            *(f"publish: {name}" for name in ("mkdir", "write_at", "symlink", "rename", "sync_directory")),
            *(f"replace: {name}" for name in ("write_at", "sync_data", "symlink", "rename", "unlink", "write_synced")),
            *(f"unpublish: {name}" for name in ("rename", "unlink", "rmdir", "remove_directory")),
            *(f"describe: {name}" for name in ("write_at", "sync_data", "rename", "sync_directory")),
            *(
                f"rename: {name}"
                for name in ("write_at", "symlink", "write_synced", "rename", "sync_directory", "unlink")
            ),
            *("rename-over: rename", "rename-over: unlink", "rename: remove_directory"),
            *("enabled: rename", "suspended: unlink", "suspended-older: unlink", "version: rename", "mark: rename"),
            *("remove-current: rename", "remove-current: unlink", "unmark: rename", "remove-older: unlink"),
            *("suspended-mark: unlink", "revise: rename", "revise-older: rename", "remove-last: rename"),
            *("older: unlink", "default: rename", "default: unlink", "same: rename", "again: rename", "keep: rename"),
        ):
            self.assertIn(call, calls)
        kinds = {call: number for number, call in reversed(list(enumerate(calls, 1)))}
        # All in a soak. Each costs a process and two starts.
        fatal = list(range(1, len(calls) + 1)) if SOAK else sorted(kinds.values())[::3]
        self.live(directory, *fatal)
        for number in [0, *fatal]:
            top = os.path.join(directory, str(number))
            notes = list(read_notes(os.path.join(top, "notes"))) if os.path.exists(os.path.join(top, "notes")) else []
            driven = Driven(os.path.join(top, "n"))
            # The second time after what the first one made of it, and its stop.
            for _ in range(2):
                driven.start()
                try:
                    if notes and notes[-1][0] not in ("start begins", "create begins"):
                        verify_names(driven, notes)
                    else:
                        self.assertEqual(driven.check(), [])
                except (AssertionError, NoSuchBucket) as error:
                    what = calls[number - 1] if number else "none"
                    raise AssertionError(f"killed at call {number} of {len(calls)} ({what}): {error!r}") from error
                finally:
                    driven.stop()
            shutil.rmtree(top)
