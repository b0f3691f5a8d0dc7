"""
The files of the front end: scripts, the style sheet and the icon, which C{make web} builds from web/.

C{static/manifest.json} says under which name each is served: the name has a hash of the content, so that a browser may keep
a file for as long as it likes, and never uses an old one with a new page.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from storehouse.errors import NotFound
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import Leaf, StreamingRequest

__all__ = ["Asset", "Assets", "StaticFiles", "load_assets"]

_folder = Path(__file__).parent / "static"

#: Types by suffix. A file of another suffix is not served.
_types = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".txt": b"text/plain; charset=utf-8",
}

_YEAR = 31536000

_no_weight = re.compile(rb"q\s*=\s*0(\.0*)?\Z", re.IGNORECASE).match


@attrs.frozen
class Asset:
    """
    A file as it is served.

    @ivar packed: the same in gzip's format.
    @ivar tag: an entity tag, with its quotes.
    """

    content_type: bytes
    content: bytes = attrs.field(repr=False)
    packed: bytes = attrs.field(repr=False)
    tag: bytes


@attrs.frozen
class Assets:
    """
    All files of the front end.

    @ivar names: by the name that the source has (C{upload.js}), the name that it is served under.
    @ivar files: by that name.
    """

    names: Mapping[str, str]
    files: Mapping[str, Asset]

    def url(self, name: str) -> str:
        """The path of a file, by the name that its source has."""
        return f"/static/{self.names[name]}"


@cache
def load_assets(folder: Path = _folder) -> Assets:
    """Read all of them, once: they are a few, and small."""
    names: dict[str, str] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return Assets(names, {name: _load(folder / name) for name in names.values()})


def _load(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(_types[path.suffix], content, gzip.compress(content, mtime=0), f'"{path.name}"'.encode("ascii"))


class StaticFiles(Leaf):
    """C{/static/<name>}."""

    takes_rest = True

    def __init__(self, assets: Assets) -> None:
        super().__init__()
        self._assets = assets

    async def handle_GET(self, request: StreamingRequest) -> Reply | None:
        """Answer a file; packed, if the client can unpack it."""
        parts: list[Any] = request.postpath or []
        asset = self._assets.files.get(b"/".join(parts).decode("ascii", "replace"))
        if asset is None:
            raise NotFound("there is no such file")
        is_packed = _takes_gzip(b",".join(request.requestHeaders.getRawHeaders(b"Accept-Encoding") or []))
        headers = [
            (b"Cache-Control", b"public, max-age=%d, immutable" % _YEAR),
            (b"ETag", asset.tag),
            (b"Vary", b"Accept-Encoding"),
        ]
        known = b",".join(request.requestHeaders.getRawHeaders(b"If-None-Match") or [])
        if asset.tag in [tag.strip().removeprefix(b"W/") for tag in known.split(b",")]:
            # Without a length: it would be that of the file (RFC 9110, 8.6).
            request.begin(304, asset.content_type, tuple(headers))
            return None
        if is_packed:
            headers.append((b"Content-Encoding", b"gzip"))
        return Reply(200, asset.packed if is_packed else asset.content, asset.content_type, tuple(headers))


def _takes_gzip(accepted: bytes) -> bool:
    """Whether an Accept-Encoding (RFC 9110, 12.5.3) names gzip, with a weight that is not zero."""
    for word in accepted.split(b","):
        name, _, weight = word.partition(b";")
        if name.strip().lower() == b"gzip":
            return not _no_weight(weight.strip())
    return False
