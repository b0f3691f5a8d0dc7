"""Listening with TLS, and with certificates asked of clients, which Twisted's endpoint strings cannot say."""

from __future__ import annotations

import re
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, trustRootFromCertificates
from twisted.internet.testing import MemoryReactor
from zope.interface import implementer

__all__ = ["OPENSSL_ERRORS", "openssl_reason", "server_endpoint"]

#: What is raised for certificates and keys that are none, or do not fit.
OPENSSL_ERRORS = (SSL.Error, crypto.Error, VerifyError)

_pem = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def openssl_reason(error: Exception) -> str:
    """What one of the L{OPENSSL_ERRORS} says, for people."""
    found = error.args[0] if error.args else ()
    reasons = [each[-1] for each in found if isinstance(each, tuple) and each] if isinstance(found, list) else []
    return ", ".join(filter(None, reasons)) or str(error) or "OpenSSL does not say why"


def _read_certificates(path: str) -> list[Certificate]:
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 20)
    except OSError as error:
        raise ValueError(f"the certificates in {path} cannot be read: {error.strerror or error}") from None
    try:
        certificates = [Certificate.loadPEM(found) for found in _pem.findall(data)]
    except OPENSSL_ERRORS as error:
        raise ValueError(f"{path} has a certificate that cannot be used: {openssl_reason(error)}") from None
    if not certificates:
        raise ValueError(f"{path} has no certificate in PEM")
    return certificates


@implementer(IStreamServerEndpoint)
class _WithOptions:
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
    if not description.startswith("ssl:"):
        if client_ca:
            raise ValueError("certificates can be asked of clients at an ssl: endpoint only")
        return serverFromString(reactor, description)
    roots = trustRootFromCertificates(_read_certificates(client_ca)) if client_ca else None
    memory: Any = MemoryReactor()
    try:
        serverFromString(memory, description).listen(Factory())
        port, _, given, backlog, interface = memory.sslServers[0]
        options = given
        if roots is not None:
            options = CertificateOptions(
                privateKey=given.privateKey,
                certificate=given.certificate,
                extraCertChain=given.extraCertChain,
                dhParameters=given.dhParameters,
                trustRoot=roots,
                raiseMinimumTo=TLSVersion.TLSv1_2,
            )
        # What OpenSSL does not take would not be found out before the first connection.
        options.getContext()
    except OPENSSL_ERRORS as error:
        raise ValueError(f"its certificate or key cannot be used: {openssl_reason(error)}") from None
    except OSError as error:
        raise ValueError(f"{error.filename or 'a file'} cannot be read: {error.strerror or error}") from None
    return _WithOptions(reactor, port, options, backlog, interface)
