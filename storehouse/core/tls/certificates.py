"""Certificates and their keys: reading those that are given, and making one for this machine where none is."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.logger import Logger

from storehouse.core.files import Files, open_stored

__all__ = [
    "CertificateSource",
    "GivenFiles",
    "Pair",
    "SelfSigned",
    "host_names",
    "make_self_signed",
    "read_pair",
]

#: Names by which a machine always reaches itself.
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

#: How long one that we make is valid: within the 398 days that browsers take.
_VALID = datetime.timedelta(days=396)

#: Clocks differ: it is valid since before it was made.
_BACKDATED = datetime.timedelta(hours=1)

#: A certificate that ends sooner than this is replaced.
_RENEWED_BEFORE = datetime.timedelta(days=30)

#: Bytes of a PEM file that are looked at.
_MOST = 1 << 20

_key_block = re.compile(b"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----.+?-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----", re.S)
_certificate_block = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.S)
_dns_name = re.compile(r"(?:\*\.)?(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*\Z")


@attrs.frozen
class Pair:
    """
    A certificate with its key.

    @ivar chain: the certificate, and then those that signed it, each the one before.
    @ivar key: the private key.
    """

    chain: tuple[x509.Certificate, ...]
    key: Any = attrs.field(repr=False, eq=False)

    @property
    def certificate(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def ends(self) -> datetime.datetime:
        """When it is valid no more."""
        return self.certificate.not_valid_after_utc

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate, as browsers show it."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()

    @property
    def is_self_signed(self) -> bool:
        """Whether nobody but itself vouches for it."""
        return self.certificate.issuer == self.certificate.subject

    @property
    def names(self) -> frozenset[str]:
        """The host names and addresses that it is for."""
        try:
            found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
            return frozenset()
        addresses = found.get_values_for_type(x509.IPAddress)
        return frozenset(found.get_values_for_type(x509.DNSName)) | frozenset(map(str, addresses))

    def problem(self, now: datetime.datetime) -> str:
        """Why clients will not trust in it at this time; empty if its time is right."""
        if now >= self.ends:
            return f"ended on {self.ends:%Y-%m-%d %H:%M} UTC"
        begins = self.certificate.not_valid_before_utc
        return f"is not valid before {begins:%Y-%m-%d %H:%M} UTC" if now < begins else ""


class CertificateSource(Protocol):
    """
    Where a certificate comes from.

    @ivar is_given: whether it is there before we start.
    @ivar files: the files that it is made of, to be looked at for changes.
    @ivar where: its place, for people.
    """

    @property
    def is_given(self) -> bool: ...

    @property
    def files(self) -> tuple[str, ...]: ...

    @property
    def where(self) -> str: ...

    def load(self, now: datetime.datetime) -> Pair:
        """Give it. Raises C{ValueError} if it cannot be used; the text names the file, and says why."""


# -- reading ---------------------------------------------------------------------------------


def _read(path: str, what: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST)
    except OSError as error:
        raise ValueError(f"{path}, the {what}, cannot be read: {error.strerror or error}") from None


def read_pair(certificate: str, key: str) -> Pair:
    """
    Read PEM files, which may be one and the same.

    @raise ValueError: if they cannot be used; the text names the file, and says why.
    """
    found = _certificate_block.findall(_read(certificate, "certificate"))
    if not found:
        raise ValueError(f"{certificate} has no certificate in PEM")
    try:
        chain = tuple(x509.load_pem_x509_certificate(block) for block in found)
        public = chain[0].public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{certificate} has a certificate that cannot be used: {_first_line(error)}") from None
    block = _key_block.search(_read(key, "key of the certificate"))
    if block is None:
        raise ValueError(f"{key} has no private key in PEM")
    try:
        private = serialization.load_pem_private_key(block[0], None)
    except TypeError:
        raise ValueError(f"the key in {key} is encrypted; give one without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{key} has a key that cannot be used: {_first_line(error)}") from None
    if _public_bytes(private.public_key()) != _public_bytes(public):
        raise ValueError(f"the key in {key} does not match the certificate in {certificate}")
    return Pair(chain, private)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _public_bytes(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


class GivenFiles:
    """
    A L{CertificateSource} of PEM files.

    @param certificate: the file of the certificate; or a directory as clients of ACME keep it, with C{fullchain.pem}
        and C{privkey.pem}.
    @param key: the file of the key; empty if it is in the certificate's.
    """

    is_given = True

    def __init__(self, certificate: str, key: str = "") -> None:
        self._certificate, self._key = certificate, key or certificate
        if os.path.isdir(certificate):
            self._certificate = os.path.join(certificate, "fullchain.pem")
            self._key = key or os.path.join(certificate, "privkey.pem")
        self.files = tuple(dict.fromkeys((self._certificate, self._key)))
        self.where = self._certificate

    def load(self, now: datetime.datetime) -> Pair:
        return read_pair(self._certificate, self._key)


# -- making ----------------------------------------------------------------------------------


def host_names() -> frozenset[str]:
    """The names of this machine, as far as it knows them without asking the network."""
    full = socket.gethostname()
    return LOCAL_NAMES | {name for name in (full, full.partition(".")[0]) if _is_usable(name)}


def _is_usable(name: str) -> bool:
    return _is_address(name) or (len(name) <= 253 and _dns_name.match(name) is not None)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def make_self_signed(names: Iterable[str], now: datetime.datetime) -> Pair:
    """
    Make a certificate that vouches for itself, for ECDSA over P-256.

    @param names: host names and addresses; those that no certificate can have are left out.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    usable = sorted(name for name in names if _is_usable(name))
    hosts = [x509.DNSName(name) for name in usable if not _is_address(name)]
    addresses = [x509.IPAddress(ipaddress.ip_address(name)) for name in usable if _is_address(name)]
    # Common names have at most 64 characters (RFC 5280, A.1).
    common = next(
        (host.value for host in hosts if host.value not in LOCAL_NAMES and len(host.value) <= 64), "localhost"
    )
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "storehouse, self-signed"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName([*hosts, *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Pair((builder.sign(key, hashes.SHA256()),), key)


class SelfSigned:
    """
    A L{CertificateSource} that makes what is not there, or is soon over.

    C{self-signed.pem} has the certificate and its key, so that one rename changes both; C{certificate.pem} is a copy of
    the certificate alone, to be given to clients.

    @param directory: where it is kept.
    @param names: returns the names that it is to be for.
    """

    _log = Logger()
    is_given = False
    files: tuple[str, ...] = ()

    def __init__(
        self, directory: str, names: Callable[[], Iterable[str]] = host_names, files: Files | None = None
    ) -> None:
        self._directory = directory
        self._path = os.path.join(directory, "self-signed.pem")
        self._names = names
        self._files = files or Files()
        self.where = os.path.join(directory, "certificate.pem")

    def load(self, now: datetime.datetime) -> Pair:
        """Read it; make it, if it is not there, ends soon, or lacks a name."""
        try:
            pair = self._there(now)
            if pair is None:
                pair = make_self_signed(self._names(), now)
                self._write(self._path, _pem(pair, with_key=True))
            self._copy(_pem(pair, with_key=False))
        except OSError as error:
            raise ValueError(
                f"{error.filename or self._directory} cannot be written: {error.strerror or error}"
            ) from None
        return pair

    def _there(self, now: datetime.datetime) -> Pair | None:
        if not os.path.exists(self._path):
            return None
        try:
            pair = read_pair(self._path, self._path)
        except ValueError as error:
            self._log.warn("{reason}; a new one is created", reason=str(error))
            return None
        missing = {name for name in self._names() if _is_usable(name)} - pair.names
        if pair.problem(now) or pair.ends - now < _RENEWED_BEFORE or missing:
            return None
        return pair

    def _copy(self, data: bytes) -> None:
        try:
            with open_stored(self.where) as file:
                if file.read(_MOST) == data:
                    return
        except FileNotFoundError:
            pass
        self._write(self.where, data)

    def _write(self, path: str, data: bytes) -> None:
        files = self._files
        files.make_directory(self._directory)
        new = path + ".new"
        fd = files.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            # One that a killed process left may have any mode.
            os.fchmod(fd, 0o600)
            files.write_at(fd, [data], 0)
            files.sync_data(fd)
        finally:
            files.close(fd)
        files.rename(new, path)
        files.sync_directory(self._directory)


def _pem(pair: Pair, with_key: bool) -> bytes:
    certificate = pair.certificate.public_bytes(serialization.Encoding.PEM)
    if not with_key:
        return certificate
    kind = serialization.PrivateFormat.PKCS8
    key: bytes = pair.key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())
    return certificate + key
