"""
Directories that are gone when the process is, however it ends.

A child of the process waits for its end and removes the directory then. It is forked before anything is started, holds nothing but
one end of a pipe, and takes no signal that a terminal or a shell sends to a whole group. If it is killed as well, the next
process that makes such a directory at the same place removes what was left there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress

__all__ = ["memory_directory", "temporary_directory"]

_PREFIX = "storehouse-ephemeral-"

#: Within the directory: locked for as long as it is used.
_LOCK = ".in-use"

#: Where files are in memory.
_MEMORY = "/dev/shm"

#: Seconds after which a directory whose lock nobody holds was left: one that is being made has none yet.
_AGE = 60.0

#: Bytes that must be free there: containers often have 64 MiB, which is soon used up.
_ENOUGH = 512 << 20


def memory_directory() -> str:
    """Where files are kept in memory, if there is enough of it; else the directory for temporary files."""
    try:
        found = os.statvfs(_MEMORY)
    except OSError:
        return tempfile.gettempdir()
    is_enough = found.f_bavail * found.f_frsize >= _ENOUGH and os.access(_MEMORY, os.W_OK | os.X_OK)
    return _MEMORY if is_enough else tempfile.gettempdir()


def temporary_directory(place: str) -> str:
    """
    Make a directory, with mode 0700, that is removed with all that is in it when this process has ended.

    To be called while the process has one thread.

    @param place: the directory in which it is made.
    @return: its path.
    @raise OSError: if it cannot be made.
    """
    _sweep(place)
    made = tempfile.mkdtemp(prefix=_PREFIX, dir=place)
    # Held until the end of the process.
    lock = os.open(os.path.join(made, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Nothing but the end of this process closes the first pipe; the child closes the second when it is ready.
    ended, _ = os.pipe()
    ready, preparing = os.pipe()
    if os.fork() == 0:
        try:
            _remove_at_end(made, ended)
        finally:
            os._exit(0)
    os.close(ended)
    os.close(preparing)
    os.read(ready, 1)
    os.close(ready)
    return made


def _remove_at_end(directory: str, ended: int) -> None:
    """In the child: wait until the other end of the pipe is closed."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    # All others: who reads the output of the process must see its end, too.
    limit = max(map(int, os.listdir("/proc/self/fd"))) + 1 if os.path.isdir("/proc/self/fd") else 4096
    os.dup2(ended, 0)
    os.chdir("/")
    os.closerange(1, limit)
    os.read(0, 1)
    shutil.rmtree(directory, ignore_errors=True)


def _sweep(place: str) -> None:
    """Remove what those left whose child was killed with them."""
    for name in os.listdir(place):
        path = os.path.join(place, name)
        with suppress(OSError):
            if not name.startswith(_PREFIX) or time.time() - os.stat(path).st_mtime < _AGE:
                continue
            lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
