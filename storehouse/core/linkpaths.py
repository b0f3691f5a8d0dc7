"""The paths of URLs that signed links are for."""

from __future__ import annotations

from urllib.parse import quote

__all__ = ["link_path"]

#: What a link does, and the place where the door of uploads has it done.
_PLACES = {"PUT": "/upload/", "GET": "/download/"}


def link_path(method: str, name: str, is_prefix: bool = False) -> str:
    """
    The path of a URL for a name, percent-encoded.

    @param method: C{PUT}, to store, or C{GET}, to read.
    @param is_prefix: whether the name is that of a folder, for all below it: the path ends with a slash then; an empty
        name is for everything.
    @raise KeyError: for another method.
    @raise UnicodeEncodeError: for a name that is not Unicode text.
    """
    if is_prefix:
        name = name.strip("/")
        name += "/" if name else ""
    return _PLACES[method] + quote(name.encode(), safe="/")
