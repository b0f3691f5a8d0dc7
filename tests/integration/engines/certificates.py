"""A certificate for loopback."""

from __future__ import annotations

import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.core.tls.certificates import key_usage

__all__ = ["self_signed"]


def self_signed(directory: str) -> tuple[str, str]:
    """@return: the paths of a key and of a certificate that it signed itself, both in PEM."""
    os.makedirs(directory)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "storehouse tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .add_extension(key_usage(signs=True), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    paths = os.path.join(directory, "key.pem"), os.path.join(directory, "certificate.pem")
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    with open(paths[0], "wb") as file:
        file.write(key.private_bytes(encoding, form, serialization.NoEncryption()))
    with open(paths[1], "wb") as file:
        file.write(certificate.public_bytes(encoding))
    return paths
