"""What a Wormer store tells about itself."""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.core.jobs import deferred as as_deferred
from storehouse.core.operations import Operations
from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import AlreadyExists, DamagedObject, InvalidName, NoSuchObject, StorehouseError
from storehouse.storage.dataspace.metrics import SpaceMetrics
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings

FAMILIES = {
    "storehouse_objects_operation_seconds": "histogram",
    "storehouse_objects_in_bytes": "counter",
    "storehouse_objects_out_bytes": "counter",
    "storehouse_objects_damaged": "counter",
    "storehouse_objects_leftovers_removed": "counter",
    "storehouse_objects_uploads_expired": "counter",
    "storehouse_objects_scrubbed_bytes": "counter",
    "storehouse_objects_scrubbed": "counter",
    "storehouse_objects_scrub_rounds": "counter",
    "storehouse_objects_staged_deletes": "gauge",
    "storehouse_objects_scrub_progress": "gauge",
    "storehouse_objects_scrub_damage": "gauge",
    "storehouse_objects_failed": "gauge",
}


def scraped(collector: Any) -> tuple[dict[str, str], dict[tuple[str, ...], float]]:
    """@return: the types of the families; the values of samples, by name and values of labels."""
    registry = CollectorRegistry()
    registry.register(collector)
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    values = {}
    for family in families:
        assert family.documentation.endswith(".")
        for sample in family.samples:
            labels = [sample.labels[name] for name in ("operation", "outcome", "le") if name in sample.labels]
            values[(sample.name.removeprefix("storehouse_objects_"), *labels)] = sample.value
    return {family.name: family.type for family in families}, values


class MetricsTests(SynchronousTestCase):
    """L{SpaceMetrics}, through the text that Prometheus reads."""

    def setUp(self) -> None:
        self.now = 1e9
        self.root = os.path.abspath(self.mktemp())
        self.space = self.open()

    def open(self) -> WormerDataSpace:
        settings = WormerSettings(self.root, block_size=100, durable=False)
        space = WormerDataSpace(settings, InlineDisk(), clock=lambda: self.now)
        space.start()
        self.addCleanup(space.stop)
        return space

    def put(self, id: str, size: int) -> None:
        self.successResultOf(self.space.put(id, BytesStream(bytes(size)), size, {}))

    def read(self, id: str) -> Any:
        return as_deferred(read_all)(self.successResultOf(self.space.get(id)))

    def values(self) -> dict[tuple[str, ...], float]:
        return scraped(self.space)[1]

    def test_families(self) -> None:
        """All are there from the start, with their types."""
        families, values = scraped(self.space)
        self.assertEqual(families, FAMILIES)
        self.assertEqual(set(values.values()), {0.0})
        self.assertEqual(
            scraped(SpaceMetrics(Operations("the store", "storehouse_objects_operation_seconds", "Operations.")))[0],
            FAMILIES,
        )

    def test_operations(self) -> None:
        """Operations by their outcome; bytes in and out."""
        self.put("aa", 1000)
        self.put("bb", 50)
        self.failureResultOf(self.space.put("aa", BytesStream(b""), 0, {}), AlreadyExists)
        self.failureResultOf(self.space.get("cc"), NoSuchObject)
        self.failureResultOf(self.space.get("no"), InvalidName)
        self.failureResultOf(self.space.put("dd", BytesStream(map(bytes, ["no bytes"])), None, {}))  # type: ignore[arg-type]
        for _ in range(3):
            self.successResultOf(self.read("aa"))
        self.successResultOf(self.space.copy("ee", "bb"))
        values = self.values()
        for operation, outcome, count in (
            ("put", "ok", 2),
            ("put", "AlreadyExists", 1),
            ("put", "failed", 1),
            ("get", "ok", 3),
            ("get", "NoSuchObject", 1),
            ("get", "InvalidName", 1),
            ("copy", "ok", 1),
        ):
            self.assertEqual(values["operation_seconds_count", operation, outcome], count, operation)
            self.assertEqual(values["operation_seconds_bucket", operation, outcome, "+Inf"], count)
            self.assertLess(0, values["operation_seconds_sum", operation, outcome])
        self.assertEqual(sum(key[0] == "operation_seconds_count" for key in values), 7)
        self.assertEqual((values["in_bytes_total",], values["out_bytes_total",]), (1100, 3000))

    def test_uploads(self) -> None:
        """Parts count when they come; those that expire are counted."""
        for id in ("aa", "bb"):
            self.successResultOf(self.space.init_upload(id, {}))
            self.successResultOf(self.space.upload_part(id, 1, BytesStream(bytes(70)), 70))
        parts = self.successResultOf(self.space.list_parts("aa"))
        self.successResultOf(self.space.complete_upload("ab", "aa", parts))
        self.now += 1e12
        self.assertEqual(self.successResultOf(self.space.expire_uploads(1)), ["bb"])
        values = self.values()
        self.assertEqual((values["in_bytes_total",], values["uploads_expired_total",]), (140, 1))
        for operation, count in (("init_upload", 2), ("upload_part", 2), ("complete_upload", 1), ("expire_uploads", 1)):
            self.assertEqual(values["operation_seconds_count", operation, "ok"], count)

    def test_damage(self) -> None:
        self.put("aa", 1000)
        with open(f"{self.root}/data/aa/aa/part.1", "r+b") as file:
            file.write(b"x")
        self.failureResultOf(self.space.get("aa"), DamagedObject)
        self.assertEqual(self.values()["damaged_total",], 1)
        self.assertEqual(self.values()["operation_seconds_count", "get", "DamagedObject"], 1)

    def test_staged(self) -> None:
        """What was deleted and is still read."""
        self.put("aa", 200_000)
        readers = [self.successResultOf(self.space.get("aa")) for _ in range(2)]
        self.successResultOf(self.space.delete("aa"))
        self.assertEqual(self.values()["staged_deletes",], 1)
        readers[0].close()
        self.assertEqual(self.values()["staged_deletes",], 1)
        readers[1].close()
        self.assertEqual(self.values()["staged_deletes",], 0)

    def test_leftovers(self) -> None:
        for name in (f"put.{1:024x}", f"deleted.{2:024x}"):
            os.mkdir(f"{self.root}/tmp/{name}")
        self.successResultOf(self.space.stop())
        self.space = self.open()
        self.assertEqual(self.values()["leftovers_removed_total",], 2)

    def test_failed(self) -> None:
        self.space._directory.fail(StorehouseError("broken"))
        self.assertEqual(self.values()["failed",], 1)
