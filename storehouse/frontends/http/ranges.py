"""Ranges of bytes, as requests ask for them (RFC 9110, section 14)."""

from __future__ import annotations

import re

import attrs

from storehouse.errors import InvalidRange

__all__ = ["MOST_RANGES", "Span", "content_range", "parse_ranges"]

#: More ranges than this in one request are no use to anybody: the field is then left unread.
MOST_RANGES = 32

_spec = re.compile(rb"(\d{0,40})-(\d{0,40})\Z").match


@attrs.frozen
class Span:
    """
    A range that there is.

    @ivar offset: of its first byte.
    @ivar length: in bytes, 1 at least.
    """

    offset: int
    length: int

    @property
    def end(self) -> int:
        """What is behind its last byte."""
        return self.offset + self.length


def content_range(span: Span, size: int) -> bytes:
    """The value of C{Content-Range}."""
    return b"bytes %d-%d/%d" % (span.offset, span.end - 1, size)


def parse_ranges(value: bytes | None, size: int) -> list[Span] | None:
    """
    Which ranges of C{size} bytes are asked for.

    They are in order of their offsets; those that overlap or touch are one.  So all together never have more bytes than
    there are.

    @param value: the field C{Range}, or C{None}.
    @return: C{None} for all of it: without the field, or with one that may be left unread, since it is not of bytes, is
        malformed, or names more than L{MOST_RANGES}.
    @raise InvalidRange: if there is none of these ranges.
    """
    if value is None:
        return None
    unit, equals, rest = value.partition(b"=")
    if not equals or unit.strip().lower() != b"bytes":
        return None
    found: list[Span] = []
    wanted: list[int] = []
    # Empty elements of a list count for nothing (section 5.6.1.2).
    specs = [spec for spec in (element.strip(b" \t") for element in rest.split(b",")) if spec]
    if not specs or len(specs) > MOST_RANGES:
        return None
    for spec in specs:
        match = _spec(spec)
        if match is None or spec == b"-":
            return None
        first, last = match.groups()
        if not first:
            length = min(int(last), size)
            if int(last) and not size:
                # The last bytes of nothing are nothing: there is that, but no way to say so but with all of it.
                return None
            span = Span(size - length, length)
        else:
            start = int(first)
            if last and int(last) < start:
                return None
            span = Span(start, min(int(last) + 1 if last else size, size) - start)
        wanted.append(span.offset)
        if span.length > 0:
            found.append(span)
    if not found:
        raise InvalidRange(wanted[0], None, size)
    return _joined(found)


def _joined(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: span.offset):
        if joined and span.offset <= joined[-1].end:
            joined[-1] = Span(joined[-1].offset, max(joined[-1].end, span.end) - joined[-1].offset)
        else:
            joined.append(span)
    return joined
