"""Resumable uploads to a real service, by clients that others wrote, and by connections that break."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import ssl
import sys
import time
from base64 import b64encode
from random import Random
from typing import Any, ClassVar

import urllib3
from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.forked import run_forked
from tests.integration.process import CHECKOUT, PATIENCE, Storehouse, wait_for
from tests.integration.tools import needed

MIB = 1 << 20

NODE = os.path.join(CHECKOUT, "tests", "integration", "node")


class _Case(SynchronousTestCase):
    """One service with one user, whose certificate nobody has signed."""

    settings: ClassVar[dict[str, str]] = {}

    def setUp(self) -> None:
        self.house = Storehouse(os.path.abspath(self.mktemp()), settings=self.settings, https=True)
        self.addCleanup(self.house.kill)
        self.house.start()
        self.url = f"https://localhost:{self.house.https_port}"
        words = [sys.executable, "-m", "storehouse.cli", "user", "add", "ann", "--root", "storehouse-data"]
        said = self.run_command(words)
        self.key = ".".join(re.findall(r"^(?:key ID|secret) +(\S+)$", said, re.MULTILINE))
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        urllib3.disable_warnings()

    def run_command(self, words: list[str], **environment: str) -> str:
        done = run_forked(
            words,
            cwd=self.house.directory,
            env={**self.house.environment, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def file(self, name: str, size: int) -> tuple[str, bytes]:
        """A file of random bytes. @return: its path, and them."""
        path, data = os.path.join(self.house.directory, name), Random(size).randbytes(size)
        with open(path, "wb") as file:
            file.write(data)
        return path, data

    # -- HTTP by hand --------------------------------------------------------------------------

    def connect(self) -> ssl.SSLSocket:
        """A connection."""
        plain = socket.create_connection(("localhost", self.house.https_port), PATIENCE)
        connection = self.context.wrap_socket(plain, server_hostname="localhost")
        self.addCleanup(connection.close)
        return connection

    def head(self, line: str, *fields: str) -> bytes:
        """The head of a request."""
        authorized = f"Authorization: Bearer {self.key}"
        return "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", authorized, *fields, "", ""]).encode()

    def read_head(self, connection: ssl.SSLSocket) -> tuple[int, dict[str, str]]:
        """The next head of an answer: its status and fields."""
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                raise ConnectionError(f"the connection ended after {data!r}")
            data += byte
        status, *lines = data.decode("latin-1").rstrip().split("\r\n")
        return int(status.split()[1]), {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }

    def ask(self, line: str, *fields: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
        """A request of tus."""
        connection = self.connect()
        length = [f"Content-Length: {len(body)}"] if line.split()[0] in ("POST", "PATCH") else []
        connection.sendall(self.head(line, "Tus-Resumable: 1.0.0", "Connection: close", *length, *fields) + body)
        answer = self.read_head(connection)
        connection.close()
        return answer

    def patch(self, url: str, offset: int, length: int) -> ssl.SSLSocket:
        """Begin to add something."""
        connection = self.connect()
        connection.sendall(
            self.head(
                f"PATCH {url}",
                "Tus-Resumable: 1.0.0",
                "Content-Type: application/offset+octet-stream",
                f"Upload-Offset: {offset}",
                f"Content-Length: {length}",
            )
        )
        return connection

    def offset(self, url: str) -> int:
        status, fields = self.ask(f"HEAD {url}")
        self.assertEqual(status, 200)
        return int(fields["upload-offset"])

    def check(self, name: str, data: bytes) -> None:
        """It is stored."""
        connection = self.connect()
        connection.sendall(self.head(f"GET /download/{name}", "Connection: close"))
        status, fields = self.read_head(connection)
        self.assertEqual((status, int(fields["content-length"])), (200, len(data)))
        digest = hashlib.sha256()
        left = len(data)
        while left:
            piece = connection.recv(min(left, MIB))
            if not piece:
                raise ConnectionError(f"the download ended {left} bytes early")
            digest.update(piece)
            left -= len(piece)
        self.assertEqual(digest.digest(), hashlib.sha256(data).digest())


class ClientTests(_Case):
    """By published clients."""

    def test_tuspy(self) -> None:
        """In chunks with checksums, of which a wrong one is refused, and resumed by another process."""
        path, data = self.file("a file.bin", 5 * MIB + 7)
        client = TusClient(f"{self.url}/tus/", headers={"Authorization": f"Bearer {self.key}"})
        options: dict[str, Any] = {
            "chunk_size": MIB,
            "metadata": {"filename": "a file.bin"},
            "upload_checksum": True,
            "verify_tls_cert": False,
        }
        first = client.uploader(path, **options)
        first.upload(stop_at=2 * MIB)
        self.assertEqual(first.offset, 2 * MIB)
        wrong = client.uploader(path, url=first.url, **options)
        wrong._BaseUploader__checksum_algorithm = hashlib.md5  # what it says is SHA-1
        with self.assertRaises(TusUploadFailed) as caught:
            wrong.upload_chunk()
        self.assertEqual(caught.exception.status_code, 400)
        second = client.uploader(path, url=first.url, **options)
        self.assertEqual(second.offset, 2 * MIB)
        second.upload()
        self.check("a%20file.bin", data)
        for each in (first, wrong, second):
            # It leaves its last file open: the warning would come in the midst of another test.
            each.request.file.close()

    def test_tus_js_client(self) -> None:
        """In Node: in one go, in chunks, several at once, with the length said later, and bytes in the first request."""
        node, npm = needed("node", "npm")
        if not os.path.isdir(os.path.join(NODE, "node_modules", "tus-js-client")):
            words = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", NODE]
            self.run_command(words)
        for number, options in enumerate(
            (
                {},
                {"chunkSize": MIB},
                {"chunkSize": MIB, "parallelUploads": 3},
                {"chunkSize": MIB, "uploadLengthDeferred": True},
                {"chunkSize": MIB, "uploadDataDuringCreation": True},
                {"chunkSize": MIB, "overridePatchMethod": True},
            )
        ):
            path, data = self.file(f"js{number}", 3 * MIB + number)
            words = [node, os.path.join(NODE, "upload.mjs"), f"{self.url}/tus/", self.key, path, json.dumps(options)]
            self.run_command(words, NODE_TLS_REJECT_UNAUTHORIZED="0", NODE_NO_WARNINGS="1")
            self.check(f"js{number}", data)


class BrokenTests(_Case):
    """By connections that break, and a service that is killed."""

    settings: ClassVar[dict[str, str]] = {"shutdown-timeout": "1"}

    def create(self, name: str, length: int) -> str:
        metadata = f"Upload-Metadata: filename {b64encode(name.encode()).decode()}"
        status, fields = self.ask("POST /tus/", f"Upload-Length: {length}", metadata)
        self.assertEqual(status, 201)
        return fields["location"]

    def test_killed(self) -> None:
        """After C{kill -9} in the midst of a request, what was acknowledged, or told by 104, is there."""
        data = Random(1).randbytes(48 * MIB)
        url = self.create("killed", len(data))
        connection = self.connect()
        connection.sendall(
            self.head(
                f"PATCH {url.replace('/tus/', '/resumable/')}",
                "Upload-Draft-Interop-Version: 8",
                "Content-Type: application/partial-upload",
                "Upload-Offset: 0",
                "Upload-Complete: ?1",
                f"Content-Length: {len(data)}",
            )
        )
        told = sent = 0
        connection.settimeout(0.05)
        deadline = time.monotonic() + PATIENCE
        while not told:
            self.assertLess(time.monotonic(), deadline)
            if sent < 40 * MIB:
                connection.settimeout(PATIENCE)
                connection.sendall(data[sent : sent + MIB])
                sent += MIB
                time.sleep(0.05)
                connection.settimeout(0.01)
            try:
                status, fields = self.read_head(connection)
            except TimeoutError:
                continue
            self.assertEqual((status, fields["upload-draft-interop-version"]), (104, "8"))
            told = int(fields["upload-offset"])
        self.house.stop(signal.SIGKILL)
        self.house.start()
        offset = self.offset(url)
        self.assertGreaterEqual(offset, told)
        self.assertLessEqual(offset, sent)
        connection = self.patch(url, offset, len(data) - offset)
        connection.sendall(data[offset:])
        self.assertEqual(self.read_head(connection)[0], 204)
        self.check("killed", data)

    def test_stale(self) -> None:
        """Who comes back finds what came of a connection that hangs, and goes on; so after one that broke off."""
        data = Random(2).randbytes(3 * MIB)
        url = self.create("stale", len(data))
        stale = self.patch(url, 0, len(data))
        stale.sendall(data[:MIB])
        time.sleep(0.2)
        offset = self.offset(url)
        self.assertLessEqual(offset, MIB)
        status, fields = self.read_head(stale)
        self.assertEqual((status, fields["connection"]), (409, "close"))
        broken = self.patch(url, offset, len(data) - offset)
        broken.sendall(data[offset : 2 * MIB])
        broken.close()
        wait_for(lambda: self.offset(url) > offset or offset == 2 * MIB, "what came to be kept")
        offset = self.offset(url)
        last = self.patch(url, offset, len(data) - offset)
        last.sendall(data[offset:])
        self.assertEqual(self.read_head(last)[0], 204)
        self.check("stale", data)

    def test_stopped(self) -> None:
        """A service that is stopped keeps what came of requests that it does not finish."""
        data = Random(3).randbytes(2 * MIB)
        url = self.create("stopped", len(data))
        connection = self.patch(url, 0, len(data))
        connection.sendall(data[:MIB])
        time.sleep(0.3)
        self.house.stop()
        self.assertNotIn("Traceback", self.house.output)
        self.house.start()
        offset = self.offset(url)
        last = self.patch(url, offset, len(data) - offset)
        last.sendall(data[offset:])
        self.assertEqual(self.read_head(last)[0], 204)
        self.check("stopped", data)
