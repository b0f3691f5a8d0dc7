"""
The fast lane: requests of a few exact shapes, served without twisted.web's request objects.

A request takes the lane only if its line matches the door's pattern and its head passes L{parse_head}, which
is stricter than twisted.web; everything else is twisted.web's to decide.  Heads are parsed once: clients
repeat theirs to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import attrs
from zope.interface import Attribute, Interface

from storehouse.frontends.http.request import host_name

__all__ = [
    "DECLINED",
    "FRAMING",
    "MAX_FIELDS",
    "MAX_HEAD",
    "OWED",
    "Head",
    "ILane",
    "IRoute",
    "PlanCache",
    "parse_head",
]

#: Heads with more bytes than this never take the lane.
MAX_HEAD = 2048

#: Heads with more fields than this are refused, in the lane as elsewhere.
MAX_FIELDS = 100

_REMEMBERED = 4096

#: What L{ILane.serve} gives for a request that is not for the lane after all.
DECLINED: Any = object()

#: What L{ILane.serve} gives if it will call the channel's C{pay} later.
OWED: Any = object()

# Lines of a head, each a token, a colon and a value without control characters but tabs.
_is_block = re.compile(rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*)*\Z").match
_is_length = re.compile(rb"[0-9]{1,10}\Z").match

#: Header fields that change how a request is read, and those by which browsers say what page makes it: no lane takes them.
FRAMING = frozenset(
    {
        b"transfer-encoding",
        b"expect",
        b"upgrade",
        b"te",
        b"trailer",
        b"origin",
        b"sec-fetch-site",
    }
)

# Of hosts, clients name few.
_host_name = lru_cache(256)(host_name)


@attrs.frozen
class Head:
    """
    What the lane wants to know of a head.

    @ivar length: bytes of the body.
    @ivar fields: the fields that the door asked for, by their names in lower case, or all of them.
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
    fields = Attribute(
        "C{frozenset} of C{bytes}: header fields to be handed to L{serve}, in lower case; C{None} for all, and then heads do not "
        "repeat, and are not remembered."
    )
    excluded = Attribute("C{frozenset} of C{bytes}: header fields that no request for the lane has, in lower case.")
    max_body = Attribute("C{int}: requests with longer bodies are not for the lane.")

    def route(line: bytes) -> IRoute | None:
        """The route of a request line that may take the lane; C{None} for others."""

    def serve(route: IRoute, head: Head, body: bytes, channel: object) -> object:
        """
        Serve a request, in the reactor's thread.

        @return: the bytes of the answer; L{DECLINED}; or L{OWED} after arranging that C{channel.pay(answer)}
            is called later, in the order of the requests.
        """


def parse_head(block: bytes, wanted: frozenset[bytes] | None, excluded: frozenset[bytes] = FRAMING) -> Head | None:
    """
    Read a head if it is plain enough for the lane.

    @param block: the bytes from the end of the request line to the empty line, both exclusive of the last
        CRLF: C{\\r\\nName: value\\r\\nName: value}.
    @param wanted: names of fields to be read, in lower case; C{None} for all. None of them may be there twice.
    @param excluded: names of fields that a plain head does not have.
    """
    if not _is_block(block):
        return None
    lines = block.split(b"\r\n")
    if len(lines) > MAX_FIELDS + 1:
        return None
    del lines[0]
    found: dict[bytes, bytes] = {}
    twice: set[bytes] = set()
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in found:
            twice.add(name)
        found[name] = value.strip(b" \t")
    if not excluded.isdisjoint(found):
        return None
    if twice and (wanted is None or twice & wanted or twice & _ONCE):
        return None
    length = found.get(b"content-length", b"0")
    host = _host_name(found[b"host"]) if b"host" in found else None
    if host is None or not _is_length(length) or found.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    fields = found if wanted is None else {name: found[name] for name in wanted if name in found}
    return Head(int(length), fields, host)


_ONCE = frozenset({b"connection", b"content-length", b"host"})


class PlanCache:
    """
    What to do with a request, by the exact bytes of its head: clients repeat theirs.

    Bounded: at most 4096 heads of at most L{MAX_HEAD} bytes, and as many of those without their request lines; then it
    begins anew.
    """

    def __init__(self, lane: ILane, knows_host: Callable[[bytes], bool] = lambda host: True) -> None:
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
        if self._lane.fields is None:
            return self._read(block)
        try:
            return self._heads[block]
        except KeyError:
            if len(self._heads) >= _REMEMBERED:
                self._heads.clear()
            head = self._heads[block] = self._read(block)
            return head

    def _read(self, block: bytes) -> Head | None:
        head = parse_head(block, self._lane.fields, self._lane.excluded)
        return head if head is not None and self._knows_host(head.host) else None
