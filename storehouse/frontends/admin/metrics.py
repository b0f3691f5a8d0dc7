"""C{/metrics}."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from storehouse.frontends.http.fields import check_fields
from storehouse.frontends.http.metrics import metrics_reply
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
        check_fields(request, frozenset())
        return metrics_reply(self._registry)
