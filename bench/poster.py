"""
A client that sends one request over many connections, again and again: C{python -m bench.poster PORT CONNECTIONS SECONDS FILE}.

For large bodies it costs next to nothing; of small requests it can send some tens of thousands a second. C{wrk} sends more, but
not everybody has it.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.harness import HOST, BenchError

__all__ = ["main", "post"]

_length = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class _Connection:
    """
    One connection.

    @ivar began: when its request was sent.
    """

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection((HOST, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._request = request
        self._left = memoryview(request)
        self._answer = b""
        self.began = 0.0

    def begin(self) -> None:
        """Send the request once more."""
        self.began = time.perf_counter()
        self._left = memoryview(self._request)
        self.write()

    def write(self) -> bool:
        """Send on. @return: whether there is more to be sent."""
        try:
            while self._left:
                self._left = self._left[self.socket.send(self._left) :]
        except BlockingIOError:
            pass
        return bool(self._left)

    def read(self) -> bool:
        """Take what has come. @return: whether the answer is whole."""
        data = self.socket.recv(65536)
        if not data:
            raise BenchError("the server has closed a connection")
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end:
            return False
        length = _length.search(head + b"\r\n")
        if not head.startswith(b"HTTP/1.1 200 ") or length is None:
            raise BenchError(f"a request failed: {self._answer[:500]!r}")
        if len(body) < int(length[1]):
            return False
        self._answer = b""
        return True


def post(port: int, connections: int, seconds: float, request: bytes) -> dict[str, float]:
    """
    Send for so many seconds.

    @return: C{requests} that were answered, C{duration}, and C{p99}, a latency in microseconds.
    """
    poll = select.epoll()
    by_fd = {}
    for _ in range(connections):
        connection = _Connection(port, request)
        by_fd[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
    begun = time.perf_counter()
    for connection in by_fd.values():
        connection.begin()
    latencies: list[float] = []
    while (now := time.perf_counter()) - begun < seconds:
        for fd, event in poll.poll(0.1):
            connection = by_fd[fd]
            if event & select.EPOLLOUT:
                connection.write()
            if event & select.EPOLLIN and connection.read():
                latencies.append(time.perf_counter() - connection.began)
                connection.begin()
    if not latencies:
        raise BenchError("no request was answered")
    return {
        "requests": len(latencies),
        "duration": now - begun,
        "p99": sorted(latencies)[len(latencies) * 99 // 100] * 1e6,
    }


def main(arguments: Sequence[str]) -> int:
    """Run the command; prints what L{post} gives, as JSON."""
    port, connections, seconds, file = arguments
    print(json.dumps(post(int(port), int(connections), float(seconds), Path(file).read_bytes())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
