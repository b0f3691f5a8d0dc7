"""Tests of the SFSP door: many requests at a time, and no more bytes in memory than there may be."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core import sfsp
from storehouse.core.budget import ByteBudget
from storehouse.core.fast.transports import LARGE_READS
from storehouse.core.jobs import InlineDisk
from storehouse.core.sfsp import Send
from storehouse.core.streams import IByteStream, read_all
from storehouse.errors import DamagedObject, NoSpace, SizeMismatch, StorageFailed, Unavailable
from storehouse.frontends.sfsp.chunks import Chunks
from storehouse.frontends.sfsp.factory import SFSPFactory
from storehouse.frontends.sfsp.protocol import ChunkBody
from tests.conformance.streams import ByteStreamTests, begun
from tests.core.test_jobs import HandDisk
from tests.frontends.sfsp.doors import OK, DoorCase, HandStore, Peer, bounds, listing, missing, receive, send

MIB = 1 << 20


class HandCase(SynchronousTestCase):
    """A door on a store that does what the test says."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.make()

    def make(self, **limits: Any) -> None:
        """With such limits."""
        self.store = HandStore()
        self.factory = SFSPFactory(
            Chunks(self.store, InlineDisk(), os.path.abspath(self.mktemp())), self.clock, **bounds(**limits)
        )
        self.factory.startFactory()

    def connect(self, window: int | None = None) -> Peer:
        return Peer(self.factory, window)


class ChunkBodyTests(ByteStreamTests, SynchronousTestCase):
    """L{ChunkBody}."""

    def make_stream(self) -> IByteStream:
        body = ChunkBody(len(self.DATA), lambda: None, lambda: None)
        body.take(self.DATA[:4])
        body.take(self.DATA[4:])
        return body

    def test_last_bytes(self) -> None:
        """What waits to be read has the connection wait; but not its last bytes, for what follows is not of the chunk."""
        asked: list[str] = []
        body = ChunkBody(6, lambda: asked.append("pause"), lambda: asked.append("resume"))
        body.take(b"abc")
        self.assertEqual((body.left, asked), (3, ["pause"]))
        self.assertEqual(self.successResultOf(begun(body.read())), b"abc")
        body.take(b"def")
        self.assertEqual((body.left, asked), (0, ["pause", "resume"]))
        self.assertEqual(self.rest_of(body), b"def")


class OrderTests(HandCase):
    """Answers come in the order of requests, however the work ends."""

    def test_later_first(self) -> None:
        peer = self.connect()
        peer.ask(send(b"a", 1, b"1"), send(b"a", 2, b"2"), receive(b"b", 3), receive(b"b", 4))
        self.assertEqual((len(self.store.puts), len(self.store.gets)), (2, 2))
        self.store.gets[1].done.errback(missing())
        self.store.gets[0].open(3)
        self.store.puts[1].end(NoSpace("full"))
        self.assertEqual((peer.heard(), self.store.gets[0].is_read), ([], False))
        self.store.puts[0].end()
        self.assertEqual([answer[0] for answer in peer.heard()], ["ok", "internal"])
        self.store.gets[0].write(b"abc")
        self.store.gets[0].end()
        self.assertEqual(peer.heard(), [("chunk", b"b", 3, b"abc"), ("none",)])
        self.assertEqual(self.store.gets[0].closed, 1)

    def test_one_chunk_after_the_other(self) -> None:
        """A chunk is not read before all in front of it is written."""
        peer = self.connect()
        peer.ask(receive(b"a", 1), receive(b"a", 2))
        first, second = self.store.gets
        first.open(2)
        second.open(2)
        first.write(b"1")
        self.assertFalse(second.is_read)
        first.write(b"1")
        first.end()
        self.assertTrue(second.is_read)
        second.write(b"22")
        second.end()
        self.assertEqual(peer.heard(), [("chunk", b"a", 1, b"11"), ("chunk", b"a", 2, b"22")])

    def test_same_chunk_waits(self) -> None:
        """What could see or undo what is in work waits for it; what concerns others does not."""
        for first, second, waits in (
            (send(b"a", 1, b"1"), send(b"a", 1, b"2"), True),
            (send(b"a", 1, b"1"), receive(b"a", 1), True),
            (send(b"a", 1, b"1"), listing(b"a"), True),
            (receive(b"a", 1), send(b"a", 1, b"1"), True),
            (listing(b"a"), send(b"a", 1, b"1"), True),
            (send(b"a", 1, b"1"), send(b"a", 2, b"2"), False),
            (send(b"a", 1, b"1"), receive(b"a", 2), False),
            (send(b"a", 1, b"1"), receive(b"b", 1), False),
            (receive(b"a", 1), receive(b"a", 1), False),
            (receive(b"a", 1), listing(b"a"), False),
            (listing(b"a"), listing(b"b"), True),
        ):
            self.make()
            peer = self.connect()
            peer.ask(first, second)
            store = self.store
            begun = len(store.puts) + len(store.gets) + len(store.lists)
            self.assertEqual(begun, 1 if waits else 2, (first, second))
            while len(peer.answers) < 2:
                self.do_all()
                peer.settle()
                peer.heard()
            self.assertFalse(peer.transport.paused)

    def do_all(self) -> None:
        """What is in work is done."""
        store = self.store
        puts, gets, lists = store.puts[:], store.gets[:], store.lists[:]
        for each in (store.puts, store.gets, store.lists):
            each.clear()  # type: ignore[attr-defined]
        for put in puts:
            put.end()
        for get in gets:
            get.done.errback(missing())
        for _, listed in lists:
            listed.callback([])

    def test_turn_comes_after_all(self) -> None:
        """What waits begins once all before it is done, and then those behind it too."""
        peer = self.connect()
        peer.ask(send(b"a", 1, b"1"), send(b"a", 2, b"2"), receive(b"a", 2), receive(b"b", 9))
        self.store.puts[1].end()
        self.assertEqual(self.store.gets, [])
        self.store.puts[0].end()
        self.assertEqual(len(self.store.gets), 2)
        self.assertEqual(peer.heard(), [OK, OK])

    def test_thousands_that_are_done_at_once(self) -> None:
        """No recursion, and all in order."""
        peer = self.connect()
        peer.ask(send(b"a", 0, b"first"), *(send(b"a", id, b"") for id in range(1, 3000)))
        count = 0
        while self.store.puts:
            puts, self.store.puts = self.store.puts, []
            for put in reversed(puts):
                put.end()
                count += 1
            peer.settle()
        self.assertEqual((count, peer.heard()), (3000, [OK] * 3000))


class PauseTests(HandCase):
    """When nothing more is read, and that it goes on."""

    def test_store_is_slow(self) -> None:
        """Of one chunk, no more is taken than the store takes."""
        peer = self.connect()
        peer.ask(send(b"a", 1, bytes(10 * MIB)), settle=False)
        (put,) = self.store.puts
        self.assertEqual(peer.unsent, 0)
        put.end(Unavailable(""))
        peer.ask((Send, sfsp.encode_send(b"a", 1, 10 * MIB)))
        put = self.store.puts[1]
        put.pause()
        peer.send(bytes(10 * MIB))
        self.assertEqual(len(put.data), 0)
        self.assertGreaterEqual(peer.unsent, 10 * MIB - 2 * LARGE_READS)
        for _ in range(3):
            put.resume()
            put.pause()
            peer.send(b"")
        put.resume()
        peer.settle()
        self.assertEqual((len(put.data), peer.unsent, put.delivered), (10 * MIB, 0, [10 * MIB]))
        put.end()
        self.assertEqual([answer[0] for answer in peer.heard()], ["internal", "ok"])

    def test_store_that_takes_its_time(self) -> None:
        """Before it takes any, one piece at most is held."""
        begin: list[Any] = []
        self.store.put = lambda *args: begin.append(args) or Deferred()  # type: ignore[method-assign, func-returns-value]
        peer = self.connect()
        peer.ask(send(b"a", 1, bytes(MIB)))
        self.assertGreaterEqual(peer.unsent, MIB - 2 * 65536)
        self.assertTrue(peer.transport.paused)
        done = begun(read_all(begin[0][2]))
        peer.settle()
        self.assertEqual((len(self.successResultOf(done)), peer.unsent), (MIB, 0))

    def test_many_answers_are_owed(self) -> None:
        """A few hundred sends are in work at once, no more; one that is answered makes room."""
        peer = self.connect()
        peer.ask(*(send(b"a", id, b"12345678") for id in range(10_000)), settle=False)
        self.assertEqual(len(self.store.puts), 256)
        self.assertTrue(peer.transport.paused)
        self.store.puts[5].end()
        peer.settle()
        self.assertEqual(len(self.store.puts), 256)
        self.store.puts[0].end()
        peer.settle()
        self.assertEqual(len(self.store.puts), 257)
        while len(peer.answers) < 10_000:
            in_work = [put for put in self.store.puts if not put.done.called]
            self.assertLessEqual(len(in_work), 256)
            self.store.puts.clear()
            for put in in_work:
                put.end()
            peer.settle()
            peer.heard()
        self.assertFalse(peer.transport.paused)

    def test_many_chunks_are_open(self) -> None:
        """No more than a few on one connection; other connections have theirs."""
        peer, other = self.connect(), self.connect()
        for each in (peer, other):
            each.ask(*(receive(b"a", id) for id in range(100)))
        self.assertEqual(len(self.store.gets), 16)
        self.store.gets[0].done.errback(missing())
        peer.settle()
        self.assertEqual(len(self.store.gets), 17)
        peer.close()
        while len(other.answers) < 100:
            for get in self.store.gets:
                if not get.done.called:
                    get.done.errback(missing())
            other.settle()
            other.heard()
        self.assertEqual(other.answers, [("none",)] * 100)

    def test_peer_does_not_read(self) -> None:
        """Nothing is read from who does not read, nor from the store for it; others go on."""
        slow, quick = self.connect(window=1000), self.connect()
        slow.ask(receive(b"a", 1))
        get = self.store.gets[0]
        get.open(10 * MIB)
        written = 0
        while not get.is_paused:
            get.write(bytes(65536))
            written += 65536
        self.assertLess(slow.transport.most_waiting, 4 * 65536)
        slow.ask(receive(b"a", 2))
        self.assertEqual((len(self.store.gets), slow.transport.paused), (1, True))
        quick.ask(receive(b"b", 1))
        self.store.gets[1].done.errback(missing())
        self.assertEqual(quick.heard(), [("none",)])
        slow.transport.take(MIB)
        slow.settle()
        self.assertFalse(get.is_paused)
        self.assertEqual(len(self.store.gets), 3)
        get.write(bytes(10 * MIB - written))
        get.end()
        slow.transport.take(20 * MIB)
        self.store.gets[2].done.errback(missing())
        slow.settle()
        self.assertEqual(slow.heard(), [("chunk", b"a", 1, bytes(10 * MIB)), ("none",)])

    def test_pause_before_the_next_chunk(self) -> None:
        """A chunk that comes up while the peer does not read is not read either."""
        peer = self.connect(window=0)
        peer.ask(receive(b"a", 1), receive(b"a", 2))
        first, second = self.store.gets
        first.open(100_000)
        second.open(5)
        first.write(bytes(99_000))
        first.write(bytes(1000))
        self.assertTrue(first.is_paused)
        first.end()
        self.assertFalse(second.is_read)
        peer.transport.take(MIB)
        self.assertTrue(second.is_read)

    def test_answers_that_are_not_read(self) -> None:
        """What they hold is counted, and they are given up if others wait for it."""
        budget = self.factory.budget = ByteBudget(4 * MIB, self.clock, 60.0)
        peers = [self.connect(window=0) for _ in range(8)]
        for number, peer in enumerate(peers):
            peer.ask(receive(b"a", number))
            if number == len(self.store.gets):
                break
            self.store.gets[number].open(300_000)
            self.store.gets[number].write(bytes(300_000))
        stalled = len(self.store.gets)
        self.assertEqual((stalled, budget.waiting), (5, 1))
        self.assertGreater(budget.used, stalled * 300_000)
        for _ in range(7):
            self.clock.advance(1.0)
            for peer in peers:
                peer.settle()
        self.assertEqual(len(self.store.gets), stalled + 1)
        self.assertEqual([peer.transport.closed for peer in peers].count("aborted"), 1)
        for peer in peers:
            peer.close()
        self.assertEqual((budget.used, budget.waiting), (0, 0))

    def test_memory(self) -> None:
        """
        Of chunks that are whole and not stored, all connections together hold no more than they may, and one chunk
        more for each; readers that wait continue when there is room, first come first served.
        """
        self.make(memory=1000)
        peers = [self.connect() for _ in range(4)]
        for number, peer in enumerate(peers):
            peer.ask(*(send(b"%d" % number, id, bytes(600)) for id in range(10)))
        self.assertEqual(len(self.store.puts), 2 + 1 + 1 + 1)
        self.assertTrue(all(peer.transport.paused for peer in peers))
        self.assertEqual(self.held(), 3000)
        finished = 0
        while finished < 40:
            self.assertLessEqual(self.held(), 1000 + 4 * 600)
            self.store.puts[finished].end()
            finished += 1
            for peer in peers:
                peer.settle()
        self.assertEqual(self.held(), 0)
        for peer in peers:
            self.assertEqual(peer.heard(), [OK] * 10)
            self.assertFalse(peer.transport.paused)

    def held(self) -> int:
        """As the metric says."""
        return int(next(m for m in self.factory.collect() if m.name == "storehouse_sfsp_held_bytes").samples[0].value)

    def test_memory_of_those_who_left(self) -> None:
        """It counts until their chunks are stored, and theirs is no turn."""
        self.make(memory=1000)
        gone, stays = self.connect(), self.connect()
        gone.ask(send(b"a", 1, bytes(2000)), send(b"a", 2, bytes(2000)))
        stays.ask(send(b"b", 1, bytes(600)), send(b"b", 2, bytes(600)))
        self.assertEqual(len(self.store.puts), 2)
        gone.close()
        self.store.puts[1].end()
        self.assertTrue(stays.transport.paused)
        self.store.puts[0].end()
        stays.settle()
        self.assertEqual(len(self.store.puts), 3)
        self.store.puts[2].end()
        self.assertEqual((stays.heard(), self.held()), ([OK, OK], 0))

    def test_memory_of_large_chunks(self) -> None:
        """Of a large one, most was handed on to the disk before it was whole."""
        self.make(memory=3 * MIB)
        peer = self.connect()
        peer.ask(*(send(b"a", id, bytes(5 * MIB)) for id in range(3)))
        self.assertEqual((self.held(), peer.unsent), (3 * MIB, 0))
        self.assertEqual(len(self.store.puts), 3)

    def test_memory_of_what_fails(self) -> None:
        self.make(memory=1000)
        peer = self.connect()
        peer.ask(send(b"a", 1, bytes(2000)), send(b"a", 2, bytes(2000)))
        self.store.puts[0].end(NoSpace(""))
        peer.settle()
        self.store.puts[1].end(NoSpace(""))
        self.assertEqual((self.held(), [answer[0] for answer in peer.heard()]), (0, ["internal"] * 2))


class FailureTests(HandCase):
    """A request that fails does not hurt those behind it."""

    def test_rest_is_skipped(self) -> None:
        """A send that fails early is answered at once; its bytes are read, and are not taken for requests."""
        peer = self.connect()
        kind, data = send(b"a", 1, b"*/%?" * 100_000)
        peer.expect(kind)
        peer.send(data[:200_000])
        (put,) = self.store.puts
        put.pause()
        put.end(NoSpace("no room in /srv/secret"))
        peer.settle()
        ((kind_of, text),) = peer.heard()
        self.assertEqual((kind_of, "secret" in text, "space" in text), ("internal", False, True))
        self.assertFalse(put.is_taking)
        peer.send(data[200_000:])
        peer.ask(send(b"a", 2, b"2"))
        self.assertEqual((self.store.puts[1].data, peer.unsent), (b"2", 0))
        self.store.puts[1].end()
        self.assertEqual(peer.heard(), [OK])
        self.assertEqual(len(put.data), 200_000 - len(data) + 400_000)

    def test_consumer_breaks(self) -> None:
        """What the store raises when it is given bytes is an answer."""
        peer = self.connect()
        kind, data = send(b"a", 1, bytes(1000))
        peer.expect(kind)
        peer.send(data[:500])
        (put,) = self.store.puts

        def broken(data: bytes) -> None:
            raise ValueError("inside")

        put.write = broken  # type: ignore[method-assign]
        peer.send(data[500:])
        self.assertEqual(len(put.delivered), 1)
        put.done.errback(put.delivered[0])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        ((kind_of, text),) = peer.heard()
        self.assertEqual((kind_of, "inside" in text), ("internal", False))
        peer.ask(receive(b"a", 1))
        self.assertEqual(len(self.store.gets), 1)

    def test_every_kind(self) -> None:
        """Errors that are expected and those that are not, of each request: INTERNAL, and the connection goes on."""
        peer = self.connect()
        for error in (StorageFailed("/srv/secret"), SizeMismatch("/srv/secret"), ValueError("/srv/secret")):
            peer.ask(send(b"a", 1, b"1"), receive(b"b", 1))
            peer.ask(listing(b"a"), settle=False)
            self.store.puts.pop().end(error)
            self.store.gets.pop().done.errback(error)
            self.store.lists.pop()[1].errback(error)
            heard = peer.heard()
            self.assertEqual([answer[0] for answer in heard], ["internal"] * 3)
            self.assertNotIn("secret", str(heard))
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 3 if isinstance(error, ValueError) else 0)
        self.assertFalse(peer.is_closed)

    def test_damage_before_the_first_byte(self) -> None:
        """It is another answer."""
        peer = self.connect()
        peer.ask(receive(b"a", 1), send(b"a", 2, b"2"))
        get = self.store.gets[0]
        get.open(5)
        get.end(DamagedObject("00ff", "secret"))
        self.store.puts[0].end()
        (kind, text), ok = peer.heard()
        self.assertEqual((kind, "damaged" in text, "secret" in text, ok), ("internal", True, False, OK))
        self.assertEqual(get.closed, 1)

    def test_damage_within(self) -> None:
        """The connection is broken off, so that nobody takes the chunk for whole."""
        peer = self.connect()
        peer.ask(receive(b"a", 1), receive(b"a", 2))
        get, other = self.store.gets
        get.open(5)
        other.open(5)
        get.write(b"12")
        get.end(DamagedObject("00ff", "secret"))
        peer.settle()
        self.assertEqual(peer.transport.closed, "aborted")
        self.assertEqual((peer.heard(), get.closed, other.closed), ([], 1, 1))

    def test_reader_breaks(self) -> None:
        peer = self.connect()
        peer.ask(receive(b"a", 1))
        (get,) = self.store.gets
        get.open(5)
        get.write(b"12")
        get.end(ValueError("inside"))
        peer.settle()
        self.assertEqual(peer.transport.closed, "aborted")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_empty_chunk(self) -> None:
        peer = self.connect()
        peer.ask(receive(b"a", 1))
        self.store.gets[0].open(0)
        self.store.gets[0].end()
        self.assertEqual(peer.heard(), [("chunk", b"a", 1, b"")])


class LargeTests(DoorCase):
    """Chunks larger than any memory that there is for them, on a real store."""

    SIZE = 24 * MIB

    def test_there_and_back(self) -> None:
        disk = HandDisk()
        door = self.make_door(bounds(memory=MIB), disk=disk, block_size=256 << 10)
        piece = os.urandom(MIB)
        data = piece * (self.SIZE // MIB)
        peer = door.connect()
        # Not settled: the peer's bytes wait for the disk, job by job.
        peer.ask(send(b"a", 1, data), settle=False)
        taken = 0
        while disk.jobs:
            disk.do()
            before = peer.unsent
            peer.send(b"", settle=False)
            taken = max(taken, before - peer.unsent)
        peer.settle()
        self.assertEqual(peer.heard(), [OK])
        self.assertLess(taken, 6 * MIB)
        slow = door.connect(window=0)
        slow.ask(receive(b"a", 1))
        while not slow.heard():
            self.assertLess(len(slow.transport.waiting), 2 * MIB)
            slow.transport.take(MIB)
            slow.settle()
        self.assertEqual(slow.answers, [("chunk", b"a", 1, data)])
        self.assertLess(slow.transport.most_waiting, 2 * MIB)

    def test_damage(self) -> None:
        """In the first block it is INTERNAL; in a later one the connection is broken off behind the good ones."""
        door = self.make_door()
        door.ask(send(b"a", 1, bytes(400_000)))
        (info,) = self.successResultOf(door.store.list_objects("sfsp")).objects
        path = os.path.join(door.directory, "objects", "data", info.id[:2], info.id, "part.1")
        for at, kinds in ((399_500, []), (500, ["internal"])):
            with open(path, "r+b") as file:
                file.seek(at)
                file.write(b"\1")
            peer = door.connect()
            peer.ask(receive(b"a", 1), receive(b"a", 2))
            self.assertEqual([answer[0] for answer in peer.heard()], [*kinds, "none"] if kinds else [])
            self.assertEqual(peer.transport.closed, None if kinds else "aborted")
