"""The admin door: what an operator, a load balancer and Prometheus request of a running storehouse."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping

import twisted
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from twisted.web.resource import IResource

from storehouse import __version__
from storehouse.core.native import MISSING
from storehouse.frontends.http.reply import Reply, json_reply, metrics_reply, text_reply
from storehouse.frontends.http.request import Leaf, Root, StreamingRequest, check_fields

__all__ = ["AdminDoor", "ReadinessMetric", "versions"]

_INDEX = f"""\
storehouse {__version__}, admin door

/healthz   200 while the process is alive
/readyz    200 while it is ready to serve, 503 with the reason otherwise
/metrics   metrics in the text format of Prometheus
/version   versions of storehouse and of what it runs on
"""


class AdminDoor:
    """
    @param parts: gives, for each part of the process by its name, why it is not ready; an empty text if it is.
    @param degraded: gives, for each part that is ready but cannot serve all it has, what it does not serve.
    @ivar resource: the root resource.
    """

    resource: IResource

    def __init__(
        self,
        registry: CollectorRegistry,
        parts: Callable[[], Mapping[str, str]],
        degraded: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.resource = Root(
            {
                b"": _Resource(lambda: text_reply(_INDEX)),
                # While the process responds at all: restart it when this fails.
                b"healthz": _Resource(lambda: text_reply("ok\n")),
                b"readyz": _Resource(lambda: _readiness(parts(), degraded())),
                b"metrics": _Resource(lambda: metrics_reply(registry)),
                b"version": _Resource(lambda: json_reply(versions())),
            }
        )


class _Resource(Leaf):
    """Responds to GET by calling a function; takes no query."""

    def __init__(self, respond: Callable[[], Reply]) -> None:
        super().__init__()
        self._respond = respond

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        check_fields(request, frozenset())
        return self._respond()


def _readiness(parts: Mapping[str, str], degraded: Mapping[str, str]) -> Reply:
    """
    C{200} when every part is ready to serve, C{503} otherwise: a load balancer sends no requests while this fails.

    The body is C{{"ready": bool, "parts": {NAME: "ready" or why not}, "degraded": {NAME: what is not served}}}, without
    C{degraded} if no part is.
    """
    ready = not any(parts.values())
    body: dict[str, object] = {"ready": ready, "parts": {name: why or "ready" for name, why in parts.items()}}
    if degraded:
        body["degraded"] = dict(degraded)
    return json_reply(body, status=200 if ready else 503)


def versions() -> dict[str, str]:
    """The versions of storehouse, Python and Twisted, and whether the native module is there, or why it is missing."""
    return {
        "storehouse": __version__,
        "python": platform.python_version(),
        "twisted": twisted.__version__,
        "native": f"missing: {MISSING}" if MISSING else "yes",
    }


class ReadinessMetric:
    """
    What C{/readyz} reports, as the metric C{storehouse_ready}: a collector for a C{prometheus_client} registry.

    @param parts: as for L{AdminDoor}.
    """

    def __init__(self, parts: Callable[[], Mapping[str, str]]) -> None:
        self._parts = parts

    def collect(self) -> Iterable[Metric]:
        ready = GaugeMetricFamily("storehouse_ready", "1 if a part is ready to serve, 0 if not.", labels=["part"])
        for name, why in self._parts().items():
            ready.add_metric([name], not why)
        yield ready
