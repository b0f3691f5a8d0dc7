"""
Any text in a header field: printable ASCII as it is, and all else as RFC 2047 writes it, as S3 has metadata::

    =?UTF-8?B?BASE64?=
"""

from __future__ import annotations

import re
from base64 import b64encode
from email.errors import HeaderParseError
from email.header import decode_header, make_header

__all__ = ["decoded_words", "encoded_words"]

_plain = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?").fullmatch
_encoded = re.compile(r"=\?[^?\s]+\?[BbQq]\?[^?\s]*\?=").search


def encoded_words(value: str) -> str:
    """
    A text as it is written. What looks as if it were encoded is, so that it is read as it was.

    @param value: lone surrogates in it are replaced.
    """
    if _plain(value) and not _encoded(value):
        return value
    return f"=?UTF-8?B?{b64encode(value.encode('utf-8', 'replace')).decode('ascii')}?="


def decoded_words(value: str) -> str:
    """The text that was written, in any charset; what cannot be read is left as it is."""
    if not _encoded(value):
        return value
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value
