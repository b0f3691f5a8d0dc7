"""The TLS of one door: its certificate, kept up to date while connections come and go."""

from __future__ import annotations

import datetime
import os
import stat
from collections.abc import Iterable
from typing import cast
from urllib.parse import urlsplit

from OpenSSL import SSL
from prometheus_client.core import GaugeMetricFamily, Metric
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from storehouse.core.addresses import find_address
from storehouse.core.jobs import IDisk
from storehouse.core.tls.certificates import (
    LOCAL_NAMES,
    CertificateSource,
    GivenFiles,
    Pair,
    SelfSigned,
    host_names,
)
from storehouse.core.tls.contexts import endpoint_pair, make_context, read_certificates
from storehouse.core.turns import Reactor
from storehouse.errors import InvalidSetting

__all__ = ["OfEndpoint", "ServerTLS", "choose_source"]

#: Addresses that stand for all there are.
_UNSPECIFIED = frozenset({"", "0.0.0.0", "::"})

#: Seconds from one look at the files to the next.
_LOOK = 2.0

#: Looks after which one that was made here is looked at: whether it ends soon, or the machine has another name.
_LOOKS_TO_RENEWAL = 1800

#: One that ends sooner than this is warned of when it is taken.
_WARNED_BEFORE = datetime.timedelta(days=14)


class OfEndpoint:
    """A L{CertificateSource}: what an C{ssl:} endpoint brings."""

    is_given = True
    files: tuple[str, ...] = ()

    def __init__(self, endpoint: str) -> None:
        self.where = endpoint

    def load(self, now: datetime.datetime) -> Pair:
        return endpoint_pair(self.where)


def choose_source(
    endpoint: str,
    directory: str,
    certificate: str = "",
    key: str = "",
    url: str = "",
    names: Iterable[str] = (),
) -> CertificateSource:
    """
    Where the certificate of a door comes from. Nothing is read yet.

    @param endpoint: the endpoint; an C{ssl:} one brings its own.
    @param directory: where one is kept that is made because there is no other.
    @param certificate: the path of a PEM file or a directory; empty for none.
    @param key: the path of the PEM file with its key; empty if it is in the same.
    @param url: the URL by which others reach the door; empty if that is not known.
    @param names: more names that one that is made is for.
    """
    if endpoint.startswith("ssl:"):
        return OfEndpoint(endpoint)
    if certificate:
        return GivenFiles(certificate, key)

    def all_names() -> frozenset[str]:
        address = find_address(endpoint)
        more = {urlsplit(url).hostname or "", "" if address.scheme == "unix" else address.host, *names}
        return host_names() | more - _UNSPECIFIED

    return SelfSigned(directory, all_names)


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """
    What the connections of a door are made with. Each keeps what it began with: a new certificate is for those that
    come after it.

    @param reactor: its clock is the time of day.
    @param disk: an C{IDisk}.
    @param client_ca: the path of a PEM file, as L{make_context} takes it; empty asks clients for no certificate.
    @ivar pair: the certificate in use.
    """

    _log = Logger()

    def __init__(self, source: CertificateSource, reactor: Reactor, disk: IDisk, client_ca: str = "") -> None:
        self.pair: Pair | None = None
        self._source = source
        self._reactor = reactor
        self._disk = disk
        self._client_ca = client_ca
        self._context: SSL.Context | None = None
        self._seen: object = None
        self._looks = 0
        self._looking: Deferred[None] | None = None
        self._clock = LoopingCall(self._look)
        self._clock.clock = cast(IReactorTime, reactor)

    # -- for connections ---------------------------------------------------------------------

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        assert self._context is not None
        return SSL.Connection(self._context)

    # -- properties -----------------------------------------------------------------

    @property
    def is_self_signed(self) -> bool:
        """Whether clients cannot trust in it without being told to."""
        return self.pair is not None and self.pair.is_self_signed

    @property
    def certificate_file(self) -> str:
        """A file of the certificate alone, for clients to trust; empty if they need none."""
        return self._source.where if self.is_self_signed and not self._source.is_given else ""

    @property
    def wants_https_only(self) -> bool:
        """
        Whether to tell browsers to use only TLS with this host: not if they had to be configured to trust its
        certificate, nor with a name that all machines have.
        """
        return self.pair is not None and not self.is_self_signed and bool(self.pair.names - LOCAL_NAMES)

    def collect(self) -> Iterable[Metric]:
        """Metric families, for a C{prometheus_client} registry."""
        if self.pair is not None:
            yield GaugeMetricFamily(
                "storehouse_https_certificate_end_timestamp_seconds",
                "When the certificate of https ends, in seconds since 1970.",
                value=self.pair.ends.timestamp(),
            )

    # -- its life ----------------------------------------------------------------------------

    def check(self) -> None:
        """
        Read what is given, before anything is opened and while the process has the privileges of its starter.

        @raise InvalidSetting: if it cannot be used; the text names the file, and says why.
        """
        if self._source.is_given and self._context is None:
            self._begin()
        elif self._client_ca:
            try:
                read_certificates(self._client_ca)
            except ValueError as error:
                raise InvalidSetting(f"https-client-ca cannot be {self._client_ca!r}: {error}") from None

    def start(self) -> None:
        """
        Have a certificate, and begin to look for changes.

        @raise InvalidSetting: if it cannot be read or made; the text names the file, and says why.
        """
        if self._context is None:
            self._begin()
        if not self._clock.running:
            self._clock.start(_LOOK, now=False)

    def stop(self) -> Deferred[None]:
        """Look for changes no more; connections stay open."""
        if self._clock.running:
            self._clock.stop()
        done: Deferred[None] = Deferred()
        if self._looking is None:
            done.callback(None)
        else:
            self._looking.addCallback(done.callback)
        return done

    def _begin(self) -> None:
        self._seen = _signature(self._files)
        try:
            pair, context = self._load(self._now())
        except ValueError as error:
            raise InvalidSetting(f"https cannot be served: {error}") from None
        for path in self._source.files:
            _warn_if_public(self._log, path)
        self._use(pair, context)

    @property
    def _files(self) -> tuple[str, ...]:
        return (*self._source.files, self._client_ca) if self._client_ca else self._source.files

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._reactor.seconds(), datetime.UTC)

    def _load(self, now: datetime.datetime) -> tuple[Pair, SSL.Context]:
        pair = self._source.load(now)
        return pair, make_context(pair, self._client_ca)

    def _use(self, pair: Pair, context: SSL.Context) -> None:
        self.pair, self._context = pair, context
        self._log.info(
            "the certificate of https is {where}, {kind}, until {ends}, with the SHA-256 fingerprint {fingerprint}",
            where=self._source.where,
            kind="self-signed"
            if pair.is_self_signed
            else "signed by " + (pair.certificate.issuer.rfc4514_string() or "?"),
            ends=f"{pair.ends:%Y-%m-%d}",
            fingerprint=pair.fingerprint,
        )
        now = self._now()
        problem = pair.problem(now)
        if problem:
            self._log.warn("the certificate in {where} {problem}", where=self._source.where, problem=problem)
        elif pair.ends - now < _WARNED_BEFORE:
            self._log.warn("the certificate in {where} ends soon", where=self._source.where)

    def _look(self) -> None:
        if self._looking is not None:  # the disk is slow
            return
        self._looking = Deferred.fromCoroutine(self._keep_up())
        if self._looking.called:
            self._looking = None
        else:
            self._looking.addCallback(self._looked)

    def _looked(self, result: None) -> None:
        self._looking = None

    async def _keep_up(self) -> None:
        self._looks += 1
        try:
            seen = await self._disk.run(_signature, self._files)
            due = not self._source.is_given and self._looks % _LOOKS_TO_RENEWAL == 0
            if seen == self._seen and not due:
                return
            self._seen = seen
            pair, context = await self._disk.run(self._load, self._now())
        except ValueError as error:
            self._log.error("the new certificate of https is not used, the old one stays: {reason}", reason=str(error))
        except Exception:
            self._log.failure("while looking for a new certificate of https")
        else:
            if self._client_ca or self.pair is None or pair.chain != self.pair.chain:
                self._use(pair, context)


def _signature(files: tuple[str, ...]) -> object:
    """Changes when one of the files does, or what a link leads to."""
    seen: list[tuple[int | None, ...]] = []
    for path in files:
        try:
            found = os.stat(path)
        except OSError as error:
            seen.append((error.errno,))
        else:
            seen.append((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    return seen


def _warn_if_public(log: Logger, path: str) -> None:
    """A key that all users of the machine can read is no secret."""
    try:
        with open(path, "rb") as file:
            public = bool(os.fstat(file.fileno()).st_mode & stat.S_IROTH) and b"PRIVATE KEY" in file.read(1 << 20)
    except OSError:
        return
    if public:
        log.warn("{path} has a private key, and all users of this machine can read it", path=path)
