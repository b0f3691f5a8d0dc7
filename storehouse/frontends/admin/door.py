"""The admin door put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry
from twisted.web.resource import IResource

from storehouse.frontends.admin.health import Health, Readiness
from storehouse.frontends.admin.index import Index
from storehouse.frontends.admin.metrics import Metrics
from storehouse.frontends.admin.version import Version
from storehouse.frontends.http.resource import Root

__all__ = ["AdminDoor"]


class AdminDoor:
    """
    What the admin door serves.

    @param registry: the metrics to show.
    @param parts: gives, for each part of the process by its name, why it is not ready; an empty text when it
        is.
    @param degraded: gives the parts that are ready and cannot serve some of what they have: what that is.
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
                b"": Index(),
                b"healthz": Health(),
                b"readyz": Readiness(parts, degraded),
                b"metrics": Metrics(registry),
                b"version": Version(),
            }
        )
