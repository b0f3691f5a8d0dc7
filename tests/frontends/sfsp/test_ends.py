"""Tests of the SFSP door: how connections end."""

from __future__ import annotations

import os
import socket
import ssl
import time
from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from storehouse.core import sfsp
from storehouse.core.connections import Lingering
from storehouse.core.fast.transports import make_eager
from storehouse.core.jobs import InlineDisk
from storehouse.core.sfsp import Code, ResponseDecoder, Send, Status
from storehouse.core.tls.contexts import server_endpoint
from storehouse.errors import NoSpace
from storehouse.frontends.sfsp import protocol
from storehouse.frontends.sfsp.chunks import Chunks
from storehouse.frontends.sfsp.factory import SFSPFactory
from tests.core.test_jobs import HandDisk
from tests.core.tls.certificates import Authority
from tests.frontends.sfsp.doors import OK, DoorCase, HandStore, bounds, listing, missing, receive, send
from tests.frontends.sfsp.test_flow import HandCase
from tests.integration.process import PATIENCE


class LostTests(DoorCase):
    """A peer that goes away."""

    def test_in_mid_send(self) -> None:
        """Whatever byte it comes to: nothing is stored, what was stays, and nothing is left over."""
        for in_memory in (False, True):
            door = self.make_door(in_memory=in_memory)
            door.ask(send(b"a", 1, b"old"))
            _, data = send(b"a", 1, b"new data")
            for cut in range(len(data)):
                peer = door.connect()
                peer.expect(Send)
                peer.send(data[:cut])
                peer.close()
                self.assertEqual(peer.heard(), [])
                self.assertEqual(
                    door.ask(receive(b"a", 1), listing(b"a")), [("chunk", b"a", 1, b"old"), ("ids", [1])], cut
                )
            self.assertEqual(len(door.factory.connections), 0)
            if not in_memory:
                self.assertEqual(os.listdir(os.path.join(door.directory, "objects", "tmp")), [])

    def test_in_mid_send_with_jobs_under_way(self) -> None:
        """Whatever the disk was doing."""
        for steps in range(30):
            disk = HandDisk()
            door = self.make_door(disk=disk)
            peer = door.connect()
            kind, data = send(b"a", 1, os.urandom(5000))
            peer.expect(kind)
            peer.send(data[:3000], settle=False)
            for _ in range(steps):
                if disk.jobs:
                    disk.do()
                peer.send(b"", settle=False)
            peer.close()
            disk.do_all()
            other = door.connect()
            other.ask(listing(b"a"), receive(b"a", 1))
            self.assertEqual(other.heard(), [("ids", []), ("none",)])
            self.assertEqual(door.factory._in_flight, 0)
            self.assertEqual(os.listdir(os.path.join(door.directory, "objects", "tmp")), [])
            other.close()

    def test_whole_and_lost(self) -> None:
        """A chunk that came whole may be stored, although no response can be sent."""
        disk = HandDisk()
        door = self.make_door(disk=disk)
        peer = door.connect()
        peer.ask(send(b"a", 1, b"1"), settle=False)
        peer.close()
        disk.do_all()
        other = door.connect()
        other.ask(receive(b"a", 1))
        self.assertIn(other.heard(), ([("none",)], [("chunk", b"a", 1, b"1")]))

    def test_while_it_receives(self) -> None:
        """What was open for it is closed."""
        door = self.make_door()
        door.ask(send(b"a", 1, bytes(500_000)))
        peer = door.connect(window=1000)
        peer.ask(*(receive(b"a", 1) for _ in range(20)))
        peer.close()
        self.successResultOf(door.store.delete("sfsp", "a/00000000000000000001"))
        walk = os.walk(os.path.join(door.directory, "objects", "data"))
        self.assertEqual([name for _, _, names in walk for name in names], [])

    def test_lists(self) -> None:
        """A long list waits in a file without a name, which is gone afterwards, also when nobody reads it."""
        door = self.make_door(in_memory=True)
        ids = list(range(0, 30_000, 3))
        door.ask(*(send(b"a", id, b"") for id in ids))
        before = self.open_files(door.directory)
        self.assertEqual(door.ask(listing(b"a")), [("ids", ids)])
        self.assertEqual(self.open_files(door.directory), before)
        for taken in (0, 100, 70_000):
            peer = door.connect(window=taken)
            peer.ask(listing(b"a"), listing(b"a"))
            self.assertEqual(self.open_files(door.directory) - before, 1)
            self.assertEqual(os.listdir(door.lists), [])
            peer.close()
            self.assertEqual(self.open_files(door.directory), before)

    def open_files(self, directory: str) -> int:
        """How many files under a directory this process has open."""
        count = 0
        for fd in os.listdir("/proc/self/fd"):
            try:
                count += os.readlink(f"/proc/self/fd/{fd}").startswith(directory)
            except OSError:
                pass
        return count

    def test_while_it_is_listed(self) -> None:
        disk = HandDisk()
        door = self.make_door(disk=disk, in_memory=True)
        peer = door.connect()
        peer.ask(*(send(b"a", id, b"") for id in range(9000)))
        self.assertEqual(set(peer.heard()), {OK})
        before = self.open_files(door.directory)
        for steps in range(0, 20):
            peer = door.connect(window=10)
            peer.ask(listing(b"a"), settle=False)
            for _ in range(steps):
                if disk.jobs:
                    disk.do()
            peer.close()
            disk.do_all()
            self.assertEqual(self.open_files(door.directory), before)


class HalfClosedTests(HandCase):
    """A peer that sends no more, but reads."""

    def test_gets_its_answers(self) -> None:
        peer = self.connect()
        peer.ask(send(b"a", 1, b"1"), receive(b"b", 1), send(b"a", 1, b"2"))
        peer.end()
        self.store.puts[0].end()
        self.store.gets[0].open(3)
        self.store.gets[0].write(b"ab")
        peer.settle()
        self.assertFalse(peer.is_closed)
        self.store.gets[0].write(b"c")
        self.store.gets[0].end()
        peer.settle()
        self.store.puts[1].end()
        peer.settle()
        self.assertEqual(peer.heard(), [OK, ("chunk", b"b", 1, b"abc"), OK])
        self.assertTrue(peer.is_closed)

    def test_many(self) -> None:
        """All of them, although more than are taken at once."""
        peer = self.connect()
        peer.ask(*(send(b"a", id, b"1") for id in range(1000)), settle=False)
        peer.end()
        while not peer.is_closed:
            for put in self.store.puts:
                if not put.done.called:
                    put.end()
            peer.settle()
        self.assertEqual(peer.heard(), [OK] * 1000)

    def test_nothing_asked(self) -> None:
        peer = self.connect()
        peer.end()
        self.assertTrue(peer.is_closed)

    def test_half_a_request(self) -> None:
        """What is not whole is no request, wherever it is cut: nothing is stored, and the answer says so."""
        for kind, data in (send(b"a", 1, b"12345"), receive(b"a", 1), listing(b"a")):
            for cut in range(1, len(data)):
                self.make()
                peer = self.connect()
                peer.expect(kind)
                peer.send(data[:cut])
                peer.end()
                if self.store.puts:
                    (error,) = self.store.puts[0].delivered
                    self.store.puts[0].end(error.value)
                    peer.settle()
                    peer.heard()
                    text = f"the chunk ended after {5 - len(data) + cut} of 5 bytes; nothing of it was stored"
                else:
                    peer.heard()
                    text = f"the last request ended early, after {cut} bytes"
                self.assertEqual(peer.answers, [("invalid", text)])
                self.assertTrue(peer.is_closed)

    def test_half_a_request_behind_whole_ones(self) -> None:
        """Those are answered first, in order."""
        peer = self.connect()
        peer.ask(send(b"a", 1, b"1"), receive(b"b", 1))
        peer.send(send(b"a", 2, b"22")[1][:-1])
        peer.expect(Send)
        peer.end()
        first, second = self.store.puts
        second.end(second.delivered[0].value)
        peer.settle()
        self.assertEqual(peer.heard(), [])
        first.end()
        self.store.gets[0].done.errback(missing())
        peer.settle()
        heard = peer.heard()
        self.assertEqual(heard[:2], [OK, ("none",)])
        self.assertEqual([answer[0] for answer in heard[2:]], ["invalid"])
        self.assertTrue(peer.is_closed)

    def test_failed_before_it_was_cut(self) -> None:
        """A chunk that could not be stored anyway is answered with that."""
        peer = self.connect()
        peer.expect(Send)
        peer.send(send(b"a", 1, b"12345")[1][:-1])
        self.store.puts[0].end(NoSpace("no room"))
        peer.end()
        self.assertEqual([answer[0] for answer in peer.heard()], ["internal"])
        self.assertTrue(peer.is_closed)


class IdleTests(HandCase):
    """A peer that does nothing when it is its turn."""

    def setUp(self) -> None:
        super().setUp()
        self.make(idle_timeout=10)

    def times_out(self, peer: Any, kinds: list[str]) -> None:
        """With these answers, after ten seconds and not before."""
        self.clock.pump([1.0] * 9)
        peer.settle()
        self.assertFalse(peer.is_closed)
        self.clock.pump([1.0] * 3)
        peer.settle()
        self.assertTrue(peer.is_closed)
        heard = peer.heard()
        self.assertEqual([answer[0] for answer in heard], kinds)
        if kinds:
            for word in ("10 seconds", "idle-timeout"):
                self.assertIn(word, heard[-1][1])
            self.assertEqual(self.factory.connections.timed_out, 1)

    def test_nothing_sent(self) -> None:
        self.times_out(self.connect(), ["invalid"])

    def test_in_a_head(self) -> None:
        peer = self.connect()
        peer.send(b"*\1")
        self.clock.advance(1)
        self.times_out(peer, ["invalid"])

    def test_between_requests(self) -> None:
        peer = self.connect()
        for _ in range(5):
            peer.ask(receive(b"a", 1))
            self.store.gets.pop().done.errback(missing())
            self.clock.pump([1.0] * 9)
        self.assertEqual(peer.heard(), [("none",)] * 5)
        self.clock.pump([1.0] * 3)
        self.assertTrue(peer.is_closed)

    def test_in_mid_send(self) -> None:
        """Nothing is stored, and the send itself is answered with why."""
        peer = self.connect()
        kind, data = send(b"a", 1, b"12345")
        peer.expect(kind)
        peer.send(data[:-1])
        self.clock.pump([1.0] * 12)
        (put,) = self.store.puts
        (error,) = put.delivered
        put.end(error.value)
        peer.settle()
        ((code, text),) = peer.heard()
        self.assertEqual(code, "invalid")
        self.assertIn("idle-timeout", text)

    def test_byte_by_byte(self) -> None:
        """As long as bytes come, it is not idle; but at less than the least rate it is refused."""
        for size, word in ((2000, ""), (1, "min-body-rate")):
            self.make(idle_timeout=10)
            peer = self.connect()
            kind, data = send(b"a", 1, bytes(20_000 if size > 1 else 20))
            peer.expect(kind)
            for at in range(0, len(data), size):
                peer.send(data[at : at + size])
                self.clock.pump([1.0] * (2 if size > 1 else 8))
            if word:
                heard = peer.heard()
                self.assertEqual((heard[-1][0], word in heard[-1][1], peer.is_closed), ("invalid", True, True))
            else:
                self.store.puts[0].end()
                self.assertEqual(peer.heard(), [OK])

    def test_not_its_turn(self) -> None:
        """While we are at work it may wait for as long as it takes, and then has its ten seconds."""
        for request in (send(b"a", 1, b"1"), receive(b"a", 1), listing(b"a")):
            self.make(idle_timeout=10)
            peer = self.connect()
            peer.ask(request)
            self.clock.pump([1.0] * 100)
            self.assertEqual((peer.heard(), peer.is_closed), ([], False))
            if self.store.puts:
                self.store.puts[0].end()
            elif self.store.gets:
                self.store.gets[0].done.errback(missing())
            else:
                self.store.lists[0][1].callback([])
            peer.settle()
            self.assertEqual(len(peer.heard()), 1)
            self.times_out(peer, ["invalid"])

    def test_store_is_slow(self) -> None:
        """Nor is it its turn while the store takes no more of its chunk."""
        peer = self.connect()
        kind, data = send(b"a", 1, bytes(500_000))
        peer.expect(kind)
        peer.send(data[:10_000])
        (put,) = self.store.puts
        put.pause()
        peer.send(data[10_000:])
        self.clock.pump([1.0] * 100)
        put.resume()
        peer.settle()
        put.end()
        self.assertEqual(peer.heard(), [OK])

    def test_does_not_read(self) -> None:
        """It is broken off, since it would not read why either; one that reads a little now and then is not."""
        for reads in (True, False):
            self.make(idle_timeout=10)
            peer = self.connect(window=1000)
            peer.ask(receive(b"a", 1))
            get = self.store.gets[0]
            get.open(1_000_000)
            get.write(bytes(199_000))
            get.write(bytes(1000))
            self.assertTrue(get.is_paused)
            for _ in range(30):
                self.clock.advance(1)
                if reads:
                    peer.transport.take(10)
                peer.settle()
            self.assertEqual(peer.transport.closed, None if reads else "aborted")
            self.assertEqual(get.closed, 0 if reads else 1)

    def test_after_a_refusal(self) -> None:
        """It does not stay for long although it sends on and on."""
        peer = self.connect()
        peer.send(b"?")
        self.assertEqual([answer[0] for answer in peer.heard()], ["invalid"])
        self.assertTrue(peer.transport.half_closed)
        for _ in range(4):
            peer.send(bytes(1000))
            self.assertEqual(peer.unsent, 0)
            self.clock.advance(1)
            self.assertIsNone(peer.transport.closed)
        self.clock.advance(1.5)
        peer.settle()
        self.assertEqual(peer.transport.closed, "done")
        self.assertEqual(len(self.factory.connections), 0)

    def test_leaves_after_a_refusal(self) -> None:
        """A peer that closes its side too is not waited for."""
        peer = self.connect()
        peer.send(b"?")
        peer.end()
        self.assertEqual((peer.transport.closed, len(self.factory.connections)), ("done", 0))
        peer = self.connect()
        peer.send(b"?")
        peer.close()
        self.assertEqual(
            [call for call in self.clock.getDelayedCalls() if call.getTime() > self.clock.seconds() + 1], []
        )


class RefusedTests(HandCase):
    """One connection too many."""

    def test_told(self) -> None:
        self.make(max_connections=2)
        peers = [self.connect(), self.connect()]
        refused = self.connect()
        ((kind, text),) = refused.heard()
        self.assertEqual(kind, "invalid")
        for word in ("2 connections", "max-connections"):
            self.assertIn(word, text)
        self.assertTrue(refused.is_closed)
        refused.ask(receive(b"a", 1))
        self.assertEqual(self.store.gets, [])
        self.assertEqual((len(self.factory.connections), self.factory.connections.refused), (2, 1))
        peers[0].close()
        again = self.connect()
        again.ask(receive(b"a", 1))
        self.assertEqual(len(self.store.gets), 1)
        refused.close()
        self.assertEqual(len(self.factory.connections), 2)

    def test_many(self) -> None:
        """When there are very many, they are closed without a word, and none stays for long."""
        self.make(max_connections=1)
        self.connect()
        refused = [self.connect() for _ in range(64)]
        self.assertIsNone(self.factory.buildProtocol(None))
        refused[0].close()
        self.assertIsNotNone(self.factory.buildProtocol(None))
        self.clock.advance(6)
        for peer in refused:
            peer.settle()
            self.assertIsNotNone(peer.transport.closed)


class DrainTests(HandCase):
    """The service stops."""

    def test_idle(self) -> None:
        """Who asked for nothing is closed at once."""
        peers = [self.connect(), self.connect()]
        peers[1].ask(receive(b"a", 1))
        self.store.gets[0].done.errback(missing())
        done = self.factory.drain(10)
        for peer in peers:
            peer.settle()
            self.assertTrue(peer.is_closed)
        self.successResultOf(done)

    def test_in_work(self) -> None:
        """What has begun is answered: chunks go to their ends, in both directions."""
        peer = self.connect()
        kind, data = send(b"a", 2, bytes(10))
        peer.ask(send(b"a", 1, b"1"), receive(b"b", 1))
        peer.expect(kind)
        peer.send(data[:-3])
        done = self.factory.drain(10)
        peer.send(data[-3:] + receive(b"c", 5)[1])
        self.assertFalse(peer.is_closed)
        self.store.puts[0].end()
        get = self.store.gets[0]
        get.open(3)
        get.write(b"12")
        peer.settle()
        self.assertFalse(peer.is_closed)
        get.write(b"3")
        get.end()
        self.store.puts[1].end()
        peer.settle()
        self.assertEqual(peer.heard(), [OK, ("chunk", b"b", 1, b"123"), OK])
        self.assertEqual(len(self.store.gets), 1)
        self.assertTrue(peer.is_closed)
        peer.close()
        self.successResultOf(done)

    def test_peer_that_sends_on(self) -> None:
        """
        One that has sent more than was taken gets its answers, and is not reset: our side is closed, and its bytes
        are read on for a moment.
        """
        peer = self.connect()
        peer.ask(*(send(b"a", id, b"1") for id in range(20_000)), settle=False)
        begun = len(self.store.puts)
        self.assertGreater(peer.unsent, 100_000)
        done = self.factory.drain(10)
        for put in self.store.puts:
            put.end()
        peer.settle()
        self.assertEqual(peer.heard(), [OK] * begun)
        self.assertEqual((peer.transport.half_closed, peer.unsent), (True, 0))
        self.assertIsNone(peer.transport.closed)
        peer.end()
        self.successResultOf(done)

    def test_half_a_head(self) -> None:
        """Who is about to ask reads that we close, and not a reset."""
        peer = self.connect()
        peer.send(b"*\1")
        done = self.factory.drain(10)
        peer.settle()
        self.assertEqual((peer.transport.half_closed, peer.transport.closed), (True, None))
        self.clock.advance(5.1)
        peer.settle()
        self.successResultOf(done)

    def test_peer_that_floods(self) -> None:
        """While an answer is worked on, nothing piles up of what will not be taken any more."""
        peer = self.connect()
        peer.ask(receive(b"a", 1))
        self.factory.drain(10)
        for _ in range(10):
            peer.send(listing(b"b")[1] * 10_000)
        self.assertLess(peer.channel._decoder.held, 200_000)
        self.store.gets[0].done.errback(missing())
        peer.settle()
        self.assertEqual((peer.heard(), peer.transport.half_closed, peer.unsent), ([("none",)], True, 0))

    def test_too_slow(self) -> None:
        peer = self.connect()
        peer.ask(receive(b"a", 1))
        done = self.factory.drain(10)
        self.clock.advance(10.1)
        peer.settle()
        self.assertEqual(peer.transport.closed, "aborted")
        self.successResultOf(done)
        self.store.gets[0].open(5)
        self.assertEqual(self.store.gets[0].closed, 1)

    def test_waits_for_a_turn(self) -> None:
        """What has come whole and waits for its turn has begun."""
        peer = self.connect()
        peer.ask(send(b"a", 1, b"1"), receive(b"a", 1))
        self.factory.drain(10)
        self.store.puts[0].end()
        peer.settle()
        self.store.gets[0].done.errback(missing())
        peer.settle()
        self.assertEqual(peer.heard(), [OK, ("none",)])
        self.assertTrue(peer.is_closed)


class SocketTests(TestCase):
    """The ends of real connections."""

    async def listen(self, description: str = "tcp:0:interface=127.0.0.1", ca: str = "", **limits: Any) -> int:
        # So that nothing ends because it took long.
        self.patch(protocol, "Lingering", partial(Lingering, long=3600, brief=3600))
        self.store = HandStore()
        self.factory = SFSPFactory(
            Chunks(self.store, InlineDisk(), os.path.abspath(self.mktemp())), reactor, **bounds(**limits)
        )
        port = await server_endpoint(reactor, description, ca).listen(self.factory)
        make_eager(port)
        self.addCleanup(self.factory.connections.stop)
        self.addCleanup(self.factory.drain, 0)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def refusal(self, connection: Any) -> Status:
        """What a server says at last, and that it closes behind it."""
        data = b""
        while piece := connection.recv(65536):
            data += piece
        decoder = ResponseDecoder()
        decoder.feed(data)
        status = decoder.next()
        assert isinstance(status, Status)
        return status

    async def test_refusal_is_read(self) -> None:
        """By a peer that has sent, and goes on to send, megabytes: it is not reset meanwhile."""
        port = await self.listen(max_chunk=1000)

        def client() -> Any:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
                connection.sendall(sfsp.encode_send(b"a", 1, 1 << 32))
                for _ in range(100):
                    connection.sendall(bytes(200_000))
                return self.refusal(connection)

        for _ in range(3):
            status = await deferToThread(client)
            self.assertEqual((status.code, b"1000" in status.message), (Code.INVALID_REQ, True))

    async def test_peer_that_closes(self) -> None:
        """When it closes too, nothing is waited for."""
        port = await self.listen()

        def client() -> Any:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
                connection.sendall(b"?")
                return self.refusal(connection)

        await deferToThread(client)
        await self.gone()

    async def gone(self) -> None:
        """All connections are closed."""
        while len(self.factory.connections):
            await deferToThread(time.sleep, 0.01)

    async def test_too_many(self) -> None:
        port = await self.listen(max_connections=0)

        def client() -> Any:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
                connection.sendall(receive(b"a", 1)[1] * 1000)
                return self.refusal(connection)

        self.assertIn(b"max-connections", (await deferToThread(client)).message)

    async def test_half_closed(self) -> None:
        """C{shutdown} and then the answers."""
        port = await self.listen()

        def client() -> bytes:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
                connection.sendall(send(b"a", 1, b"1")[1] + send(b"a", 2, b"2")[1])
                connection.shutdown(socket.SHUT_WR)
                data = b""
                while piece := connection.recv(65536):
                    data += piece
                return data

        def answer() -> None:
            if len(self.store.puts) < 2:
                reactor.callLater(0.01, answer)  # type: ignore[attr-defined]
                return
            self.store.puts[1].end()
            reactor.callLater(0.05, self.store.puts[0].end)  # type: ignore[attr-defined]

        answer()
        self.assertEqual(await deferToThread(client), sfsp.encode_status(Code.OK) * 2)
        await self.gone()

    async def test_tls(self) -> None:
        """The same with TLS."""
        directory = os.path.abspath(self.mktemp())
        authority = Authority(directory)
        own = authority.sign("server")
        port = await self.listen(
            f"ssl:0:privateKey={own}:certKey={own}:interface=127.0.0.1", authority.path, max_chunk=9
        )
        context = authority.client(authority.sign("client"))

        def client(first: bytes, more: int) -> Any:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                    connection.sendall(first)
                    try:
                        for _ in range(more):
                            connection.sendall(bytes(200_000))
                    except ssl.SSLError:
                        pass
                    status = self.refusal(connection)
                    try:
                        connection.unwrap()
                    except OSError:
                        pass
                    return status

        for first, more in ((b"?", 0), (sfsp.encode_send(b"a", 1, 10), 20)):
            self.assertEqual((await deferToThread(client, first, more)).code, Code.INVALID_REQ)
        await self.gone()

    async def test_broken_send(self) -> None:
        """A failed send is answered before all of it has come, and its bytes are still taken."""
        port = await self.listen()

        def fail() -> None:
            if not self.store.puts:
                reactor.callLater(0.01, fail)  # type: ignore[attr-defined]
                return
            self.store.puts[0].end(NoSpace("full"))

        def client() -> Any:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
                connection.sendall(sfsp.encode_send(b"a", 1, 5_000_000) + bytes(1000))
                code = connection.recv(8)
                connection.sendall(bytes(5_000_000 - 1000) + b"?")
                last = b""
                while piece := connection.recv(65536):
                    last += piece
                return code, last

        fail()
        code, last = await deferToThread(client)
        self.assertEqual(code, bytes([30]) + bytes(7))
        self.assertIn(b"0x3f", last)
