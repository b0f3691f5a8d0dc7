"""
The yardstick of L{bench.sfsp}: a Twisted protocol that does nothing but move bytes between a socket and a file.

C{python -m bench.sfsp_peer PORT DIRECTORY}. A connection sends C{w}, then a file, and closes its side; it is answered
C{k} when the file is synced. Or it sends C{r} and is sent the file.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from bench.harness import HOST
from storehouse.core.fast.transports import make_eager

__all__ = ["main"]

PIECE = 256 << 10


@implementer(IHalfCloseableProtocol, IPullProducer)
class _Bare(Protocol):
    transport: Any

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1

    def dataReceived(self, data: bytes) -> None:
        if self._file < 0:
            if data[:1] == b"r":
                self._file = os.open(self._path, os.O_RDONLY)
                self.transport.registerProducer(self, False)
                return
            self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            self.transport.bufferSize = PIECE
            data = data[1:]
        os.write(self._file, data)

    def resumeProducing(self) -> None:
        data = os.read(self._file, PIECE)
        if data:
            self.transport.write(data)
        else:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def stopProducing(self) -> None: ...

    def readConnectionLost(self) -> None:
        os.fsync(self._file)
        self.transport.write(b"k")
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None: ...

    def connectionLost(self, reason: Any = None) -> None:
        if self._file >= 0:
            os.close(self._file)


def main(port: int, directory: str) -> None:
    """Serve until stopped."""
    this_reactor: Any = reactor
    factory = Factory()
    factory.buildProtocol = lambda addr: _Bare(f"{directory}/file")  # type: ignore[assignment,method-assign]
    make_eager(this_reactor.listenTCP(port, factory, interface=HOST))
    this_reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
