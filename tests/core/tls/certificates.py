"""Certificates for tests."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "key_usage"]


class Authority:
    """
    Signs certificates.

    @ivar path: the file of its own.
    """

    def __init__(self, directory: str, name: str = "authority") -> None:
        os.makedirs(directory, exist_ok=True)
        self._directory = directory
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _certificate(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(key_usage(signs=True), critical=True)
        )
        self.path = os.path.join(directory, f"{name}.pem")
        with open(self.path, "wb") as file:
            file.write(certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def sign(self, name: str, days: int = 1) -> str:
        """A new certificate, for the loopback address. @return: the file of it and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        # What names the signer's key is what Python 3.13 insists on.
        certificate = (
            _certificate(_name(name), self._name, key, days)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        path = os.path.join(self._directory, f"{name}.pem")
        with open(path, "wb") as file:
            file.write(certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
            file.write(
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
        return path

    def client(self, certificate: str | None = None) -> ssl.SSLContext:
        """What a client needs who trusts in it."""
        context = ssl.create_default_context(cafile=self.path)
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context


def key_usage(signs: bool) -> x509.KeyUsage:
    """What the key of a server may do, and whether it may sign certificates."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int = 1) -> x509.CertificateBuilder:  # fmt: skip
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    # One that has expired was valid once.
    begin = now - datetime.timedelta(days=10)
    builder = builder.not_valid_before(begin).not_valid_after(now + datetime.timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
