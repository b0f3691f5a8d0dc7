"""Tests of scrubs: what they find, what they do not take for damage, and how they run in the background."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.core.operations import Operations
from storehouse.core.streams import BytesStream
from storehouse.errors import Unavailable
from storehouse.storage.dataspace import verify
from storehouse.storage.dataspace.chores import EXPIRY_INTERVAL, Compare, Expiry, Scrubber
from storehouse.storage.dataspace.formats import decode_object
from storehouse.storage.dataspace.metrics import SpaceMetrics
from storehouse.storage.dataspace.scrub import SMALL, Finding, Progress, count, scrub
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings

BLOCK = 4096


class StoreCase(SynchronousTestCase):
    """A store without threads."""

    hash = "HighwayHash256"

    def setUp(self) -> None:
        self.directory = Path(os.path.abspath(self.mktemp()))
        self.space = WormerDataSpace(WormerSettings(str(self.directory), self.hash, BLOCK, False), InlineDisk())
        self.space.start()
        self.addCleanup(self.space.stop)
        self.findings: list[Finding] = []
        self.progress: list[Progress] = []

    def do(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work) if isinstance(work, Coroutine) else work)

    def put(self, id: str, size: int = 10) -> Path:
        self.do(self.space.put(id, BytesStream(os.urandom(size)), size, {}))
        return self.directory / "data" / id[:2] / id

    def upload(self, upload_id: str, *sizes: int) -> Path:
        self.do(self.space.init_upload(upload_id, {"key": ["k"]}))
        for number, size in enumerate(sizes, 1):
            self.do(self.space.upload_part(upload_id, number, BytesStream(os.urandom(size)), size))
        return self.directory / "uploads" / upload_id[:2] / upload_id

    def joined(self, id: str, *sizes: int) -> Path:
        self.upload("ff", *sizes)
        parts = self.do(self.space.list_parts("ff"))
        self.do(self.space.complete_upload(id, "ff", parts))
        return self.directory / "data" / id[:2] / id

    def scrub(self, **kwargs: Any) -> list[tuple[Any, ...]]:
        self.findings.clear()
        self.progress.clear()
        self.do(scrub(str(self.directory), InlineDisk(), self.findings.append, self.progress.append, **kwargs))
        return [(finding.id, finding.part, finding.block) for finding in self.findings]

    def flip(self, path: Path, at: int = 0, bit: int = 1) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= bit
        path.write_bytes(data)


class IntactTests(StoreCase):
    """Nothing is found where nothing is wrong."""

    def test_everything(self) -> None:
        for at, size in enumerate((0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7, 3 << 20)):
            self.put(f"{at:02x}ab", size)
        self.joined("77", 3 * BLOCK, 5, BLOCK)
        self.do(self.space.copy("78", "77", 10, 4000))
        self.do(self.space.copy("79", "77"))
        self.upload("aa", 10, 0, BLOCK * 2)
        self.upload("bb")
        total = self.do(count(str(self.directory), InlineDisk()))
        self.assertEqual(self.scrub(total=total), [])
        last = self.progress[-1]
        self.assertEqual((last.size, last.share, last.objects), (total, 1.0, 12))
        self.assertGreater(len(self.progress), 3)
        shares = [progress.share for progress in self.progress]
        self.assertEqual(shares, sorted(shares))

    def test_empty(self) -> None:
        self.assertEqual(self.scrub(), [])
        self.assertEqual(self.progress[-1], Progress(0, 0, None, 1.0))
        self.assertEqual(self.do(count(str(self.directory), InlineDisk())), 0)

    def test_count(self) -> None:
        """All are counted, however many there are."""
        for number in range(250):
            self.put(f"{number:04x}", 3)
        told: list[int] = []
        self.assertEqual(self.do(count(str(self.directory), InlineDisk(), told.append)), 750)
        self.assertEqual(told, [300, 300, 150])

    def test_another_programs(self) -> None:
        """Tags and files that another program has made are no damage."""
        path = self.put("ab")
        part = {"etag": "9e107d9d372bb6826bd81d3542a419d6", "number": 1, "size": 10}
        value = {"etag": "x-1", "key": "", "parts": [part], "size": 10}
        (path / "data.json").write_text(json.dumps(value), encoding="utf-8")
        (self.directory / "format.json").unlink()
        self.assertEqual(self.scrub(), [])

    def test_leftovers_of_uploads(self) -> None:
        path = self.upload("ab", 10)
        (path / "part.7").write_bytes(b"x")
        (path / "part.8.checksum").write_bytes(b"x")
        self.assertEqual(self.scrub(), [])

    def test_begins_where_it_is_told(self) -> None:
        """All is looked at from wherever it begins."""
        for index in ("00", "80", "ff"):
            self.flip(self.put(index) / "part.1")
        self.assertEqual([id for id, _, _ in self.scrub(first="80")], ["80", "ff", "00"])


class CRC32CIntactTests(IntactTests):
    """With another hash."""

    hash = "CRC32C"


class DamageTests(StoreCase):
    """Every kind of damage."""

    def found(self, id: str, part: int | None, block: int | None, *words: str, kind: str = "object") -> None:
        """Just that."""
        self.assertEqual(self.scrub(), [(id, part, block)], self.findings)
        self.assertEqual(self.findings[0].kind, kind)
        for word in words:
            self.assertIn(word, self.findings[0].reason)

    def test_every_bit_of_a_small_object(self) -> None:
        """Whichever bit flips in whichever of its files, it is found, and in this object."""
        path = self.put("ab", 20)
        self.put("cd", 20)
        for name in ("data.json", "part.1", "part.1.checksum"):
            size = (path / name).stat().st_size
            for at in range(size):
                self.flip(path / name, at, 1 << at % 8)
                found = self.scrub()
                self.assertTrue(found and all(id == "ab" for id, *_ in found), (name, at, found))
                self.flip(path / name, at, 1 << at % 8)
        self.assertEqual(self.scrub(), [])

    def test_every_bit_of_an_upload(self) -> None:
        path = self.upload("ab", 20)
        for name in ("upload.json", "parts.json", "part.1", "part.1.checksum"):
            for at in range((path / name).stat().st_size):
                self.flip(path / name, at, 1 << at % 8)
                found = self.scrub()
                self.assertTrue(found and all(id == "ab" for id, *_ in found), (name, at, found))
                self.assertEqual(self.findings[0].kind, "upload")
                self.flip(path / name, at, 1 << at % 8)

    def test_all_blocks(self) -> None:
        """Each damaged block, and then what follows it."""
        path = self.put("ab", 300 * BLOCK + 5)
        for block in (0, 7, 255, 256, 300):
            self.flip(path / "part.1", block * BLOCK + 2)
        self.flip(self.joined("cd", 2 * BLOCK, 2 * BLOCK) / "part.2", BLOCK)
        expected = [("ab", 1, block) for block in (0, 7, 255, 256, 300)]
        self.assertEqual(self.scrub(), [*expected, ("cd", 2, 1)])

    def test_header_that_fits(self) -> None:
        """A block size that gives the same blocks is found by the tag alone."""
        path = self.put("ab", 10) / "part.1.checksum"
        path.write_bytes(path.read_bytes().replace(b'"blockSize":4096', b'"blockSize":4097'))
        self.found("ab", 1, None, "etag")

    def test_sizes(self) -> None:
        path = self.put("ab", 2 * BLOCK)
        os.truncate(path / "part.1", 2 * BLOCK - 1)
        self.found("ab", 1, None, "part.1 has 8191 bytes")
        os.truncate(path / "part.1", 2 * BLOCK + 1)
        self.found("ab", 1, None, "part.1 has 8193 bytes")
        os.truncate(path / "part.1.checksum", 30)
        self.found("ab", 1, None, "header")

    def test_missing(self) -> None:
        path = self.put("ab")
        for name, part in (("part.1", 1), ("part.1.checksum", 1), ("data.json", None)):
            (path / name).rename(self.directory / "tmp" / "kept")
            self.found("ab", part, None, f"{name} is missing")
            (self.directory / "tmp" / "kept").rename(path / name)
        shutil.rmtree(self.directory / "data")
        self.found("data", None, None, "missing", kind="store")

    def test_missing_of_uploads(self) -> None:
        path = self.upload("ab", 10)
        (path / "part.1").unlink()
        self.found("ab", 1, None, "part.1 is missing", kind="upload")
        (path / "parts.json").unlink()
        self.found("ab", None, None, "parts.json is missing", kind="upload")

    def test_unknown(self) -> None:
        path = self.put("abcd")
        for place, id in (
            (path / "part.2", "abcd"),
            (path / "data.json.new", "abcd"),
            (self.directory / "data" / "ab" / "note", "data/ab/note"),
            (self.directory / "data" / "ab" / "cdef", "data/ab/cdef"),
            (self.directory / "data" / "ab" / "ABCD", "data/ab/ABCD"),
            (self.directory / "data" / "zz", "data/zz"),
            (self.directory / "uploads" / "0", "uploads/0"),
        ):
            place.write_bytes(b"")
            self.found(id, None, None, f"unknown file {place.name}", kind=self.kind_of(place, id))
            place.unlink()
        (self.upload("ee") / "other").write_bytes(b"")
        self.found("ee", None, None, "unknown file other", kind="upload")

    def kind_of(self, place: Path, id: str) -> str:
        return "store" if place.parent.parent == self.directory else "object"

    def test_no_directory(self) -> None:
        path = self.put("ab")
        shutil.rmtree(path)
        path.write_bytes(b"")
        self.found("ab", None, None, "cannot be opened: Not a directory")
        path.unlink()
        path.mkdir()
        self.found("ab", None, None, "data.json is missing")

    def test_no_file(self) -> None:
        """What would block its reader is not opened."""
        path = self.put("ab") / "part.1"
        path.unlink()
        os.mkfifo(path)
        self.found("ab", 1, None, "part.1 is not a regular file")

    def test_format(self) -> None:
        (self.directory / "format.json").write_text("{}", encoding="utf-8")
        self.found("format.json", None, None, "another format", kind="store")

    def test_joined_tag(self) -> None:
        """Tags of parts that do not make the tag of their object."""
        path = self.joined("ab", BLOCK, 10) / "data.json"
        info = decode_object(path.read_bytes())
        value = {
            "etag": "0" * 48 + "-2",
            "key": "",
            "parts": [{"etag": part.etag, "number": part.number, "size": part.size} for part in info.parts],
            "size": info.size,
        }
        path.write_text(json.dumps(value), encoding="utf-8")
        self.found("ab", None, None, "its etag does not match its parts")

    def test_unreadable_blocks(self) -> None:
        """A disk that cannot read one block: that one is named, and the others are verified."""
        self.flip(self.put("ab", 5 * BLOCK) / "part.1", 4 * BLOCK)
        read = verify.read_exactly

        def broken(fd: int, size: int, offset: int) -> bytes:
            if offset <= 2 * BLOCK < offset + size:
                raise OSError(5, "Input/output error")
            return read(fd, size, offset)

        with mock.patch.object(verify, "read_exactly", broken):
            self.assertEqual(self.scrub(), [("ab", 1, 2), ("ab", 1, 4)])
        self.assertEqual(self.findings[0].reason, "it cannot be read: Input/output error")


class MeanwhileTests(StoreCase):
    """What changes while it is looked at is no damage."""

    def interrupted(self, at: str, change: Callable[[], Any]) -> list[tuple[Any, ...]]:
        """Scrub, with a change just before a file is looked at, or a part is opened."""
        described, opened = verify.read_description, verify.OpenPart
        left = [change]

        def read_description(directory: int, name: str, id: str) -> bytes:
            if name == at and left:
                left.pop()()
            return described(directory, name, id)

        def open_part(directory: int, id: str, part: Any, **options: Any) -> Any:
            if at == "part" and left:
                left.pop()()
            return opened(directory, id, part, **options)

        with mock.patch.multiple(verify, read_description=read_description, OpenPart=open_part):
            found = self.scrub()
        self.assertEqual(left, [])
        return found

    def test_deleted(self) -> None:
        for at in ("data.json", "part"):
            self.put("ab")
            self.put("cd")
            self.assertEqual(self.interrupted(at, lambda: self.do(self.space.delete("ab"))), [])
            self.assertEqual(self.progress[-1].objects, 1)
            self.do(self.space.delete("cd"))

    def test_stored_anew(self) -> None:
        """The new one is verified in place of the old."""
        self.put("ab", 10)

        def replace() -> None:
            self.do(self.space.delete("ab"))
            self.flip(self.put("ab", 2 * BLOCK) / "part.1", BLOCK)

        self.assertEqual(self.interrupted("part", replace), [("ab", 1, 1)])

    def test_part_replaced(self) -> None:
        self.upload("ab", 10, 10)

        def replace() -> None:
            self.do(self.space.upload_part("ab", 1, BytesStream(b"other"), 5))

        self.assertEqual(self.interrupted("part", replace), [])
        self.assertEqual(self.interrupted("parts.json", replace), [])

    def test_upload_ends(self) -> None:
        self.upload("ab", 10)
        self.assertEqual(self.interrupted("part", lambda: self.do(self.space.abort_upload("ab"))), [])
        self.upload("ab", 10)

        def complete() -> None:
            self.do(self.space.complete_upload("cd", "ab", self.do(self.space.list_parts("ab"))))

        self.assertEqual(self.interrupted("parts.json", complete), [])
        self.assertEqual(self.scrub(), [])


class SlowDisk(InlineDisk):
    """Finishes jobs when a test says so."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def run(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        self.jobs.append(lambda: super(SlowDisk, self).run(f, *args, **kwargs).chainDeferred(result))
        return result


class ScrubberTests(StoreCase):
    """In the background."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.metrics = SpaceMetrics(Operations("the store", "storehouse_objects_operation_seconds", "Operations."))

    def scrubber(self, rate: float, pause: float = 100.0, disk: Any = None, compare: Compare | None = None) -> Scrubber:
        disk = disk or InlineDisk()
        scrubber = Scrubber(
            str(self.directory), disk, self.clock, self.metrics, rate, pause, first=lambda: "00", compare=compare
        )
        scrubber.start()
        return scrubber

    def stop(self, scrubber: Scrubber) -> None:
        self.successResultOf(scrubber.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_rate(self) -> None:
        """So many bytes a second, and no more; then a pause, then again."""
        self.put("ab", 8 << 20)
        scrubber = self.scrubber(float(1 << 20))
        self.assertEqual(self.metrics.scrubbed_bytes, 1 << 20)
        for second in range(2, 9):
            self.clock.advance(0.5)
            self.assertEqual(self.metrics.scrubbed_bytes, (second - 1) << 20)
            self.clock.advance(0.5)
            self.assertEqual(self.metrics.scrubbed_bytes, second << 20)
        self.assertEqual(self.metrics.scrub_rounds, 0)
        self.clock.advance(1)
        self.assertEqual((self.metrics.scrub_rounds, self.metrics.scrub_progress), (1, 1.0))
        self.assertEqual(self.metrics.scrubbed_objects, 1)
        self.clock.advance(99)
        self.assertEqual(self.metrics.scrubbed_bytes, 8 << 20)
        self.clock.advance(1)
        self.assertEqual(self.metrics.scrubbed_bytes, 9 << 20)
        self.assertEqual((self.metrics.scrub_rounds, self.metrics.scrub_progress), (1, 0.0))
        self.stop(scrubber)

    def test_small_objects(self) -> None:
        """Small ones are not taken for nothing."""
        for number in range(100):
            self.put(f"{number:04x}", 1)
        scrubber = self.scrubber(10.0 * SMALL)
        self.clock.pump([0.01] * 500)
        self.assertTrue(40 <= self.metrics.scrubbed_objects <= 70, self.metrics.scrubbed_objects)
        self.assertTrue(0.4 <= self.metrics.scrub_progress <= 0.7, self.metrics.scrub_progress)
        self.stop(scrubber)

    def test_slow_disk_is_not_caught_up_with(self) -> None:
        """Time that the disk took is not made good by a burst."""
        self.put("ab", 8 << 20)
        disk = SlowDisk()
        scrubber = self.scrubber(float(1 << 20), disk=disk)
        self.clock.advance(1000)
        disk.jobs.pop()()
        disk.jobs.pop()()
        self.assertEqual(disk.jobs, [])
        stopped = scrubber.stop()
        self.successResultOf(stopped)

    def test_damage(self) -> None:
        """It is counted and told, every round, and nothing is repaired."""
        path = self.put("ab", 2 * BLOCK)
        self.flip(path / "part.1", BLOCK)
        before = {file.name: file.read_bytes() for file in path.iterdir()}
        with mock.patch.object(Scrubber, "_log") as log:
            scrubber = self.scrubber(1e9)
            self.clock.pump([0.1] * 5)
            self.assertEqual((self.metrics.damaged, self.metrics.scrub_damage), (1, 1))
            self.assertEqual(
                log.error.call_args.kwargs,
                {"kind": "object", "id": "ab", "part": 1, "block": 1, "reason": "its checksum is wrong"},
            )
            self.flip(path / "part.1", BLOCK)
            self.clock.advance(100)
            self.clock.pump([0.1] * 5)
        self.assertEqual((self.metrics.damaged, self.metrics.scrub_damage, self.metrics.scrub_rounds), (1, 0, 2))
        self.stop(scrubber)
        self.assertEqual(list(before), [file.name for file in path.iterdir()])

    def test_keys_are_compared(self) -> None:
        """At the end of each round, at the same pace; what differs is reported and counted."""
        paces: list[bool] = []

        async def compare(on_finding: Callable[[Finding], object], pace: Callable[[int], Awaitable[bool]]) -> None:
            self.assertEqual(self.metrics.scrubbed_objects, 1)
            on_finding(Finding("ab", None, None, "bucket/key: it has 7 bytes instead of 5", "key"))
            paces.append(await pace(1000))

        self.put("ab")
        with mock.patch.object(Scrubber, "_log") as log:
            scrubber = self.scrubber(1000.0, compare=compare)
            self.clock.advance(SMALL / 1000)
            self.assertEqual((paces, self.metrics.scrub_rounds), ([], 0))
            self.clock.advance(1)
        self.assertEqual((paces, self.metrics.scrub_rounds), ([True], 1))
        self.assertEqual((self.metrics.damaged, self.metrics.scrub_damage), (1, 1))
        self.assertIn("bucket/key", log.error.call_args.kwargs["reason"])
        self.stop(scrubber)

    def test_keys_that_are_shut(self) -> None:
        """Objects are verified where keys cannot be had."""

        async def compare(on_finding: Any, pace: Any) -> None:
            raise Unavailable("the object store is shut")

        self.put("ab")
        with mock.patch.object(Scrubber, "_log") as log:
            scrubber = self.scrubber(1e9, compare=compare)
            self.clock.advance(1)
        self.assertEqual((self.metrics.scrub_rounds, self.metrics.scrubbed_objects), (1, 1))
        self.assertEqual(str(log.warn.call_args.kwargs["error"]), "the object store is shut")
        self.stop(scrubber)

    def test_stop_waits_for_the_thread(self) -> None:
        self.put("ab")
        disk = SlowDisk()
        scrubber = self.scrubber(1.0, disk=disk)
        stopped = scrubber.stop()
        self.assertNoResult(stopped)
        disk.jobs.pop()()
        self.successResultOf(stopped)
        self.assertEqual((disk.jobs, self.clock.getDelayedCalls()), ([], []))
        self.assertEqual(self.metrics.scrub_rounds, 0)

    def test_off(self) -> None:
        self.stop(self.scrubber(0))

    def test_empty_store(self) -> None:
        """Rounds of nothing leave time for others, however short the pause."""
        scrubber = self.scrubber(1e9, pause=0)
        self.clock.pump([0.1] * 35)
        self.assertIn(self.metrics.scrub_rounds, (3, 4))
        self.stop(scrubber)

    def test_defect(self) -> None:
        """A round that fails is logged, and the next one comes."""
        with mock.patch("storehouse.storage.dataspace.chores.scrub", side_effect=ZeroDivisionError()):
            scrubber = self.scrubber(1e9)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(100)
        self.assertEqual(self.metrics.scrub_rounds, 1)
        self.stop(scrubber)


class FakeUploads:
    """Writes down when uploads were to expire."""

    def __init__(self) -> None:
        self.ages: list[float] = []
        self.kept: list[object] = []
        self.results: list[Deferred[list[str]]] = []

    def expire_uploads(self, age: float, keep: object = None) -> Deferred[list[str]]:
        self.ages.append(age)
        self.kept.append(keep)
        self.results.append(Deferred())
        return self.results[-1]


class ExpiryTests(SynchronousTestCase):
    """L{Expiry}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.uploads: Any = FakeUploads()

    def test_hourly(self) -> None:
        keep = {"ab"}.__contains__
        expiry = Expiry(self.uploads, self.clock, 7.0, keep)
        expiry.start()
        self.assertEqual(self.uploads.ages, [])
        self.clock.advance(EXPIRY_INTERVAL)
        self.assertEqual((self.uploads.ages, self.uploads.kept), ([7.0], [keep]))
        self.uploads.results[0].errback(Unavailable("not now"))
        self.assertEqual(len(self.flushLoggedErrors(Unavailable)), 1)
        self.clock.advance(EXPIRY_INTERVAL)
        self.assertEqual(self.uploads.ages, [7.0, 7.0])
        stopped = expiry.stop()
        self.assertNoResult(stopped)
        self.uploads.results[1].callback([])
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_off(self) -> None:
        expiry = Expiry(self.uploads, self.clock, 0)
        expiry.start()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(expiry.stop())
