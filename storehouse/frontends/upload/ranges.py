"""
Several ranges in one answer (RFC 9110, section 14.6)::

    --BOUNDARY CRLF
    Content-Type: TYPE CRLF
    Content-Range: bytes FIRST-LAST/SIZE CRLF
    CRLF
    the bytes CRLF                              this for each range, and then
    --BOUNDARY-- CRLF
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from storehouse.frontends.http.sending import Span, content_range

__all__ = ["ByteRanges"]


class ByteRanges:
    """
    The frame around ranges.

    @ivar content_type: of the answer.
    @ivar heads: what goes before the bytes of each range.
    @ivar tail: what goes behind the last.
    @ivar length: bytes of all of it.
    @param content_type: of the file.
    @param boundary: C{None} for one that nobody can have put into a file.
    """

    def __init__(self, spans: Sequence[Span], size: int, content_type: bytes, boundary: bytes | None = None) -> None:
        boundary = boundary or secrets.token_hex(16).encode("ascii")
        self.content_type = b"multipart/byteranges; boundary=" + boundary
        self.heads = [
            b"%b--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n"
            % (b"\r\n" if number else b"", boundary, content_type, content_range(span, size))
            for number, span in enumerate(spans)
        ]
        self.tail = b"\r\n--%b--\r\n" % boundary
        self.length = sum(map(len, self.heads)) + sum(span.length for span in spans) + len(self.tail)
