"""Where endpoints listen, and socket files, whose paths may be longer than the 107 bytes that the system takes."""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import stat
import termios
import time
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory, IReactorUNIX

__all__ = ["BACKLOG", "MAX_PATH", "AskedReactor", "SocketPath", "SocketPort", "connect", "has_left", "listen"]

#: Connections that may wait to be accepted; the system takes fewer if it is set to (C{net.core.somaxconn}).
BACKLOG = 1024

#: Bytes that the system takes of a path, but for the zero at its end.
MAX_PATH = 107


_PEER_CLOSED = getattr(select, "POLLRDHUP", 0)


def has_left(transport: object, missing: int) -> bool:
    """
    Whether the peer of a connection has closed it, which a reactor does not find out while it does not read.

    A peer that has only closed its own half is there still, if all that it announced has come: it waits for the response.

    @param missing: bytes that are expected and were not read yet; 0 if that is not known.
    """
    fileno = getattr(transport, "fileno", None)
    if fileno is None:
        return False
    try:
        poll = select.poll()
        poll.register(fileno(), _PEER_CLOSED)
        events = poll.poll(0)
        if not events:
            return False
        if events[0][1] & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
            return True
        waiting = array.array("i", [0])
        fcntl.ioctl(fileno(), termios.FIONREAD, waiting)
    except (OSError, ValueError):
        return False  # it is closed here already, which its protocol learns by itself
    return waiting[0] < missing


class AskedReactor:
    """
    What an endpoint is given to listen with, that notes where it would, and does not listen there. It implements C{listenTCP},
    C{listenSSL} and C{listenUNIX} of a reactor. (Twisted's C{MemoryReactor} would import all that its tests need.)

    @ivar tcp: ports, factories, backlogs and interfaces.
    @ivar ssl: ports, factories, context factories, backlogs and interfaces.
    @ivar unix: paths and factories.
    """

    def __init__(self) -> None:
        self.tcp: list[tuple[Any, Any, int, str]] = []
        self.ssl: list[tuple[Any, Any, Any, int, str]] = []
        self.unix: list[tuple[Any, Any]] = []

    def listenTCP(self, port: object, factory: object, backlog: int = 50, interface: str = "") -> None:
        self.tcp.append((port, factory, backlog, interface))

    def listenSSL(
        self, port: object, factory: object, contextFactory: object, backlog: int = 50, interface: str = ""
    ) -> None:
        self.ssl.append((port, factory, contextFactory, backlog, interface))

    def listenUNIX(
        self, address: object, factory: object, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> None:
        self.unix.append((address, factory))


class SocketPath:
    """
    A way to a socket file that is short enough.

    @ivar short: a path for the system; it leads there until L{close}.
    @raise OSError: if there is none, because the directory cannot be opened, or the system has no C{/proc}.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.short = path
        self._directory = -1
        if len(os.fsencode(path)) <= MAX_PATH:
            return
        directory, name = os.path.split(path)
        self._directory = os.open(directory, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
        self.short = f"/proc/self/fd/{self._directory}/{name}"
        if not os.path.isdir(os.path.dirname(self.short)) or len(os.fsencode(self.short)) > MAX_PATH:
            self.close()
            raise OSError(None, f"the path of a socket file has at most {MAX_PATH} bytes on this system", path)

    def remove_stale(self) -> None:
        """
        Remove the file, which a dead process left. Only for a process that has the lock on the root.

        @raise OSError: if it is no socket, or cannot be removed.
        """
        try:
            if not stat.S_ISSOCK(os.lstat(self.path).st_mode):
                raise OSError(None, "it exists and is not a socket file", self.path)
            os.unlink(self.path)
        except FileNotFoundError:
            return

    def close(self) -> None:
        """Give the way up."""
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1


def connect(path: str, timeout: float | None) -> socket.socket:
    """
    Connect to a socket file.

    @raise OSError: if nobody listens there.
    """
    way = SocketPath(path)
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            _connect(connection, way.short, timeout)
        except BaseException:
            connection.close()
            raise
        return connection
    finally:
        way.close()


def _connect(connection: socket.socket, path: str, timeout: float | None) -> None:
    # Where others wait to be let in, and there is a time for it, the system does not wait but says so.
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        try:
            connection.connect(path)
        except BlockingIOError:
            if until is not None and time.monotonic() > until:
                raise TimeoutError from None
            time.sleep(0.01)
        else:
            return


class SocketPort:
    """A listening socket file, and the way to it, which is needed to remove it."""

    def __init__(self, port: IListeningPort, way: SocketPath) -> None:
        self._port = port
        self._way = way

    def getHost(self) -> IAddress:
        return self._port.getHost()

    def stopListening(self) -> Deferred[None]:
        """Listen no more, and remove the file."""
        # Imported here, since commands only connect and need nothing of Twisted for that.
        from twisted.internet.defer import maybeDeferred

        def stopped(result: Any) -> Any:
            self._way.close()
            return result

        return maybeDeferred(self._port.stopListening).addBoth(stopped)


def listen(reactor: IReactorUNIX, path: str, factory: IProtocolFactory) -> SocketPort:
    """
    Listen on a socket file that only the user of this process can open, in place of one that is there. Only for a process that
    has the lock on the root: no other listens there then.

    @raise OSError: if that cannot be, or C{CannotListenError}.
    """
    way = SocketPath(path)
    try:
        way.remove_stale()
        # None is let in before the mode is set: connections are refused until then.
        return SocketPort(reactor.listenUNIX(way.short, cast(Any, factory), BACKLOG, mode=0o600), way)
    except BaseException:
        way.close()
        raise
