"""
A door with TLS in a real process, met by programs that no one here wrote, and by clients that behave badly.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.platform import raise_file_limit
from storehouse.core.tls.contexts import CIPHERS
from tests.core.tls.certificates import Authority
from tests.integration.hello import SSL3, TLS10, TLS11, TLS12, accepted_suites, hello, offer
from tests.integration.https_door import PIECE, HTTPSDoor
from tests.integration.process import PATIENCE, wait_for

#: The numbers of our ciphers of TLS 1.2 for a certificate of the kind that we make, in our order.
_ECDSA = [0xC02B, 0xC02C, 0xCCA9]
_RSA = [0xC02F, 0xC030, 0xCCA8]


def heard_to_the_end(connection: socket.socket, drip: bytes = b"") -> bytes:
    """
    What comes until the connection is closed.

    @param drip: what is sent all the time.
    """
    heard, begun = b"", time.monotonic()
    connection.settimeout(0.2)
    while time.monotonic() < begun + PATIENCE:
        try:
            if drip:
                connection.sendall(drip)
            data = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return heard
        if not data:
            return heard
        heard += data
    raise AssertionError("it was not closed")


class HTTPSCase(SynchronousTestCase):
    """A door, and curl."""

    def door(self, **options: str) -> HTTPSDoor:
        door = HTTPSDoor(self.mktemp(), **{"shutdown_timeout": "0", **options})
        self.addCleanup(door.stop)
        return door

    def curl(self, door: HTTPSDoor, path: str, *options: str, ca: str = "") -> str:
        """What it prints; it must succeed."""
        command = ["curl", "-sS", "--max-time", "60", "--cacert", ca or door.certificate, *options, door.url + path]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr + door.log)
        return done.stdout

    def state(self, door: HTTPSDoor, ca: str = "") -> Any:
        return json.loads(self.curl(door, "/state", ca=ca))

    def connect(self, door: HTTPSDoor, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        context = context or ssl.create_default_context(cafile=door.certificate)
        plain = socket.create_connection(("127.0.0.1", door.port), PATIENCE)
        self.addCleanup(plain.close)
        connection = context.wrap_socket(plain, server_hostname="localhost")
        self.addCleanup(connection.close)
        return connection


class ScanTests(HTTPSCase):
    """What is offered, found out by OpenSSL's own client and by hellos made by hand."""

    def s_client(self, door: HTTPSDoor, *options: str, send: str = "Q\n") -> str:
        """What it prints, and then its status."""
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{door.port}", *options],
            input=send,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return f"{done.stdout}{done.stderr}\nstatus {done.returncode}"

    def assert_spoken(self, said: str, *words: str) -> None:
        for word in (*words, "status 0"):
            self.assertIn(word, said)

    def assert_refused(self, said: str) -> None:
        self.assertNotIn("status 0", said)
        self.assertTrue("Cipher is (NONE)" in said or "Error" in said or "error" in said, said)

    def test_versions(self) -> None:
        door = self.door()
        self.assert_spoken(self.s_client(door, "-tls1_2"), "TLSv1.2", "Compression: NONE", "Server Temp Key: X25519")
        self.assert_spoken(self.s_client(door, "-tls1_3"), "TLSv1.3", "TLS_AES_128_GCM_SHA256")
        for old in ("-tls1", "-tls1_1"):
            self.assert_refused(self.s_client(door, old, "-cipher", "ALL:@SECLEVEL=0"))
        for version in (SSL3, TLS10, TLS11):
            self.assertIsNone(offer(door.port, version, range(0x0001, 0x00C8)))
            self.assertEqual(accepted_suites(door.port, version), [])
        # What it does speak is heard by the same means.
        self.assertEqual(offer(door.port, TLS12, _ECDSA), (TLS12, _ECDSA[0]))

    def test_ciphers(self) -> None:
        """Each of ours is spoken, by its kind of certificate, and nothing else."""
        door = self.door()
        self.assertEqual(accepted_suites(door.port, TLS12), _ECDSA)
        for cipher in CIPHERS:
            said = self.s_client(door, "-tls1_2", "-cipher", cipher)
            if "ECDSA" in cipher:
                self.assert_spoken(said, f"Cipher is {cipher}")
            else:
                self.assert_refused(said)
        for suite in ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"):
            self.assert_spoken(self.s_client(door, "-tls1_3", "-ciphersuites", suite), f"Cipher is {suite}")
        self.assert_refused(self.s_client(door, "-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"))
        for weak in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "aNULL", "eNULL", "AES128-GCM-SHA256", "DHE"):
            self.assert_refused(self.s_client(door, "-tls1_2", "-cipher", f"{weak}:@SECLEVEL=0"))

    def test_ciphers_of_rsa(self) -> None:
        directory = os.path.abspath(self.mktemp())
        os.mkdir(directory)
        certificate, key = os.path.join(directory, "rsa.pem"), os.path.join(directory, "key.pem")
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", "/CN=localhost"]
        subprocess.run([*make, "-out", certificate, "-keyout", key], check=True, capture_output=True)
        door = self.door(https_cert=certificate, https_key=key)
        self.assertEqual(accepted_suites(door.port, TLS12), _RSA)
        for cipher in CIPHERS:
            if "RSA" in cipher:
                self.assert_spoken(self.s_client(door, "-tls1_2", "-cipher", cipher), f"Cipher is {cipher}")

    def test_extras(self) -> None:
        """The protocol within, sessions that are resumed, and no renegotiation."""
        door = self.door()
        for offered, chosen in (("h2,http/1.1", "ALPN protocol: http/1.1"), ("h2", "No ALPN negotiated")):
            self.assert_spoken(self.s_client(door, "-alpn", offered), chosen)
        kept = os.path.join(door.directory, "session")
        self.assert_spoken(self.s_client(door, "-tls1_2", "-sess_out", kept), "New, TLSv1.2")
        self.assert_spoken(self.s_client(door, "-tls1_2", "-sess_in", kept), "Reused, TLSv1.2")
        said = self.s_client(door, "-tls1_2", send="R\nGET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self.assertIn("RENEGOTIATING", said)
        self.assertNotIn("200 OK", said)
        self.assertEqual(self.curl(door, "/who"), "nobody")


class TransferTests(HTTPSCase):
    """Large bodies by curl."""

    def file(self, size: int) -> str:
        path = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def test_up_and_down(self) -> None:
        door = self.door()
        before = self.state(door)["resident"]
        for version in ("1.2", "1.3"):
            only = ("--tls-max", version)
            sent = json.loads(self.curl(door, "/up/x", "-T", self.file(64 << 20), *only))
            self.assertEqual(sent["size"], 64 << 20)
            # Not record by record.
            self.assertGreater(sent["most"], 128 * 1024)
            self.assertLess(sent["pieces"], 3072)  # records are 4096
            to = os.path.abspath(self.mktemp())
            self.curl(door, "/down/64", "-o", to, *only)
            with open(to, "rb") as file:
                got = hashlib.file_digest(file, "sha256").digest()
            self.assertEqual(got, hashlib.sha256(PIECE * 64).digest())
        state = self.state(door)
        self.assertEqual(state["kind"], "LargePiecesTLS")
        self.assertLess(state["resident"] - before, 16 << 20)

    def test_slow_reader(self) -> None:
        """What it does not take is not piled up here."""
        door = self.door()
        before = self.state(door)["resident"]
        connection = self.connect(door)
        connection.sendall(b"GET /down/512 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.recv(1000)
        time.sleep(1)
        self.assertLess(self.state(door)["resident"] - before, 32 << 20)

    def test_answer_in_the_midst(self) -> None:
        """An upload that is refused at once: the answer is read, and most of the file never sent."""
        door = self.door()
        path = self.file(300 << 20)
        for options in ((), ("-H", "Expect:")):
            said = self.curl(door, "/refuse/x", "-T", path, "-w", "\n%{http_code} %{size_upload}", *options)
            answer, _, numbers = said.partition("\n")
            self.assertEqual(json.loads(answer)["error"], "TooLarge")
            status, sent = map(int, numbers.split())
            self.assertEqual(status, 413)
            self.assertLess(sent, 100 << 20)
        # What is no request is answered too, although more follows.
        connection = self.connect(door)
        connection.sendall(b"PUT /up/x HTTP/1.1\r\nContent-Length : 9999999\r\n\r\n" + bytes(4 << 20))
        self.assertTrue(connection.recv(4096).startswith(b"HTTP/1.1 400 "))

        head = self.curl(door, "/nothing", "-i")
        self.assertIn("HTTP/1.1 404", head)
        self.assertIn("X-Content-Type-Options: nosniff", head)
        self.assertNotIn("Strict-Transport-Security", head)


class CertificateTests(HTTPSCase):
    """Whose certificate, and which."""

    def test_given_and_changed(self) -> None:
        """A new one is taken while connections are open, which stay."""
        directory = os.path.abspath(self.mktemp())
        authority = Authority(directory)
        given = os.path.join(directory, "given.pem")
        shutil.copy(authority.sign("one", 60), given)
        door = self.door(https_cert=given)
        # Their certificates are for the loopback address.
        door.url = door.url.replace("localhost", "127.0.0.1")
        self.assertEqual(self.curl(door, "/who", ca=authority.path), "nobody")

        def number() -> bytes:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            got = self.connect(door, context).getpeercert(binary_form=True)
            assert got is not None
            return got

        context = authority.client()
        context.check_hostname = False
        old = self.connect(door, context)
        first = number()
        shutil.copy(authority.sign("two", 60), given + ".new")
        os.rename(given + ".new", given)
        wait_for(lambda: number() != first, "the new certificate")
        old.sendall(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"200 OK", old.recv(4096))
        self.assertFalse(os.path.exists(door.certificate))

    def test_own_endpoint(self) -> None:
        """An C{ssl:} endpoint brings its certificate; the rest is as we say."""
        authority = Authority(os.path.abspath(self.mktemp()))
        own = authority.sign("own", 60)
        door = self.door(https=f"ssl:0:privateKey={own}:certKey={own}:interface=127.0.0.1")
        door.url = door.url.replace("localhost", "127.0.0.1")
        self.assertEqual(self.curl(door, "/who", ca=authority.path), "nobody")
        self.assertEqual(accepted_suites(door.port, TLS12), _ECDSA)
        self.assertIsNone(offer(door.port, TLS11, range(0x0001, 0x00C8)))

    def test_clients(self) -> None:
        """They may show one, which must be good then."""
        directory = os.path.abspath(self.mktemp())
        authority, other = Authority(directory), Authority(directory, "other")
        door = self.door(https_client_ca=authority.path)
        self.assertEqual(self.curl(door, "/who"), "nobody")
        good = authority.sign("alice")
        for version in ("1.2", "1.3"):
            self.assertEqual(self.curl(door, "/who", "--cert", good, "--tls-max", version), "alice")
        for bad in (other.sign("mallory"), authority.sign("late", days=-1)):
            command = ["curl", "-sS", "--max-time", "20", "--cacert", door.certificate, "--cert", bad]
            done = subprocess.run([*command, door.url + "/who"], capture_output=True, text=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(done.stdout, "")
        # It is remembered by sessions that are resumed.
        context = ssl.create_default_context(cafile=door.certificate)
        context.load_cert_chain(good)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        session = None
        for resumed in (False, True):
            plain = socket.create_connection(("127.0.0.1", door.port), PATIENCE)
            with context.wrap_socket(plain, server_hostname="localhost", session=session) as connection:
                connection.sendall(b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                data = b""
                while more := connection.recv(4096):
                    data += more
                self.assertTrue(data.endswith(b"alice"), data)
                self.assertEqual(connection.session_reused, resumed)
                session = connection.session


class EndTests(HTTPSCase):
    """How it stops."""

    def test_clients_that_do_not_answer(self) -> None:
        """They get the end of TLS, and nothing waits for them."""
        door = self.door(shutdown_timeout="3600")
        connections = [self.connect(door) for _ in range(5)]
        silent = socket.create_connection(("127.0.0.1", door.port), PATIENCE)
        self.addCleanup(silent.close)
        connections[0].sendall(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"nobody", connections[0].recv(4096))
        wait_for(lambda: self.state(door)["connections"] == 7, "all of them")
        door.stop()
        self.assertEqual(door.process.returncode, 0)
        self.assertNotIn("interrupted", door.log)
        for connection in connections:
            self.assertEqual(connection.recv(100), b"")


class SlowTests(HTTPSCase):
    """Clients that hold what they do not use."""

    def test_slow_loris(self) -> None:
        """
        Handshakes that never end, even if bytes come; heads and bodies that never end; and peers that go on sending
        after the last answer: all are closed, and one that is good is served.
        """
        door = self.door(head_timeout="1", idle_timeout="2")
        context = ssl.create_default_context(cafile=door.certificate)
        first = hello(TLS12, _ECDSA)

        def shaking(data: bytes = b"", drip: bytes = b"") -> bytes:
            with socket.create_connection(("127.0.0.1", door.port), PATIENCE) as connection:
                connection.sendall(data)
                return heard_to_the_end(connection, drip)

        def speaking(data: bytes, drip: bytes = b"") -> bytes:
            with socket.create_connection(("127.0.0.1", door.port), PATIENCE) as plain:
                with context.wrap_socket(plain, server_hostname="localhost") as connection:
                    connection.sendall(data)
                    return heard_to_the_end(connection, drip)

        # A record that announces far more than comes.
        endless_hello = b"\x16\x03\x01\x20\x00\x01\x00\x1f\xf0"
        with ThreadPoolExecutor(12) as clients:
            never_shaken = [clients.submit(shaking), clients.submit(shaking, first[:50])]
            never_shaken += [clients.submit(shaking, endless_hello, b"\0") for _ in range(2)]
            head = clients.submit(speaking, b"GET /who HTTP/1.1\r\nHost: x\r\nA: b")
            dripped = clients.submit(speaking, b"GET /who HTTP/1.1\r\nHost: x\r\nA: b", b"c")
            body = clients.submit(speaking, b"PUT /up/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
            idle = clients.submit(speaking, b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
            endless = clients.submit(speaking, b"nonsense\r\n\r\n", bytes(1000))
            unwanted = clients.submit(
                speaking, b"PUT /refuse/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n", bytes(1000)
            )
            self.assertEqual(self.curl(door, "/who"), "nobody")
            for each in never_shaken:
                # At most an alert.
                self.assertLess(len(each.result()), 100)
            self.assertTrue(head.result().startswith(b"HTTP/1.1 408 "), head.result())
            self.assertTrue(dripped.result().startswith(b"HTTP/1.1 408 "), dripped.result())
            self.assertEqual(body.result(), b"")
            self.assertTrue(idle.result().startswith(b"HTTP/1.1 200 "))
            self.assertTrue(endless.result().startswith(b"HTTP/1.1 400 "))
            self.assertTrue(unwanted.result().startswith(b"HTTP/1.1 413 "))
        # The one that asks.
        wait_for(lambda: self.state(door)["connections"] == 1, "all to be closed")

    def test_many(self) -> None:
        """A thousand that do nothing cost little, and a busy one is served among them."""
        raise_file_limit()
        door = self.door()
        context = ssl.create_default_context(cafile=door.certificate)
        # So that what is made once has been made.
        self.connect(door, context).sendall(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
        before = self.state(door)
        connections = [self.connect(door, context) for _ in range(1000)]
        wait_for(lambda: self.state(door)["connections"] == before["connections"] + 1000, "all of them")
        after = self.state(door)
        each = (after["resident"] - before["resident"]) / 1000
        self.assertLess(each, 64 * 1024)
        # Nor do they keep much of what they once sent.
        for connection in connections[:200]:
            connection.sendall(b"PUT /up/x HTTP/1.1\r\nHost: x\r\nContent-Length: 524288\r\n\r\n" + bytes(524288))
            self.assertIn(b'"size":524288', connection.recv(4096))
        each = (self.state(door)["resident"] - after["resident"]) / 200
        self.assertLess(each, 64 * 1024)
        self.curl(door, "/down/32", "-o", os.devnull)
        sent = json.loads(self.curl(door, "/up/x", "-T", self.large()))
        self.assertEqual(sent["size"], 32 << 20)

    def large(self) -> str:
        path = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.truncate(32 << 20)
        return path

    def test_one_too_many(self) -> None:
        """It is told so, and does not stay if it never shakes hands."""
        door = self.door(max_connections="2", head_timeout="1")
        kept = [self.connect(door) for _ in range(2)]
        refused = self.connect(door)
        self.assertTrue(refused.recv(4096).startswith(b"HTTP/1.1 503 "))
        with socket.create_connection(("127.0.0.1", door.port), PATIENCE) as silent:
            self.assertEqual(heard_to_the_end(silent), b"")
        kept[0].sendall(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"200 OK", kept[0].recv(4096))
