"""
The audit: authorization decisions of the doors, and changes of access, in the log, and in an append log if a setting asks for it.

Refusals are recorded at a bounded rate for each address and for all together, so that nobody can fill a disk with them; the next
record says how many were left out. Records have no secrets: they name users, the IDs of access keys, buckets and keys.

A record of the append log is a JSON object, in order of time under one identifier, C{audit}::

    {"time":"2026-12-01T10:00:00.123Z","what":"decision","door":"s3","user":"ann","address":"192.0.2.1","action":"s3:GetObject",
     "resource":"box/a","allowed":false,"key_id":"SH...","request_id":"...","left_out":0}
    {"time":"...","what":"change","door":"objects","user":"","address":"","action":"grant","resource":"ann","detail":"read on ..."}
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from storehouse.core.attempts import Attempts
from storehouse.core.jobs import IDisk, deferred, settled
from storehouse.core.turns import breath
from storehouse.errors import StorehouseError
from storehouse.events import AccessChanged, AccessDecided, Events
from storehouse.storage.appendlog.interfaces import IAppendLog

if TYPE_CHECKING:
    from storehouse.storage.accounts.journal import ChangeJournal

__all__ = ["Audit", "CommandChanges", "journal_of"]

#: Records that wait for the append log, at most; more are only in the log.
_MOST_WAITING = 10_000

#: Characters of a resource in a record.
_MOST_RESOURCE = 2048

_IDENTIFIER = b"audit"

#: Records that are appended at once.
_BATCH = 100


class Audit:
    """
    Records what is published.

    @param clock: seconds since 1970 UTC.
    @param records_all: whether what was allowed is recorded, too.
    @param log: an append log; C{None} for none.
    @param prefix: the storage prefix there.
    """

    _log = Logger()

    def __init__(
        self,
        events: Events,
        clock: Callable[[], float],
        records_all: bool = False,
        log: IAppendLog | None = None,
        prefix: str = "",
    ) -> None:
        self._clock = clock
        self._append_log = log
        self._prefix = prefix
        self._peers = Attempts(clock)
        self._all = Attempts(clock, burst=100, interval=1.0, size=1)
        self._left_out = 0
        self._queue: list[bytes] = []
        self._appending: Deferred[None] | None = None
        self._has_failed = False
        # What was allowed is most of all: where it is not recorded, it does not come here.
        events.subscribe(AccessDecided, self.decided, **({} if records_all else {"is_allowed": False}))
        events.subscribe(AccessChanged, self.changed)

    def decided(self, event: AccessDecided) -> None:
        """Record a decision, unless there are too many."""
        left_out = 0
        if not event.is_allowed:
            if self._peers.wait(event.address) or self._all.wait(""):
                self._left_out += 1
                return
            self._peers.failed(event.address)
            self._all.failed("")
            left_out, self._left_out = self._left_out, 0
        resource = _shown(event.resource)
        self._log.info(
            "audit: {user} from {address} {verdict} {action} on {resource} at {door}{more}",
            user=event.user or "nobody",
            address=event.address or "-",
            verdict="was allowed" if event.is_allowed else "was refused",
            action=event.action,
            resource=resource,
            door=event.door,
            more=f" ({left_out} other refusals were not recorded)" if left_out else "",
            key_id=event.key_id,
            request_id=event.request_id,
        )
        self._append(
            what="decision",
            door=event.door,
            user=event.user,
            address=event.address,
            action=event.action,
            resource=resource,
            allowed=event.is_allowed,
            key_id=event.key_id,
            request_id=event.request_id,
            left_out=left_out,
        )

    def changed(self, event: AccessChanged) -> None:
        """Record a change."""
        resource, detail = _shown(event.resource), _shown(event.detail)
        self._log.info(
            "audit: {user} from {address} changed {resource} at {door}: {action} {detail}",
            user=event.user or "the system user",
            address=event.address or "-",
            resource=resource,
            door=event.door,
            action=event.action,
            detail=detail,
            key_id=event.key_id,
            request_id=event.request_id,
        )
        self._append(
            what="change",
            door=event.door,
            user=event.user,
            address=event.address,
            action=event.action,
            resource=resource,
            detail=detail,
            key_id=event.key_id,
            request_id=event.request_id,
        )

    def _append(self, **fields: object) -> None:
        if self._append_log is None:
            return
        if len(self._queue) >= _MOST_WAITING:
            self._failed("too many records wait for it")
            return
        time = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._queue.append(json.dumps({"time": time, **fields}, separators=(",", ":")).encode())
        if self._appending is None:
            self._appending = Deferred.fromCoroutine(self._drain(self._append_log))
            self._appending.addBoth(self._drained)

    async def _drain(self, log: IAppendLog) -> None:
        """Append what waits, one batch after the other, so that it stays in order."""
        while self._queue:
            batch = self._queue[:_BATCH]
            del self._queue[:_BATCH]
            try:
                await log.append(self._prefix, _IDENTIFIER, batch)
                self._has_failed = False
            except StorehouseError as error:
                self._failed(error.detail)

    def _drained(self, result: object) -> None:
        self._appending = None
        if isinstance(result, Failure):
            self._log.failure("the audit failed", result)

    def start(self) -> None:
        """Nothing to do: it begins with the first event."""

    @deferred
    async def stop(self) -> None:
        """Wait for what is being appended."""
        await self.flush()

    async def flush(self) -> bool:
        """Wait for what is being appended. @return: whether the append log took the last of it, or there is none."""
        while self._appending is not None:
            await settled(self._appending)
        return not self._has_failed

    def _failed(self, reason: str) -> None:
        # Once, until one succeeds: each is in the log in any case.
        if not self._has_failed:
            self._has_failed = True
            self._log.error("the audit cannot be appended to {prefix}: {reason}", prefix=self._prefix, reason=reason)


def journal_of(root: str, clock: Callable[[], float]) -> ChangeJournal | None:
    """The journal of commands in a root; C{None} if there is none."""
    if not os.path.isdir(os.path.join(root, "audit")):
        return None
    # Imported here: a service without accounts need not have what they are made of.
    from storehouse.storage.accounts.journal import ChangeJournal

    return ChangeJournal(root, clock)


class CommandChanges:
    """
    At the start, passes the changes that commands made while no service ran to the audit. If the append log cannot take them, the
    next start passes them again.

    @param journal: called at the start; returns C{None} if there is no journal.
    """

    _log = Logger()

    def __init__(self, journal: Callable[[], ChangeJournal | None], audit: Audit, events: Events, disk: IDisk) -> None:
        self._journal = journal
        self._audit = audit
        self._events = events
        self._disk = disk
        self._publishing: Deferred[None] | None = None

    def start(self) -> None:
        """Publish them in the background."""
        journal = self._journal()
        if journal is None:
            return
        self._publishing = Deferred.fromCoroutine(self._publish(journal))
        self._publishing.addErrback(
            lambda failure: self._log.failure("while the audit read the journal", failure=failure)
        )

    async def _publish(self, journal: ChangeJournal) -> None:
        try:
            changes, size = await self._disk.run(journal.read)
            is_kept = True
            for number, change in enumerate(changes, 1):
                self._events.publish(change)
                if number % _BATCH == 0:
                    is_kept = await self._audit.flush() and is_kept
                    await breath()
            if await self._audit.flush() and is_kept:
                await self._disk.run(journal.forget, size)
        except (OSError, StorehouseError) as error:
            self._log.error("changes that commands made cannot be brought into the audit: {error}", error=error)

    @deferred
    async def stop(self) -> None:
        """Wait until they are published."""
        if self._publishing is not None:
            await settled(self._publishing)


def _shown(text: str) -> str:
    """Without what could make another line of it, and not too long."""
    if not text.isprintable():
        text = "".join(each if each.isprintable() else "\ufffd" for each in text)
    return text if len(text) <= _MOST_RESOURCE else text[:_MOST_RESOURCE] + "..."
