"""
What was used up or ended before its time, until that comes: links that work once, and sessions that were signed out of.

A file of sealed JSON objects (L{storehouse.core.checksummed}), one a line, that is appended to::

    {"id":"link 685444a9a8ffd2f825fc64989cc5b28b","until":1790000060,"by":"ann","checksum":"..."}

C{by} is the user who signed the link, or whose session it was; it is optional: lines that were written before it was kept have
none.

A line is on disk before what depends on it is done. A last line that a crash cut is dropped; any other that is damaged keeps
the service from starting, since what it said could come back to life. Lines whose time is over go when there are more of
them than of others.
"""

from __future__ import annotations

import os
from collections import Counter

from storehouse.core.checksummed import seal, unseal
from storehouse.core.files import read_exactly
from storehouse.errors import ShareUsedUp, StoreUnusable
from storehouse.storage.accounts.ground import Ground

__all__ = ["Spent"]

#: Seconds for which something is remembered after its time, for clocks that are set back.
_SLACK = 3600

#: Lines of a file that is left as it is.
_SMALL = 1000


class Spent:
    """
    A set of IDs with their times, on disk.

    L{add} is for any thread, within the lock of the ground; L{knows} looks in memory only.

    @param limit: how many may be remembered at once, of each kind and each user: what one user does over and over keeps no
        other's links from being used, nor other sessions from being ended. The kind is the first word of an ID.
    """

    def __init__(self, ground: Ground, name: str, limit: int = 20_000) -> None:
        self._ground = ground
        self._name = name
        self._limit = limit
        # The time and the user of each.
        self._until: dict[str, tuple[float, str]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        # As many lines as the file may have before what is over is taken out.
        self._most_lines = _SMALL
        self._lines = 0
        # The file as it was read: its device and inode, and where its last whole line ends.
        self._file: tuple[int, int] | None = None
        self._end = 0

    def knows(self, id: str) -> bool:
        """Whether it was added, in this process or before it began."""
        return id in self._until

    def load(self) -> None:
        """
        Read the file. Only L{locked<Ground.locked>}.

        @raise StoreUnusable: if it is damaged.
        """
        fd = self._ground.open_log(self._name)
        try:
            self._read(fd)
        finally:
            self._ground.files.close(fd)

    def add(self, id: str, until: float, now: float, by: str = "") -> bool:
        """
        Remember an ID; on disk when it returns. Only L{locked<Ground.locked>}.

        @param by: the name of the user who signed it, or whose it was.
        @return: whether it was not there.
        @raise ShareUsedUp: if there are too many of that kind and that user.
        """
        fd = self._ground.open_log(self._name)
        try:
            stat = os.fstat(fd)
            if (stat.st_dev, stat.st_ino) != self._file or stat.st_size != self._end:
                # Another process was here, or a write of ours has failed.
                self._read(fd)
                self._ground.files.truncate(fd, self._end)
            if id in self._until:
                return False
            line = _line(id, until, by)
            share = _kind_of(id), by
            is_full = self._counts[share] >= self._limit
            if is_full and not self._is_any_over(share, now):
                # Without writing anything: it may be tried over and over.
                raise ShareUsedUp(
                    f"as many as {self._limit} of the kind {share[0]} of {by or 'one user'} are remembered already:"
                    " try again when the time of some of them is over"
                )
            if self._lines >= self._most_lines or is_full:
                self._compact(now)
                return self.add(id, until, now, by)
            self._ground.files.write_synced(fd, line, self._end)
            self._end += len(line)
            self._lines += 1
            self._until[id] = until, by
            self._counts[share] += 1
            return True
        finally:
            self._ground.files.close(fd)

    def _is_any_over(self, share: tuple[str, str], now: float) -> bool:
        return any(
            until + _SLACK <= now
            for id, (until, by) in self._until.items()
            if by == share[1] and _kind_of(id) == share[0]
        )

    def _read(self, fd: int) -> None:
        stat = os.fstat(fd)
        data = read_exactly(fd, stat.st_size, 0)
        *lines, _torn = data.split(b"\n")
        until: dict[str, tuple[float, str]] = {}
        end = 0
        bad: int | None = None
        for number, line in enumerate(lines, start=1):
            try:
                fields, is_sealed = unseal(line)
                if not is_sealed:
                    raise ValueError("it has no checksum")
                if bad is not None:
                    raise StoreUnusable(
                        f"line {bad} of {self._ground.path(self._name)} is damaged: it says which links and sessions may not be used again. "
                        "Without the file all of them may be, until their time is over"
                    )
                until[fields["id"]] = fields["until"], fields.get("by", "")
                end += len(line) + 1
            except (ValueError, KeyError, TypeError):
                # Damage, unless it is what a power cut has left of the last lines.
                bad = bad or number
        self._until, self._lines, self._most_lines = until, len(until), _SMALL
        self._file, self._end = (stat.st_dev, stat.st_ino), end
        self._count_all()

    def _compact(self, now: float) -> None:
        """Write the file anew, without what is over."""
        self._until = {id: (until, by) for id, (until, by) in self._until.items() if until + _SLACK > now}
        data = b"".join(_line(id, until, by) for id, (until, by) in self._until.items())
        self._ground.replace(self._name, data)
        stat = os.stat(self._ground.path(self._name))
        self._file, self._end, self._lines = (stat.st_dev, stat.st_ino), len(data), len(self._until)
        self._most_lines = max(_SMALL, 2 * self._lines)
        self._count_all()

    def _count_all(self) -> None:
        self._counts = Counter((_kind_of(id), by) for id, (_, by) in self._until.items())


def _kind_of(id: str) -> str:
    return id.partition(" ")[0]


def _line(id: str, until: float, by: str) -> bytes:
    return seal({"id": id, "until": until, **({"by": by} if by else {})}) + b"\n"
