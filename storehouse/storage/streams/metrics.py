"""Metrics of streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from storehouse.storage.streams.interfaces import Archive, State

__all__ = ["StreamCounters", "collect"]


@attrs.define
class StreamCounters:
    """
    Counters of one stream.

    @ivar records_in: records that were acknowledged, and C{bytes_in} of their payloads and metadata.
    @ivar records_out: records that were read, and C{bytes_out} of their payloads.
    @ivar rolls: archives that were closed.
    @ivar failures: of writing, closing, shipping and reading.
    """

    records_in: int = 0
    bytes_in: int = 0
    records_out: int = 0
    bytes_out: int = 0
    rolls: int = 0
    failures: int = 0


_COUNTERS = (
    ("records_in", "Records that were acknowledged."),
    ("bytes_in", "Bytes of records that were acknowledged."),
    ("records_out", "Records that were read."),
    ("bytes_out", "Bytes of payloads that were read."),
    ("rolls", "Archives that were closed."),
    ("failures", "Failures to write, close, ship or read."),
)


def collect(streams: Mapping[str, tuple[StreamCounters, Iterable[Archive], bool, int]]) -> Iterable[Metric]:
    """
    Metric families, for a C{prometheus_client} registry.

    @param streams: of each stream its counters, its archives, whether all of it is served, and the number of damaged catalogues
        that are set aside.
    """
    for field, text in _COUNTERS:
        counter = CounterMetricFamily(f"storehouse_streams_{field}", text, labels=["stream"])
        for name, (counters, _, _, _) in streams.items():
            counter.add_metric([name], getattr(counters, field))
        yield counter
    states = GaugeMetricFamily("storehouse_streams_archives", "Archives by state.", labels=["stream", "state"])
    for name, (_, archives, _, _) in streams.items():
        counts = dict.fromkeys((State.OPEN, State.CLOSED, State.FINISHED, State.SHIPPED), 0)
        for archive in archives:
            counts[archive.state] += 1
        for state, count in counts.items():
            states.add_metric([name, state], count)
    yield states
    whole = GaugeMetricFamily(
        "storehouse_streams_served", "1 if all of a stream is served, 0 if not.", labels=["stream"]
    )
    for name, (_, _, is_served, _) in streams.items():
        whole.add_metric([name], is_served)
    yield whole
    aside = GaugeMetricFamily(
        "storehouse_streams_damaged_catalogues",
        "Damaged catalogues that were set aside and are still there.",
        labels=["stream"],
    )
    for name, (_, _, _, count) in streams.items():
        aside.add_metric([name], count)
    yield aside
