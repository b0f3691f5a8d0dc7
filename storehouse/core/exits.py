"""How this process reports that it cannot start or continue, and the status with which it ends."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from twisted.logger import Logger

from storehouse.errors import StorehouseError

__all__ = ["Exits"]

_log = Logger()


class Exits:
    """
    A process that cannot start says so in one line on its standard error, C{storehouse: MESSAGE}, and ends
    with status 1, without a traceback; also when it has gone to the background meanwhile, for as long as its
    starter waits.  One that gave up while it ran ends with status 1 as well.

    Make it, and L{install} it, before the process goes to the background.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._reported: BaseException | None = None
        self._gave_up = False
        self._previous: Callable[..., Any] = sys.excepthook
        try:
            self._stderr = os.dup(2)
        except OSError:  # there is none
            self._stderr = -1

    def install(self) -> None:
        """Take over what is done with an error that ends the process."""
        self._previous = sys.excepthook
        sys.excepthook = self.excepthook
        atexit.register(self._end)

    @property
    def in_background(self) -> bool:
        """Whether the process has left its starter behind since this object was made."""
        return os.getpid() != self._pid

    def cannot_start(self, error: StorehouseError) -> None:
        """Say why the start fails, at once."""
        self._reported = error
        if self.in_background:
            _log.critical("cannot start: {reason}", reason=error.detail)
        line = f"storehouse: {' '.join(error.detail.split())}\n".encode(errors="backslashreplace")
        try:
            os.write(self._stderr, line)
        except OSError:
            pass

    def started(self) -> None:
        """
        The start went well: let go of the starter's standard error, for which the starter may be waiting.
        """
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1

    def gave_up(self) -> None:
        """From now on the end of the process is a failure: its status will be 1."""
        self._gave_up = True

    def excepthook(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        """See C{sys.excepthook}: one line for an error of storehouse, the usual for others."""
        if not isinstance(error, StorehouseError):
            self._previous(kind, error, traceback)
        elif error is not self._reported:
            self.cannot_start(error)

    def _end(self) -> None:
        if self._gave_up:
            # The status of twistd is 0 after a reactor that was stopped, whatever stopped it, and only
            # os._exit can change a status this late.
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except (OSError, ValueError, AttributeError):
                    pass
            os._exit(1)
