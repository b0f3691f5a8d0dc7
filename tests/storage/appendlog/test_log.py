"""L{LocalAppendLog} does what every append log must."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from storehouse.config.settings import AppendSettings
from storehouse.core.digests import fnv1a32
from storehouse.core.jobs import DiskThreads
from storehouse.errors import NoSuchPrefix, Unavailable
from storehouse.storage.appendlog.interfaces import Durability
from storehouse.storage.appendlog.log import LocalAppendLog
from storehouse.testing.files import UnsyncedFiles
from tests.conformance.appendlog import BUCKETS, MAX_RECORD, AppendLogTestsMixin
from tests.storage.appendlog.rig import Driven, SeedStore, contents


class LocalLogTestCase(TestCase):
    """Makes logs on a directory of the test, on the reactor of trial."""

    durability = Durability.DISK

    async def make_log(self, buckets: int = BUCKETS, max_open: int = 16) -> Any:
        stopping = getattr(self, "log", None)
        if stopping is not None:
            await stopping.stop()
        else:
            self.directory = os.path.abspath(self.mktemp())
            self.disk = DiskThreads(reactor, 4)
            self.disk.start()
            self.addCleanup(self.disk.stop)
        settings = AppendSettings(
            directory=self.directory,
            buckets=buckets,
            sync=self.durability.value,
            max_record=MAX_RECORD,
            wal_size=1 << 20,
        )
        log = LocalAppendLog(settings, reactor, self.disk, self.fail, UnsyncedFiles(), max_open)
        log.start()
        self.addCleanup(log.stop)
        return log


class DurableLogTests(AppendLogTestsMixin, LocalLogTestCase):
    """With records on disk by default."""


class RelaxedLogTests(AppendLogTestsMixin, LocalLogTestCase):
    """With records in the page cache by default."""

    durability = Durability.OS


class LocalLogTests(LocalLogTestCase):
    """What is the local log's own."""

    async def setUp(self) -> None:
        self.log = await self.make_log()

    async def test_as_the_seed(self) -> None:
        """Offsets and files are those of the seed's program, byte for byte."""
        seed = SeedStore(os.path.abspath(self.mktemp()), BUCKETS)
        for prefix in ("", "events_from_20171111"):
            seed.open(prefix)
            for n in range(60):
                id, payload = b"user-%d" % (n % 11), os.urandom(1 + n * 7 % 90)
                appended = await self.log.append(prefix, id, [payload])
                self.assertEqual(appended.offsets, (seed.append(id, payload, prefix),))
                self.assertEqual(
                    appended.bucket.path,
                    os.path.join(self.directory, prefix or "default", f"append.{fnv1a32(id) % BUCKETS}.raw"),
                )
        await self.log.stop()
        for prefix in ("default", "events_from_20171111"):
            for number in range(BUCKETS):
                name = os.path.join(prefix, f"append.{number}.raw")
                self.assertEqual(contents(os.path.join(self.directory, name)), contents(os.path.join(seed.root, name)))

    async def test_seed_reads_ours(self) -> None:
        """The seed's program reads what we wrote."""
        seed = SeedStore(self.directory, BUCKETS)
        for n in range(20):
            appended = await self.log.append("", b"a", [b"%d" % n])
            self.assertEqual(seed.get(b"a", appended.offsets[0]), b"%d" % n)

    async def test_modes(self) -> None:
        """Only the owner can read."""
        for directory, _, names in os.walk(self.directory):
            self.assertEqual(os.stat(directory).st_mode & 0o777, 0o700)
            for name in names:
                self.assertEqual(os.stat(os.path.join(directory, name)).st_mode & 0o777, 0o600)

    async def test_delete_removes(self) -> None:
        """Nothing of a deleted prefix is left when the answer comes."""
        await self.log.append("other", b"a", [b"x"])
        before = sorted(os.listdir(self.directory))
        await self.log.delete_prefix("other")
        self.assertEqual(before, [".wal", "default", "other"])
        self.assertEqual(sorted(os.listdir(self.directory)), [".wal", "default"])

    async def test_other_directories(self) -> None:
        """A directory without bucket files is no prefix: it is not listed, and above all not deleted."""
        kept = os.path.join(self.directory, "lost+found", "file")
        os.makedirs(os.path.dirname(kept))
        with open(kept, "wb"):
            pass
        self.assertEqual(list(await self.log.stat()), ["default"])
        await self.assertFailure(self.log.delete_prefix("lost+found"), NoSuchPrefix)
        await self.assertFailure(self.log.append("lost+found", b"a", [b"x"]), Unavailable)
        self.assertTrue(os.path.exists(kept))

    async def test_file_in_place(self) -> None:
        """A file where a prefix would be is an error in words."""
        with open(os.path.join(self.directory, "other"), "wb"):
            pass
        await self.assertFailure(self.log.get("other", b"a", 0), NoSuchPrefix)
        await self.assertFailure(self.log.append("other", b"a", [b"x"]), Unavailable)
        self.assertEqual(list(await self.log.stat()), ["default"])

    async def test_read_after_close(self) -> None:
        """A long record that was being read when its prefix was closed says so."""
        appended = await self.log.append("other", b"a", [bytes(2 << 20)])
        record = await self.log.get("other", b"a", appended.offsets[0])
        await record.read_piece(0)
        await self.log.close_prefix("other")
        with self.assertRaises(Unavailable):
            await record.read_piece(1 << 20)

    async def test_reads_while_closing(self) -> None:
        """Reads under way when a prefix is closed end as if it were not."""
        appended = await self.log.append("other", b"a", [os.urandom(3000) for _ in range(300)])
        for _ in range(3):
            reads = [self.log.get("other", b"a", offset) for offset in appended.offsets]
            await self.log.close_prefix("other")
            self.assertEqual([record.length for record in await gatherResults(reads)], [3000] * 300)

    async def test_descriptors(self) -> None:
        """Closed prefixes and stopped logs leave no files open."""

        def held() -> int:
            links = [f"/dev/fd/{fd}" for fd in os.listdir("/dev/fd")]
            return sum(os.readlink(link).startswith(self.directory) for link in links if os.path.islink(link))

        self.assertEqual(held(), 2 * BUCKETS + 4)
        for n in range(3):
            await self.log.append(f"p{n}", b"a", [b"x"])
            await self.log.close_prefix(f"p{n}")
        self.assertEqual(held(), 2 * BUCKETS + 4)
        await self.log.stop()
        self.assertEqual(held(), 0)


class OpeningLinesTests(SynchronousTestCase):
    """What is logged when prefixes are opened."""

    def lines(self, **settings: Any) -> list[str]:
        with capturedLogs() as events:
            driven = Driven(os.path.abspath(self.mktemp()), buckets=3, **settings).start()
            driven.append(b"a", b"one", b"two", prefix="other")
            driven.close("other")
            driven.get(b"a", 0, prefix="other")
            driven.stop()
        return [str(formatEvent(event)) for event in events if "open" in str(event["log_format"])]

    def test_one_a_prefix(self) -> None:
        empty = "opened the storage prefix {}: 0 records, 0 bytes, 3 bucket files"
        full = "opened the storage prefix other: 2 records, 14 bytes, 3 bucket files"
        self.assertEqual(self.lines(), [empty.format("default"), empty.format("other"), full])

    def test_files(self) -> None:
        """The lines of the first program can be had as well."""
        lines = self.lines(log_files=True)
        self.assertEqual(len(lines), 12)
        self.assertRegex(lines[1], r"^opening: \S+/default/append\.0\.raw with offset: 0$")
