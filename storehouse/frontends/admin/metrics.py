"""C{/metrics}."""

from __future__ import annotations

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.resource import Leaf

__all__ = ["Metrics"]


class Metrics(Leaf):
    """The metrics of a registry in the text format of Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    async def handle_GET(self, request: Any) -> Reply:
        """Answer."""
        return Reply(200, generate_latest(self._registry), CONTENT_TYPE_LATEST.encode("ascii"))
