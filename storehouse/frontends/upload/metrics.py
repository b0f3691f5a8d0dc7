"""C{/metrics}, for those who cannot reach the admin door."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from storehouse.frontends.http.metrics import metrics_reply
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf
from storehouse.frontends.http.targets import check_fields
from storehouse.frontends.upload.gate import Gate

__all__ = ["Metrics"]


class Metrics(Leaf):
    """The metrics of a registry in the text format of Prometheus, for users: with a key, or signed in."""

    def __init__(self, gate: Gate, registry: CollectorRegistry) -> None:
        super().__init__()
        self._gate = gate
        self._registry = registry

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """Answer."""
        await self._gate.admit(request, "manage")
        check_fields(request, frozenset())
        return metrics_reply(self._registry)
