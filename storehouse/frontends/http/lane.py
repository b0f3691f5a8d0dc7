"""
The fast lane: requests of a few exact shapes, served without twisted.web's request objects.

A request takes the lane only if its line matches the door's pattern and its head passes L{parse_head}, which
is stricter than twisted.web; everything else is twisted.web's to decide.  Heads are parsed once: clients
repeat theirs to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs
from zope.interface import Attribute, Interface

from storehouse.frontends.http.request import host_name

__all__ = ["DECLINED", "MAX_FIELDS", "MAX_HEAD", "OWED", "Head", "ILane", "IRoute", "PlanCache", "parse_head"]

#: Heads with more bytes than this never take the lane.
MAX_HEAD = 2048

#: Heads with more fields than this are refused, in the lane as elsewhere.
MAX_FIELDS = 100

_REMEMBERED = 4096

#: What L{ILane.serve} gives for a request that is not for the lane after all.
DECLINED: Any = object()

#: What L{ILane.serve} gives if it will call the channel's C{pay} later.
OWED: Any = object()

_is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z").match
_is_value = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z").match

#: Header fields that change how a request is read or what the response is.
_NOT_HERE = frozenset(
    {
        b"transfer-encoding",
        b"expect",
        b"upgrade",
        b"te",
        b"trailer",
        b"range",
        b"authorization",
        b"content-encoding",
        b"content-range",
        # What browsers say of the page that makes a request.
        b"origin",
        b"sec-fetch-site",
    }
)


@attrs.frozen
class Head:
    """
    What the lane wants to know of a head.

    @ivar length: bytes of the body.
    @ivar fields: the fields that the door asked for, by their names in lower case.
    @ivar host: the host of the Host field, in lower case.
    """

    length: int
    fields: dict[bytes, bytes]
    host: bytes = attrs.field(default=b"", eq=False)


class IRoute(Interface):
    """What a door makes of a request line: where the request goes."""

    waits = Attribute(
        "C{bool}: the request must wait until all earlier answers on the connection are out. Only such are answered at once."
    )
    repeats = Attribute("C{bool}: the same line is likely to come again, so that the route is worth remembering.")


class ILane(Interface):
    """What a door serves in the fast lane."""

    prefixes = Attribute(
        "C{tuple} of C{bytes}: what every line for the lane begins with; decides whether to wait for the rest of one."
    )
    fields = Attribute("C{frozenset} of C{bytes}: header fields to be handed to L{serve}, in lower case.")
    max_body = Attribute("C{int}: requests with longer bodies are not for the lane.")

    def route(line: bytes) -> IRoute | None:
        """The route of a request line that may take the lane; C{None} for others."""

    def serve(route: Any, head: Head, body: bytes, channel: Any) -> Any:
        """
        Serve a request, in the reactor's thread.

        @return: the bytes of the answer; L{DECLINED}; or L{OWED} after arranging that C{channel.pay(answer)}
            is called later, in the order of the requests.
        """


def parse_head(block: bytes, wanted: frozenset[bytes]) -> Head | None:
    """
    Read a head if it is plain enough for the lane.

    @param block: the bytes from the end of the request line to the empty line, both exclusive of the last
        CRLF: C{\\r\\nName: value\\r\\nName: value}.
    """
    length = -1
    host: bytes | None = None
    seen = set()
    fields: dict[bytes, bytes] = {}
    lines = block.split(b"\r\n")
    if len(lines) > MAX_FIELDS + 1:
        return None
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not _is_token(name) or not _is_value(value):
            return None
        name = name.lower()
        value = value.strip(b" \t")
        if name in _NOT_HERE:
            return None
        if name == b"content-length":
            if length >= 0 or not value.isdigit() or len(value) > 10:
                return None
            length = int(value)
        elif name == b"host":
            if host is not None:
                return None
            host = host_name(value)
            if host is None:
                return None
        elif name == b"connection":
            if value.lower() != b"keep-alive":
                return None
        elif name in wanted:
            if name in seen:
                return None
            seen.add(name)
            fields[name] = value
    return Head(max(length, 0), fields, host) if host is not None else None


class PlanCache:
    """
    What to do with a request, by the exact bytes of its head: clients repeat theirs.

    Bounded: at most 4096 heads of at most L{MAX_HEAD} bytes, and as many of those without their request lines; then it
    begins anew.
    """

    def __init__(self, lane: Any, knows_host: Callable[[bytes], bool] = lambda host: True) -> None:
        """@param knows_host: whether requests for a host may take the lane."""
        self._lane = lane
        self._knows_host = knows_host
        self._plans: dict[bytes, tuple[IRoute, Head]] = {}
        self._heads: dict[bytes, Head | None] = {}
        #: The look-up for the hot path: C{None} means to call L{learn}.
        self.get = self._plans.get

    def learn(self, whole: bytes) -> tuple[IRoute, Head] | None:
        """
        Read a head that has not been seen lately.

        @param whole: from the request line on, without the empty line and the last CRLF.
        @return: the route and the head; C{None} if the request is not for the lane.
        """
        if len(whole) > MAX_HEAD:
            return None
        end = whole.find(b"\r\n")
        if end < 0:
            return None
        route = self._lane.route(whole[:end])
        if route is None:
            return None
        head = self._head(whole[end:])
        if head is None or head.length > self._lane.max_body:
            return None
        plan = (route, head)
        if route.repeats:
            if len(self._plans) >= _REMEMBERED:
                self._plans.clear()
            self._plans[whole] = plan
        return plan

    def _head(self, block: bytes) -> Head | None:
        try:
            return self._heads[block]
        except KeyError:
            if len(self._heads) >= _REMEMBERED:
                self._heads.clear()
            head = parse_head(block, self._lane.fields)
            if head is not None and not self._knows_host(head.host):
                head = None
            self._heads[block] = head
            return head
