"""
Names that clients give their files, made keys.

A key never becomes a path here, and a name is none either; but what is stored is downloaded again by people whose
systems make paths of names, so that no key has anything in it that leads out of a folder.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from storehouse.errors import InvalidName
from storehouse.frontends.http.targets import decoded

__all__ = ["MOST_BYTES", "content_type_in", "key_for", "key_in_path", "url_of", "without_home"]

#: Bytes of UTF-8 that a key may have.
MOST_BYTES = 1024

_control = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]").search

# Characters that only turn the direction of what follows: with them, a name reads otherwise than it is (Unicode
# Technical Report 36, section 2.10.1). Letters of scripts that run from right to left are as good as others.
_turning = re.compile(r"[\u202a-\u202e\u2066-\u2069]").search

# A whole path, with the drive or the server that it is on.
_at_home = re.compile(r"(?:[A-Za-z]:(?=[\\/])|\\\\[^\\/]).*[\\/]", re.DOTALL).match

_media_type = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}").fullmatch


def without_home(filename: str) -> str:
    """
    A name without the drive and the folders that old browsers send with it: C{C:\\home\\a.txt} is C{a.txt}. Any other
    backslash may as well be a letter of the name, and stays.
    """
    home = _at_home(filename)
    return filename[home.end() :] if home is not None else filename


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
        raise InvalidName(f"the name {key!r} holds a control character")
    if _turning(key):
        raise InvalidName(f"the name {key!r} holds a character that turns the direction of writing")
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
