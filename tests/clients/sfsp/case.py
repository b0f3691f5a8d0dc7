"""A test case with a model server on wires of memory, and a clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from storehouse.clients.sfsp import Connection, SFSPClient
from tests.clients.sfsp.model import Endpoint, Model, Session, Wire

__all__ = ["ModelCase"]


class ModelCase(SynchronousTestCase):
    """Has a model and a clock."""

    def setUp(self) -> None:
        self.model = Model()
        self.clock = Clock()
        self.endpoint = Endpoint(self.model, self.clock)

    def connect(self, fragment: int = 65536, timeout: float = 60.0) -> tuple[Connection, Wire]:
        """One connection."""
        connection = Connection(self.clock, timeout)
        return connection, Wire(connection, Session(self.model), self.clock, fragment)

    def client(self, **kwargs: Any) -> SFSPClient:
        """A client."""
        return SFSPClient(self.endpoint, self.clock, **kwargs)

    def settle(self, rounds: int = 200) -> None:
        """Let bytes move, but no time pass."""
        for _ in range(rounds):
            if not any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
                return
            self.clock.advance(0)

    def wait(self, deferred: Deferred[Any], seconds: float = 300.0) -> Any:
        """Let time pass until something has happened, and give its result."""
        end = self.clock.seconds() + seconds
        while not deferred.called or deferred.paused:
            calls = self.clock.getDelayedCalls()
            if not calls or self.clock.seconds() > end:
                raise AssertionError("it does not come to an end")
            self.clock.advance(max(0, min(call.getTime() for call in calls) - self.clock.seconds()))
        return self.successResultOf(deferred)

    def fails(self, deferred: Deferred[Any], kind: type[Exception], words: str = "") -> Exception:
        """It must fail so."""
        outcome: list[Any] = []
        deferred.addBoth(outcome.append)
        self.wait(deferred)
        failure = outcome[0]
        if not isinstance(failure, Failure):
            raise AssertionError(f"it succeeded: {failure!r}")
        self.assertIsInstance(failure.value, kind)
        self.assertIn(words, str(failure.value))
        error: Exception = failure.value
        return error
