"""What calls a manager's C{poll} now and then in a program without a reactor."""

from __future__ import annotations

import threading
from typing import Any

from twisted.logger import Logger

__all__ = ["RollTimer"]


class RollTimer:
    """
    A thread that polls managers, so that archives roll in time while nothing is written, and what failed is tried again.

    In a program with a reactor let a L{LoopingCall<twisted.internet.task.LoopingCall>} call C{poll} instead, in a thread
    if its callbacks take long. It is also a context manager.
    """

    _log = Logger()

    def __init__(self, *managers: Any, interval: float = 1.0) -> None:
        """@param interval: seconds between two rounds."""
        self._managers = managers
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="archive-roll-timer", daemon=True)

    def start(self) -> RollTimer:
        """Begin."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End; a round that is under way is finished first."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(self._interval):
            for manager in self._managers:
                try:
                    manager.poll()
                except Exception:
                    self._log.failure("a poll of {manager!r} failed", manager=manager)

    def __enter__(self) -> RollTimer:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()
