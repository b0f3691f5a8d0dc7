"""
Files for tests: some that do not wait for the disk, and some that fail when a test says so.

A store makes each change by the calls of L{Files<storehouse.core.files.Files>}, in an order on which its promises rest. To
fail one of them shows what becomes of a store whose disk is full, or broken, at that moment.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import attrs

from storehouse.core.files import Files

__all__ = ["CALLS", "FailingFiles", "UnsyncedFiles"]

#: The methods of L{Files} that L{FailingFiles} can have fail: all that change something, but C{close}.
CALLS = (
    "open",
    "write_at",
    "write_synced",
    "copy_range",
    "truncate",
    "sync_data",
    "sync_all",
    "sync_directory",
    "mkdir",
    "rename",
    "exchange",
    "link",
    "unlink",
    "symlink",
    "remove_directory",
    "remove_tree",
)


class UnsyncedFiles(Files):
    """
    Files that are left to the system to write: for tests that cut no power. What they write survives the process and is there
    for the next one, as at the level C{os}.
    """

    def sync_data(self, fd: int) -> None: ...

    def sync_directory(self, path: str) -> None: ...

    def sync_all(self) -> None: ...

    def write_synced(self, fd: int, data: bytes, offset: int) -> None:
        self.write_at(fd, (data,), offset)


@attrs.define
class _Rule:
    """Which calls fail, and with what."""

    methods: tuple[str, ...]
    error: int | BaseException
    ending: str
    skip: int
    times: int | None

    def applies(self, method: str, path: str) -> bool:
        """Count a call. @return: whether it is to fail."""
        if method not in self.methods or not path.endswith(self.ending):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


class FailingFiles(Files):
    """
    Real files, of which some calls fail::

        files = FailingFiles()
        log = LocalAppendLog(settings, reactor, disk, files)
        files.fail("write_at", error=errno.ENOSPC)

    To C{fail()} with an exception that nothing catches, at each call in turn (C{skip}), is as if the process was killed there.

    @ivar calls: the calls so far, failed ones too: the name of a method, and the path that it was for. The path of an open
        file is its name of now, that of two names the second one.
    @ivar failures: how many of them failed.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.failures = 0
        self._rules: list[_Rule] = []

    def fail(
        self,
        *methods: str,
        error: int | BaseException = errno.ENOSPC,
        ending: str = "",
        skip: int = 0,
        times: int | None = None,
    ) -> FailingFiles:
        """
        Have calls fail from now on. A write that fails has written the first half of its bytes, as on a disk that fills up.

        @param methods: names of methods of L{Files}; none for all that change something.
        @param error: the number of an C{OSError}, or what is raised.
        @param ending: fail those only whose path ends so.
        @param skip: how many such calls succeed before.
        @param times: how many fail; C{None} for all.
        @return: this object.
        @raise ValueError: for an unknown method, or one that cannot fail.
        """
        for method in methods:
            if method not in CALLS:
                raise ValueError(f"{method} is not a call that can fail: {', '.join(CALLS)}")
        self._rules.append(_Rule(methods or CALLS, error, ending, skip, times))
        return self

    def mend(self) -> None:
        """Have nothing fail any more."""
        self._rules.clear()

    def count(self, method: str) -> int:
        """How many calls of a method there were."""
        return sum(called == method for called, _ in self.calls)

    def _called(self, method: str, path: str) -> None:
        self.calls.append((method, path))
        for rule in self._rules:
            if rule.applies(method, path):
                self.failures += 1
                if isinstance(rule.error, int):
                    raise OSError(rule.error, os.strerror(rule.error), path)
                raise rule.error

    def _written(self, method: str, fd: int, pieces: Sequence[bytes], offset: int) -> None:
        try:
            self._called(method, _path_of(fd))
        except BaseException:
            data = b"".join(pieces)
            os.pwrite(fd, data[: len(data) // 2], offset)
            raise

    def open(self, path: str, flags: int) -> int:
        self._called("open", path)
        return super().open(path, flags)

    def write_at(self, fd: int, pieces: Sequence[bytes], offset: int) -> None:
        self._written("write_at", fd, pieces, offset)
        super().write_at(fd, pieces, offset)

    def write_synced(self, fd: int, data: bytes, offset: int) -> None:
        self._written("write_synced", fd, (data,), offset)
        super().write_synced(fd, data, offset)

    def copy_range(self, source_fd: int, target_fd: int, size: int, source_offset: int, target_offset: int) -> None:
        try:
            self._called("copy_range", _path_of(target_fd))
        except BaseException:
            super().copy_range(source_fd, target_fd, size // 2, source_offset, target_offset)
            raise
        super().copy_range(source_fd, target_fd, size, source_offset, target_offset)

    def truncate(self, fd: int, size: int) -> None:
        self._called("truncate", _path_of(fd))
        super().truncate(fd, size)

    def sync_data(self, fd: int) -> None:
        self._called("sync_data", _path_of(fd))
        super().sync_data(fd)

    def sync_all(self) -> None:
        self._called("sync_all", "")
        super().sync_all()

    def sync_directory(self, path: str) -> None:
        self._called("sync_directory", path)
        super().sync_directory(path)

    def mkdir(self, path: str) -> None:
        self._called("mkdir", path)
        super().mkdir(path)

    def rename(self, source: str, target: str) -> None:
        self._called("rename", target)
        super().rename(source, target)

    def exchange(self, first: str, second: str) -> None:
        self._called("exchange", second)
        super().exchange(first, second)

    def link(self, source: str, target: str) -> None:
        self._called("link", target)
        super().link(source, target)

    def unlink(self, path: str) -> None:
        self._called("unlink", path)
        super().unlink(path)

    def symlink(self, target: str, path: str) -> None:
        self._called("symlink", path)
        super().symlink(target, path)

    def remove_directory(self, path: str) -> None:
        self._called("remove_directory", path)
        super().remove_directory(path)

    def remove_tree(self, path: str) -> None:
        self._called("remove_tree", path)
        super().remove_tree(path)


def _path_of(fd: int) -> str:
    """The path by which an open file can be found now; empty on systems without C{/proc}."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
