"""
A file as its clients see it: the key that its name becomes, its URL, its media type, how it is handed to a browser, and what is
told of it once it is stored.

A key never becomes a path here, and a name is none either; but what is stored is downloaded again by people whose
systems make paths of names, so that no key has anything in it that leads out of a folder.

Nothing that somebody stored is run as if it were ours. A file keeps the media type that it was stored with only if no browser runs
files of that type. And it is shown, rather than saved, only if who asks wants that and a browser can do no more than show it.
Whatever it is, its page has no scripts, no forms and an origin of its own (CSP level 3, C{sandbox}).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

import attrs

from storehouse.errors import InvalidName, StorehouseError
from storehouse.frontends.http.multipart import without_home
from storehouse.frontends.http.reply import OCTETS, Reply, error_reply, json_reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import accepts_html, decoded
from storehouse.frontends.upload import pages
from storehouse.frontends.upload.gate import Visitor
from storehouse.storage.objects.interfaces import ObjectInfo

__all__ = [
    "MOST_BYTES",
    "Presentation",
    "content_disposition",
    "content_type_in",
    "file_reply",
    "form_reply",
    "key_for",
    "key_in_path",
    "present",
    "said_type",
    "url_of",
]


# -- names -----------------------------------------------------------------------------------------

#: Bytes of UTF-8 that a key may have.
MOST_BYTES = 1024

_control = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]").search

# Characters that only turn the direction of what follows: with them, a name reads otherwise than it is (Unicode
# Technical Report 36, section 2.10.1). Letters of scripts that run from right to left are as good as others.
_turning = re.compile(r"[\u202a-\u202e\u2066-\u2069]").search

_media_type = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}").fullmatch


def key_for(filename: str, relative_path: str = "") -> str:
    """
    The key for a file, by its name: as it was given, but without the folders it had at home.

    @param filename: as the client says it; perhaps a whole path.
    @param relative_path: its folders and its name, if it is to keep its folders: what browsers call
        C{webkitRelativePath}.
    @raise InvalidName: if it is empty, longer than 1024 bytes, has a control character or one that turns the direction
        of writing, or a folder without a name, or one that leads out: C{.} or C{..}; and for a backslash of which it is
        not clear whether it ends a folder.
    """
    if relative_path:
        return _checked(relative_path.replace("\\", "/"))
    return _checked(_without_backslash(without_home(filename)).rpartition("/")[2])


def key_in_path(path: bytes) -> str:
    """
    The key that a URL names.

    @param path: what follows the door's own part of the path; percent-encoded.
    @raise InvalidName: as L{key_for} does, and for a backslash, which could be meant either way.
    @raise BadRequest: if it is not percent-encoded as it should be.
    """
    return _checked(_without_backslash(decoded("name", path)))


def _without_backslash(name: str) -> str:
    if "\\" in name:
        raise InvalidName(f"the name {name[:200]!r} has a backslash; folders end with a slash")
    return name


def _checked(key: str) -> str:
    if not key:
        raise InvalidName("the file has no name")
    size = len(key.encode("utf-8", "surrogatepass"))
    if size > MOST_BYTES:
        raise InvalidName(f"the name {key[:50]!r}... has {size} bytes; at most {MOST_BYTES} are allowed")
    if _control(key):
        raise InvalidName(f"the name {key!r} contains a control character")
    if _turning(key):
        raise InvalidName(f"the name {key!r} contains a character that changes the direction of writing")
    for component in key.split("/"):
        if component in ("", ".", ".."):
            what = f"the folder {component!r}" if component else "a folder without a name"
            raise InvalidName(f"the name {key[:200]!r} has {what}")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidName(f"the name {key[:200]!r} is not Unicode text") from None
    return key


def url_of(key: str) -> str:
    """Where what is stored under a key is downloaded: a path, percent-encoded."""
    return "/download/" + quote(key, safe="/")


def content_type_in(value: str) -> str:
    """A media type as a client says it; empty if it could not be sent in the head of an answer."""
    value = value.strip()
    return value if _media_type(value) else ""


# -- media types -----------------------------------------------------------------------------------

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
# Also spaces at the ends, which clients strip, and what begins an encoded word, which some decode.
_not_plain = re.compile(r"""[^\x20-\x7e]|["%\\]|=\?|^ | $""").sub

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
    @param inline: whether browsers show it, if they can.
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


# -- metrics ----------------------------------------------------------------------------------


def _told(info: ObjectInfo) -> dict[str, object]:
    return {
        "name": info.key,
        "size": info.size,
        "etag": info.etag,
        "url": url_of(info.key),
        "crc32c": "".join(info.metadata.get("crc32c", ())),
        "filename": "".join(info.metadata.get("filename", ())),
    }


def file_reply(info: ObjectInfo, is_new: bool) -> Reply:
    """One file is stored, that came alone."""
    headers = (
        (b"ETag", b'"%b"' % info.etag.encode("ascii", "replace")),
        (b"Location", url_of(info.key).encode("ascii")),
    )
    return attrs.evolve(json_reply({"stored": [_told(info)]}, 201 if is_new else 200), headers=headers)


def form_reply(
    request: StreamingRequest, visitor: Visitor, stored: Sequence[ObjectInfo], error: StorehouseError | None = None
) -> Reply:
    """
    The files of a form.

    @param error: why what came after those that are stored is not.
    """
    refusal = None if error is None else error_reply(error)
    status = 201 if refusal is None else refusal.status
    headers = () if refusal is None else refusal.headers
    if accepts_html(request):
        files = [
            pages.StoredFile(
                "".join(info.metadata.get("filename", ())),
                info.key,
                info.size,
                [("CRC32C", value) for value in info.metadata.get("crc32c", ())],
            )
            for info in stored
        ]
        page = pages.stored(visitor, files, "" if error is None else error.detail, status)
        return attrs.evolve(page, headers=page.headers + headers)
    told: dict[str, object] = {"stored": [_told(info) for info in stored]}
    if error is not None:
        told |= {"error": type(error).__name__, "detail": error.detail}
    return attrs.evolve(json_reply(told, status), headers=headers)
