"""The parts of L{bench.uploads} that decide what is measured and believed."""

from __future__ import annotations

import contextlib
import email
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.trial.unittest import SynchronousTestCase

from bench import uploads, uploads_peers
from bench.harness import BenchError, Server
from bench.upload import make_body, nginx_configuration
from bench.uploads_load import form
from bench.uploads_peers import OURS, SUBSTITUTIONS, Side, Transfer
from tests.integration.tools import needed


class CommandTests(SynchronousTestCase):
    """What the command takes."""

    def refused(self, *arguments: str) -> str:
        """The message with which it refuses its arguments."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            error = self.assertRaises(SystemExit, uploads.main, arguments)
        self.assertEqual(error.code, 2)
        return said.getvalue()

    def test_refused(self) -> None:
        """Mistakes are explained."""
        self.assertIn("--rounds", self.refused("--rounds", "0"))
        self.assertIn("--size", self.refused("--size", "0"))
        self.assertIn("--only", self.refused("--only", "nonsense"))
        self.assertIn("--ours", self.refused("--ours", "nonsense"))


class PeerTests(SynchronousTestCase):
    """The servers beside ours."""

    def test_substituted(self) -> None:
        """What is to be replaced is there once, or it is another program."""
        source = " ".join(old for old, _ in SUBSTITUTIONS)
        self.assertEqual(uploads_peers.substituted(source), " ".join(new for _, new in SUBSTITUTIONS))
        self.assertRaises(BenchError, uploads_peers.substituted, source + source)
        self.assertRaises(BenchError, uploads_peers.substituted, "")

    def test_nginx(self) -> None:
        """TLS only with a certificate."""
        text = nginx_configuration(Path("/there"), Path("/there/root"), 9, certificate=Path("/here"))
        self.assertIn(":9 ssl;", text)
        self.assertEqual(text.count(" /here/"), 2)
        self.assertNotIn("ssl", nginx_configuration(Path("/there"), Path("/there/root"), 9))

    def test_upload(self) -> None:
        """A form where one is taken, PUT elsewhere; always with the same cipher, and as somebody."""
        body = Path("/a/body")
        server = Server("it", 1, None, Path())  # type: ignore[arg-type]
        side = Side(server, Path("/c"), "https://form", "https://put/", "https://get/", key="id:secret")
        self.assertIn("file=@/a/body", side.upload(body))
        command = side.curl("x")
        self.assertIn("TLS_AES_128_GCM_SHA256", command)
        self.assertEqual(command[command.index("-u") + 1], "id:secret")
        side = Side(server, Path("/c"), "", "https://put/", "https://get/")
        self.assertEqual(side.upload(body)[-1], "https://put/body")
        self.assertNotIn("-u", side.curl("x"))


class LoadTests(SynchronousTestCase):
    """The slow uploads."""

    def test_form(self) -> None:
        """A request that says its length, with one file."""
        before, data, after = form("https://127.0.0.1:9/upload", "id:secret", 7, 1000)
        head, _, start = before.partition(b"\r\n\r\n")
        line, _, fields = head.partition(b"\r\n")
        self.assertEqual(line, b"POST /upload HTTP/1.1")
        request = email.message_from_bytes(fields + b"\r\n\r\n" + start + data + after)
        self.assertEqual(request["Host"], urlsplit("https://127.0.0.1:9").netloc)
        self.assertEqual(int(request["Content-Length"]), len(start + data + after))
        parts: Any = request.get_payload()
        (part,) = parts
        self.assertEqual(part.get_filename(), "slow-7")
        self.assertEqual(part.get_payload(decode=True), data)
        self.assertEqual(len(data), 1000)


def transfers(*seconds: float) -> list[Transfer]:
    """What took so long."""
    return [Transfer(each, 1.0, 2.0) for each in seconds]


class TableTests(SynchronousTestCase):
    """How figures are shown."""

    def row(self, text: str, name: str) -> Sequence[str]:
        """The cells of the line that begins with a name."""
        (line,) = (line for line in text.splitlines() if line.startswith(name))
        return line.removeprefix(name).split()

    def test_ratios(self) -> None:
        """Medians, beside the medians of the peers."""
        ours = next(iter(OURS))
        found = {"Go program": transfers(4, 4, 40), "nginx": transfers(1, 1, 1), ours: transfers(2, 2, 0.1)}
        text = uploads._table("title", found, dict.fromkeys(found, 3 << 20), 4.0)
        self.assertEqual(text.splitlines()[0], "title")
        self.assertEqual(self.row(text, ours), ["2.00", "2.00-40.00", "2.00", "0.50", "0.25", "0.50", "3"])
        self.assertEqual(self.row(text, "Go program")[2:4], ["1.00", "0.25"])


class VisitTests(SynchronousTestCase):
    """What is measured, with little of it."""

    def setUp(self) -> None:
        needed("curl", "openssl")
        self.directory = Path(os.path.abspath(self.mktemp()))
        self.directory.mkdir()
        uploads_peers.make_certificate(self.directory)

    def body(self, name: str, size: int) -> Path:
        """A file of random bytes."""
        body = self.directory / name
        make_body(body, size)
        return body

    def test_ours(self) -> None:
        """Every way in and out, at once and slowly; what is wrong is found."""
        for name, value in (("_SLOW", 5), ("_SLOW_SIZE", 1000), ("_SLOW_SECONDS", 0.1), ("_FAST", 2)):
            self.patch(uploads, name, value)
        bodies = [self.body("one", 3 << 20), self.body("two", 100)]
        back = self.directory / "back"
        with uploads_peers.storehouse("ours, encrypted, relaxed", self.directory) as side:
            self.assertIn("TLS_AES_128_GCM_SHA256", side.cipher())
            for upload in (side.send, side.put):
                transfer = upload(bodies[0])
                self.assertGreater(transfer.seconds, 0)
                self.assertGreater(transfer.client_cpu, 0)
                side.compare(bodies[0], back)
                side.remove(bodies[0])
            self.assertRaises(BenchError, side.get, bodies[0])
            uploads._at_once(side, bodies)
            for body in bodies:
                side.compare(body, back)
            make_body(bodies[1], 100)
            error = self.assertRaises(BenchError, side.compare, bodies[1], back)
            self.assertIn("not what was sent", str(error))
            uploads._drip(side, bodies[1])
            budget, peak = uploads._held(side)
            self.assertEqual(budget, 64 << 20)
            self.assertGreater(peak, 0)
            stranger = attrs.evolve(side, key="nobody:nothing")
            self.assertRaises(BenchError, stranger.send, bodies[1])
            self.assertRaises(BenchError, uploads._drip, stranger, bodies[1])

    def test_lost(self) -> None:
        """Where bytes at the end may be missing, the others are looked at all the same, and too many are found."""
        body = self.body("body", 5000)
        content = body.read_bytes()
        server = Server("it", 1, None, Path())  # type: ignore[arg-type]
        side = Side(server, Path("/c"), "", "", "", lost=100)
        for came, is_right in (
            (content, True),
            (content[:-99], True),
            (content[:-100], False),
            (content + b"x", False),
            (content[1:], False),
        ):

            def get(side: Side, body: Path, target: str, came: bytes = came) -> None:
                Path(target).write_bytes(came)

            self.patch(Side, "get", get)
            if is_right:
                side.compare(body, self.directory / "back")
            else:
                self.assertRaises(BenchError, side.compare, body, self.directory / "back")
