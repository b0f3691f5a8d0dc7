"""Names of users, and the paths that links are for, checked before anything is done with them."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

from storehouse.errors import BadRequest, InvalidName

__all__ = ["canonical_path", "check_user_name"]

#: The most characters that a path of a link may have, percent-encoded.
MAX_PATH = 4096

_user_name = re.compile(r"[a-z0-9._-]{1,64}\Z", re.ASCII).match
_malformed = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_visible = re.compile(r"[!-~]*\Z", re.ASCII).match
_control = re.compile(r"[\x00-\x1f\x7f-\x9f]").search


def check_user_name(name: str) -> str:
    """@raise InvalidName: unless it is 1 to 64 of a-z, 0-9, dots, hyphens and underscores."""
    if not _user_name(name):
        raise InvalidName(
            f"{name[:100]!r} is no name for a user: it has 1 to 64 of a-z, 0-9, dots, hyphens and underscores"
        )
    return name


def canonical_path(path: str) -> str:
    """
    The one way to write the path of a URL that a link is for: each segment decoded, and encoded again as RFC 3986, section
    2.3, has it.

    Whatever could be read as another path by somebody on the way is refused, not mended: C{.} and C{..} in any spelling,
    encoded slashes, backslashes, empty segments but the last one, control characters, and what is not UTF-8.

    @raise BadRequest: for those.
    """
    if len(path) > MAX_PATH:
        raise BadRequest(f"a link's path has at most {MAX_PATH} characters")
    if not path.startswith("/") or not _visible(path) or _malformed(path) or "?" in path or "#" in path:
        raise BadRequest(f"{path[:200]!r} is not the path of a URL: it begins with a slash, and is percent-encoded")
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
            f"a link cannot be for a path with the segment {segment[:100]!r}: no dots alone, slashes, backslashes or control characters"
        )
    return quote(text, safe="")
