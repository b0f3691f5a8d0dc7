"""Lists of many IDs: few at a time, in slices, without memory."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred

from storehouse.core.jobs import InlineDisk
from storehouse.frontends.sfsp import chunks
from storehouse.frontends.sfsp.chunks import Chunks
from storehouse.frontends.sfsp.factory import SFSPFactory
from tests.core.test_jobs import HandDisk
from tests.frontends.sfsp.doors import Peer, bounds, listing, missing, receive
from tests.frontends.sfsp.test_flow import HandCase
from tests.turns.breathing import every_breath


class Many:
    """A store with as many chunks of any file as one asks for."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.prefixes: list[str] = []

    def list_keys(self, bucket: str, prefix: str, after: str, limit: int) -> Deferred[list[str]]:
        self.prefixes.append(prefix)
        first = int(after[len(prefix) :]) + 1 if after else 0
        done: Deferred[list[str]] = Deferred()
        done.callback([f"{prefix}{id:020d}" for id in range(first, min(self.count, first + limit))])
        return done


class ListTests(HandCase):
    """Of the store of a test."""

    def lists(self, count: int, disk: Any = None) -> Any:
        self.many = Many(count)
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        return SFSPFactory(Chunks(self.many, disk or InlineDisk(), self.directory), self.clock, **bounds())

    def test_long(self) -> None:
        """A list of any length, while others are served."""
        for count in (0, 1, 999, 1000, 1001, 2048, 2049, 50_000):
            factory = self.lists(count)
            with every_breath(self.clock):
                peer, other = Peer(factory), Peer(factory)
                peer.ask(listing(b"a"))
                other.ask(listing(b"b"))
                for _ in range(count // 1000 + 9):
                    self.clock.advance(0)
                    for each in (peer, other):
                        each.settle()
                        each.heard()
            self.assertEqual([peer.answers, other.answers], [[("ids", list(range(count)))]] * 2)
            # In turns, although neither waits for a disk.
            self.assertEqual(self.many.prefixes[:6], ["a/", "b/"] * min(3, len(self.many.prefixes) // 2))

    def test_one_at_a_time(self) -> None:
        """A connection that asks for many, and reads none, has one made; what it asked for besides is answered later."""
        factory = self.lists(50_000)
        peer = Peer(factory, window=0)
        peer.ask(*[listing(b"a")] * 20)
        self.assertEqual(len(self.many.prefixes), 51)
        self.assertLess(peer.transport.most_waiting, 200_000)
        peer.transport.window = None
        while len(peer.answers) < 20:
            peer.transport.take(1 << 20)
            peer.settle()
            peer.heard()
        self.assertEqual(peer.answers, [("ids", list(range(50_000)))] * 20)

    def test_bounded(self) -> None:
        """Many connections that do not read: as many lists as there may be, and short ones all the same."""
        self.patch(chunks, "_MOST_LONG", 3)
        factory = self.lists(50_000)
        peers = [Peer(factory, window=0) for _ in range(6)]
        for peer in peers:
            peer.ask(listing(b"a"))
        self.assertEqual(factory.chunks._long.free, 0)
        self.assertEqual([bool(peer.transport.waiting) for peer in peers], [True] * 3 + [False] * 3)
        self.many.count = 2000
        short = Peer(factory)
        short.ask(listing(b"b"))
        self.assertEqual(short.heard(), [("ids", list(range(2000)))])
        self.many.count = 50_000
        # One that leaves makes room, whether it was reading or waiting.
        peers[0].close()
        peers[4].close()
        self.assertEqual([bool(peer.transport.waiting) for peer in peers[1:]], [True, True, True, False, False])
        for peer in peers:
            peer.close()
        self.assertEqual(factory.chunks._long.free, 3)
        self.assertEqual(os.listdir(self.directory), [])

    def test_nobody_waits(self) -> None:
        """Once its client is gone, a list is not made to its end."""
        disk = HandDisk()
        factory = self.lists(1_000_000, disk)
        peer = Peer(factory)
        peer.ask(listing(b"a"))
        disk.do(2)
        asked = len(self.many.prefixes)
        peer.close()
        disk.do_all()
        self.assertLessEqual(len(self.many.prefixes), asked + 10)
        self.assertEqual((factory.chunks._long.free, factory.chunks._making_long.free), (128, 4))

    def test_behind_a_failure(self) -> None:
        """A list that fails does not keep the next from being made."""
        peer = self.connect()
        peer.ask(listing(b"a"), listing(b"b"), receive(b"c", 1))
        self.store.lists.pop()[1].errback(missing())
        self.store.lists.pop()[1].callback([])
        self.store.gets.pop().done.errback(missing())
        peer.settle()
        self.assertEqual(peer.heard()[1:], [("ids", []), ("none",)])
