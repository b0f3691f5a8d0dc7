"""
Connections that move more at a time than Twisted's: TCP that sends at once, TLS in large pieces.

C{tcp.Server.write} only queues: each answer costs two C{epoll_ctl} calls and another round of the reactor.
For small answers that is a third of their price.

Twisted's TLS hands out at most one record, 16 KiB, at a time, and sends each with a system call of its own: for large
bodies that is a quarter of their price, and more where each piece goes to another thread. Here all that one read of
the socket brought is handed out as one, and what one write makes is sent as one.

This module, L{storehouse.core.fast.reactor}, L{storehouse.core.turns} and L{storehouse.frontends.http.channel} are the only ones that
touch private names of Twisted; this one also those of pyOpenSSL: C{Connection._ssl}, C{_into_ssl}, C{_from_ssl},
C{_raise_ssl_error}, and its bindings. L{storehouse.core.fast.names} tells what becomes of them where one is missing: then
Twisted's own way is taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from OpenSSL import SSL
from OpenSSL.SSL import Connection, Error, WantReadError, ZeroReturnError
from twisted.internet import abstract, tcp
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory, IReactorTime
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from storehouse.core.fast.names import lacking, plain_way

__all__ = [
    "LARGE_READS",
    "EagerServer",
    "LargePiecesTLS",
    "accept_few",
    "make_eager",
    "missing_for_tls",
    "missing_for_unsent",
    "secured_factory",
    "unsent",
]

# -- TCP -------------------------------------------------------------------------------------------

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


def missing_for_unsent() -> list[str]:
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
    missing = [*missing_for_unsent(), *lacking(tcp.Server, ("_writeDisconnected",)), *lacking(port, ("transport",))]
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
    encrypted. 0 where that is unknown.
    """
    plain = sum(map(len, getattr(transport, "_appSendBuffer", ())))
    below = getattr(transport, "transport", None)
    if hasattr(below, "dataBuffer"):
        transport = below
    waiting: int = len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)
    return plain + waiting + getattr(transport, "_tempDataLen", 0)


# -- TLS -------------------------------------------------------------------------------------------

#: Bytes of a record's content at most (RFC 8446, 5.1), and of what surrounds it.
_RECORD = 16 * 1024
_AROUND = 512

#: Bytes that are given to OpenSSL before what they contain is taken out. Each connection keeps OpenSSL's buffer for them
#: until it ends: two steps at most, and a third of that, since it grows by thirds. Steps of 64 KiB would decrypt 5 % faster
#: and keep three times as much for each connection that once sent a large body.
_STEP = 16 * 1024

_OF_TWISTED = (
    "_tlsConnection",
    "_appSendBuffer",
    "_handshakeDone",
    "_lostTLSConnection",
    "_aborted",
    "_bufferedWrite",
    "_shutdownTLS",
    "_tlsShutdownFinished",
    "_flushSendBIO",
    "_write",
)
_OF_OPENSSL = ("SSL_read", "SSL_write", "SSL_get_error", "SSL_ERROR_WANT_READ", "BIO_read", "BIO_write")

_lib: Any = getattr(SSL, "_lib", None)
_ffi: Any = getattr(SSL, "_ffi", None)

# One for all connections: nothing is left there when a call returns. There is always room for a whole record.
_SIZE = LARGE_READS + 2 * (_RECORD + _AROUND)
_buffer: Any = _ffi.new("char[]", _SIZE) if _ffi is not None else None


def missing_for_tls() -> list[str]:
    """What of the names above is missing."""
    missing = lacking(TLSMemoryBIOProtocol, _OF_TWISTED)
    if _lib is None or _ffi is None:
        return [*missing, "SSL._lib", "SSL._ffi"]
    missing += [f"SSL._lib.{name}" for name in _OF_OPENSSL if not hasattr(_lib, name)]
    missing += [f"SSL._ffi.{name}" for name in ("new", "buffer", "from_buffer") if not hasattr(_ffi, name)]
    connection = Connection(SSL.Context(SSL.TLS_METHOD))
    return missing + lacking(connection, ("_ssl", "_into_ssl", "_from_ssl", "_raise_ssl_error"))


class LargePiecesTLS(TLSMemoryBIOProtocol):
    """Twisted's TLS, that reads and writes in large pieces once the handshake is done."""

    @property
    def bufferSize(self) -> int:
        """Bytes that the socket below is asked for at a time."""
        size: int = self.transport.bufferSize  # type: ignore[union-attr]
        return size

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        self.transport.bufferSize = size  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        """Decrypt what has come, and hand it out as one."""
        if not self._handshakeDone or self._appSendBuffer or self._lostTLSConnection:
            super().dataReceived(data)
            return
        connection = self._tlsConnection
        ssl, into = connection._ssl, connection._into_ssl
        read, buffer = _lib.SSL_read, _buffer
        filled, at, size = 0, 0, len(data)
        with _ffi.from_buffer(data) as source:
            while at < size:
                step = min(_STEP, size - at)
                _lib.BIO_write(into, source + at, step)
                at += step
                while (count := read(ssl, buffer + filled, _SIZE - filled)) > 0:
                    filled += count
                    if _SIZE - filled < _RECORD + _AROUND:
                        self._hand_out(filled)
                        filled = 0
                        if self._lostTLSConnection or self._aborted:
                            return
                if _lib.SSL_get_error(ssl, count) != _lib.SSL_ERROR_WANT_READ:
                    self._ended(connection, ssl, count, filled)
                    return
        if filled and not self._aborted:
            # As _hand_out() does, without a frame more below all that a request does.
            ProtocolWrapper.dataReceived(self, _ffi.buffer(_buffer, filled)[:])
        if not self._lostTLSConnection:
            # What came may ask for an answer of TLS itself.
            self._flush()

    def _hand_out(self, filled: int) -> None:
        data = _ffi.buffer(_buffer, filled)[:]
        if not self._aborted:
            ProtocolWrapper.dataReceived(self, data)

    def _ended(self, connection: Connection, ssl: Any, count: int, filled: int) -> None:
        # The reason first: it is that of the last call only.
        failure: Failure | None = None
        try:
            connection._raise_ssl_error(ssl, count)
        except ZeroReturnError:
            pass
        except Error:
            failure = Failure()
        if filled:
            self._hand_out(filled)
        if self._lostTLSConnection:
            return
        if failure is None:
            self._shutdownTLS()
        self._tlsShutdownFinished(failure)

    def _shutdownTLS(self) -> None:
        """
        Say that this is the end, and close. Twisted would wait until the peer says so too, for as long as that takes;
        nobody has to (RFC 8446, 6.1).
        """
        super()._shutdownTLS()
        if self._handshakeDone:
            self.transport.loseConnection()  # type: ignore[union-attr]

    def _flush(self) -> None:
        # At most what one read made OpenSSL say: a few records without content.
        count = _lib.BIO_read(self._tlsConnection._from_ssl, _buffer, _SIZE)
        if count > 0:
            self._send(count)

    def _write(self, data: bytes) -> None:
        """Encrypt, and send what that makes as one."""
        if not self._handshakeDone or self._lostTLSConnection:
            super()._write(data)
            return
        connection = self._tlsConnection
        ssl, out = connection._ssl, connection._from_ssl
        write, take, buffer = _lib.SSL_write, _lib.BIO_read, _buffer
        filled, at, size = 0, 0, len(data)
        with _ffi.from_buffer(data) as source:
            while at < size:
                count = write(ssl, source + at, min(_RECORD, size - at))
                if count <= 0:
                    break
                at += count
                # The records of alerts and of new keys may be there as well.
                while (got := take(out, buffer + filled, _SIZE - filled)) > 0:
                    filled += got
                    if _SIZE - filled < _RECORD + _AROUND:
                        self._send(filled)
                        filled = 0
        failure = None
        if at < size:
            try:
                connection._raise_ssl_error(ssl, count)
            except WantReadError:
                pass
            except Error:
                failure = Failure()
        if filled:
            self._send(filled)
        if failure is not None:
            self._tlsShutdownFinished(failure)
        elif at < size:
            self._bufferedWrite(data[at:])

    def _send(self, filled: int) -> None:
        self.transport.write(_ffi.buffer(_buffer, filled)[:])  # type: ignore[union-attr]


class _LargePiecesFactory(TLSMemoryBIOFactory):
    protocol = LargePiecesTLS


def secured_factory(
    tls: IOpenSSLServerConnectionCreator, factory: IProtocolFactory, reactor: IReactorTime
) -> TLSMemoryBIOFactory:
    """
    A factory of connections with TLS added to those of another.

    @param tls: an C{IOpenSSLServerConnectionCreator}.
    """
    plain = plain_way("TLS goes record by record", missing_for_tls())
    kind = TLSMemoryBIOFactory if plain else _LargePiecesFactory
    return kind(tls, False, factory, reactor)
