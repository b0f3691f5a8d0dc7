"""Small forms without files, and what an answer to one may be."""

from __future__ import annotations

import re

from storehouse.errors import BadRequest, MalformedBody
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import StreamingRequest, parse_query

__all__ = ["MOST_BYTES", "local_path", "media_type", "read_form", "see_other"]

#: Bytes that such a form may have.
MOST_BYTES = 16 * 1024

#: Characters of a path that is gone to: the visible ones of ASCII. Backslashes are slashes to browsers, and control characters
#: nothing.
_local = re.compile(r"/(?!/)[!-\[\]-~]{0,2047}\Z").match


def media_type(request: StreamingRequest) -> str:
    """The media type of a body, in lower case, without parameters; empty if it has none."""
    values = request.requestHeaders.getRawHeaders(b"Content-Type") or [b""]
    return values[0].partition(b";")[0].strip().lower().decode("latin-1")


async def read_form(request: StreamingRequest) -> dict[str, str]:
    """
    The fields of a body of C{application/x-www-form-urlencoded}; an empty body has none.

    @raise MalformedBody: if it is another body, or not UTF-8.
    @raise BodyTooLarge: beyond L{MOST_BYTES}.
    """
    data = await request.body.read_all(MOST_BYTES)
    if not data:
        return {}
    if media_type(request) != "application/x-www-form-urlencoded":
        raise MalformedBody("the body must be a form: application/x-www-form-urlencoded")
    try:
        return {name.decode(): value.decode() for name, value in parse_query(data).items()}
    except UnicodeDecodeError:
        raise MalformedBody("the form is not UTF-8") from None
    except BadRequest as error:
        raise MalformedBody(error.detail.replace("the query", "the form", 1)) from None


def local_path(text: str, default: str = "/upload") -> str:
    """
    Where to go after a sign-in: a path of this door, or the default for what might be one of another site.

    C{//host} and C{/\\host} are other sites for a browser.
    """
    return text if _local(text) else default


def see_other(path: str, *headers: tuple[bytes, bytes]) -> Reply:
    """An answer that sends a browser elsewhere, with a GET (RFC 9110, section 15.4.4)."""
    return Reply(
        303,
        b"",
        b"text/plain; charset=utf-8",
        ((b"Location", path.encode("ascii")), (b"Cache-Control", b"no-store"), *headers),
    )
