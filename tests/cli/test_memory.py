"""Bodies larger than the memory that the command is given."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterator

from tests.cli.case import CommandCase
from tests.cli.fake import Request
from tests.integration.process import PATIENCE

#: The address space of the command, in KiB, and the bytes that go through it.
LIMIT = 150_000
SIZE = 256 * 1024 * 1024


class MemoryTests(CommandCase):
    """What comes and goes is never held as a whole."""

    def limited(self, arguments: str, **kwargs: object) -> subprocess.Popen[bytes]:
        """Start the command with little memory."""
        return self.start(shell=arguments, before=f"ulimit -v {LIMIT}", **kwargs)

    def check(self, process: subprocess.Popen[bytes]) -> None:
        """It must end well."""
        _, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, err), (0, b""))

    def take(self, request: Request) -> None:
        """An append that keeps nothing."""
        self.taken = 0
        if "Content-Length" in request.headers:
            while self.taken < int(request.headers["Content-Length"]):
                self.taken += len(request.rfile.read(1024 * 1024))
        else:
            while size := int(request.rfile.readline(), 16):
                self.taken += len(request.rfile.read(size))
                request.rfile.readline()
            request.rfile.readline()
        request.send(json.dumps({"offset": 0, "file": "f"}).encode())

    def test_append(self) -> None:
        """A file, and a pipe."""
        self.log.overrides["/append"] = self.take
        path = self.path("large", b"")
        with open(path, "wb") as file:
            file.truncate(SIZE)
        self.check(self.limited(f"append x {path}"))
        self.assertEqual(self.taken, SIZE)
        with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
            self.check(self.limited("append x", stdin=cat.stdout))
        self.assertEqual(self.taken, SIZE)

    def test_lines(self) -> None:
        """Many lines."""
        self.taken = 0

        def take(request: Request) -> None:
            body = request.take_body()
            count = body.count(b"y" * 1020)
            self.taken += count
            request.send(json.dumps({"offsets": [0] * count, "file": "f"}).encode())

        self.log.overrides["/appendMulti"] = take
        path = self.path("lines", (b"y" * 1020 + b"\n") * (SIZE // 2048))
        self.check(self.limited(f"append x --lines --quiet {path}"))
        self.assertEqual(self.taken, SIZE // 2048)

    def test_get(self) -> None:
        """One record."""

        def give(request: Request) -> None:
            request.send_response(200)
            request.send_header("Content-Length", str(SIZE))
            request.end_headers()
            for _ in range(SIZE >> 20):
                request.wfile.write(bytes(1 << 20))

        self.log.overrides["/get"] = give
        self.check(self.limited("get x 0 > /dev/null"))

    def test_get_many_and_scan(self) -> None:
        """Records in frames, one of them very long."""

        def give(header: bytes) -> Iterator[bytes]:
            yield header
            for _ in range(SIZE >> 20):
                yield bytes(1 << 20)

        self.log.overrides["/getMulti"] = lambda request: request.send_chunked(
            frame for _ in range(2) for frame in give(struct.pack("<I", SIZE))
        )
        self.log.overrides["/scan"] = lambda request: request.send_chunked(give(struct.pack("<IQ", SIZE, 0)))
        self.check(self.limited("get x 0 1 > /dev/null"))
        for form in "lines", "raw", "framed":
            self.check(self.limited(f"scan x --format {form} > /dev/null"))
