"""
What is done around each test, and where its files are.

Its time is written down for C{.ci/trial.py}, and its files go when it has passed: they may be in memory.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from typing import Any

from twisted.trial import util
from twisted.trial.unittest import SynchronousTestCase

__all__ = ["on_disk", "watch_tests"]

#: Where the times are written: a line a test, of seconds, CPU seconds with those of processes that have ended, and its name.
_TIMES = os.environ.get("STOREHOUSE_TEST_TIMES", "")

#: Seconds that a test may wait for a Deferred. Only one that hangs takes so long, however busy the machine is.
_TIMEOUT = 600.0


def on_disk(case: SynchronousTestCase) -> str:
    """A new directory that is not in memory, for tests of what only disks do; it goes with the test."""
    directory = tempfile.mkdtemp(prefix="storehouse-test-", dir="/var/tmp")
    case.addCleanup(shutil.rmtree, directory, ignore_errors=True)
    return directory


def watch_tests() -> None:
    """Do so from now on."""
    util.DEFAULT_TIMEOUT_DURATION = _TIMEOUT
    run = SynchronousTestCase.run

    def watched(test: SynchronousTestCase, result: Any) -> None:
        begun, spent = time.monotonic(), _cpu()
        run(test, result)
        if _TIMES:
            with open(_TIMES, "a", encoding="utf-8") as file:
                file.write(f"{time.monotonic() - begun:.3f} {_cpu() - spent:.3f} {test.id()}\n")
        if getattr(test, "_passed", False):
            # As mktemp() makes it, below the directory in which trial runs.
            kind = type(test)
            names = (kind.__module__, kind.__name__, test._testMethodName)
            shutil.rmtree(os.path.join(*(name[:32] for name in names)), ignore_errors=True)

    SynchronousTestCase.run = watched  # type: ignore[method-assign]


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
