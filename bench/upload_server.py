"""
The HTTP servers in Python that bench/upload.py measures: C{python -m bench.upload_server KIND PORT DIRECTORY}.

C{null} and C{file} are ours: C{storehouse.frontends.http} streams the body of a PUT into nothing, or into the file
"upload" in DIRECTORY.  C{spool} and C{stock} are L{twisted.web} as it comes, which spools the body into a temporary
file in DIRECTORY before a resource sees it; the resource then counts its bytes, or copies them to "upload".  All
answer C{{"bytes": N}}.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from bench.harness import HOST

__all__ = ["FileSink", "NullSink", "Spooled", "main"]


class NullSink:
    """Counts bytes and forgets them."""

    def write(self, data: bytes | memoryview) -> None:
        """Forget them."""

    def close(self) -> None:
        """Nothing is open."""


class FileSink(NullSink):
    """Writes to a file: into the page cache, on the reactor's thread."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)

    def write(self, data: bytes | memoryview) -> None:
        """Write them all."""
        written = os.write(self._file, data)
        if written != len(data):
            raise OSError(f"{written} of {len(data)} bytes were written")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Spooled(Resource):
    """
    What a user of twisted.web writes who knows no other way: the body is whole and in a temporary file when
    C{render_PUT} is called.
    """

    isLeaf = True

    def __init__(self, target: Path | None) -> None:
        super().__init__()
        self._target = target

    def render_PUT(self, request: Request) -> bytes:
        """Copy the body if there is somewhere to copy it to; answer its length."""
        content: Any = request.content
        if self._target is not None:
            with self._target.open("wb") as file:
                shutil.copyfileobj(content, file, 256 * 1024)
        return json.dumps({"bytes": content.seek(0, os.SEEK_END)}).encode()


def _stock_site(target: Path | None) -> Any:
    make_site: Any = Site
    return make_site(Spooled(target))


def _streaming_site(target: Path | None) -> Any:
    # Imported here so that our modules add nothing to what twisted.web needs by itself.
    from storehouse.config.settings import ConnectionSettings
    from storehouse.frontends.http.reply import json_reply
    from storehouse.frontends.http.request import Leaf, Root
    from storehouse.frontends.http.site import DoorSite

    class Sink(Leaf):
        async def handle_PUT(self, request: Any) -> Any:
            sink = NullSink() if target is None else FileSink(target)
            count = 0
            try:
                while piece := await request.body.read():
                    sink.write(piece)
                    count += len(piece)
                return json_reply({"bytes": count})
            finally:
                sink.close()

    limits = ConnectionSettings(max_connections=100, idle_timeout=60, head_timeout=20)
    return DoorSite(Root({b"upload": Sink()}), reactor, limits, name="bench")


def main(kind: str, port: int, directory: Path) -> None:
    """Serve until stopped."""
    this_reactor: Any = reactor
    target = directory / "upload" if kind in ("file", "stock") else None
    if kind in ("spool", "stock"):
        tempfile.tempdir = str(directory)
        this_reactor.listenTCP(port, _stock_site(target), interface=HOST)
    else:
        from storehouse.core.fast.transports import make_eager

        make_eager(this_reactor.listenTCP(port, _streaming_site(target), interface=HOST))
    this_reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
