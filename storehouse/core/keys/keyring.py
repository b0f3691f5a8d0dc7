"""
The keys of a root, and the file that keeps them: ROOT/keyring.json (docs/formats/sealed.md).

A master key, which is nowhere on disk, opens the file; the keys in it wrap those that data is encrypted with.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import attrs
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.errors import StartFailed, WrongMasterKey

__all__ = [
    "HEADER_SIZE",
    "KEY_SIZE",
    "Derivation",
    "Keyring",
    "Protector",
    "decode_keyring",
    "encode_keyring",
]

#: Bytes of every key.
KEY_SIZE = 32

#: Bytes of the random nonces, and of the tags behind what is encrypted.
NONCE_SIZE = 12
TAG_SIZE = 16

_VERSION = 1
_ID_SIZE = 8

#: Bytes of a wrapped key with all that is needed to unwrap it: version, ID of the key that it is wrapped by, nonce, key, tag.
HEADER_SIZE = 1 + _ID_SIZE + NONCE_SIZE + KEY_SIZE + TAG_SIZE

# What a file may ask for: who can write it should not be able to have a start take all memory, or hours.
_MOST_MEMORY = 1 << 20
_MOST_ITERATIONS = 16
_MOST_LANES = 64


@attrs.frozen
class Derivation:
    """
    How a master key becomes the key of the file: Argon2id (RFC 9106), by default as its section 4 recommends where memory
    is dear.

    @ivar memory: in KiB.
    """

    memory: int = 64 << 10
    iterations: int = 3
    lanes: int = 4

    def derive(self, master: bytes, salt: bytes) -> bytes:
        """
        The key.

        @raise StartFailed: if the system's cryptography does not have it.
        """
        try:
            return Argon2id(
                salt=salt, length=KEY_SIZE, iterations=self.iterations, lanes=self.lanes, memory_cost=self.memory
            ).derive(master)
        except UnsupportedAlgorithm:
            raise StartFailed("encryption needs Argon2id, which OpenSSL has since 3.2") from None
        except MemoryError:
            raise StartFailed(
                f"the master key takes {self.memory >> 10} MiB of memory to open, which is not available"
            ) from None


@attrs.frozen
class Protector:
    """What protects a keyring file: the key that a master key and a salt gave."""

    derivation: Derivation
    salt: bytes
    key: bytes = attrs.field(repr=False)

    @classmethod
    def make(cls, master: bytes, derivation: Derivation | None = None) -> Protector:
        """One with a new salt. Takes a tenth of a second, or several."""
        derivation = derivation or Derivation()
        salt = os.urandom(16)
        return cls(derivation, salt, derivation.derive(master, salt))


@attrs.frozen
class Keyring:
    """
    The keys of a root, and what was decided when they were made.

    @ivar keys: those that wrap other keys, by their IDs, 16 hex digits.
    @ivar current: the ID of the one that wraps from now on. There are others only while keys are being wrapped anew.
    @ivar names_key: what the keys for names are derived from.
    @ivar seal_names: whether names are encrypted.
    @ivar plain: whether there may be objects that were stored before there was a keyring.
    """

    keys: dict[str, bytes] = attrs.field(repr=False)
    current: str
    names_key: bytes = attrs.field(repr=False)
    seal_names: bool = False
    plain: bool = False
    _ciphers: dict[str, AESGCM] = attrs.field(factory=dict, init=False, repr=False, eq=False)

    @classmethod
    def make(cls, seal_names: bool = False, plain: bool = False) -> Keyring:
        """A new one, with one key."""
        id = os.urandom(_ID_SIZE).hex()
        return cls({id: os.urandom(KEY_SIZE)}, id, os.urandom(KEY_SIZE), seal_names, plain)

    @property
    def identity(self) -> str:
        """What it is known by, 32 hex digits: the same through every rekey, and of no use to find a key."""
        return HKDFExpand(SHA256(), 16, b"storehouse keyring identity 1").derive(self.names_key).hex()

    @property
    def unfinished(self) -> bool:
        """Whether keys are being wrapped anew."""
        return len(self.keys) > 1

    def begun(self) -> Keyring:
        """With one key more, which is the current one."""
        id = os.urandom(_ID_SIZE).hex()
        return attrs.evolve(self, keys={**self.keys, id: os.urandom(KEY_SIZE)}, current=id)

    def finished(self, plain: bool) -> Keyring:
        """With the current key alone."""
        return attrs.evolve(self, keys={self.current: self.keys[self.current]}, plain=plain)

    def wrap(self, key: bytes, about: bytes) -> bytes:
        """
        A key, wrapped by the current one.

        @param about: what it is for; authenticated.
        """
        nonce = os.urandom(NONCE_SIZE)
        return b"%c%b%b%b" % (
            _VERSION,
            bytes.fromhex(self.current),
            nonce,
            self._cipher(self.current).encrypt(nonce, key, about),
        )

    def unwrap(self, header: bytes, about: bytes) -> bytes:
        """
        The key that L{wrap} was given.

        @raise ValueError: if this is not what it gave.
        """
        if len(header) != HEADER_SIZE or header[0] != _VERSION:
            raise ValueError("its wrapped key is of an unknown kind")
        id, rest = header[1 : 1 + _ID_SIZE].hex(), header[1 + _ID_SIZE :]
        if id not in self.keys:
            raise ValueError(f"its key is wrapped by the key {id}, which the keyring does not have")
        try:
            return self._cipher(id).decrypt(rest[:NONCE_SIZE], rest[NONCE_SIZE:], about)
        except InvalidTag:
            raise ValueError("its wrapped key is not authentic") from None

    def has_key_of(self, header: bytes) -> bool:
        """Whether a wrapped key says that it was wrapped by one of these."""
        return header[1 : 1 + _ID_SIZE].hex() in self.keys

    def is_current(self, header: bytes) -> bool:
        """Whether a wrapped key was wrapped by the current one."""
        return header[1 : 1 + _ID_SIZE].hex() == self.current

    def _cipher(self, id: str) -> AESGCM:
        cipher = self._ciphers.get(id)
        if cipher is None:
            cipher = self._ciphers[id] = AESGCM(self.keys[id])
        return cipher


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _head(protector: Protector, ids: list[str]) -> dict[str, Any]:
    how = protector.derivation
    return {
        "format": "keyring",
        "version": _VERSION,
        "derivation": {
            "name": "argon2id",
            "salt": protector.salt.hex(),
            "memory": how.memory,
            "iterations": how.iterations,
            "lanes": how.lanes,
        },
        "keys": ids,
    }


def _about(head: dict[str, Any]) -> bytes:
    return json.dumps(head, separators=(",", ":")).encode()


def encode_keyring(keyring: Keyring, protector: Protector) -> bytes:
    inside = {
        "current": keyring.current,
        "keys": {id: _text(key) for id, key in keyring.keys.items()},
        "namesKey": _text(keyring.names_key),
        "sealNames": keyring.seal_names,
        "plain": keyring.plain,
    }
    head = _head(protector, list(keyring.keys))
    nonce = os.urandom(NONCE_SIZE)
    sealed = nonce + AESGCM(protector.key).encrypt(nonce, json.dumps(inside).encode(), _about(head))
    return encode_checksummed({**head, "sealed": _text(sealed)}) + b"\n"


def decode_keyring(data: bytes, master: bytes) -> tuple[Keyring, Protector]:
    """
    The file.

    @raise WrongMasterKey: if the master key is another one.
    @raise ValueError: if it is damaged, or of another version.
    """
    try:
        fields: Any
        fields, checked = decode_checksummed(data.removesuffix(b"\n"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if fields.get("format") != "keyring" or fields.get("version") != _VERSION:
        raise ValueError("it is not a keyring of a known version")
    if not checked:
        raise ValueError("it has no checksum")
    try:
        how = fields["derivation"]
        derivation = Derivation(how["memory"], how["iterations"], how["lanes"])
        head = {name: fields[name] for name in ("format", "version", "derivation", "keys")}
        salt = bytes.fromhex(how["salt"])
        sealed = base64.b64decode(fields["sealed"], validate=True)
        fits = (
            all(type(number) is int for number in attrs.astuple(derivation))
            and 8 * derivation.lanes <= derivation.memory <= _MOST_MEMORY
            and 1 <= derivation.iterations <= _MOST_ITERATIONS
            and 1 <= derivation.lanes <= _MOST_LANES
            and how["name"] == "argon2id"
            and len(salt) == 16
        )
    except (KeyError, TypeError, ValueError):
        raise ValueError("a field is missing or of the wrong kind") from None
    if not fits:
        raise ValueError("its key derivation is unknown")
    protector = Protector(derivation, salt, derivation.derive(master, salt))
    try:
        inside = json.loads(AESGCM(protector.key).decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], _about(head)))
    except (InvalidTag, ValueError):
        raise WrongMasterKey("the master key does not match the keyring") from None
    return Keyring(
        {id: base64.b64decode(key) for id, key in inside["keys"].items()},
        inside["current"],
        base64.b64decode(inside["namesKey"]),
        inside["sealNames"],
        inside["plain"],
    ), protector
