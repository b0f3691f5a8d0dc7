"""C{/version}."""

from __future__ import annotations

import platform
from typing import Any

import twisted

from storehouse import __version__
from storehouse.core.native import MISSING
from storehouse.frontends.http.fields import check_fields
from storehouse.frontends.http.reply import Reply, json_reply
from storehouse.frontends.http.resource import Leaf

__all__ = ["Version", "versions"]


def versions() -> dict[str, str]:
    """The versions of storehouse, Python and Twisted, and whether there is the native module."""
    return {
        "storehouse": __version__,
        "python": platform.python_version(),
        "twisted": twisted.version.public(),
        "native": f"missing: {MISSING}" if MISSING else "yes",
    }


class Version(Leaf):
    """The L{versions} as JSON."""

    async def handle_GET(self, request: Any) -> Reply:
        """Answer."""
        check_fields(request, frozenset())
        return json_reply(versions())
