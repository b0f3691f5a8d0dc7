"""
A proxy by which clients reach a server on this machine under any name: what resolves names here knows none but C{localhost}, while
every client takes C{HTTP_PROXY} and C{HTTPS_PROXY}.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

__all__ = ["Proxy"]

_END = b"\r\n\r\n"


class Proxy:
    """
    Brings every connection to one port of this machine, whatever host it is for.

    A request with a whole URL goes on as it is, since a server takes those, too.

    @ivar url: the proxy's.
    @ivar hosts: which hosts, with their ports, connections were for.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.hosts: set[str] = set()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """End it, with what goes through it."""
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            head = b""
            while _END not in head:
                data = client.recv(65536)
                if not data:
                    return
                head += data
            method, target, *_ = head.split(b" ", 2)
            server = socket.create_connection(("127.0.0.1", self._port))
            self._sockets.append(server)
            if method == b"CONNECT":
                self.hosts.add(target.decode())
                head = head.partition(_END)[2]
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                self.hosts.add(target.split(b"/")[2].decode())
            server.sendall(head)
            threading.Thread(target=_pump, args=(server, client), daemon=True).start()
            _pump(client, server)


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Until there is no more."""
    with suppress(OSError):
        while data := source.recv(1 << 18):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
