"""Metrics in the text format of Prometheus."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from storehouse.frontends.http.reply import Reply

__all__ = ["metrics_reply"]


def metrics_reply(registry: CollectorRegistry) -> Reply:
    """All metrics of a registry, as they are now."""
    return Reply(200, generate_latest(registry), CONTENT_TYPE_LATEST.encode("ascii"))
