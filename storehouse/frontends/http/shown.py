"""What of a request may be logged."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

__all__ = ["shown"]

#: What is before the token of a sign-in link, which lets in whoever has it.
_SIGN_IN = b"/sign-in/"

# Terminals obey some of these, and a log is read at one.
_unprintable = re.compile(rb"[^\x21-\x7e]").sub


def shown(text: bytes) -> str:
    """
    A method, a URI, or the path of one, as a log may have it: without the signature of a link and the token of a sign-in
    link, however they are spelled, and in ASCII that can be printed.
    """
    path, mark, query = text.partition(b"?")
    if unquote_to_bytes(path).startswith(_SIGN_IN):
        path = _SIGN_IN + b"..."
    fields = b"&".join(map(_field, query.split(b"&")))
    return _unprintable(lambda found: b"%%%02X" % found[0][0], path + mark + fields).decode("ascii")


def _field(field: bytes) -> bytes:
    name, _, _ = field.partition(b"=")
    return b"signature=..." if unquote_to_bytes(name) == b"signature" else field
