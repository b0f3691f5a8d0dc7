"""Many slow clients of a storehouse in a process of its own: others are served meanwhile, and memory is bounded."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time
from contextlib import ExitStack
from http.client import HTTPConnection

from twisted.trial.unittest import TestCase

from tests.integration.process import PATIENCE, Storehouse, wait_for

MIB = 1 << 20


class SharesTests(TestCase):
    """A storehouse with 64 MiB of memory for bodies and answers."""

    def setUp(self) -> None:
        directory = self.mktemp()
        os.makedirs(directory)
        with open(os.path.join(directory, "config.toml"), "w", encoding="utf-8") as file:
            file.write("[archive.streams.notes]\n")
        # Of the tests, one waits until the time for heads has passed; in the others nothing ends because it took long.
        is_short = self._testMethodName == "test_slow_sign_in"
        timeout = {"head-timeout": "1s"} if is_short else {"head-timeout": "1h", "idle-timeout": "1h"}
        options = ("--config", "config.toml", "--memory", "128MiB", "--trusted-proxies", "127.0.0.3")
        self.house = Storehouse(directory, *options, settings=timeout, https=True)
        self.house.start()
        self.addCleanup(self.house.stop)
        self.sockets = ExitStack()
        self.addCleanup(self.sockets.close)

    def connect(self, port: int, data: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
        """A client that sends and does nothing more."""
        client = socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0))
        self.sockets.enter_context(client)
        # So that what is not read stays with the service.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE)
        client.sendall(data)
        return client

    def ask(
        self, port: int, method: str, path: str, body: bytes | None = None, source: str = "127.0.0.1"
    ) -> tuple[int, bytes]:
        """A request, and its answer, within some seconds."""
        client = HTTPConnection("127.0.0.1", port, timeout=PATIENCE, source_address=(source, 0))
        try:
            client.request(method, path, body)
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()

    def resident(self) -> int:
        """Bytes of memory that the process has."""
        assert self.house.process is not None
        with open(f"/proc/{self.house.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def test_announced_lengths(self) -> None:
        """Bodies that are announced and do not come hold nobody up."""
        port = self.house.append_port
        head = b"POST /append?id=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 67108864\r\n\r\nx"
        for _ in range(50):
            self.connect(port, head)
        for size in (10, 100_000, MIB, 30 * MIB):
            self.assertEqual(self.ask(port, "POST", "/append?id=b", bytes(size))[0], 200)

    def test_bodies_that_stop(self) -> None:
        """Half of what was announced, and no more: memory is bounded, and small ones come in."""
        port, before = self.house.append_port, self.resident()
        head = b"POST /append?id=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n"
        clients = [self.connect(port, head) for _ in range(60)]
        for client in clients:
            client.setblocking(False)
            try:
                while client.send(bytes(65536)):
                    pass
            except (BlockingIOError, ConnectionError):
                pass
        time.sleep(1)
        for source in ("127.0.0.1", "127.0.0.2"):
            for size in (10, 100_000, MIB):
                self.assertEqual(self.ask(port, "POST", "/append?id=b", bytes(size), source)[0], 200)
        self.assertLess(self.resident() - before, 140 * MIB)

    def test_readers(self) -> None:
        """Clients that ask and do not read: memory is bounded, and those who read are served."""
        append, archive = self.house.append_port, self.house.archive_port
        before = self.resident()
        self.ask(append, "POST", "/append?id=a", bytes(20 * MIB))
        for _ in range(4):
            self.assertEqual(self.ask(archive, "POST", "/archive/notes", bytes(2 * MIB))[0], 200)
        # Fewer of archives: what they are sent has to be encoded, which takes long on a busy machine.
        for port, target, clients in (
            (append, b"/get?id=a&offset=0", 25),
            (archive, b"/archive/notes", 5),
            (append, b"/scan?id=a", 25),
        ):
            for _ in range(clients):
                self.connect(port, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for source in ("127.0.0.2", "127.0.0.1"):
            self.assertEqual(self.ask(append, "POST", "/append?id=b", bytes(MIB), source)[0], 200)
            self.assertEqual(len(self.ask(append, "GET", "/get?id=a&offset=0", source=source)[1]), 20 * MIB)
            status, body = self.ask(archive, "GET", "/archive/notes", source=source)
            self.assertEqual((status, body.count(b"\n")), (200, 4))
        self.assertLess(self.resident() - before, 220 * MIB)

    def test_proxy_protocol(self) -> None:
        """Before TLS, and before HTTP, of the proxy that is named; to others it is no request."""
        head = b"PROXY TCP4 192.0.2.1 127.0.0.1 5000 80\r\n"
        second = (
            b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
            + bytes((192, 0, 2, 1, 127, 0, 0, 1))
            + struct.pack(">HH", 5000, 80)
        )
        question = b"GET /stat HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        for data in (head, second, b""):
            client = self.connect(self.house.append_port, data + question, "127.0.0.3")
            self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 200 "))
        client = self.connect(self.house.append_port, head + question)
        self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 400 "))
        context = ssl.create_default_context(
            cafile=os.path.join(self.house.directory, "storehouse-data", "tls", "certificate.pem")
        )
        for data in (head, second, b""):
            client = self.connect(self.house.https_port, data, "127.0.0.3")
            secured = context.wrap_socket(client, server_hostname="localhost")
            self.sockets.enter_context(secured)
            secured.sendall(b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            self.assertTrue(secured.recv(100).startswith(b"HTTP/1.1 200 "))

    def test_slow_sign_in(self) -> None:
        """Nobody keeps a connection by a form that trickles."""
        context = ssl.create_default_context(
            cafile=os.path.join(self.house.directory, "storehouse-data", "tls", "certificate.pem")
        )
        client = context.wrap_socket(self.connect(self.house.https_port), server_hostname="localhost")
        self.sockets.enter_context(client)
        client.settimeout(0.2)
        client.sendall(b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n")
        answer: list[bytes] = []

        def answered() -> bool:
            try:
                client.sendall(b"k")
                answer.append(client.recv(1000))
            except TimeoutError:
                return False
            return True

        wait_for(answered, "an answer to a slow form")
        self.assertTrue(answer[0].startswith(b"HTTP/1.1 408 "), answer)
