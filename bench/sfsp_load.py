"""
A client of L{bench.sfsp}, in a process of its own, with blocking sockets: C{python -m bench.sfsp_load '{"what": ...}'}
prints how long it took.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from bench.harness import HOST

__all__ = ["WORK"]

MIB = 1 << 20
NAME = b"bench"
_quads = struct.Struct("<QQ")

#: What there is to do, by name.
WORK: dict[str, Callable[..., Any]] = {}


def _work(f: Callable[..., Any]) -> Callable[..., Any]:
    WORK[f.__name__] = f
    return f


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection((HOST, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError(f"the connection ended after {len(data)} of {size} bytes")
        data += piece
    return data


def _request(kind: bytes, id: int, name: bytes = NAME) -> bytes:
    return kind + struct.pack("<Q", len(name)) + name + struct.pack("<Q", id)


def _send_file(connection: socket.socket, path: str) -> None:
    with open(path, "rb") as file:
        connection.sendfile(file)


def _receive(connection: socket.socket, size: int | None, digest: Any = None) -> int:
    view = memoryview(bytearray(MIB if size is None else min(MIB, size)))
    count = 0
    while size is None or count < size:
        got = connection.recv_into(view if size is None else view[: min(MIB, size - count)])
        if not got:
            break
        if digest is not None:
            digest.update(view[:got])
        count += got
    return count


def _stored(connection: socket.socket) -> None:
    answer = _exactly(connection, 16)
    if answer != _quads.pack(10, 0):
        code, length = _quads.unpack(answer)
        raise ValueError(f"answered {code}: {_exactly(connection, length)!r}")


def _ok(connection: socket.socket) -> None:
    (code,) = struct.unpack("<Q", _exactly(connection, 8))
    if code != 10:
        raise ValueError(f"answered {code}")


@_work
def send_large(kind: str, port: int, path: str) -> float:
    """One chunk, or file, of the bytes of C{path}."""
    size = os.path.getsize(path)
    began = time.perf_counter()
    with _connect(port) as connection:
        if kind == "sfsp":
            connection.sendall(_request(b"*", 0) + struct.pack("<Q", size))
            _send_file(connection, path)
            _stored(connection)
        else:
            if kind == "bare":
                connection.sendall(b"w")
            _send_file(connection, path)
            connection.shutdown(socket.SHUT_WR)
            # nc says nothing; its end is that of its file.
            if _receive(connection, None) != (kind == "bare"):
                raise ValueError("the file was not taken")
    return time.perf_counter() - began


@_work
def receive_large(kind: str, port: int, size: int, sha256: str = "") -> float:
    """It back."""
    digest = hashlib.sha256() if sha256 else None
    began = time.perf_counter()
    with _connect(port) as connection:
        if kind == "sfsp":
            connection.sendall(_request(b"/", 0))
            _ok(connection)
            head = _exactly(connection, 8 + len(NAME) + 16)
            if head != struct.pack("<Q", len(NAME)) + NAME + _quads.pack(0, size):
                raise ValueError(f"answered {head!r}")
        elif kind == "bare":
            connection.sendall(b"r")
        count = _receive(connection, size, digest)
    seconds = time.perf_counter() - began
    if count != size or (digest is not None and digest.hexdigest() != sha256):
        raise ValueError(f"{count} bytes came, or other ones than were sent")
    return seconds


def _all(connections: int, f: Callable[[int], None]) -> float:
    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            f(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return time.perf_counter() - began


@_work
def send_small(port: int, size: int, count: int, connections: int, depth: int, name: str) -> float:
    """Chunks, C{depth} of them unanswered on each connection."""
    data = os.urandom(size)

    def work(number: int) -> None:
        owed = 0
        with _connect(port) as connection:
            for id in range(number, count, connections):
                connection.sendall(_request(b"*", id, name.encode()) + struct.pack("<Q", size) + data)
                owed += 1
                if owed == depth:
                    _stored(connection)
                    owed -= 1
            for _ in range(owed):
                _stored(connection)

    return _all(connections, work)


@_work
def receive_small(port: int, size: int, count: int, connections: int, depth: int, name: str) -> float:
    """They back."""
    bytes_name = name.encode()
    whole = 8 + len(bytes_name) + 16 + size

    def work(number: int) -> None:
        owed = 0
        with _connect(port) as connection:

            def take() -> None:
                _ok(connection)
                head = _exactly(connection, whole - size)
                if not head.endswith(struct.pack("<Q", size)) or _receive(connection, size) != size:
                    raise ValueError(f"answered {head!r}")

            for id in range(number, count, connections):
                connection.sendall(_request(b"/", id, bytes_name))
                owed += 1
                if owed == depth:
                    take()
                    owed -= 1
            for _ in range(owed):
                take()

    return _all(connections, work)


@_work
def list_ids(port: int, name: str, count: int) -> list[float]:
    """All IDs of a file. @return: the seconds to the first byte, and to the last."""
    began = time.perf_counter()
    with _connect(port) as connection:
        connection.sendall(b"%" + struct.pack("<Q", len(name)) + name.encode())
        _ok(connection)
        first = time.perf_counter() - began
        if struct.unpack("<Q", _exactly(connection, 8)) != (count,) or _receive(connection, 8 * count) != 8 * count:
            raise ValueError("other IDs came than there are")
    return [first, time.perf_counter() - began]


def _main(text: str) -> None:
    task = json.loads(text)
    print(json.dumps(WORK[task.pop("what")](**task)))


if __name__ == "__main__":
    _main(sys.argv[1])
