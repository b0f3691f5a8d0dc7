"""
Limits how many uploads and copies run at once: each has files open, and bytes in memory that wait to be hashed.

An address, a user and an access key each have a share (L{Shares<storehouse.core.budget.Shares>}), so that nobody keeps others out.
Small bodies are not counted: they open no file before they have arrived. Work that continues after its client has left, as a copy
does, counts until it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from storehouse.core.budget import Shares, StreamMemory, network_of
from storehouse.errors import TooManyUploads
from storehouse.frontends.s3.access.caller import Caller
from storehouse.frontends.s3.signing.bodies import BATCH

__all__ = ["Transfers"]


class Transfers:
    """
    The uploads and copies of a door.

    @param most: how many may run at once.
    @param memory: bytes that may wait to be hashed, of all of them, about.
    @ivar refused: how many were refused.
    """

    def __init__(self, most: int = 1024, memory: int = 32 << 20) -> None:
        self.refused = 0
        self._shares: Shares[tuple[str, str]] = Shares(most)
        self._memory = StreamMemory(memory)

    @property
    def batch(self) -> int:
        """Bytes that the next one should have hashed at once."""
        return min(BATCH, self._memory.share)

    @contextmanager
    def one(self, caller: Caller, is_form: bool = False) -> Iterator[None]:
        """
        Count one as long as the block lasts.

        @param is_form: whether it is a form, which others send for the user who signed it: it counts for their address alone.
        @raise TooManyUploads: if the limit of the door, or the share of the address, user or key, is reached.
        """
        names = {"address": network_of(caller.address)}
        if not is_form:
            names |= {"user": caller.name, "access key": caller.key_id}
        holders = [each for each in names.items() if each[1]]
        if self._shares.used >= self._shares.most:
            self.refused += 1
            raise TooManyUploads(
                f"{self._shares.most} uploads and copies are on their way, the limit (s3-max-uploads): try again in a moment"
            )
        refused = self._shares.refused(holders)
        if refused is not None:
            self.refused += 1
            raise TooManyUploads(f"this {refused[0]} has reached its limit of uploads at once: try again in a moment")
        self._shares.enter(holders)
        self._memory.streams += 1
        try:
            yield
        finally:
            self._memory.streams -= 1
            self._shares.leave(holders)

    def collect(self) -> Iterable[Metric]:
        """Metric families, for a C{prometheus_client} registry."""
        yield GaugeMetricFamily(
            "storehouse_s3_transfers", "Uploads and copies on their way, without small ones.", value=self._shares.used
        )
        yield CounterMetricFamily(
            "storehouse_s3_transfers_refused", "Uploads and copies that were one too many.", value=self.refused
        )
