"""
What a file is, and how it is handed to a browser, so that nothing that somebody stored is run as if it were ours.

A file keeps the media type that it was stored with only if no browser runs files of that type.  And it is shown, rather
than saved, only if who asks wants that and a browser can do no more than show it.  Whatever it is, its page has no
scripts, no forms and an origin of its own (CSP level 3, C{sandbox}).
"""

from __future__ import annotations

import re
from urllib.parse import quote

import attrs

from storehouse.frontends.http.reply import OCTETS

__all__ = ["Presentation", "content_disposition", "present", "said_type"]

_PARAMETER = r"""(?:[ \t]*;[ \t]*[a-z0-9-]+=(?:[a-z0-9._+-]+|"[a-z0-9 .,_+-]*"))*"""

# SVG, and whatever else is XML, is a document that may have scripts.
_shown = re.compile(
    rf"(?:(?:image|audio|video)/(?!.*xml)[a-z0-9.+-]+|text/plain|application/pdf){_PARAMETER}", re.IGNORECASE
).fullmatch
_inert = re.compile(
    r"(?:font/[a-z0-9.+-]+|text/(?:csv|markdown|tab-separated-values|calendar|vcard)"
    r"|application/(?:json|x-ndjson|zip|gzip|zstd|x-(?:tar|bzip2|xz|7z-compressed|rar-compressed|iso9660-image)"
    r"|vnd\.rar|epub\+zip|msword|rtf|vnd\.(?!.*xml(?:$|;))[a-z0-9.-]+"
    rf"|octet-stream)){_PARAMETER}",
    re.IGNORECASE,
).fullmatch

_LOCKED = b"sandbox; default-src 'none'"
_MEDIA = _LOCKED + b"; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
# Viewers of PDF are plugins, which a sandbox does not let in.
_PDF = b"default-src 'none'; object-src 'self'; style-src 'unsafe-inline'"

# What a name must not do to the line that it is in, nor to those who read it.
_unfit = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069/\\]").sub
_not_plain = re.compile(r"""[^\x20-\x7e]|["%\\]""").sub

#: What clients say of a body when they know nothing of it: curl of data, and many of parts of a form.
_URLENCODED = "application/x-www-form-urlencoded"
_UNKNOWN = OCTETS.decode("ascii")


def said_type(value: str, is_form: bool = False) -> str:
    """
    The media type that a client means; empty if it only says what it says of everything.

    @param is_form: whether it is of a part of a form, or of an upload by tus: of files that they do not know, these say that
        they are bytes.
    """
    kind = value.partition(";")[0].strip().lower()
    return "" if kind == _URLENCODED or (is_form and kind == _UNKNOWN) else value


@attrs.frozen
class Presentation:
    """
    @ivar content_type: the media type to be told.
    @ivar fields: C{Content-Disposition}, and what keeps the file from being more than data.
    """

    content_type: bytes
    fields: tuple[tuple[bytes, bytes], ...]


def present(key: str, content_type: str, inline: bool) -> Presentation:
    """
    How to hand out a file.

    @param content_type: as it was stored; may be anything.
    @param inline: whether it is to be shown, if it can.
    """
    is_shown = _shown(content_type) is not None
    told = content_type.encode("ascii") if is_shown or _inert(content_type) else OCTETS
    is_pdf = told.lower().startswith(b"application/pdf")
    policy = _LOCKED if not (inline and is_shown) else _PDF if is_pdf else _MEDIA
    return Presentation(
        told,
        (
            (b"Content-Disposition", content_disposition(key, inline and is_shown)),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Content-Security-Policy", policy),
        ),
    )


def content_disposition(key: str, inline: bool = False) -> bytes:
    """The field: with a name in ASCII for old clients, and the true one (RFC 6266, RFC 8187). Folders are left out."""
    name = _unfit("_", key.rstrip("/").rpartition("/")[2]) or "download"
    plain = _not_plain("_", name)
    value = f'{"inline" if inline else "attachment"}; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{quote(name, safe='!#$&+-.^_`|~')}"
    return value.encode("ascii")
