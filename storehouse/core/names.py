"""
Names that clients give: checked, replaced by a free one where they are taken, and written into the paths of links; and the media
types that names of files tell.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import TypeVar
from urllib.parse import quote

from storehouse.errors import AlreadyExists, BadRequest, InvalidName, PreconditionFailed

__all__ = [
    "BY_ENDING",
    "DEFAULT_PREFIX",
    "MAX_IDENTIFIER",
    "MAX_PREFIX",
    "MOST_CANDIDATES",
    "NAME_RULES",
    "UPLOADS",
    "candidates",
    "check_identifier",
    "check_prefix",
    "claim",
    "guessed_type",
    "link_path",
    "rights_link",
]

#: The bucket of the door of uploads.
UPLOADS = "uploads"

#: The storage prefix of requests without one.
DEFAULT_PREFIX = "default"

#: The most bytes of UTF-8 that a storage prefix may have.
MAX_PREFIX = 128

#: The most bytes of UTF-8 that an identifier may have.
MAX_IDENTIFIER = 1024

_control = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _text(kind: str, name: bytes, limit: int) -> str:
    if not name:
        raise InvalidName(f"the {kind} is empty")
    if len(name) > limit:
        raise InvalidName(f"the {kind} has {len(name)} bytes; at most {limit} are allowed")
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidName(f"the {kind} {name!r} is not UTF-8") from None
    if _control.search(text):
        raise InvalidName(f"the {kind} {text!r} contains a control character")
    return text


def check_prefix(name: bytes) -> str:
    """
    Check a storage prefix, which becomes the name of a directory.

    @return: the name; L{DEFAULT_PREFIX} for an empty one, as the seed does.
    @raise InvalidName: unless it is one safe path component.
    """
    if not name:
        return DEFAULT_PREFIX
    text = _text("storage prefix", name, MAX_PREFIX)
    if text.startswith("."):
        raise InvalidName(f"the storage prefix {text!r} begins with a dot")
    if "/" in text or "\\" in text:
        raise InvalidName(f"the storage prefix {text!r} is not a single path component")
    return text


def check_identifier(name: bytes) -> bytes:
    """
    Check the identifier of a record. It is hashed only, never part of a path.

    @raise InvalidName: unless it is 1 to L{MAX_IDENTIFIER} bytes of UTF-8 without control characters.
    """
    _text("id", name, MAX_IDENTIFIER)
    return name


# -- names that are taken --------------------------------------------------------------------------

# report.pdf, report (1).pdf, report (2).pdf and so on. It is not checked first whether a name is free, and taken then: another
# client may be as quick. A name is claimed from a store that refuses one that is taken, and then the next one is tried.

T = TypeVar("T")

#: What becomes of an upload whose name is taken: the values of the setting C{https-names}.
NAME_RULES = ("rename", "replace", "refuse")

#: Names that are tried for one file.
MOST_CANDIDATES = 10_000

# Bytes of UTF-8 that a key may have.
_MOST_BYTES = 1024

# An ending is what people take for one: not all that follows a dot.
_LONGEST_ENDING = 16

_TWO_ENDINGS = frozenset({"bz2", "gz", "lz", "lz4", "lzma", "xz", "zst"})


def candidates(key: str) -> Iterator[str]:
    """
    The key itself, then those that a number makes of it: C{a/b.txt}, C{a/b (1).txt}, C{a/b (2).txt}; at most
    L{MOST_CANDIDATES}. All have at most 1024 bytes: a name that would be longer is cut before its number.
    """
    yield key
    folder, slash, name = key.rpartition("/")
    stem, ending = _split(name)
    for number in range(1, MOST_CANDIDATES):
        mark = f" ({number}){ending}"
        yield folder + slash + _cut(stem, _MOST_BYTES - len((folder + slash + mark).encode())) + mark


def _split(name: str) -> tuple[str, str]:
    """A name and its ending with the dot: C{.tar.gz} is one, and C{.profile} has none."""
    stem, dot, ending = name.rpartition(".")
    if not stem.strip(".") or not 0 < len(ending) <= _LONGEST_ENDING:
        return name, ""
    if ending.lower() in _TWO_ENDINGS:
        inner, inner_dot, first = stem.rpartition(".")
        if inner.strip(".") and first.lower() == "tar":
            return inner, inner_dot + first + dot + ending
    return stem, dot + ending


def _cut(text: str, size: int) -> str:
    """The beginning of a text, of at most C{size} bytes, without half a character at its end."""
    data = text.encode()
    return text if len(data) <= size else data[: max(size, 0)].decode(errors="ignore")


async def claim(key: str, rule: str, store: Callable[[str, bool], Awaitable[T]]) -> T:
    """
    Store under a key, or what the rule makes of it if that is taken.

    @param rule: one of L{NAME_RULES}.
    @param store: called with a key, and whether nothing may have it yet; raises L{PreconditionFailed} if something does.
        What it would store must still be there for the next call.
    @return: what C{store} returned.
    @raise AlreadyExists: if the rule is to refuse, or too many names are taken.
    """
    if rule == "replace":
        return await store(key, False)
    for candidate in candidates(key) if rule == "rename" else (key,):
        try:
            return await store(candidate, True)
        except PreconditionFailed:
            continue
    if rule == "refuse":
        raise AlreadyExists(f"{key} already exists")
    raise AlreadyExists(f"{key} already exists, and {MOST_CANDIDATES - 1} with a number after the name")


# -- paths of links --------------------------------------------------------------------------------

#: The path below which the https door has each method of links.
_LINK_PATHS = {"PUT": "/upload/", "GET": "/download/"}


def rights_link(permissions: Collection[str], bucket: str, prefix: str) -> str:
    """
    The path of the URL of a link that gives rights, and the beginning of its query, to which that of the link is added: the list, if
    the link can list; else what the name of a file is put behind, before the question mark.

    @param prefix: what the keys begin with.
    @raise BadRequest: for a link to store or to delete elsewhere than the door of uploads does.
    @raise UnicodeEncodeError: for a prefix that is not Unicode text.
    """
    stores = not {"put-new", "overwrite"}.isdisjoint(permissions)
    if bucket != UPLOADS and (stores or "delete" in permissions):
        raise BadRequest(f"links store and delete in the bucket {UPLOADS} alone, and not in {bucket}")
    other = "" if bucket == UPLOADS else f"bucket={bucket}&"
    name = prefix.encode()
    if "list" in permissions:
        return f"/download?{other}prefix={quote(name, safe='/')}&"
    is_read = "read" in permissions or "delete" in permissions
    return f"{_LINK_PATHS['GET' if is_read else 'PUT']}{quote(name, safe='/')}?{other}"


def link_path(method: str, name: str, is_prefix: bool = False) -> str:
    """
    The path of the URL of a signed link, percent-encoded.

    @param method: C{PUT}, to store, or C{GET}, to read.
    @param is_prefix: whether the name is that of a folder, for all below it: the path ends with a slash then; an empty
        name is for everything.
    @raise KeyError: for another method.
    @raise UnicodeEncodeError: for a name that is not Unicode text.
    """
    if is_prefix:
        name = name.strip("/")
        name += "/" if name else ""
    return _LINK_PATHS[method] + quote(name.encode(), safe="/")


#: What names say, of types that browsers show or save, and never run. The system's own table differs from one to the next.
BY_ENDING = {
    "7z": "application/x-7z-compressed",
    "aac": "audio/aac",
    "avi": "video/x-msvideo",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "bz2": "application/x-bzip2",
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "epub": "application/epub+zip",
    "flac": "audio/flac",
    "gif": "image/gif",
    "gz": "application/gzip",
    "heic": "image/heic",
    "ico": "image/vnd.microsoft.icon",
    "ics": "text/calendar",
    "iso": "application/x-iso9660-image",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "log": "text/plain",
    "m4a": "audio/mp4",
    "m4v": "video/mp4",
    "md": "text/markdown",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "ndjson": "application/x-ndjson",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "rar": "application/vnd.rar",
    "rtf": "application/rtf",
    "tar": "application/x-tar",
    "tgz": "application/gzip",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "tsv": "text/tab-separated-values",
    "ttf": "font/ttf",
    "txt": "text/plain",
    "vcf": "text/vcard",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xz": "application/x-xz",
    "zip": "application/zip",
    "zst": "application/zstd",
}


def guessed_type(key: str) -> str:
    """The media type of a file of that name; empty if the name says none of those that are known."""
    _, dot, ending = key.rpartition("/")[2].rpartition(".")
    return BY_ENDING.get(ending.lower(), "") if dot else ""
