"""
C{secret.key}: the secret from which a root's keys are derived.

One sealed JSON object (L{storehouse.core.checksummed})::

    {"format":"storehouse secret","version":1,"is_wrapped":false,"secret":"BASE64","checksum":"..."}

C{secret} is 32 random bytes; with a master key what its C{Wrap} has made of them.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode

from storehouse.core.checksummed import seal, unseal
from storehouse.errors import StoreUnusable, WrongMasterKey
from storehouse.storage.accounts.ground import Ground
from storehouse.storage.accounts.keys import SECRET_SIZE, Keys, Wrap

__all__ = ["NAME", "is_wrapped", "load_keys"]

#: The name of the file.
NAME = "secret.key"

_FORMAT = "storehouse secret"
_VERSION = 1

# Bytes of the longest file that is looked at.
_MOST = 4096


def is_wrapped(directory: str) -> bool:
    """Whether a directory of accounts has a secret that a master key is needed for. A damaged one needs none: L{load_keys} tells of it."""
    try:
        with open(os.path.join(directory, NAME), "rb") as file:
            return _decode(file.read(_MOST))[1]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load_keys(ground: Ground, wrap: Wrap | None, may_make: bool) -> Keys:
    """
    The keys of a root. With a master key, a secret that was kept without one is sealed from now on. Only
    L{locked<Ground.locked>}.

    @param may_make: whether a secret is made if there is none: not where something was sealed by one that is lost.
    @raise StoreUnusable: if it is missing and may not be made, or is damaged.
    @raise WrongMasterKey: if it is sealed under another master key, or under one and there is none now.
    """
    data = ground.read(NAME)
    if data is None:
        if not may_make:
            raise StoreUnusable(
                f"{ground.path(NAME)} is missing: without it no access key, session or link of this root can be checked. Put it back from a backup; or "
                "remove the directory, and make all users anew"
            )
        secret = os.urandom(SECRET_SIZE)
        ground.replace(NAME, _encode(secret, wrap))
        return Keys(secret)
    try:
        secret, is_wrapped = _decode(data)
    except (ValueError, KeyError, TypeError) as problem:
        raise StoreUnusable(f"{ground.path(NAME)} is damaged: {problem}; put it back from a backup") from None
    if is_wrapped:
        if wrap is None:
            raise WrongMasterKey(
                f"{ground.path(NAME)} is sealed under a master key: give it with the environment variable masterkey, or with master-key-file"
            )
        secret = wrap.open(secret)
    elif wrap is not None:
        ground.replace(NAME, _encode(secret, wrap))
    if len(secret) != SECRET_SIZE:
        raise StoreUnusable(f"{ground.path(NAME)} is damaged: it does not have {SECRET_SIZE} bytes")
    return Keys(secret)


def _encode(secret: bytes, wrap: Wrap | None) -> bytes:
    kept = secret if wrap is None else wrap.seal(secret)
    fields = {"format": _FORMAT, "version": _VERSION, "is_wrapped": wrap is not None}
    return seal({**fields, "secret": b64encode(kept).decode("ascii")}) + b"\n"


def _decode(data: bytes) -> tuple[bytes, bool]:
    fields, is_sealed = unseal(data.removesuffix(b"\n"))
    if not is_sealed or fields["format"] != _FORMAT:
        raise ValueError("it is not a secret with a checksum")
    if fields["version"] != _VERSION:
        raise ValueError(f"it is of version {fields['version']}, which is not known here")
    return b64decode(fields["secret"], validate=True), bool(fields["is_wrapped"])
