"""An append door in memory's reach: its log is real, its clock and its network are not."""

from __future__ import annotations

import os
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from twisted.internet.task import Clock

from storehouse.config.settings import AppendSettings, ConnectionSettings
from storehouse.core.jobs import InlineDisk
from storehouse.frontends.append.door import AppendDoor
from storehouse.frontends.http.site import DoorSite, Guard
from storehouse.storage.appendlog.interfaces import Durability
from storehouse.storage.appendlog.log import LocalAppendLog
from storehouse.testing.files import UnsyncedFiles
from tests.frontends.http.wire import Connection
from tests.integration.process import PATIENCE

__all__ = ["Door", "Reactor"]


class Reactor(Clock):
    """A clock that also takes calls from threads, for L{Door.settle} to make."""

    def __init__(self) -> None:
        Clock.__init__(self)
        self.posted: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, f: Callable[..., object], *args: Any) -> None:
        self.posted.put(lambda: f(*args))


class Door:
    """
    The door of a log in a directory.

    @ivar log: the log.
    @ivar site: the door.
    """

    def __init__(
        self,
        directory: str,
        fast_lane: bool,
        durability: Durability = Durability.OS,
        limits: AppendSettings | None = None,
        buckets: int = 4,
        guard: Guard | None = None,
    ) -> None:
        self.directory = os.path.abspath(directory)
        self.reactor = Reactor()
        limits = limits or AppendSettings(max_record=100_000, max_batch=50_000)
        self.log = LocalAppendLog(
            AppendSettings(
                directory=self.directory,
                buckets=buckets,
                sync=durability.value,
                max_record=limits.max_record,
                wal_size=1 << 20,
                sync_interval=1e9,
            ),
            self.reactor,
            InlineDisk(),
            files=UnsyncedFiles(),
        )
        self.log.start()
        door = AppendDoor(self.log, limits, fast_lane=fast_lane)
        self.site = DoorSite(
            door.resource, self.reactor, ConnectionSettings(), lane=door.lane, name="append", guard=guard
        )
        self.site.startFactory()
        self.connections: list[Connection] = []

    def connect(self, window: int | None = None) -> Connection:
        """Open a connection."""
        connection = Connection(self.site, window, self._settle)
        self.connections.append(connection)
        return connection

    def play(self, *pieces: bytes, settle: bool = True) -> Connection:
        """
        Send pieces over a new connection.

        @param settle: let what each causes happen before the next comes.
        """
        connection = self.connect()
        for piece in pieces:
            connection.send(piece, settle)
        connection.settle()
        return connection

    def pass_time(self, seconds: int) -> None:
        """Let time pass."""
        for _ in range(seconds):
            self.reactor.advance(1)
            self._settle()
            for connection in self.connections:
                connection.settle()

    def close(self) -> None:
        """Leave, and close the log."""
        for connection in self.connections:
            connection.close()
        self._settle()
        self.site.connections.stop()
        stopped = self.log.stop()
        while not stopped.called:
            self.reactor.advance(0)
            try:
                self.reactor.posted.get(timeout=0.01)()
            except Empty:
                pass

    def raw(self) -> dict[str, bytes]:
        """The bucket files, by their paths within the directory."""
        found = {}
        for path, directories, names in os.walk(self.directory):
            directories[:] = [name for name in directories if name != ".wal"]
            for name in names:
                if name.endswith(".raw"):
                    with open(os.path.join(path, name), "rb") as file:
                        found[os.path.relpath(os.path.join(path, name), self.directory)] = file.read()
        return found

    def _settle(self) -> None:
        while True:
            self.reactor.advance(0)
            try:
                self.reactor.posted.get_nowait()()
            except Empty:
                due = [call for call in self.reactor.getDelayedCalls() if call.getTime() <= self.reactor.seconds()]
                if due:
                    continue
                if not self._works():
                    return
                # Only threads can go on now.
                self.reactor.posted.get(timeout=PATIENCE)()

    def _works(self) -> bool:
        requests = (
            request
            for request in self.site._requests
            if request._received and not request.finished and request._drained is None
        )
        # One that waits for memory may be what keeps it from being at work.
        return not self.log._commit.idle or (not self.site.budget.waiting and any(requests))
