"""
C{spent.log}: used links that work once, and sessions that were ended early, until they expire.

A log of JSON objects with checksums (L{storehouse.core.checksummed}), one a line::

    {"id":"link 685444a9a8ffd2f825fc64989cc5b28b","until":1790000060,"by":"ann","checksum":"..."}

C{id} is C{link} and the nonce of a link, or C{session} and the ID of a session. C{by} is the user who signed the link,
or the owner of the session; lines of earlier versions do not have it.

A line is on disk before the request that needs it goes on. A last line that a crash has cut is dropped; damage
elsewhere keeps the service from starting, since a used link could become valid again. Expired lines are removed when
they outnumber the others.
"""

from __future__ import annotations

import os
from collections import Counter

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.files import read_exactly
from storehouse.errors import ShareUsedUp, StoreUnusable
from storehouse.storage.accounts.directory import AccountsDirectory

__all__ = ["SpentLog"]

#: Seconds for which an entry is kept after it has expired, in case the clock is set back.
_SLACK = 3600

#: A file of up to this many lines is never rewritten.
_SMALL = 1000


class SpentLog:
    """
    A set of IDs with their expiry, on disk.

    L{add} blocks, and may be called in any thread while the directory is locked; C{in} looks in memory only.

    @param limit: entries of each kind and each user. The limit is for each of them apart, so that no user can keep the
        links of others from being used, or their sessions from being ended. The kind is the first word of an ID.
    """

    def __init__(self, directory: AccountsDirectory, name: str, limit: int = 20_000) -> None:
        self._directory = directory
        self._name = name
        self._limit = limit
        # ID: (expiry, user)
        self._entries: dict[str, tuple[float, str]] = {}
        # (kind, user): entries
        self._counts: Counter[tuple[str, str]] = Counter()
        # The file is rewritten without expired lines when it has this many.
        self._max_lines = _SMALL
        self._lines = 0
        # The device and inode of the file that was read, and the end of its last whole line.
        self._file: tuple[int, int] | None = None
        self._end = 0

    def __contains__(self, id: str) -> bool:
        return id in self._entries

    def load(self) -> None:
        """
        Read the file. Only while L{locked<AccountsDirectory.locked>}.

        @raise StoreUnusable: if it is damaged.
        """
        fd = self._directory.open_log(self._name)
        try:
            self._read(fd)
        finally:
            self._directory.files.close(fd)

    def add(self, id: str, until: float, now: float, by: str = "") -> bool:
        """
        Add an ID; durable when it returns. Only while L{locked<AccountsDirectory.locked>}.

        @param by: the user who signed the link, or owned the session.
        @return: C{False} if it was there already.
        @raise ShareUsedUp: if there are too many of that kind and user.
        """
        fd = self._directory.open_log(self._name)
        try:
            stat = os.fstat(fd)
            if (stat.st_dev, stat.st_ino) != self._file or stat.st_size != self._end:
                # Another process has added lines, or a write of this one has failed.
                self._read(fd)
                self._directory.files.truncate(fd, self._end)
            if id in self._entries:
                return False
            line = _encode(id, until, by)
            share = _kind_of(id), by
            is_full = self._counts[share] >= self._limit
            if is_full and not self._has_expired(share, now):
                # Refused before anything is written: the request may come again and again.
                raise ShareUsedUp(
                    f"{self._limit} {share[0]}s of {by or 'one user'} are recorded as used or ended already:"
                    " try again when some of them have expired"
                )
            if self._lines >= self._max_lines or is_full:
                self._compact(now)
                return self.add(id, until, now, by)
            self._directory.files.write_synced(fd, line, self._end)
            self._end += len(line)
            self._lines += 1
            self._entries[id] = until, by
            self._counts[share] += 1
            return True
        finally:
            self._directory.files.close(fd)

    def _has_expired(self, share: tuple[str, str], now: float) -> bool:
        return any(
            until + _SLACK <= now
            for id, (until, by) in self._entries.items()
            if by == share[1] and _kind_of(id) == share[0]
        )

    def _read(self, fd: int) -> None:
        stat = os.fstat(fd)
        data = read_exactly(fd, stat.st_size, 0)
        *lines, _torn = data.split(b"\n")
        entries: dict[str, tuple[float, str]] = {}
        end = 0
        damaged: int | None = None
        for number, line in enumerate(lines, start=1):
            try:
                fields, is_checked = decode_checksummed(line)
                if not is_checked:
                    raise ValueError("it has no checksum")
                if damaged is not None:
                    raise StoreUnusable(
                        f"line {damaged} of {self._directory.file(self._name)} is damaged: the file says which links and sessions"
                        " must not be used again. Without it all of them can be, until they expire"
                    )
                entries[fields["id"]] = fields["until"], fields.get("by", "")
                end += len(line) + 1
            except (ValueError, KeyError, TypeError):
                # Damage only if a whole line follows; otherwise it is what a power cut has left of the last lines.
                damaged = damaged or number
        self._entries, self._lines, self._max_lines = entries, len(entries), _SMALL
        self._file, self._end = (stat.st_dev, stat.st_ino), end
        self._count_entries()

    def _compact(self, now: float) -> None:
        """Rewrite the file without expired lines."""
        self._entries = {id: (until, by) for id, (until, by) in self._entries.items() if until + _SLACK > now}
        data = b"".join(_encode(id, until, by) for id, (until, by) in self._entries.items())
        self._directory.replace(self._name, data)
        stat = os.stat(self._directory.file(self._name))
        self._file, self._end, self._lines = (stat.st_dev, stat.st_ino), len(data), len(self._entries)
        # Twice what is left, so that each line is rewritten once on average, not with each line that is added.
        self._max_lines = max(_SMALL, 2 * self._lines)
        self._count_entries()

    def _count_entries(self) -> None:
        self._counts = Counter((_kind_of(id), by) for id, (_, by) in self._entries.items())


def _kind_of(id: str) -> str:
    return id.partition(" ")[0]


def _encode(id: str, until: float, by: str) -> bytes:
    return encode_checksummed({"id": id, "until": until, **({"by": by} if by else {})}) + b"\n"
