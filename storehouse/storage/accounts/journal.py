"""
Changes of access that commands have made while no service ran: kept until a service adds them to its audit.

C{ROOT/audit/changes.log} has one JSON object with a checksum a line (L{storehouse.core.checksummed}). The first of a change is
on disk before the change is made, the second, with the same C{id}, after it::

    {"id":"32 hex","time":1790000000.0,"address":"unix uid=1000 pid=4242","action":"grant","resource":"ann","detail":"...","checksum":"..."}
    {"id":"32 hex","done":"...","checksum":"..."}
    {"id":"32 hex","failed":"...","checksum":"..."}

C{done} is more detail, such as the ID of a new key; never a secret. A last line that was cut short is ignored. What has no second
line may have been done or not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import attrs

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.files import Files, read_exactly
from storehouse.events import AccessChanged
from storehouse.storage.accounts.local import AccountsDirectory

__all__ = ["ChangeJournal", "Entry"]

_NAME = "changes.log"

#: The door in audit events of the changes.
_DOOR = "command"


@attrs.define
class Entry:
    """
    A change that is being made.

    @ivar done: more detail, to be set when it is made.
    """

    id: str
    done: str = ""


class ChangeJournal:
    """
    All methods block, and may be called in any thread and process.

    @param root: the directory of the service; the journal makes a directory of its own in it.
    @param clock: seconds since 1970 UTC.
    """

    def __init__(self, root: str, clock: Callable[[], float], files: Files | None = None) -> None:
        self._directory = AccountsDirectory(os.path.join(os.path.abspath(root), "audit"), files or Files())
        self._clock = clock

    @contextmanager
    def change(self, action: str, resource: str, detail: str = "") -> Iterator[Entry]:
        """
        Make a change within this. It is in the journal before, and how it ended afterwards.

        @raise StorehouseError: if the journal cannot be written: then the change is not made.
        """
        entry = Entry(os.urandom(16).hex())
        self._directory.create()
        address = f"unix uid={os.getuid()} pid={os.getpid()}"
        begun = {"time": self._clock(), "address": address, "action": action, "resource": resource, "detail": detail}
        self._add({"id": entry.id, **begun})
        try:
            yield entry
        except BaseException as error:
            self._add({"id": entry.id, "failed": str(getattr(error, "detail", "")) or type(error).__name__})
            raise
        self._add({"id": entry.id, "done": entry.done})

    def _add(self, fields: dict[str, object]) -> None:
        line = encode_checksummed(fields) + b"\n"
        with self._directory.locked():
            files, fd = self._directory.files, self._directory.open_log(_NAME)
            try:
                size = os.fstat(fd).st_size
                data = read_exactly(fd, 1, size - 1) if size else b"\n"
                # What a crash has cut short stays a line of its own.
                files.write_at(fd, (line if data == b"\n" else b"\n" + line,), size)
                files.sync_data(fd)
            finally:
                files.close(fd)

    def read(self) -> tuple[list[AccessChanged], int]:
        """
        The changes, in the order in which they began, and the bytes that they take.

        @raise OSError: if the file cannot be read.
        """
        data = self._directory.read(_NAME)
        if data is None:
            return [], 0
        begun: dict[str, AccessChanged] = {}
        ends: dict[str, str] = {}
        size = data.rfind(b"\n") + 1
        for line in data[:size].splitlines():
            try:
                fields, is_checked = decode_checksummed(line)
                if not is_checked:
                    continue
                id = str(fields["id"])
                if "action" in fields:
                    begun[id] = _begun(fields)
                elif "failed" in fields:
                    ends[id] = f"(failed: {fields['failed']})"
                else:
                    ends[id] = str(fields["done"])
            except (ValueError, KeyError, TypeError):
                continue  # cut short
        return [_ended(change, ends.get(id)) for id, change in begun.items()], size

    def forget(self, size: int) -> None:
        """Drop the first bytes, those of changes that an audit has. What was added since stays."""
        if not size:
            return
        with self._directory.locked():
            rest = (self._directory.read(_NAME) or b"")[size:]
            self._directory.replace(_NAME, rest)


def _begun(fields: dict[str, object]) -> AccessChanged:
    time = datetime.fromtimestamp(float(str(fields["time"])), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    detail = f"{fields['detail']} at {time}".strip()
    return AccessChanged(_DOOR, "", str(fields["address"]), str(fields["action"]), str(fields["resource"]), detail)


def _ended(change: AccessChanged, end: str | None) -> AccessChanged:
    more = "(perhaps not done)" if end is None else end
    return attrs.evolve(change, detail=f"{change.detail} {more}".rstrip())
