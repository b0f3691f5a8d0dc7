"""C{/healthz} and C{/readyz}."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from storehouse.frontends.http.fields import check_fields
from storehouse.frontends.http.reply import Reply, json_reply, text_reply
from storehouse.frontends.http.resource import Leaf

__all__ = ["Health", "Readiness", "Readings"]


class Health(Leaf):
    """C{200 ok} as long as the process answers at all: restart it when this fails."""

    async def handle_GET(self, request: Any) -> Reply:
        """Answer."""
        check_fields(request, frozenset())
        return text_reply("ok\n")


class Readiness(Leaf):
    """
    C{200} when every part is ready to serve, C{503} otherwise: send no work while this fails.
    The body is C{{"ready": bool, "parts": {NAME: "ready" or why not}, "degraded": {NAME: what is not served}}}; there
    is C{degraded} only if a part is: it is ready, and serves all else.

    @param parts: gives, for each part by its name, why it is not ready; an empty text when it is.
    @param degraded: gives the parts that are degraded.
    """

    def __init__(
        self,
        parts: Callable[[], Mapping[str, str]],
        degraded: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        super().__init__()
        self._parts = parts
        self._degraded = degraded

    async def handle_GET(self, request: Any) -> Reply:
        """Answer."""
        check_fields(request, frozenset())
        parts = dict(self._parts())
        ready = not any(parts.values())
        answer: dict[str, Any] = {"ready": ready, "parts": {name: why or "ready" for name, why in parts.items()}}
        degraded = dict(self._degraded())
        if degraded:
            answer["degraded"] = degraded
        return json_reply(answer, status=200 if ready else 503)


class Readings:
    """
    What L{Readiness} says, as a metric.

    @param parts: as there.
    """

    def __init__(self, parts: Callable[[], Mapping[str, str]]) -> None:
        self._parts = parts

    def collect(self) -> Iterable[Metric]:
        """For Prometheus."""
        ready = GaugeMetricFamily("storehouse_ready", "1 if a part is ready to serve, 0 if not.", labels=["part"])
        for name, why in self._parts().items():
            ready.add_metric([name], not why)
        yield ready
