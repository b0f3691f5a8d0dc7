"""A storehouse with all its doors on the reactor of the tests, whose turns are measured, and clients in threads."""

from __future__ import annotations

import gc
import http.client
import os
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from storehouse.app.service import make_service
from storehouse.config import load_settings
from storehouse.core.sockets import connect
from storehouse.core.turns import Turns
from tests.integration.process import PATIENCE

__all__ = ["House", "head"]

_CONFIGURATION = """\
[archive]
endpoint = "tcp:0:interface=127.0.0.1"

[archive.streams.a]
sync = "os"

[archive.streams.z]
sync = "os"
compression = "zstd"
"""

_DOOR = "tcp:0:interface=127.0.0.1"


def head(line: str, *fields: str, length: int | None = None) -> bytes:
    """The head of a request."""
    lines = [f"{line} HTTP/1.1", "Host: localhost", *fields]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class House:
    """
    The service at its default bounds, but for what the disk takes.

    @ivar key: of a user: C{ID:secret}.
    @ivar turns: measure the reactor.
    @ivar notes: what inputs leave for one another.
    """

    def __init__(self, directory: str, **options: str) -> None:
        os.makedirs(directory)
        configuration = os.path.join(directory, "storehouse.toml")
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(_CONFIGURATION)
        given = {
            "root": os.path.join(directory, "root"),
            "append": _DOOR,
            "admin": _DOOR,
            "sfsp": _DOOR,
            "https": _DOOR,
            "s3": _DOOR,
            "append-sync": "os",
            "objects-sync": "os",
            "append-wal-size": "1MiB",
            **options,
        }
        self.service = make_service(load_settings(given, configuration), reactor)
        self.turns: Turns = next(chore for chore in self.service.chores if isinstance(chore, Turns))
        self.key = ""
        self.notes: dict[str, str] = {}
        self.cookie = ""
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    async def start(self) -> None:
        """Open it, and take what there is out of the garbage collector's sight, as twistd's plugin does."""
        self.service.privilegedStartService()
        self.service.startService()
        accounts: Any = self.service.stores["accounts"]
        new = await accounts.add_user("somebody", True)
        self.key = f"{new.user.key_id}:{new.secret}"
        self.accounts, self.user = accounts, new.user
        self.cookie = accounts.begin_session(new.user).cookie
        gc.collect()
        gc.freeze()

    async def stop(self) -> None:
        """Close it."""
        gc.unfreeze()
        await self.service.stopService()

    @property
    def authorization(self) -> str:
        """A header field that says who asks."""
        return "Authorization: Basic " + b64encode(self.key.encode()).decode()

    # -- for clients, in threads

    def port(self, door: str) -> int:
        """Where a door listens."""
        return int(self.service.ports[door].getHost().port)

    @contextmanager
    def connection(self, door: str) -> Iterator[socket.socket]:
        """A connection to a door."""
        if door == "objects":
            plain = connect(self.service.sockets["objects"], 120)
        else:
            plain = socket.create_connection(("127.0.0.1", self.port(door)), PATIENCE)
        if door == "https":
            with self._context.wrap_socket(plain) as secured:
                yield secured
            return
        try:
            yield plain
        finally:
            # A response that was not read to its end holds on to the socket: close() alone would wait for it.
            os.close(plain.detach())

    def ask(self, door: str, *pieces: bytes) -> tuple[int, bytes]:
        """Send a request, in pieces of writing. @return: the status and the body of the answer."""
        with self.connection(door) as connection, self.sending(connection, *pieces):
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status, answer.read()

    @contextmanager
    def sending(self, connection: socket.socket, *pieces: bytes) -> Iterator[None]:
        """Send while answers are read; over TLS before, since one connection of it is not for two threads."""
        if isinstance(connection, ssl.SSLSocket):
            self._send(connection, pieces)
            yield
            return
        writing = threading.Thread(target=self._send, args=(connection, pieces))
        writing.start()
        try:
            yield
        finally:
            writing.join()

    def _send(self, connection: socket.socket, pieces: tuple[bytes, ...]) -> None:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass  # it was refused in the midst

    def request(self, door: str, line: str, *fields: str, body: bytes = b"", status: int = 200) -> bytes:
        """Ask, and expect a status."""
        if door == "https":
            fields = (self.authorization, *fields)
        needs_length = body or line.startswith(("POST", "PUT", "PATCH"))
        found, answer = self.ask(door, head(line, *fields, length=len(body) if needs_length else None), body)
        if found != status:
            raise AssertionError(f"{line[:80]}: {found} instead of {status}: {answer[:300]!r}")
        return answer

    # -- to measure

    async def cost(self, work: Callable[[], object]) -> float:
        """Do something in a thread. @return: the CPU seconds of the longest turn meanwhile."""
        await _turn()
        self.turns.forget()
        await deferToThread(work)
        await _turn()
        return self.turns.longest


async def _turn() -> None:
    from twisted.internet.task import deferLater

    await deferLater(reactor, 0.01)  # type: ignore[arg-type]
    await deferLater(reactor, 0)  # type: ignore[arg-type]
