"""Clients that append over plain sockets as fast as they are answered, and remember every answer."""

from __future__ import annotations

import json
import socket
import threading
import time
from zlib import crc32

import attrs

from tests.integration.process import PATIENCE

__all__ = ["Answer", "Fleet", "is_whole"]


@attrs.frozen
class Answer:
    """An append that was acknowledged."""

    id: str
    offset: int
    file: str
    payload: bytes
    durability: str


def is_whole(payload: bytes) -> bool:
    """Whether a payload is one that a L{Fleet} made, without a wrong byte."""
    body, _, checksum = payload.rpartition(b" ")
    return body.count(b" ") >= 2 and checksum == b"%08x" % crc32(body)


def _payload(id: str, run: str, number: int) -> bytes:
    # Of many sizes: within a block, around a page, over several.
    body = b"%s %s %d " % (id.encode(), run.encode(), number) + b"x" * (
        (number * 977) % 9000 if number % 5 == 0 else number % 300
    )
    return body + b" %08x" % crc32(body)


class Fleet:
    """
    Client threads.  Each appends with its own identifier, one request at a time on a connection of its own, until the
    connection breaks or it is told to stop.

    @ivar answers: what was acknowledged.
    @ivar sent: all payloads that were sent, acknowledged or not.
    @ivar strange: answers that were none of 200, and connections that broke in the midst of an answer.
    @ivar cut: connections that broke with a request out and nothing of an answer.
    """

    def __init__(
        self, port: int, run: str, clients: int = 64, durability: str | None = None, batches: bool = False
    ) -> None:
        self.answers: list[Answer] = []
        self.sent: set[bytes] = set()
        self.strange: list[str] = []
        self.cut = 0
        self._port = port
        self._run = run
        self._durability = durability
        self._batches = batches
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(clients)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait_for(self, answers: int, patience: float = PATIENCE) -> None:
        """Until so many were acknowledged."""
        deadline = time.monotonic() + patience
        while len(self.answers) < answers:
            if time.monotonic() > deadline or not any(thread.is_alive() for thread in self._threads):
                raise AssertionError(f"only {len(self.answers)} answers: {self.strange[:3]}")
            time.sleep(0.002)

    def end(self) -> None:
        """Let everybody have the answer to what was sent, and wait for them."""
        self._ending.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            if thread.is_alive():
                raise AssertionError("a client hangs")

    def _work(self, number: int) -> None:
        id = f"client{number}"
        count = 0
        try:
            with socket.create_connection(("127.0.0.1", self._port), PATIENCE) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while not self._ending.is_set():
                    size = 4 if self._batches and number % 2 else 1
                    payloads = [_payload(id, self._run, count + extra) for extra in range(size)]
                    count += size
                    if not self._append(connection, id, payloads):
                        return
        except ConnectionRefusedError:
            self.cut += 1
        except OSError:
            self.cut += 1

    def _append(self, connection: socket.socket, id: str, payloads: list[bytes]) -> bool:
        several = len(payloads) > 1
        body = (
            b"".join(len(payload).to_bytes(4, "little") + payload for payload in payloads) if several else payloads[0]
        )
        path = "appendMulti" if several else "append"
        level = f"Durability: {self._durability}\r\n" if self._durability else ""
        head = f"POST /{path}?id={id} HTTP/1.1\r\nHost: localhost\r\n{level}Content-Length: {len(body)}\r\n\r\n"
        self.sent.update(payloads)
        connection.sendall(head.encode() + body)
        answer = b""
        while True:
            got = connection.recv(65536)
            if not got:
                if answer:
                    self.strange.append(f"half an answer: {answer!r}")
                self.cut += 1
                return False
            answer += got
            head_part, found, rest = answer.partition(b"\r\n\r\n")
            if not found:
                continue
            fields = dict(line.lower().split(b": ", 1) for line in head_part.split(b"\r\n")[1:])
            if len(rest) >= int(fields[b"content-length"]):
                break
        status = head_part.split(b" ")[1]
        if status != b"200":
            self.strange.append(f"{status.decode()} {rest!r}")
            return status in (b"507",)
        told = json.loads(rest)
        offsets = told["offsets"] if several else [told["offset"]]
        for offset, payload in zip(offsets, payloads, strict=True):
            self.answers.append(Answer(id, offset, told["file"], payload, fields[b"durability"].decode()))
        return fields.get(b"connection") != b"close"
