"""The server that the verbs of SFSP are for: its options, and a client of it."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

import attrs
import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from storehouse.cli.errors import CommandError, reason_of
from storehouse.cli.output import Output
from storehouse.cli.reactor import run
from storehouse.clients.sfsp import SFSPClient
from storehouse.core.jobs import DiskThreads
from storehouse.core.sfsp import MAX_ID
from storehouse.core.values import parse_size
from storehouse.errors import InvalidAnswer, RemoteRefused, RemoteUnavailable

if TYPE_CHECKING:
    from twisted.protocols.tls import TLSMemoryBIOProtocol

__all__ = ["DEFAULT_SERVER", "NAME", "Remote", "direct_writer", "parse_chunk", "remote_options"]

T = TypeVar("T")

#: The server, unless another is given.
DEFAULT_SERVER = "sfsp://127.0.0.1:7370"

_PORT = 7370


class _NameType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    """The name of a file on the server: the bytes that were typed."""

    name = "name"

    def convert(self, value: str | bytes, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """@raise click.BadParameter: if it is empty."""
        name = value if isinstance(value, bytes) else os.fsencode(value)
        if not name:
            self.fail("a name has one byte or more.", param, ctx)
        return name


NAME = _NameType()


def parse_chunk(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """@raise click.BadParameter: unless it is a size that a chunk can have."""
    if value is None:
        return None
    try:
        size = parse_size(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    if not 0 < size <= MAX_ID:
        raise click.BadParameter("a chunk has one byte or more.")
    return size


@attrs.frozen
class Remote:
    """
    A server.

    @ivar tls: the TLS options for its host; C{None} for plain TCP.
    """

    url: str
    host: str
    port: int
    tls: IOpenSSLClientConnectionCreator | None
    timeout: float

    def run(self, work: Callable[[SFSPClient, DiskThreads], Awaitable[T]], connections: int = 1) -> T:
        """
        Do something with a client of the server, which is closed after it.

        @raise CommandError: if that fails.
        """

        async def with_client(reactor: Any) -> T:
            client = SFSPClient(self._endpoint(reactor), reactor, connections, timeout=self.timeout)
            disk = DiskThreads(reactor)
            try:
                result = await work(client, disk)
            except CancelledError:
                # A thread may be waiting for a reader of ours; it ends with the process.
                await client.close()
                raise
            except RemoteUnavailable as error:
                raise CommandError(f"{self.url}: {error}") from None
            except RemoteRefused as error:
                raise CommandError(f"{self.url}: {error}") from None
            except InvalidAnswer as error:
                raise CommandError(f"{self.url} does not speak SFSP: {error}") from None
            finally:
                await client.close()
            disk.stop()
            return result

        return run(with_client)

    def _endpoint(self, reactor: Any) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, self.host, self.port, timeout=self.timeout)
        return endpoint if self.tls is None else _TLSEndpoint(endpoint, self.tls, reactor)


@implementer(IStreamClientEndpoint)
class _TLSEndpoint:
    """TLS over another endpoint. (C{wrapClientTLS} of Twisted takes the time from the reactor of the process.)"""

    def __init__(
        self, endpoint: IStreamClientEndpoint, options: IOpenSSLClientConnectionCreator, reactor: IReactorTime
    ) -> None:
        self._endpoint = endpoint
        self._options = options
        self._reactor = reactor

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See L{IStreamClientEndpoint}."""
        from twisted.protocols.tls import TLSMemoryBIOFactory

        factory = TLSMemoryBIOFactory(self._options, True, protocolFactory, self._reactor)
        connecting = cast("Deferred[TLSMemoryBIOProtocol]", self._endpoint.connect(factory))
        return connecting.addCallback(_wrapped_in)


def _wrapped_in(protocol: TLSMemoryBIOProtocol) -> IProtocol:
    wrapped: IProtocol = protocol.wrappedProtocol
    return wrapped


def remote_options(function: Callable[..., T]) -> Callable[..., T]:
    """Add --server, --ca, --cert, --key and --timeout; the function gets a L{Remote} as C{remote}."""
    file = click.Path(exists=True, dir_okay=False)

    @click.option(
        "--server",
        metavar="URL",
        default=DEFAULT_SERVER,
        envvar="STOREHOUSE_SFSP",
        callback=_parse_server,
        show_default=True,
        show_envvar=True,
        help="Where the server listens: sfsp://HOST:PORT, or sfsps://HOST:PORT for TLS.",
    )
    @click.option("--ca", type=file, help="Certificate authorities (PEM) to trust instead of the system's.")
    @click.option("--cert", type=file, help="The client certificate (PEM).")
    @click.option("--key", type=file, help="The private key (PEM) of --cert, if in another file.")
    @click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="Give up after this long without a response.",
    )
    @functools.wraps(function)
    def wrapper(
        *args: Any,
        server: tuple[str, str, int],
        ca: str | None,
        cert: str | None,
        key: str | None,
        timeout: float,
        **kwargs: Any,
    ) -> T:
        scheme, host, port = server
        if scheme != "sfsps" and (ca or cert or key):
            raise click.UsageError("--ca, --cert and --key need a --server with sfsps://.")
        if key and not cert:
            raise click.UsageError("--key needs --cert.")
        tls = _tls_options(host, ca, cert, key) if scheme == "sfsps" else None
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        return function(*args, remote=Remote(url, host, port, tls, timeout), **kwargs)

    return wrapper


def _parse_server(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, str, int]:
    try:
        url = urlsplit(value)
        port = url.port
        host = url.hostname or ""
        host.encode("idna")
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a URL: {error}.") from None
    if url.scheme not in ("sfsp", "sfsps") or not host or port == 0:
        raise click.BadParameter(f"{value!r} is not of the form sfsp://HOST:PORT or sfsps://HOST:PORT.")
    if "@" in url.netloc or url.path not in ("", "/") or url.query or url.fragment:
        raise click.BadParameter(f"{value!r} has more than a scheme, a host and a port.")
    return url.scheme, host, port or _PORT


_pem = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def _tls_options(host: str, ca: str | None, cert: str | None, key: str | None) -> IOpenSSLClientConnectionCreator:
    from OpenSSL.crypto import Error
    from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS, trustRootFromCertificates

    trust = mine = None
    if ca is not None:
        try:
            found = [Certificate.loadPEM(pem) for pem in _pem.findall(_read(ca))]
        except (Error, ValueError):
            found = []
        if not found:
            raise CommandError(f"{ca} has no certificate that can be read")
        trust = trustRootFromCertificates(found)
    if cert is not None:
        try:
            mine = PrivateCertificate.loadPEM(_read(cert) + (b"\n" + _read(key) if key else b""))
        except (Error, ValueError):
            raise CommandError(f"{cert} and {key or 'itself'} have no certificate with its private key") from None
    return optionsForClientTLS(host, trustRoot=trust, clientCertificate=mine)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {reason_of(error)}") from None


def direct_writer(output: Output) -> Callable[[bytes], None]:
    """
    A way to write to an output from a disk thread, past the buffer of standard output: a thread that is left waiting
    for a reader when the process ends must not hold its lock.
    """
    stream = output.open()
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # not a real file, as in tests
        return output.write
    output.flush()

    def write(data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandError(f"cannot write the output: {reason_of(error)}") from None

    return write
