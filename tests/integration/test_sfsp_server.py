"""The SFSP door of a real service: many connections, kills, the end of the service, and certificates."""

from __future__ import annotations

import os
import resource
import selectors
import signal
import socket
import ssl
import threading
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core import sfsp
from storehouse.core.sfsp import Code
from tests.core.tls.certificates import Authority
from tests.integration.process import PATIENCE, Storehouse, free_port, wait_for

OK = sfsp.encode_status(Code.OK)

IDLE = 1000
BUSY = 200


class Client:
    """Blocking, and plain."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.socket: Any = socket.create_connection(("127.0.0.1", port), PATIENCE)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def read(self, size: int) -> bytes:
        """So many bytes, or fewer at the end."""
        data = b""
        while len(data) < size and (piece := self.socket.recv(size - len(data))):
            data += piece
        return data

    def send(self, name: bytes, id: int, data: bytes) -> bytes:
        """Store a chunk. @return: the answer, if it is as long as OK is."""
        self.socket.sendall(sfsp.encode_send(name, id, len(data)) + data)
        return self.read(16)

    def receive(self, name: bytes, id: int) -> bytes | None:
        """A chunk."""
        self.socket.sendall(sfsp.encode_receive(name, id))
        if self.read(8) == sfsp.encode_status(Code.NOT_FOUND):
            return None
        head = self.read(24 + len(name))
        return self.read(int.from_bytes(head[-8:], "little"))

    def list(self, name: bytes) -> list[int]:
        """IDs."""
        self.socket.sendall(sfsp.encode_list(name))
        count = int.from_bytes(self.read(16)[8:], "little")
        data = self.read(8 * count)
        return [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]


class ServerTests(SynchronousTestCase):
    """C{twistd storehouse}."""

    def start(self, *options: str) -> None:
        self.port = free_port()
        self.server = Storehouse(
            self.mktemp(), "--append", "off", "--sfsp", f"tcp:{self.port}:interface=127.0.0.1", *options
        )
        self.addCleanup(self.server.kill)
        self.server.start()

    def metric(self, name: str) -> float:
        """What the admin door shows."""
        shown = self.server.ask(self.server.admin_port, "GET", "/metrics")[1].decode().splitlines()
        return float(next(line for line in shown if line.startswith(f"{name} ")).rpartition(" ")[2])

    def test_many_connections(self) -> None:
        """A thousand that do nothing, and two hundred that send, receive and list at the same time."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.start("--objects-sync", "os")
        idle = [socket.create_connection(("127.0.0.1", self.port), PATIENCE) for _ in range(IDLE)]
        for each in idle:
            self.addCleanup(each.close)
        busy = []
        selector = selectors.DefaultSelector()
        self.addCleanup(selector.close)
        for number in range(BUSY):
            name = b"file %d" % number
            data = bytes([number]) * 10_000
            asked = b"".join(sfsp.encode_send(name, id, len(data)) + data for id in range(3))
            asked += sfsp.encode_receive(name, 1) + sfsp.encode_list(name)
            expected = OK * 3 + sfsp.encode_chunk(name, 1, len(data)) + data
            expected += sfsp.encode_ids_head(3) + sfsp.encode_ids(range(3))
            connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
            self.addCleanup(connection.close)
            connection.sendall(asked)
            selector.register(connection, selectors.EVENT_READ, (number, expected, bytearray()))
            busy.append(connection)
        wait_for(lambda: self.metric("storehouse_sfsp_connections") == IDLE + BUSY, "connections")
        left = BUSY
        deadline = time.monotonic() + PATIENCE
        while left and time.monotonic() < deadline:
            for key, _ in selector.select(1):
                number, expected, heard = key.data
                heard += key.fileobj.recv(65536)  # type: ignore[union-attr]
                if len(heard) >= len(expected):
                    self.assertEqual(bytes(heard), expected, number)
                    selector.unregister(key.fileobj)
                    left -= 1
        self.assertEqual(left, 0)
        # Those who did nothing are served like everybody else.
        idle[0].sendall(sfsp.encode_list(b"file 7"))
        self.assertEqual(idle[0].recv(100), sfsp.encode_ids_head(3) + sfsp.encode_ids(range(3)))
        self.assertEqual(self.metric('storehouse_sfsp_requests_total{code="OK",request="send"}'), 3.0 * BUSY)

    def test_kill(self) -> None:
        """What was answered is there afterwards; of what was still coming, nothing is."""
        self.start()
        with Client(self.port) as one, Client(self.port) as two:
            for id in range(5):
                self.assertEqual(one.send(b"a", id, b"chunk %d" % id), OK)
            one.socket.sendall(sfsp.encode_send(b"a", 3, 5_000_000) + bytes(3_000_000))
            two.socket.sendall(sfsp.encode_send(b"a", 77, 5_000_000) + bytes(4_999_999))
            wait_for(lambda: self.metric("storehouse_sfsp_received_bytes_total") > 7_000_000, "bytes")
            self.server.stop(signal.SIGKILL)
        self.server.start()
        with Client(self.port) as again:
            self.assertEqual(again.list(b"a"), list(range(5)))
            for id in range(5):
                self.assertEqual(again.receive(b"a", id), b"chunk %d" % id)
            self.assertIsNone(again.receive(b"a", 77))
        staged = os.path.join(self.server.directory, "storehouse.data", "objects", "tmp")
        if os.path.isdir(staged):
            self.assertEqual(os.listdir(staged), [])

    def test_stopped_under_load(self) -> None:
        """What was answered is stored; a client that sends more reads the end of the connection, and not a reset."""
        self.start("--objects-sync", "os")
        acknowledged: list[int] = []
        broken: list[Exception] = []

        def load(number: int) -> None:
            with Client(self.port) as client:
                data = b"".join(sfsp.encode_send(b"a", number * 10_000 + id, 100) + bytes(100) for id in range(5000))

                def write() -> None:
                    try:
                        client.socket.sendall(data)
                    except OSError:
                        pass

                writer = threading.Thread(target=write)
                writer.start()
                try:
                    for id in range(5000):
                        answer = client.read(16)
                        if not answer:
                            break
                        if answer != OK:
                            raise AssertionError(answer)
                        acknowledged.append(number * 10_000 + id)
                except Exception as error:
                    broken.append(error)
                client.socket.shutdown(socket.SHUT_RDWR)
                writer.join()

        clients = [threading.Thread(target=load, args=(number,)) for number in range(4)]
        for client in clients:
            client.start()
        wait_for(lambda: len(acknowledged) > 50, "answers")
        self.assertEqual(self.server.stop(), -signal.SIGTERM)
        for client in clients:
            client.join()
        self.assertEqual(broken, [])
        self.assertLess(len(acknowledged), 20_000)
        self.server.start()
        with Client(self.port) as again:
            self.assertEqual(sorted(set(acknowledged) - set(again.list(b"a"))), [])

    def test_certificates(self) -> None:
        """With those of clients, the door may listen where others reach it, and serves nobody without one."""
        directory = os.path.abspath(self.mktemp())
        authority, foreign = Authority(directory), Authority(directory, "foreign")
        own = authority.sign("server")
        port = free_port()
        self.start("--sfsp", f"ssl:{port}:privateKey={own}:certKey={own}", "--sfsp-client-ca", authority.path)
        with Client(port, authority.client(authority.sign("client"))) as client:
            self.assertEqual(client.send(b"a", 1, bytes(300_000)), OK)
            self.assertEqual(client.receive(b"a", 1), bytes(300_000))
        for certificate in (None, foreign.sign("stranger")):
            try:
                with Client(port, authority.client(certificate)) as client:
                    self.assertEqual(client.send(b"a", 1, b"1"), b"")
            except (ssl.SSLError, ConnectionError):
                pass
        with Client(port, authority.client(authority.sign("client"))) as client:
            self.assertEqual(len(client.receive(b"a", 1) or b""), 300_000)

    def test_refused_to_start(self) -> None:
        """Where others than this machine would reach it, it asks who they are, or is told that it need not."""
        directory = os.path.abspath(self.mktemp())
        authority = Authority(directory)
        own = authority.sign("server")
        endpoint = f"ssl:0:privateKey={own}:certKey={own}"
        bad = os.path.join(directory, "bad.pem")
        with open(bad, "w", encoding="ascii") as file:
            file.write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        for options, words in (
            (("--sfsp", "tcp:0"), ["--allow-anonymous", "all interfaces"]),
            (("--sfsp", endpoint), ["--allow-anonymous"]),
            (("--sfsp", "tcp:0", "--sfsp-client-ca", authority.path), ["ssl:"]),
            (("--sfsp", endpoint, "--sfsp-client-ca", bad), [bad]),
            (("--sfsp", f"ssl:0:privateKey={bad}:certKey={bad}:interface=127.0.0.1"), ["certificate or key"]),
        ):
            done = Storehouse(self.mktemp(), "--append", "off", *options).run()
            self.assertEqual(done.returncode, 1, done.stdout)
            said = done.stdout + done.stderr
            for word in words:
                self.assertIn(word, said)
            self.assertNotIn("Traceback", said)
