"""Names from outside, checked before anything is done with them."""

from __future__ import annotations

import re

from storehouse.errors import InvalidName

__all__ = ["DEFAULT_PREFIX", "MAX_IDENTIFIER", "MAX_PREFIX", "check_identifier", "check_prefix"]

#: The prefix of requests that name none.
DEFAULT_PREFIX = "default"

#: The most bytes of UTF-8 that a storage prefix may have.
MAX_PREFIX = 128

#: The most bytes of UTF-8 that an identifier may have.
MAX_IDENTIFIER = 1024

_control = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _text(kind: str, name: bytes, limit: int) -> str:
    if not name:
        raise InvalidName(f"the {kind} is empty")
    if len(name) > limit:
        raise InvalidName(f"the {kind} has {len(name)} bytes; at most {limit} are allowed")
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidName(f"the {kind} {name!r} is not UTF-8") from None
    if _control.search(text):
        raise InvalidName(f"the {kind} {text!r} holds a control character")
    return text


def check_prefix(name: bytes) -> str:
    """
    Check a storage prefix, which becomes the name of a directory.

    @return: the name; L{DEFAULT_PREFIX} for an empty one, as the seed does.
    @raise InvalidName: unless it is one safe path component.
    """
    if not name:
        return DEFAULT_PREFIX
    text = _text("storage prefix", name, MAX_PREFIX)
    if text.startswith("."):
        raise InvalidName(f"the storage prefix {text!r} begins with a dot")
    if "/" in text or "\\" in text:
        raise InvalidName(f"the storage prefix {text!r} is not a single path component")
    return text


def check_identifier(name: bytes) -> bytes:
    """
    Check the identifier of a record. It is hashed only, never part of a path.

    @raise InvalidName: unless it is 1 to L{MAX_IDENTIFIER} bytes of UTF-8 without control characters.
    """
    _text("id", name, MAX_IDENTIFIER)
    return name
