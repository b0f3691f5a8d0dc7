"""
HighwayHash256, by the native module or, without it, by its twin in a child process.

The twin takes some 0.4 s a MiB, in which no other thread of its process would run Python: so it has a process of its own, which
is started when it is first needed and ends with this one. Old objects stay readable that way, slowly; for new ones there are
faster hashes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from twisted.logger import Logger

from storehouse.core import highwaytwin
from storehouse.core.native import MISSING, native
from storehouse.errors import Unavailable

__all__ = ["IS_FAST", "TwinProcess", "highwayhash256"]

#: Whether the native module computes it.
IS_FAST = native is not None


class TwinProcess:
    """
    A process that computes HighwayHash256, one digest at a time; for any thread. It is started when it is first needed, and once
    more if it has died.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def digest(self, key: bytes, data: bytes | memoryview) -> bytes:
        """
        The digest of C{data}, 32 bytes; waits for the process.

        @param key: 32 bytes.
        @raise ValueError: if it has another length.
        @raise Unavailable: if the process cannot be started, or dies again.
        """
        if len(key) != 32:
            raise ValueError(f"a key has 32 bytes, not {len(key)}")
        reason: object = "the process that computes it was killed"
        with self._lock:
            for _ in range(2):
                try:
                    found = self._ask(key, data)
                except OSError as error:
                    reason, found = error, b""
                if len(found) == 32:
                    return found
                self._end()
        raise Unavailable(f"HighwayHash256 cannot be computed: {reason}")

    def _ask(self, key: bytes, data: bytes | memoryview) -> bytes:
        process = self._process
        # Not the one that a process before a fork had: two would read each other's digests.
        if process is None or self._owner != os.getpid():
            self._log.warn(
                "HighwayHash256 is computed in Python, slowly: there is no native module ({reason})", reason=MISSING
            )
            # Away from the terminal's Ctrl-C: it ends when its input does.
            process = self._process = subprocess.Popen(
                [sys.executable, "-I", highwaytwin.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            self._owner = os.getpid()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(highwaytwin.HEAD.pack(key, len(data)))
        process.stdin.write(data)
        process.stdin.flush()
        return process.stdout.read(32)

    def stop(self) -> None:
        """End the process, if there is one. The next digest starts another."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # what was not written yet, to a process that is gone
                    if pipe is not None:
                        pipe.close()
            process.wait()


#: The digest, 32 bytes, of a key of 32 bytes and data; lets others run meanwhile.
highwayhash256: Callable[[bytes, bytes | memoryview], bytes] = (
    native.highwayhash256 if native is not None else TwinProcess().digest
)
