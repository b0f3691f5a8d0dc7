"""
The cookie of a session.

It is the URL-safe base64, without padding, of these bytes::

    offset  size  content
    0       1     version, 1
    1       8     expiry: seconds since 1970 UTC, big-endian
    9       4     generation of the user's key, big-endian
    13      16    random ID of the session
    29      1..64 name of the user, ASCII
    -32     32    HMAC-SHA256 of all before it

Source: docs/accounts.rst.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from struct import Struct

import attrs

from storehouse.errors import NotSignedIn

__all__ = ["Ticket", "read_cookie", "request_token", "write_cookie"]

_VERSION = 1
_ID_SIZE = 16
_MAC_SIZE = 32

_head = Struct(f">BQI{_ID_SIZE}s")

#: Characters of the longest cookie: that of a name of 64 characters.
_MAX_COOKIE = -(-(_head.size + 64 + _MAC_SIZE) * 4 // 3)


@attrs.frozen
class Ticket:
    """
    The content of a cookie.

    @ivar generation: of the user's account: when the account's is another, the session has ended.
    @ivar expires: seconds since 1970 UTC.
    @ivar id: 128 random bits.
    """

    user: str
    generation: int
    expires: int
    id: bytes


def write_cookie(key: bytes, ticket: Ticket) -> str:
    head = _head.pack(_VERSION, ticket.expires, ticket.generation, ticket.id) + ticket.user.encode("ascii")
    return urlsafe_b64encode(head + _mac(key, head)).rstrip(b"=").decode("ascii")


def read_cookie(key: bytes, cookie: str) -> Ticket:
    """@raise NotSignedIn: unless it is, to the last bit, what L{write_cookie} wrote with this key."""
    refused = NotSignedIn("the session is of another service: sign in again")
    if len(cookie) > _MAX_COOKIE:
        raise refused
    try:
        data = urlsafe_b64decode(cookie.encode("ascii") + b"=" * (-len(cookie) % 4))
    except (UnicodeEncodeError, binascii.Error):
        raise refused from None
    head, mac = data[:-_MAC_SIZE], data[-_MAC_SIZE:]
    # The last character of base64 can have unused bits, so that several texts decode to the same bytes: only the one
    # that was given out is taken.
    is_canonical = urlsafe_b64encode(data).rstrip(b"=") == cookie.encode("ascii")
    if not hmac.compare_digest(mac, _mac(key, head)) or not is_canonical or len(head) <= _head.size:
        raise refused
    version, expires, generation, session_id = _head.unpack_from(head)
    if version != _VERSION:
        raise refused
    return Ticket(head[_head.size :].decode("ascii"), generation, expires, session_id)


def request_token(key: bytes, session_id: bytes) -> str:
    """
    The token that a session's requests repeat when they change something: HMAC-SHA256 of the session's ID, in hex.
    """
    return _mac(key, session_id).hex()


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")
