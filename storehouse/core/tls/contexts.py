"""
TLS for doors: the settings of ours, which Twisted's endpoint strings cannot say, and who the other side is.

The versions and ciphers are those that Mozilla's "intermediate" recommendation and RFC 9325 leave when only ephemeral
keys and authenticated encryption are wanted.
"""

from __future__ import annotations

import datetime
import os
import re
from typing import Any

from cryptography.x509 import DNSName, ExtensionNotFound, SubjectAlternativeName
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, trustRootFromCertificates
from zope.interface import implementer

from storehouse.core.fast.transports import secured_factory
from storehouse.core.proxies import TrustedProxies
from storehouse.core.proxyprotocol import proxied_endpoint
from storehouse.core.sockets import BACKLOG, AskedReactor
from storehouse.core.tls.certificates import Pair

__all__ = [
    "CIPHERS",
    "OPENSSL_ERRORS",
    "completed",
    "endpoint_pair",
    "make_context",
    "openssl_reason",
    "own_names",
    "peer_common_name",
    "read_certificates",
    "secured_endpoint",
    "server_endpoint",
]

#: What is raised for certificates and keys that are none, or do not fit.
OPENSSL_ERRORS = (SSL.Error, crypto.Error, VerifyError)

#: The ciphers of TLS 1.2, the best first: AES of 128 bits is the fastest, and strong enough.
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)

#: Those of TLS 1.3.
_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")

_PROTOCOL = b"http/1.1"

#: The kinds of endpoints that know how many connections may wait.
_KINDS = frozenset({"tcp", "tcp6", "ssl", "unix"})

#: A piece of an endpoint: a backslash takes what is behind it as it is.
_words = re.compile(r"(?:\\.|[^\\:])+").findall

#: The kinds of endpoints to which TLS can be added.
_PLAIN = frozenset({"tcp", "tcp6", "unix", "systemd"})

_pem = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def openssl_reason(error: Exception) -> str:
    """What one of the L{OPENSSL_ERRORS} says, for people."""
    found = error.args[0] if error.args else ()
    reasons = [each[-1] for each in found if isinstance(each, tuple) and each] if isinstance(found, list) else []
    return ", ".join(filter(None, reasons)) or str(error) or "OpenSSL does not say why"


def read_certificates(path: str) -> list[Certificate]:
    """
    The certificates in a PEM file.

    @raise ValueError: if it cannot be read, or has none that can be used; the text names the file.
    """
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


# -- what is spoken --------------------------------------------------------------------------


def make_context(pair: Pair, client_ca: str = "") -> SSL.Context:
    """
    What a server speaks: TLS 1.2 and 1.3, HTTP/1.1 within (RFC 7301).

    @param client_ca: the path of a PEM file; clients are asked for a certificate that one of these has signed, and may
        give none.
    @raise ValueError: if it cannot be used; the text says why.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    # Connections that do nothing hold no buffers.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(":".join(CIPHERS).encode("ascii"))
    context.set_tls13_ciphersuites(":".join(_SUITES).encode("ascii"))
    # Sessions are resumed by tickets, which cost no memory here; their keys go with the context.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(os.urandom(16))
    context.set_alpn_select_callback(_choose_protocol)
    try:
        context.use_certificate(pair.certificate)
        context.use_privatekey(pair.key)
        for signer in pair.chain[1:]:
            context.add_extra_chain_cert(signer)
        context.check_privatekey()
    except (*OPENSSL_ERRORS, TypeError, ValueError) as error:
        raise ValueError(f"the certificate or its key cannot be used: {openssl_reason(error)}") from None
    if client_ca:
        store = context.get_cert_store()
        assert store is not None
        for each in read_certificates(client_ca):
            authority = each.original
            store.add_cert(authority)
            context.add_client_ca(authority)
        # Not required: a client without one signs in by other means.
        context.set_verify(SSL.VERIFY_PEER)
    return context


def _choose_protocol(connection: SSL.Connection, offered: list[bytes]) -> Any:
    return _PROTOCOL if _PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def peer_common_name(transport: object) -> str:
    """
    Who a client's certificate is for, which was verified when the connection was made.

    @return: its common name; empty if the client gave none, if it has ended since, if it names several, or if there is
        no TLS.
    """
    connection = _tls_of(transport)
    if connection is None or not connection.get_verify_mode() & SSL.VERIFY_PEER:
        return ""
    certificate = connection.get_peer_certificate(as_cryptography=True)
    if certificate is None or datetime.datetime.now(datetime.UTC) >= certificate.not_valid_after_utc:
        return ""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def _tls_of(transport: Any) -> SSL.Connection | None:
    """OpenSSL's side of a connection; C{None} without TLS."""
    return transport.getHandle() if getattr(transport, "getPeerCertificate", None) is not None else None


def own_names(transport: object) -> frozenset[str]:
    """The names, in lower case, that our certificate on a connection is for; C{*.NAME} is any below one. None without TLS."""
    connection = _tls_of(transport)
    certificate = connection.get_certificate(as_cryptography=True) if connection is not None else None
    if certificate is None:
        return frozenset()
    try:
        found = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower() for name in found.get_values_for_type(DNSName))


# -- where it is spoken ----------------------------------------------------------------------


@implementer(IStreamServerEndpoint)
class _WithOptions:
    def __init__(self, reactor: Any, port: int, options: Any, backlog: int, interface: str) -> None:
        self._reactor = reactor
        self._port = port
        self._options = options
        self._backlog = backlog
        self._interface = interface

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        return succeed(self._reactor.listenSSL(self._port, factory, self._options, self._backlog, self._interface))


@implementer(IStreamServerEndpoint)
class _Secured:
    """Another endpoint, with TLS added."""

    def __init__(self, reactor: Any, below: Any, tls: Any) -> None:
        self._reactor = reactor
        self._below = below
        self._tls = tls

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        listening: Deferred[IListeningPort] = self._below.listen(secured_factory(self._tls, factory, self._reactor))
        return listening


def _understand(description: str) -> tuple[int, Any, int, str]:
    """The port, L{CertificateOptions}, backlog and interface that an C{ssl:} endpoint describes."""
    memory = AskedReactor()
    try:
        serverFromString(memory, description).listen(Factory())
        port, _, options, backlog, interface = memory.ssl[0]
        # What OpenSSL does not take would not be found out before the first connection.
        options.getContext()
    except OPENSSL_ERRORS as error:
        raise ValueError(f"its certificate or key cannot be used: {openssl_reason(error)}") from None
    except OSError as error:
        raise ValueError(f"{error.filename or 'a file'} cannot be read: {error.strerror or error}") from None
    return port, options, backlog, interface


def completed(description: str) -> str:
    """
    An endpoint with our defaults for what it does not say: as many connections wait to be accepted as the system lets
    (Twisted has 50), and a socket file is for the user of the process alone (Twisted's is for everybody).
    """
    words = _words(description)
    if words[0] in _KINDS and not any(word.startswith("backlog=") for word in words):
        description += f":backlog={BACKLOG}"
    if words[0] == "unix" and not any(word.startswith("mode=") for word in words):
        description += ":mode=600"
    return description


def server_endpoint(
    reactor: IReactorTime, description: str, client_ca: str = "", trusted: TrustedProxies | None = None
) -> IStreamServerEndpoint:
    """
    The endpoint that a text describes.

    @param trusted: proxies that may tell, before all else, for whom they make a connection.

    @param client_ca: the path of a PEM file; only clients whose certificates these have signed are let in. Then it must
        be an C{ssl:} endpoint.
    @raise ValueError: if it cannot be used; the text says why.
    """
    if not description.startswith("ssl:"):
        if client_ca:
            raise ValueError("certificates of clients can be required at an ssl: endpoint only")
        return proxied_endpoint(serverFromString(reactor, completed(description)), trusted, reactor)
    roots = trustRootFromCertificates(read_certificates(client_ca)) if client_ca else None
    port, options, backlog, interface = _understand(completed(description))
    if roots is not None:
        options = CertificateOptions(
            privateKey=options.privateKey,
            certificate=options.certificate,
            extraCertChain=options.extraCertChain,
            dhParameters=options.dhParameters,
            trustRoot=roots,
            raiseMinimumTo=TLSVersion.TLSv1_2,
        )
        try:
            options.getContext()
        except OPENSSL_ERRORS as error:
            raise ValueError(f"its certificate or key cannot be used: {openssl_reason(error)}") from None
    if trusted:
        below = TCP4ServerEndpoint(reactor, port, backlog, interface)
        return _Secured(reactor, proxied_endpoint(below, trusted, reactor), options)
    return _WithOptions(reactor, port, options, backlog, interface)


def endpoint_pair(description: str) -> Pair:
    """
    The certificate that an C{ssl:} endpoint brings.

    @raise ValueError: if it cannot be used; the text says why.
    """
    _, options, _, _ = _understand(description)
    chain = [each.to_cryptography() for each in (options.certificate, *options.extraCertChain)]
    return Pair(tuple(chain), options.privateKey.to_cryptography_key())


def secured_endpoint(
    reactor: IReactorTime, description: str, tls: IOpenSSLServerConnectionCreator, trusted: TrustedProxies | None = None
) -> IStreamServerEndpoint:
    """
    The endpoint that a text describes, with TLS of ours. What an C{ssl:} endpoint says of TLS is not used: its
    certificate is L{endpoint_pair}.

    @param tls: an C{IOpenSSLServerConnectionCreator}.
    @raise ValueError: if it cannot be used; the text says why.
    """
    kind = description.partition(":")[0]
    if kind == "ssl":
        port, _, backlog, interface = _understand(completed(description))
        below = TCP4ServerEndpoint(reactor, port, backlog, interface)
        return _Secured(reactor, proxied_endpoint(below, trusted, reactor), tls)
    if kind not in _PLAIN:
        raise ValueError(f"only {', '.join(sorted(_PLAIN))} and ssl: endpoints can have TLS")
    below = serverFromString(reactor, completed(description))
    return _Secured(reactor, proxied_endpoint(below, trusted, reactor), tls)
