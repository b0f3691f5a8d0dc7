"""
The query of a signed link.

What is signed are these lines, each with a newline behind it::

    storehouse link 1
    METHOD        PUT or GET
    PATH          canonical (L{canonical_path<storehouse.storage.accounts.names.canonical_path>})
    SCOPE         exact or prefix
    EXPIRES       seconds since 1970 UTC
    MAX-BYTES     a number, or -
    USES          once or many
    NONCE         32 hex digits
    USER          the name of who signed it

No line can hold a newline, so that no two links have the same text. The signature is its HMAC-SHA256, in hex. The fields of
the query are C{method}, C{path}, C{prefix=1}, C{expires}, C{max-bytes}, C{once=1}, C{nonce}, C{user} and C{signature}; those
that say nothing are left out (docs/accounts.rst).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from urllib.parse import quote

from storehouse.errors import BadRequest, LinkOutOfScope, LinkTampered
from storehouse.storage.accounts.interfaces import LINK_FIELDS, Grant
from storehouse.storage.accounts.names import MAX_PATH, canonical_path

__all__ = ["METHODS", "check_scope", "read_query", "write_query"]

#: What a link can be for.
METHODS = ("PUT", "GET")

_hex = "[0-9a-f]"
_number = re.compile(r"(0|[1-9][0-9]{0,18})\Z", re.ASCII).match
_nonce = re.compile(f"{_hex}{{32}}\\Z", re.ASCII).match


def write_query(key: bytes, grant: Grant) -> str:
    """
    The query that carries a grant, signed.

    @param grant: its path is canonical.
    """
    fields = [f"method={grant.method}", f"path={grant.path}"]
    if grant.is_prefix:
        fields.append("prefix=1")
    fields.append(f"expires={grant.expires}")
    if grant.max_bytes is not None:
        fields.append(f"max-bytes={grant.max_bytes}")
    if grant.once:
        fields.append("once=1")
    fields += [f"nonce={grant.nonce}", f"user={grant.user}", f"signature={_sign(key, grant)}"]
    return "&".join(fields)


def read_query(key: bytes, fields: Mapping[bytes, bytes]) -> Grant:
    """
    The grant that the fields of a query carry; other fields are no part of the link.

    @raise LinkTampered: unless it was signed with this key, and says what was signed.
    """
    signature = fields.get(b"signature", b"")
    grant = _grant_in(fields)
    # Without a grant something else is signed, so that it takes no less long.
    expected = _sign(key, grant or _NOTHING)
    if not hmac.compare_digest(signature, expected.encode("ascii")) or grant is None:
        raise LinkTampered("the link is not as it was signed: something in it was changed, or is missing")
    return grant


def check_scope(grant: Grant, method: str, path: str) -> None:
    """
    @param path: of the request, as it came.
    @raise LinkOutOfScope: unless the grant is for this method and path.
    """
    if method != grant.method:
        doing = "to store" if grant.method == "PUT" else "to read"
        raise LinkOutOfScope(f"the link is {doing}, and for nothing else")
    try:
        path = canonical_path(path)
    except BadRequest as error:
        raise LinkOutOfScope(error.detail) from None
    if grant.is_prefix:
        if not path.startswith(grant.path) or path == grant.path:
            raise LinkOutOfScope(f"the link is for what is below {grant.path}")
    elif path != grant.path:
        raise LinkOutOfScope(f"the link is for {grant.path}, and for nothing else")


def _sign(key: bytes, grant: Grant) -> str:
    lines = (
        "storehouse link 1",
        grant.method,
        grant.path,
        "prefix" if grant.is_prefix else "exact",
        str(grant.expires),
        "-" if grant.max_bytes is None else str(grant.max_bytes),
        "once" if grant.once else "many",
        grant.nonce,
        grant.user,
    )
    return hmac.digest(key, "".join(f"{line}\n" for line in lines).encode("ascii"), "sha256").hex()


#: In place of a grant that is none.
_NOTHING = Grant("GET", "/", False, 0, None, False, "0" * 32, "")


def _grant_in(fields: Mapping[bytes, bytes]) -> Grant | None:
    """What the fields say; C{None} if they are not written as L{write_query} does."""
    if sum(len(fields.get(name, b"")) for name in LINK_FIELDS) > 4 * MAX_PATH:
        return None
    try:
        said = {name: fields[name].decode() for name in LINK_FIELDS if name in fields}
        path = canonical_path(quote(said[b"path"], safe="/"))
        method, expires, nonce, user = said[b"method"], said[b"expires"], said[b"nonce"], said[b"user"]
    except (UnicodeDecodeError, KeyError, BadRequest):
        return None
    max_bytes = said.get(b"max-bytes")
    if (
        method not in METHODS
        or not _number(expires)
        or not (max_bytes is None or _number(max_bytes))
        or not _nonce(nonce)
        or not user.isascii()
        or "\n" in user
        or {said.get(b"prefix", "1"), said.get(b"once", "1")} != {"1"}
    ):
        return None
    limit = None if max_bytes is None else int(max_bytes)
    return Grant(method, path, b"prefix" in said, int(expires), limit, b"once" in said, nonce, user)
