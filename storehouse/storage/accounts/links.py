"""
The query of a signed link, and the canonical path that it is for. A link is for a method and a path, or gives rights.

What is signed are these lines, each with a newline behind it::

    storehouse link 1
    METHOD        PUT or GET
    PATH          canonical (L{canonical_path})
    SCOPE         exact or prefix
    EXPIRES       seconds since 1970 UTC
    MAX-BYTES     a number, or -
    USES          once or many
    NONCE         32 hex digits
    USER          the name of the user who signed it

No line can contain a newline, so that no two links have the same text. The signature is its HMAC-SHA256, in hex. The
parameters of the query are C{method}, C{path}, C{prefix=1}, C{expires}, C{max-bytes}, C{once=1}, C{nonce}, C{user} and
C{signature}; C{prefix}, C{max-bytes} and C{once} are left out where they do not apply (docs/accounts.rst).

Of a link that gives rights the first lines are others, and so are the parameters C{rights} and C{scope}, in place of C{method},
C{path} and C{prefix}::

    storehouse link 2
    RIGHTS        read, list, put-new, overwrite, delete: those it gives, in this order, with commas between
    SCOPE         BUCKET/PREFIX, percent-encoded but for slashes: of the keys that begin with PREFIX, which may be empty
    EXPIRES       and the rest as above
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote_to_bytes

from storehouse.errors import BadRequest, LinkOutOfScope, LinkTampered
from storehouse.storage.accounts.interfaces import LINK_PARAMETERS, Grant, Rights

__all__ = ["METHODS", "canonical_path", "check_rights", "check_scope", "read_query", "write_query"]

#: The methods that a link can be for.
METHODS = ("PUT", "GET")

#: Characters of the longest path of a link, percent-encoded.
MAX_PATH = 4096

_number = re.compile(r"(0|[1-9][0-9]{0,18})\Z", re.ASCII).match
_nonce = re.compile(r"[0-9a-f]{32}\Z", re.ASCII).match
_malformed = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_visible = re.compile(r"[!-~]*\Z", re.ASCII).match
_control = re.compile(r"[\x00-\x1f\x7f-\x9f]").search


def canonical_path(path: str) -> str:
    """
    The one spelling of a URL's path that is signed and compared: each segment decoded, and encoded again as in RFC
    3986, section 2.3.

    A path that another program on the way could read differently is refused, not corrected: C{.} and C{..} in any
    spelling, encoded slashes, backslashes, empty segments except the last, control characters, and what is not UTF-8.

    @raise BadRequest: for those.
    """
    if len(path) > MAX_PATH:
        raise BadRequest(f"the path of a link has at most {MAX_PATH} characters")
    if not path.startswith("/") or not _visible(path) or _malformed(path) or "?" in path or "#" in path:
        raise BadRequest(f"{path[:200]!r} is not the path of a URL: it must begin with a slash and be percent-encoded")
    segments = path[1:].split("/")
    if "" in segments[:-1]:
        raise BadRequest(f"a link cannot be for the path {path[:200]!r}: it has an empty segment")
    return "".join("/" + _canonical_segment(segment) for segment in segments)


def _canonical_segment(segment: str) -> str:
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise BadRequest("a link cannot be for a path that is not UTF-8") from None
    if text in (".", "..") or "/" in text or "\\" in text or _control(text):
        raise BadRequest(
            f"a link cannot be for a path with the segment {segment[:100]!r}: . and .., slashes, backslashes and control"
            " characters are not allowed"
        )
    return quote(text, safe="")


def check_rights(rights: Rights) -> None:
    """@raise BadRequest: unless a link can give these."""
    if not rights.permissions or "create" in rights.permissions:
        raise BadRequest("a link gives one or more of read, list, put-new, overwrite and delete")
    if "*" in rights.bucket or rights.bucket.startswith("@"):
        raise BadRequest(f"a link is for one bucket, not for {rights.bucket}")
    try:
        rights.prefix.encode()
    except UnicodeEncodeError:
        raise BadRequest("the prefix of a link is not Unicode text") from None


def _scope(rights: Rights) -> str:
    return quote(f"{rights.bucket}/{rights.prefix}", safe="/")


def write_query(key: bytes, grant: Grant) -> str:
    """
    The signed query of a link.

    @param grant: its path must be canonical, and its rights those that a link can give (L{check_rights}).
    """
    if grant.rights is None:
        parameters = [f"method={grant.method}", f"path={grant.path}"]
    else:
        parameters = [f"rights={','.join(grant.rights.permissions)}", f"scope={_scope(grant.rights)}"]
    if grant.is_prefix:
        parameters.append("prefix=1")
    parameters.append(f"expires={grant.expires}")
    if grant.max_bytes is not None:
        parameters.append(f"max-bytes={grant.max_bytes}")
    if grant.once:
        parameters.append("once=1")
    parameters += [f"nonce={grant.nonce}", f"user={grant.user}", f"signature={_sign(key, grant)}"]
    return "&".join(parameters)


def read_query(key: bytes, query: Mapping[bytes, bytes]) -> Grant:
    """
    The grant of a link. Other parameters of the query are ignored.

    @raise LinkTampered: unless it was signed with this key, as it is.
    """
    signature = query.get(b"signature", b"")
    grant = _parse_grant(query)
    # A malformed link is compared as well, so that it takes as long to refuse as a wrong signature.
    expected = _sign(key, grant or _NO_GRANT)
    if not hmac.compare_digest(signature, expected.encode("ascii")) or grant is None:
        raise LinkTampered("the link is not as it was signed: part of it was changed or is missing")
    return grant


def check_scope(grant: Grant, method: str, path: str) -> None:
    """
    @param path: of the request, as received.
    @raise LinkOutOfScope: unless the grant is for this method and path.
    """
    if method != grant.method:
        raise LinkOutOfScope(f"the link allows only {'to store' if grant.method == 'PUT' else 'to read'}")
    try:
        path = canonical_path(path)
    except BadRequest as error:
        raise LinkOutOfScope(error.detail) from None
    if grant.is_prefix:
        if not path.startswith(grant.path) or path == grant.path:
            raise LinkOutOfScope(f"the link is only for what is below {grant.path}")
    elif path != grant.path:
        raise LinkOutOfScope(f"the link is only for {grant.path}")


def _sign(key: bytes, grant: Grant) -> str:
    if grant.rights is None:
        scope = "exact" if not grant.is_prefix else "prefix"
        head = ["storehouse link 1", grant.method, grant.path, scope]
    else:
        head = ["storehouse link 2", ",".join(grant.rights.permissions), _scope(grant.rights)]
    lines = (
        *head,
        str(grant.expires),
        "-" if grant.max_bytes is None else str(grant.max_bytes),
        "once" if grant.once else "many",
        grant.nonce,
        grant.user,
    )
    return hmac.digest(key, "".join(f"{line}\n" for line in lines).encode("ascii"), "sha256").hex()


_NO_GRANT = Grant("GET", "/", False, 0, None, False, "0" * 32, "")


def _parse_grant(query: Mapping[bytes, bytes]) -> Grant | None:
    """The grant that a query describes; C{None} if it is not written as by L{write_query}."""
    if sum(len(query.get(name, b"")) for name in LINK_PARAMETERS) > 4 * MAX_PATH:
        return None
    method, path, rights = "", "", None
    try:
        parameters = {name: query[name].decode() for name in LINK_PARAMETERS if name in query}
        if b"rights" in parameters:
            # What it asks to be listed, at the path of lists.
            parameters.pop(b"prefix", None)
            rights = _rights_in(parameters)
        else:
            path, method = canonical_path(quote(parameters[b"path"], safe="/")), parameters[b"method"]
        expires, nonce, user = parameters[b"expires"], parameters[b"nonce"], parameters[b"user"]
    except (UnicodeDecodeError, KeyError, BadRequest):
        return None
    max_bytes = parameters.get(b"max-bytes")
    if (
        (rights is None and (method not in METHODS or b"scope" in parameters))
        or not _number(expires)
        or not (max_bytes is None or _number(max_bytes))
        or not _nonce(nonce)
        or not user.isascii()
        or "\n" in user
        or {parameters.get(b"prefix", "1"), parameters.get(b"once", "1")} != {"1"}
    ):
        return None
    limit = None if max_bytes is None else int(max_bytes)
    is_prefix, once = b"prefix" in parameters, b"once" in parameters
    return Grant(method, path, is_prefix, int(expires), limit, once, nonce, user, rights)


def _rights_in(parameters: Mapping[bytes, str]) -> Rights:
    """@raise BadRequest: unless the parameters are as L{write_query} writes them, and no others are there."""
    bucket, slash, prefix = parameters[b"scope"].partition("/")
    rights = Rights(parameters[b"rights"].split(","), bucket, prefix)
    check_rights(rights)
    if (
        not slash
        or ",".join(rights.permissions) != parameters[b"rights"]
        or b"method" in parameters
        or b"path" in parameters
    ):
        raise BadRequest("the rights of the link are not written as they should be")
    return rights
