"""
TCP that sends at once.

C{tcp.Server.write} only queues: each answer costs two C{epoll_ctl} calls and another round of the reactor.
For small answers that is a third of their price. This module, L{storehouse.core.fast.reactor} and
L{storehouse.frontends.http.channel} are the only ones that touch private names of Twisted; L{storehouse.core.fast.names}
tells what becomes of them where one is missing.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet import abstract, tcp
from twisted.protocols.tls import TLSMemoryBIOProtocol

from storehouse.core.fast.names import lacking, plain_way

__all__ = ["LARGE_READS", "EagerServer", "accept_few", "make_eager", "missing_names", "unsent"]

# Connections that a port accepts in one turn.
_ACCEPTS = 8

#: Bytes to ask the kernel for at a time while a large body comes in; small requests are faster with the
#: default of 64 KiB.
LARGE_READS = 256 * 1024


class EagerServer(tcp.Server):
    """
    A server's connection that tries C{send(2)} first when nothing is queued, and queues only what the kernel
    did not take.
    """

    def write(self, data: bytes) -> None:
        """Send now if possible. Errors are left to the queue's own attempt, which reports them as usual."""
        if (
            not self._tempDataLen
            and not self.dataBuffer
            and self.connected
            and not self.disconnecting
            and not self._writeDisconnected
        ):
            try:
                sent = self.socket.send(data)
            except OSError:
                sent = 0
            if sent == len(data):
                if self.producer is not None and not self.streamingProducer:
                    # It is asked for more when a queue has become empty, which there is none of.
                    self.startWriting()
                return
            data = data[sent:]
        tcp.Server.write(self, data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send the pieces as one."""
        self.write(b"".join(iovec))


def missing_names() -> list[str]:
    """What L{unsent} goes by, and without which it would find nothing, that Twisted lacks."""
    return [
        *lacking(abstract.FileDescriptor, ("dataBuffer", "offset", "_tempDataLen")),
        *lacking(TLSMemoryBIOProtocol, ("_appSendBuffer",)),
    ]


def make_eager(port: object) -> bool:
    """
    Make the connections that a listening port accepts from now on send at once.

    @param port: what an endpoint's C{listen} fired with.
    @return: whether that was possible; if not, the port keeps working as before.
    """
    if not isinstance(port, tcp.Port):
        return False
    missing = [*missing_names(), *lacking(tcp.Server, ("_writeDisconnected",)), *lacking(port, ("transport",))]
    if not plain_way("responses are queued before they are sent", missing) and port.transport is tcp.Server:
        port.transport = EagerServer
        return True
    return False


def accept_few(port: object) -> None:
    """
    Let a listening port accept a few connections in a turn of the reactor, of the many that may wait: each costs up to a
    millisecond, with TLS, and Twisted takes a hundred and more. The kernel keeps the rest for the next turn.

    @param port: what an endpoint's C{listen} fired with; one of another kind stays as it is.
    """
    if not isinstance(port, tcp.Port) or plain_way(
        "many connections are accepted at a time", lacking(port, ("numberAccepts",))
    ):
        return
    accept = port.doRead

    def accept_some() -> None:
        port.numberAccepts = min(port.numberAccepts, _ACCEPTS)
        accept()

    port.doRead = accept_some  # type: ignore[method-assign]


def unsent(transport: object) -> int:
    """
    Bytes that were written to a connection and that its peer does not take: all that the kernel does not have. Under TLS,
    encrypted. 0 where that cannot be told.
    """
    plain = sum(map(len, getattr(transport, "_appSendBuffer", ())))
    below = getattr(transport, "transport", None)
    if hasattr(below, "dataBuffer"):
        transport = below
    waiting: int = len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)
    return plain + waiting + getattr(transport, "_tempDataLen", 0)
