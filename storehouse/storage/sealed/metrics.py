"""What a space that encrypts tells about itself."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, Metric
from twisted.logger import Logger

from storehouse.errors import DamagedObject

__all__ = ["SealedMetrics"]


class SealedMetrics:
    """
    The counters of one space.

    @ivar sealed: objects and parts that were encrypted.
    @ivar opened: objects and parts that were opened for reading.
    @ivar bytes_sealed: their bytes.
    @ivar bytes_opened: bytes that were decrypted and given out.
    @ivar failures: how often something encrypted was not authentic.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.sealed = 0
        self.opened = 0
        self.bytes_sealed = 0
        self.bytes_opened = 0
        self.failures = 0

    def damaged(self, error: DamagedObject) -> None:
        """Something is not authentic, or plain where all must be encrypted."""
        self.failures += 1
        self._log.error(
            "damaged: {id}, part {part}, frame {block}: {reason}",
            id=error.id,
            part=error.part,
            block=error.block,
            reason=error.reason,
        )

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        for name, text, value in (
            ("sealed", "Objects and parts that were encrypted.", self.sealed),
            ("opened", "Objects and parts that were opened to be decrypted.", self.opened),
            ("sealed_bytes", "Bytes that were encrypted.", self.bytes_sealed),
            ("opened_bytes", "Bytes that were decrypted and given out.", self.bytes_opened),
            ("failures", "How often something encrypted was not authentic.", self.failures),
        ):
            yield CounterMetricFamily(f"storehouse_encryption_{name}", text, value=value)
