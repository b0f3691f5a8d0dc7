"""C{/}: what there is."""

from __future__ import annotations

from typing import Any

from storehouse import __version__
from storehouse.frontends.http.fields import check_fields
from storehouse.frontends.http.reply import Reply, text_reply
from storehouse.frontends.http.resource import Leaf

__all__ = ["Index"]

_text = f"""\
storehouse {__version__}, admin door

/healthz   200 while the process is alive
/readyz    200 while it is ready to serve, 503 with the reason otherwise
/metrics   metrics in the text format of Prometheus
/version   versions of storehouse and of what it runs on
"""


class Index(Leaf):
    """A list of the paths, in plain text."""

    async def handle_GET(self, request: Any) -> Reply:
        """Answer."""
        check_fields(request, frozenset())
        return text_reply(_text)
