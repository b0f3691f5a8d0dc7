"""Listening with TLS, and with certificates asked of clients, which Twisted's endpoint strings cannot say."""

from __future__ import annotations

import re
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, trustRootFromCertificates
from twisted.internet.testing import MemoryReactor
from zope.interface import implementer

__all__ = ["server_endpoint"]

_pem = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def _read_certificates(path: str) -> list[Certificate]:
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 20)
    except OSError as error:
        raise ValueError(f"the certificates in {path} cannot be read: {error.strerror or error}") from None
    try:
        certificates = [Certificate.loadPEM(found) for found in _pem.findall(data)]
    except (SSL.Error, ValueError) as error:
        raise ValueError(f"{path} has a certificate that cannot be used: {error}") from None
    if not certificates:
        raise ValueError(f"{path} has no certificate in PEM")
    return certificates


@implementer(IStreamServerEndpoint)
class _WithClientCertificates:
    def __init__(self, reactor: Any, port: int, options: Any, backlog: int, interface: str) -> None:
        self._reactor = reactor
        self._port = port
        self._options = options
        self._backlog = backlog
        self._interface = interface

    def listen(self, factory: Any) -> Deferred[Any]:
        """Listen."""
        return succeed(self._reactor.listenSSL(self._port, factory, self._options, self._backlog, self._interface))


def server_endpoint(reactor: Any, description: str, client_ca: str = "") -> Any:
    """
    The endpoint that a text describes.

    @param client_ca: the path of a PEM file; only clients whose certificates these have signed are let in. Then it must
        be an C{ssl:} endpoint.
    @raise ValueError: if it cannot be used; the text says why.
    """
    if not client_ca:
        return serverFromString(reactor, description)
    roots = trustRootFromCertificates(_read_certificates(client_ca))
    memory: Any = MemoryReactor()
    serverFromString(memory, description).listen(Factory())
    if not memory.sslServers:
        raise ValueError("certificates can be asked of clients at an ssl: endpoint only")
    port, _, given, backlog, interface = memory.sslServers[0]
    options = CertificateOptions(
        privateKey=given.privateKey,
        certificate=given.certificate,
        extraCertChain=given.extraCertChain,
        dhParameters=given.dhParameters,
        trustRoot=roots,
        raiseMinimumTo=TLSVersion.TLSv1_2,
    )
    return _WithClientCertificates(reactor, port, options, backlog, interface)
