"""Clients that we did not write, real sockets, and what they cost the process."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from struct import pack, unpack_from
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import Protocol, connectionDone
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, ResponseDone
from twisted.web.iweb import IResponse

from tests.integration.process import PATIENCE, Storehouse

MIB = 1 << 20


class _House:
    """Starts a process for a test case."""

    def begin(self: Any, *options: str, **given: Any) -> Storehouse:
        """Start it."""
        house = Storehouse(self.mktemp(), *options, **given)
        self.addCleanup(house.kill)
        house.start()
        return house


def http_connection(house: Storehouse) -> HTTPConnection:
    """A connection of the standard library's client."""
    return HTTPConnection("127.0.0.1", house.append_port, timeout=PATIENCE)


def memory(house: Storehouse) -> float:
    """The most MiB that the process has had in memory."""
    assert house.process is not None
    with open(f"/proc/{house.process.pid}/status", encoding="ascii") as file:
        found = re.search(r"VmHWM:\s+(\d+) kB", file.read())
    assert found is not None
    return int(found[1]) / 1024


class CurlTests(_House, SynchronousTestCase):
    """curl."""

    def setUp(self) -> None:
        if shutil.which("curl") is None:
            raise SkipTest("curl is what this tests with")
        self.house = self.begin("--append-sync", "os", settings={"append-max-record": 3000000})
        self.url = f"http://127.0.0.1:{self.house.append_port}"

    def curl(self, *args: str, stdin: bytes = b"") -> str:
        """What it prints."""
        done = subprocess.run(["curl", "-sS", *args], input=stdin, capture_output=True, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.decode("latin-1")

    def file(self, size: int) -> str:
        """A file to send."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(os.urandom(size))
        return path

    def test_keep_alive(self) -> None:
        urls = [f"{self.url}/append?id=a", f"{self.url}/get?id=a&offset=0", f"{self.url}/nowhere", f"{self.url}/stat"]
        printed = self.curl("-d", "some text", "-w", " %{http_code} %{num_connects}\n", *urls)
        self.assertEqual(
            [line.split()[-2:] for line in printed.splitlines()],
            [["200", "1"], ["405", "0"], ["404", "0"], ["405", "0"]],
        )

    def test_uploads(self) -> None:
        """With and without a length, small and large: beyond 1 MiB curl waits for "100 Continue"."""
        for size in (10, 100_000, 2_500_000):
            path = self.file(size)
            for args in (
                ["--data-binary", f"@{path}"],
                ["-X", "POST", "-T", path],
                ["-X", "POST", "-H", "Transfer-Encoding: chunked", "--data-binary", f"@{path}"],
            ):
                for expect in ([], ["-H", "Expect: 100-continue"]):
                    answer = json.loads(self.curl(*args, *expect, f"{self.url}/append?id=a"))
                    copy = self.mktemp()
                    self.curl("-o", copy, f"{self.url}/get?id=a&offset={answer['offset']}")
                    self.assertEqual(_read(copy), _read(path))
            with open(path, "rb") as file:
                answer = json.loads(self.curl("-X", "POST", "-T", "-", f"{self.url}/append?id=a", stdin=file.read()))
            self.assertEqual(
                self.curl("-I", f"{self.url}/get?id=a&offset={answer['offset']}")
                .lower()
                .count(f"content-length: {size}\r\n"),
                1,
            )

    def test_too_large(self) -> None:
        """A client that waits for "100 Continue" sends nothing; one that does not still gets the response."""
        path = self.file(3_000_001)
        printed = self.curl(
            "-H",
            "Expect: 100-continue",
            "--data-binary",
            f"@{path}",
            "-w",
            " %{http_code} %{size_upload}",
            f"{self.url}/append?id=a",
        )
        self.assertEqual(printed.split()[-2:], ["413", "0"])
        for args in (["-H", "Expect:"], ["-H", "Expect:", "-H", "Transfer-Encoding: chunked"]):
            printed = self.curl(*args, "--data-binary", f"@{path}", "-w", " %{http_code}", f"{self.url}/append?id=a")
            self.assertIn("BodyTooLarge", printed)
            self.assertTrue(printed.endswith(" 413"), printed)

    def test_refused_head(self) -> None:
        """Also an answer to a head that is still being sent arrives."""
        printed = self.curl("-H", "X: " + "y" * 100_000, "-w", " %{http_code}", f"{self.url}/stat")
        self.assertTrue(printed.endswith(" 431"), printed)

    def test_http_1_0(self) -> None:
        self.assertIn('"offset":0', self.curl("-0", "-d", "some text", f"{self.url}/append?id=a"))
        self.assertEqual(self.curl("-0", f"{self.url}/get?id=a&offset=0"), "some text")
        self.assertIn("some text", self.curl("-0", f"{self.url}/scan?id=a"))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


class StandardLibraryTests(_House, SynchronousTestCase):
    """C{http.client}, which sends head and body apart."""

    def test_all(self) -> None:
        connection = http_connection(self.begin())
        self.addCleanup(connection.close)

        def ask(method: str, path: str, body: Any = None, **fields: str) -> tuple[int, bytes]:
            connection.request(method, path, body, fields, encode_chunked=not isinstance(body, bytes | None))
            response = connection.getresponse()
            return response.status, response.read()

        connection.connect()
        local = connection.sock.getsockname()
        self.assertEqual(json.loads(ask("POST", "/append?id=a", b"some text")[1])["offset"], 0)
        chunks: Iterator[bytes] = iter([b"some ", b"other ", b"data"])
        self.assertEqual(
            json.loads(ask("POST", "/append?id=a", chunks, **{"Transfer-Encoding": "chunked"})[1])["offset"], 13
        )
        self.assertEqual(
            json.loads(ask("POST", "/appendMulti?id=a", pack("<I", 3) + b"one" + pack("<I", 3) + b"two")[1])["offsets"],
            [32, 39],
        )
        self.assertEqual(ask("GET", "/get?id=a&offset=13"), (200, b"some other data"))
        self.assertEqual(ask("HEAD", "/get?id=a&offset=13"), (200, b""))
        self.assertEqual(ask("POST", "/getMulti?id=a", pack("<QQ", 39, 0)), (200, b"\3\0\0\0two\x09\0\0\0some text"))
        self.assertEqual(ask("DELETE", "/append?id=a")[0], 405)
        self.assertEqual(ask("GET", "/nowhere", b"a body")[0], 404)
        status, body = ask("GET", "/scan?id=a")
        self.assertEqual((status, len(body)), (200, 4 * 12 + 9 + 15 + 3 + 3))
        self.assertEqual(ask("DELETE", "/prefix?storagePrefix=default")[0], 200)
        self.assertEqual(connection.sock.getsockname(), local, "all over one connection")


class _Reader(Protocol):
    """Gathers a body. (C{readBody} warns of pooled connections.)"""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.done: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)

    def connectionLost(self, reason: Any = connectionDone) -> None:
        if reason.check(ResponseDone):
            self.done.callback(b"".join(self.pieces))
        else:
            self.done.errback(reason)


def _body(response: IResponse) -> Deferred[bytes]:
    reader = _Reader()
    response.deliverBody(reader)
    return reader.done


class AgentTests(_House, TestCase):
    """Twisted's own client."""

    async def test_streams(self) -> None:
        """Twelve uploads and downloads at a time over a pool."""
        house = self.begin("--append-sync", "os")
        pool = HTTPConnectionPool(reactor)
        pool.maxPersistentPerHost = 4
        agent = Agent(reactor, pool=pool)
        base = f"http://127.0.0.1:{house.append_port}".encode("ascii")
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(os.urandom(3 * MIB))

        async def round_trip(number: int) -> None:
            id = b"id%d" % number
            # The producer closes the file.
            body = FileBodyProducer(open(path, "rb"))  # noqa: SIM115
            response = await agent.request(b"POST", base + b"/append?id=" + id, bodyProducer=body)
            answer = json.loads(await _body(response))
            response = await agent.request(b"GET", base + b"/get?id=%b&offset=%d" % (id, answer["offset"]))
            self.assertEqual(await _body(response), _read(path))

        results = await DeferredList(
            [Deferred.fromCoroutine(round_trip(number)) for number in range(12)], consumeErrors=True
        )
        await pool.closeCachedConnections()
        for succeeded, result in results:
            self.assertTrue(succeeded, result)


class SocketTests(_House, SynchronousTestCase):
    """Plain sockets."""

    def connect(self, house: Storehouse) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", house.append_port), timeout=PATIENCE)
        self.addCleanup(connection.close)
        return connection

    def test_follow(self) -> None:
        """A scan goes on as records come, and ends when its prefix is closed."""
        house = self.begin()
        house.ask(house.append_port, "POST", "/append?id=a", b"first")
        connection = http_connection(house)
        self.addCleanup(connection.close)
        connection.request("GET", "/scan?id=a&follow=1")
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        self.assertEqual(response.read(17), pack("<IQ", 5, 0) + b"first")
        offset = 9
        for number in range(5):
            data = b"record %d" % number
            threading.Timer(0.02, house.ask, (house.append_port, "POST", "/append?id=a", data)).start()
            self.assertEqual(response.read(12 + len(data)), pack("<IQ", len(data), offset) + data)
            offset += 4 + len(data)
        self.assertEqual(house.ask(house.append_port, "GET", "/close")[0], 200)
        self.assertEqual(response.read(), b"")

    def test_follower_that_leaves(self) -> None:
        """Nothing stays behind, and nothing is logged."""
        house = self.begin()
        house.ask(house.append_port, "POST", "/append?id=a", b"first")
        connection = self.connect(house)
        connection.sendall(b"GET /scan?id=a&follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while b"first" not in connection.recv(65536):
            pass
        connection.close()
        self.assertEqual(house.ask(house.append_port, "POST", "/append?id=a", b"second")[0], 200)
        house.stop()
        self.assertNotIn("Traceback", house.output)

    def test_damage(self) -> None:
        """A bit that flips is found, and named."""
        house = self.begin("--append-buckets", "1")
        for data in (b"some text", b"more", b"last"):
            house.ask(house.append_port, "POST", "/append?id=a", data)
        (path,) = glob.glob(os.path.join(house.directory, "storehouse-data", "append", "default", "*.raw"))
        with open(path, "r+b") as file:
            file.seek(13 + 4)
            file.write(b"n")
        status, body = house.ask(house.append_port, "GET", "/get?id=a&offset=13")
        told = json.loads(body)
        self.assertEqual((status, told["error"]), (500, "DamagedRecord"))
        self.assertIn(os.path.realpath(path), os.path.realpath(told["detail"].split(" of ")[1].split(" is ")[0]))
        self.assertIn("offset 13", told["detail"])
        self.assertEqual(house.ask(house.append_port, "GET", "/get?id=a&offset=0"), (200, b"some text"))
        self.assertEqual(house.ask(house.append_port, "GET", "/get?id=a&offset=21"), (200, b"last"))
        status, body = house.ask(house.append_port, "POST", "/getMulti?id=a", pack("<QQQ", 21, 13, 0))
        self.assertEqual((status, body[:12]), (200, b"\4\0\0\0last\0\0\0\0"))
        self.assertIn(b"offset 13", body[12:])
        status, body = house.ask(house.append_port, "GET", "/scan?id=a")
        self.assertEqual((status, body[:21]), (200, pack("<IQ", 9, 0) + b"some text"))
        self.assertEqual(unpack_from("<IQ", body, 21), (0, 13))
        self.assertIn(b"damaged", body[33:])
        status, body = house.ask(house.append_port, "GET", "/scan?id=a&offset=21")
        self.assertEqual((status, body), (200, pack("<IQ", 4, 21) + b"last"))

    def test_pipelined(self) -> None:
        """Hundreds of requests in one write."""
        house = self.begin()
        connection = self.connect(house)
        one = b"POST /append?id=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
        slow = (
            b"POST /append?id=a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        connection.sendall(
            (one * 99 + slow) * 5 + b"GET /get?id=a&offset=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        received = b""
        while data := connection.recv(65536):
            received += data
        self.assertEqual(
            [int(offset) for offset in re.findall(rb'"offset":(\d+)', received)], [7 * number for number in range(500)]
        )
        self.assertTrue(received.endswith(b"abc"))


class MemoryTests(_House, SynchronousTestCase):
    """Memory is bounded, whatever clients do."""

    def connect(self, house: Storehouse, window: int = 0) -> socket.socket:
        connection = socket.socket()
        self.addCleanup(connection.close)
        if window:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", house.append_port))
        return connection

    def test_slow_readers(self) -> None:
        """
        20 slow readers of a 32 MiB record, as much as 640 MiB, take less than 120 MiB more than an idle process.
        """
        house = self.begin("--append-sync", "os")
        self.assertEqual(house.ask(house.append_port, "POST", "/append?id=a", bytes(4 * MIB) * 8)[0], 200)
        house.stop()
        house.start()
        idle = memory(house)
        readers = [self.connect(house, 32768) for _ in range(20)]
        for reader in readers:
            reader.sendall(b"GET /get?id=a&offset=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        for _ in range(20):
            for reader in readers:
                self.assertTrue(reader.recv(65536))
            time.sleep(0.01)
        self.assertLess(memory(house) - idle, 120)
        size = 0
        while data := readers[0].recv(1 << 20):
            size += len(data)
        self.assertGreater(size, 30 * MIB)
        self.assertLess(memory(house) - idle, 120)

    def test_pipelining_reader(self) -> None:
        """A client that asks for 2000 records of 1 MiB at once, and reads none, takes none of our memory."""
        house = self.begin("--append-sync", "os")
        for size in (MIB, 50_000):
            status, body = house.ask(house.append_port, "POST", f"/append?id=a{size}", bytes(size))
            self.assertEqual(status, 200)
            offset = json.loads(body)["offset"]
            reader = self.connect(house, 32768)
            idle = memory(house)
            reader.setblocking(False)
            line = b"GET /get?id=a%d&offset=%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % (size, offset)
            try:
                reader.send(line * 2000)
            except BlockingIOError:
                pass
            time.sleep(0.5)
            self.assertEqual(house.ask(house.append_port, "GET", "/stat")[0], 200)
            self.assertLess(memory(house) - idle, 20)

    def test_many_uploads(self) -> None:
        """
        20 uploads of 60 MiB at once, with 64 MiB for requests, take less than 280 MiB more than an idle process. Some are told to
        come back later; the others are stored, and nothing else is.
        """
        house = self.begin("--append-sync", "os", "--memory", "128MiB")
        idle = memory(house)
        piece = bytes(MIB)
        statuses: list[bytes] = []

        def upload(number: int) -> None:
            with socket.create_connection(("127.0.0.1", house.append_port), timeout=PATIENCE) as connection:
                connection.sendall(
                    b"POST /append?id=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (60 * MIB)
                )
                for _ in range(60):
                    connection.sendall(piece)
                statuses.append(connection.recv(65536)[:12])

        threads = [threading.Thread(target=upload, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        stored = statuses.count(b"HTTP/1.1 200")
        self.assertEqual(len(statuses), 20)
        self.assertLessEqual(set(statuses), {b"HTTP/1.1 200", b"HTTP/1.1 503"})
        self.assertGreater(stored, 0)
        self.assertLess(memory(house) - idle, 280)
        told = json.loads(house.ask(house.append_port, "GET", "/stat")[1])["prefixes"]["default"]
        self.assertEqual(told["records"], stored)
        shutil.rmtree(os.path.join(house.directory, "storehouse-data", "append", "default"))
