"""A small append log over HTTP, in memory and in a thread, that also misbehaves on request."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs

from tests.integration.process import PATIENCE

__all__ = ["FakeLog", "Request", "Seen", "running"]

Handler = Callable[["Request"], None]


@attrs.frozen
class Seen:
    """A request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    client: Any


class FakeLog:
    """
    The records of all identifiers in one file a prefix.

    @ivar overrides: path to a function that answers in place of the log.
    @ivar arriving: payloads that a scan with C{follow} gives, each after the one before was taken.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.records: dict[str, list[tuple[int, str]]] = {}
        self.seen: list[Seen] = []
        self.overrides: dict[str, Handler] = {}
        self.stopping = threading.Event()
        self.url = ""

    def append(self, prefix: str, id: str, data: bytes) -> int:
        """Store a record and give its offset."""
        file = self.files.setdefault(prefix, bytearray())
        offset = len(file)
        file += struct.pack("<I", len(data)) + data
        self.records.setdefault(prefix, []).append((offset, id))
        return offset

    def get(self, prefix: str, offset: int) -> bytes | None:
        """The record at an offset."""
        file = self.files.get(prefix, b"")
        if not any(at == offset for at, _ in self.records.get(prefix, ())):
            return None
        (length,) = struct.unpack_from("<I", file, offset)
        return bytes(file[offset + 4 : offset + 4 + length])


class Request(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    log: FakeLog

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Dispatch."""
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query, errors="surrogateescape").items()}
        self.prefix = self.query.get("storagePrefix", "default")
        override = self.log.overrides.get(url.path)
        if override is not None:
            override(self)
            return
        body = self.take_body()
        seen = Seen(self.command, url.path, self.query, dict(self.headers), body, self.client_address)
        self.log.seen.append(seen)
        getattr(self, f"answer_{url.path.strip('/')}", self.answer_unknown)(body)

    do_POST = do_GET

    def take_body(self) -> bytes:
        """The whole body."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def send(self, body: bytes, status: int = 200) -> None:
        """A whole answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, error: str, detail: str) -> None:
        """A failure."""
        self.send(json.dumps({"error": error, "detail": detail}).encode(), status)

    def send_chunked(self, pieces: Iterator[bytes]) -> None:
        """A streamed answer."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def answer_unknown(self, body: bytes) -> None:
        """404."""
        self.refuse(404, "NotFound", f"there is nothing at {self.path}")

    def answer_append(self, body: bytes) -> None:
        """POST /append."""
        if not body:
            self.refuse(400, "EmptyRecord", "a record must have at least one byte")
            return
        offset = self.log.append(self.prefix, self.query["id"], body)
        self.send(json.dumps({"offset": offset, "file": f"{self.prefix}/append.0.raw"}).encode())

    def answer_appendMulti(self, body: bytes) -> None:
        """POST /appendMulti."""
        offsets = []
        at = 0
        while at < len(body):
            (length,) = struct.unpack_from("<I", body, at)
            offsets.append(self.log.append(self.prefix, self.query["id"], body[at + 4 : at + 4 + length]))
            at += 4 + length
        self.send(json.dumps({"offsets": offsets, "file": f"{self.prefix}/append.0.raw"}).encode())

    def answer_get(self, body: bytes) -> None:
        """GET /get."""
        data = self.log.get(self.prefix, int(self.query["offset"]))
        if data is None:
            self.refuse(404, "NoSuchRecord", f"no record is at offset {self.query['offset']}")
        else:
            self.send(data)

    def answer_getMulti(self, body: bytes) -> None:
        """POST /getMulti."""

        def frames() -> Iterator[bytes]:
            for (offset,) in struct.iter_unpack("<Q", body):
                data = self.log.get(self.prefix, offset)
                if data is None:
                    yield struct.pack("<I", 0) + f"no record is at offset {offset}".encode()
                    return
                yield struct.pack("<I", len(data)) + data

        self.send_chunked(frames())

    def answer_scan(self, body: bytes) -> None:
        """GET /scan."""

        def frames() -> Iterator[bytes]:
            count = 0
            for offset, id in self.log.records.get(self.prefix, ()):
                if self.query.get("id", id) != id or offset < int(self.query.get("offset", 0)):
                    continue
                if count == int(self.query.get("limit", 2**63)):
                    return
                count += 1
                data = self.log.get(self.prefix, offset) or b""
                yield struct.pack("<IQ", len(data), offset) + data
            if "follow" in self.query:
                self.log.stopping.wait(PATIENCE)

        self.send_chunked(frames())

    def answer_stat(self, body: bytes) -> None:
        """GET /stat."""
        names = [self.query["storagePrefix"]] if "storagePrefix" in self.query else list(self.log.files)
        if any(name not in self.log.files for name in names):
            self.refuse(404, "NoSuchPrefix", "there is no such prefix")
            return
        sizes = {
            name: {
                "records": len(self.log.records[name]),
                "bytes": len(self.log.files[name]),
                "files": 1,
                "buckets": 128,
                "open": True,
            }
            for name in names
        }
        self.send(json.dumps({"prefixes": sizes}).encode())


class _Server(ThreadingHTTPServer):
    """A client that leaves early is nothing to print."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


@contextmanager
def running() -> Iterator[FakeLog]:
    """Serve a log on a free port."""
    log = FakeLog()
    server = _Server(("127.0.0.1", 0), type("BoundRequest", (Request,), {"log": log}))
    log.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield log
    finally:
        log.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
