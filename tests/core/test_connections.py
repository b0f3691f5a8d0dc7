"""Tests of L{storehouse.core.connections}."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.connections import Connections, IdleWatch, source_of
from storehouse.errors import ShareUsedUp, TooManyConnections


class Fake:
    """A connection that notes what is asked of it."""

    def __init__(self, connections: Connections, quick: bool = False) -> None:
        self.asked: list[str] = []
        self._connections = connections
        self._quick = quick

    def finish_soon(self) -> None:
        self.asked.append("finish")
        if self._quick:
            self._connections.left(self)

    def abort(self) -> None:
        self.asked.append("abort")
        self._connections.left(self)


class ConnectionsTests(SynchronousTestCase):
    """L{Connections}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.looked: list[tuple[Any, float]] = []
        self.ticks = 0
        self.connections = Connections(
            "door", 2, self.clock, lambda connection, now: self.looked.append((connection, now)), self.tick
        )

    def tick(self) -> None:
        self.ticks += 1

    def join(self, quick: bool = False) -> Fake:
        self.assertIsNone(self.connections.admit())
        connection = Fake(self.connections, quick)
        self.connections.joined(connection)
        return connection

    def test_count(self) -> None:
        """One too many is refused, and told which limit it is; one that leaves makes room."""
        one, two = self.join(), self.join()
        refusal = self.connections.admit()
        self.assertIsInstance(refusal, TooManyConnections)
        for word in ("2 connections", "max-connections"):
            self.assertIn(word, str(refusal))
        self.connections.left(one)
        self.connections.left(one)
        three = self.join()
        self.assertEqual((set(self.connections), len(self.connections)), ({two, three}, 2))
        self.assertEqual((self.connections.accepted, self.connections.refused), (3, 1))

    def test_addresses(self) -> None:
        """One address has as many as one may have; one of IPv6 is its network; those without one are not counted."""
        connections = Connections("door", 100, self.clock, lambda connection, now: None, each=2)
        joined = []
        for address in ("192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::2:1", "", "", ""):
            self.assertIsNone(connections.admit(address))
            joined.append(Fake(connections, False))
            connections.joined(joined[-1], address)
        for address in ("192.0.2.1", "2001:db8::3"):
            refusal = connections.admit(address)
            self.assertIsInstance(refusal, ShareUsedUp)
            self.assertIn("connections-per-address", str(refusal))
        for address in ("192.0.2.2", "2001:db8:0:1::1", ""):
            self.assertIsNone(connections.admit(address))
        connections.left(joined[0])
        connections.left(joined[0])
        self.assertIsNone(connections.admit("192.0.2.1"))

    def test_last_ones(self) -> None:
        """Without such a bound, the last places are for addresses that have few."""
        connections = Connections("door", 80, self.clock, lambda connection, now: None)
        for _ in range(70):
            self.assertIsNone(connections.admit("192.0.2.1"))
            connections.joined(Fake(connections, False), "192.0.2.1")
        self.assertIsInstance(connections.admit("192.0.2.1"), ShareUsedUp)
        for number in range(5):
            for last in ("2", "3"):
                refusal = connections.admit(f"192.0.2.{last}")
                self.assertEqual(refusal is None, number < 5)
                connections.joined(Fake(connections, False), f"192.0.2.{last}")
        self.assertIsInstance(connections.admit("192.0.2.4"), TooManyConnections)

    def test_looks(self) -> None:
        """Once a second, from the start to the stop, and both are harmless when repeated."""
        one = self.join()
        self.clock.pump([1.0] * 3)
        self.assertEqual((self.looked, self.ticks), ([], 0))
        for _ in range(2):
            self.connections.start()
        self.clock.pump([1.0] * 2)
        self.assertEqual((self.looked, self.ticks), ([(one, 4.0), (one, 5.0)], 2))
        for _ in range(2):
            self.connections.stop()
        self.clock.pump([1.0] * 2)
        self.assertEqual(len(self.looked), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_leaves_while_looked_at(self) -> None:
        one, two = self.join(), self.join()
        self.connections._look = lambda connection, now: [self.connections.left(each) for each in (one, two)]
        self.connections.start()
        self.clock.advance(1)
        self.assertEqual(len(self.connections), 0)

    def test_drain_nobody(self) -> None:
        self.connections.start()
        self.successResultOf(self.connections.drain(10))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_drain(self) -> None:
        """It is over when the last has left."""
        self.connections.start()
        one, two = self.join(), self.join(quick=True)
        done = self.connections.drain(10)
        self.assertEqual((one.asked, two.asked), (["finish"], ["finish"]))
        self.assertNoResult(done)
        self.connections.left(one)
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(one.asked, ["finish"])

    def test_drain_at_once(self) -> None:
        self.connections.start()
        self.join(quick=True)
        self.successResultOf(self.connections.drain(10))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_drain_late(self) -> None:
        """A connection that does not finish in time is closed."""
        one, two = self.join(), self.join(quick=True)
        done = self.connections.drain(10)
        self.clock.advance(9.9)
        self.assertNoResult(done)
        self.clock.advance(0.2)
        self.successResultOf(done)
        self.assertEqual((one.asked, two.asked), (["finish", "abort"], ["finish"]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_metrics(self) -> None:
        self.join()
        self.join()
        self.connections.admit()
        self.connections.timed_out = 5
        registry = CollectorRegistry()
        registry.register(self)  # type: ignore[arg-type]
        shown = generate_latest(registry).decode().splitlines()
        for line in ("x_connections 2.0", "x_connections_accepted_total 2.0", "x_connections_refused_total 1.0",
                     "x_timeouts_total 5.0"):  # fmt: skip
            self.assertIn(line, shown)

    def collect(self) -> Any:
        """For the registry."""
        return self.connections.collect("x")


class IdleWatchTests(SynchronousTestCase):
    """L{IdleWatch}."""

    def test_idle(self) -> None:
        """Time counts from when it is first seen to be so, while nothing changes."""
        watch = IdleWatch()
        self.assertEqual([watch.idle(now, (0, 5)) for now in (100.0, 101.0, 105.0)], [0, 1, 5])
        self.assertEqual([watch.idle(now, (1, 5)) for now in (106.0, 107.0)], [0, 1])
        watch.reset()
        self.assertEqual([watch.idle(now, (1, 5)) for now in (110.0, 112.0)], [0, 2])


class SourceTests(SynchronousTestCase):
    """Where connections come from."""

    def test_source(self) -> None:
        """Where a connection comes from: at a socket file the process at its other end, where the system says."""

        class Transport:
            peer: object = UNIXAddress(None)

            def getPeer(self) -> object:
                return self.peer

        class WithHandle(Transport):
            def getHandle(self) -> socket.socket:
                return ours

        ours, theirs = socket.socketpair(socket.AF_UNIX)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        found = source_of(WithHandle())
        if sys.platform == "linux":
            self.assertEqual(found, f"unix uid={os.getuid()} pid={os.getpid()}")
        self.assertEqual(source_of(Transport()), "unix")
        ours.close()
        self.assertEqual(source_of(WithHandle()), "unix")
        tcp = Transport()
        tcp.peer = IPv4Address("TCP", "192.0.2.1", 5)
        self.assertEqual(source_of(tcp), "192.0.2.1")
        self.assertEqual(source_of(object()), "")
