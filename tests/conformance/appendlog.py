"""What every append log must do: mixed into a test case that makes one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults
from zope.interface.verify import verifyObject

from storehouse.core.digests import fnv1a32
from storehouse.core.framing import pack_length
from storehouse.errors import (
    BucketCountMismatch,
    EmptyRecord,
    InvalidName,
    NoSuchPrefix,
    NoSuchRecord,
    StorehouseError,
    TooLarge,
    Unavailable,
)
from storehouse.storage.appendlog.interfaces import Durability, IAppendLog, IBucketFile, IRecord, PrefixStat

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object

__all__ = ["BUCKETS", "MAX_RECORD", "AppendLogTestsMixin", "whole"]

BUCKETS = 4
MAX_RECORD = 3 << 20
MIB = 1 << 20

DISK, OS = Durability.DISK, Durability.OS


async def whole(record: Any) -> bytes:
    """The payload of a record, piece by piece."""
    pieces: list[bytes] = []
    position = 0
    while position < record.length:
        piece = await record.read_piece(position)
        assert piece, "a piece is never empty before the end"
        pieces.append(piece)
        position += len(piece)
    return b"".join(pieces)


async def rest(scan: Any) -> list[tuple[int, bytes]]:
    """What a scan still gives, as C{(offset, payload)}."""
    found = []
    while batch := await scan.next_batch():
        found += [(record.offset, await whole(record)) for record in batch]
    return found


def ids_of(bucket: int, count: int) -> list[bytes]:
    """Identifiers that live in one bucket."""
    found: list[bytes] = []
    number = 0
    while len(found) < count:
        id = b"id-%d" % number
        if fnv1a32(id) % BUCKETS == bucket:
            found.append(id)
        number += 1
    return found


class AppendLogTestsMixin(TestCase):
    """
    Clauses of L{IAppendLog}.

    The test case gives C{make_log(buckets=BUCKETS, max_open=16)}: a started log on the storage of this test, with
    records of up to L{MAX_RECORD} bytes, that is stopped at the end of the test; called again it gives another one on
    the same storage, after it has stopped the one before.
    """

    log: Any
    make_log: Any

    async def setUp(self) -> None:
        self.log = await self.make_log()

    async def reopen(self, **settings: int) -> None:
        """Stop the log and start another on what it left."""
        self.log = await self.make_log(**settings)

    async def append(
        self, id: bytes, *payloads: bytes, prefix: str = "default", durability: Durability | None = None
    ) -> list[int]:
        return list((await self.log.append(prefix, id, payloads, durability)).offsets)

    async def get(self, id: bytes, offset: int, prefix: str = "default") -> bytes:
        record = await self.log.get(prefix, id, offset)
        verifyObject(IRecord, record)
        return await whole(record)

    async def scanned(self, bucket: int | bytes, start: int = 0, prefix: str = "default") -> list[tuple[int, bytes]]:
        scan = await self.log.scan(prefix, bucket, start)
        try:
            return await rest(scan)
        finally:
            scan.close()

    async def refused(self, error: type[Exception], deferred: Deferred[Any]) -> StorehouseError:
        """A method has given a Deferred, and it fails so."""
        self.assertIsInstance(deferred, Deferred)
        return await self.assertFailure(deferred, error)

    # -- the interface -----------------------------------------------------------------------

    def test_interface(self) -> None:
        verifyObject(IAppendLog, self.log)

    async def test_bucket_interface(self) -> None:
        """The bucket of an open prefix is had without waiting; of one that is not open, not at all."""
        bucket = self.log.find_open("default", b"a")[0]
        verifyObject(IBucketFile, bucket)
        self.assertEqual(
            (bucket.prefix, bucket.number, bucket.count, bucket.end), ("default", fnv1a32(b"a") % BUCKETS, 0, 0)
        )
        self.assertIsNone(self.log.find_open("other", b"a"))

    async def test_read_framed(self) -> None:
        """Several records in one, in the order asked; all of them, or nothing."""
        payloads = [b"x" * size for size in (1, 7, 4000, 60_000)]
        offsets = [(await self.append(b"a", payload))[0] for payload in payloads]
        bucket = self.log.find_open("default", b"a")[0]
        if bucket.read(0) is None:
            # The file system cannot tell what the page cache has.
            self.assertIsNone(bucket.read_framed([0], 1000))
            return
        framed = [pack_length(len(payload)) + payload for payload in payloads]
        for chosen in ([0], [3, 0], [2, 2, 1], []):
            expected = b"".join(framed[number] for number in chosen)
            wanted = [offsets[number] for number in chosen]
            self.assertEqual(bucket.read_framed(wanted, len(expected)), expected)
            if chosen:
                self.assertIsNone(bucket.read_framed(wanted, len(expected) - 1))
                self.assertIsNone(bucket.read_framed([*wanted, bucket.end], 1 << 20))

    # -- appending and getting ---------------------------------------------------------------

    async def test_seeds_example(self) -> None:
        """The example of the seed, by the record's offset and by the payload's."""
        self.assertEqual(await self.append(b"some_identifier", b"some text"), [0])
        self.assertEqual(await self.append(b"some_identifier", b"some other data in same identifier"), [13])
        for offset in (13, 17):
            self.assertEqual(await self.get(b"some_identifier", offset), b"some other data in same identifier")
        for offset in (0, 4):
            self.assertEqual(await self.get(b"some_identifier", offset), b"some text")

    async def test_appended(self) -> None:
        """The answer names the bucket and the level that was reached."""
        for durability, reached in [(DISK, DISK), (OS, OS), (None, self.log.default_durability)]:
            appended = await self.log.append("default", b"a", [b"x"], durability)
            self.assertEqual(appended.durability, reached)
            self.assertEqual(os.path.basename(appended.bucket.path), f"append.{fnv1a32(b'a') % BUCKETS}.raw")

    async def test_sizes(self) -> None:
        """Records of all sizes come back, now and after a restart."""
        payloads = [
            os.urandom(size)
            for size in (1, 2, 3, 4, 5, 31, 4095, 65531, 65532, 65533, 65536, MIB - 1, MIB, MIB + 1, 2 * MIB + 3)
        ]
        offsets = [(await self.append(b"a", payload))[0] for payload in payloads]
        for _ in range(2):
            for offset, payload in zip(offsets, payloads, strict=True):
                self.assertEqual(await self.get(b"a", offset), payload)
            await self.reopen()

    async def test_small_is_whole(self) -> None:
        """A record of up to 1 MiB is held whole; a longer one is given in pieces of at most that."""
        for size in (1, MIB, MIB + 1):
            (offset,) = await self.append(b"a", bytes(size))
            record = await self.log.get("default", b"a", offset)
            self.assertEqual((record.payload is None, record.length, record.offset), (size > MIB, size, offset))
            self.assertLessEqual(len(await record.read_piece(0)), MIB)

    async def test_longest(self) -> None:
        """A record of the greatest size is taken, one byte more is not."""
        (offset,) = await self.append(b"a", bytes(MAX_RECORD))
        self.assertEqual(await self.get(b"a", offset), bytes(MAX_RECORD))
        await self.refused(TooLarge, self.log.append("default", b"a", [bytes(MAX_RECORD + 1)]))
        await self.refused(TooLarge, self.log.append("default", b"a", [b"small", bytes(MAX_RECORD + 1)]))
        self.assertEqual(await self.append(b"a", b"next"), [MAX_RECORD + 4])

    async def test_empty(self) -> None:
        """An empty record is refused, and with it all that came together with it."""
        for payloads in ([b""], [b"a", b""], []):
            await self.refused(EmptyRecord, self.log.append("default", b"a", payloads))
        self.assertEqual(await self.append(b"a", b"first"), [0])

    async def test_several(self) -> None:
        """Several records of one append follow one another, whatever else arrives with them."""
        one, other = ids_of(1, 2)
        several = [b"x" * size for size in (1, 100, 7)]
        answers = await gatherResults(
            [
                self.log.append("default", id, payloads)
                for id, payloads in [(one, [b"a"]), (other, several), (one, [b"b"])]
            ]
        )
        self.assertEqual([list(answer.offsets) for answer in answers], [[0], [5, 10, 114], [125]])
        self.assertEqual([await self.get(other, offset) for offset in (5, 10, 114)], several)

    async def test_no_record(self) -> None:
        """Any offset that is neither a record's nor its payload's is none, however large."""
        await self.append(b"a", b"some text")
        await self.append(b"a", b"hi")
        for offset in [1, 2, 3, *range(5, 13), 14, 15, 16, 18, 19, 20, 100, 2**31, 2**63, 2**64 - 1, -1]:
            await self.refused(NoSuchRecord, self.log.get("default", b"a", offset))

    async def test_no_record_in_empty(self) -> None:
        await self.refused(NoSuchRecord, self.log.get("default", b"a", 0))

    async def test_times(self) -> None:
        """Records know when they came, in order."""
        offsets = [(await self.append(b"a", b"x"))[0] for _ in range(3)]
        times = [(await self.log.get("default", b"a", offset)).time for offset in offsets]
        self.assertEqual(times, sorted(times))
        self.assertGreater(times[0], 1_700_000_000 * 10**9)

    async def test_answers_in_order(self) -> None:
        """Answers come in the order of the appends, across buckets and levels."""
        order: list[int] = []
        for turn in range(3):
            waiting = []
            for number in range(turn * 40, turn * 40 + 40):
                appended = self.log.append(
                    "default", b"id-%d" % (number % 7), [b"%d" % number], (DISK, OS, None)[number % 3]
                )
                waiting.append(appended.addCallback(lambda _, number=number: order.append(number)))
            await gatherResults(waiting)
        self.assertEqual(order, list(range(120)))

    async def test_offsets_in_order(self) -> None:
        """Within a bucket records lie in the order of their appends, whatever their levels."""
        (id,) = ids_of(2, 1)
        answers = await gatherResults(
            [self.log.append("default", id, [b"%03d" % n], (DISK, OS)[n % 2]) for n in range(50)]
        )
        self.assertEqual([answer.offsets for answer in answers], [(7 * n,) for n in range(50)])
        self.assertEqual(await self.scanned(2), [(7 * n, b"%03d" % n) for n in range(50)])

    async def test_large_and_small(self) -> None:
        """Groups of many bytes and of few keep their order as well."""
        (id,) = ids_of(0, 1)
        payloads = [bytes([n]) * (200_000 if n % 5 == 0 else 3) for n in range(30)]
        answers = await gatherResults(
            [self.log.append("default", id, [p], (OS, DISK)[n % 2]) for n, p in enumerate(payloads)]
        )
        for answer, payload in zip(answers, payloads, strict=True):
            self.assertEqual(await self.get(id, answer.offsets[0]), payload)

    async def test_bucket_reads(self) -> None:
        """What a bucket gives without waiting is right, or nothing."""
        offsets = [(await self.append(b"a", bytes([n]) * n))[0] for n in range(1, 60)]
        bucket = self.log.find_open("default", b"a")[0]
        for n, offset in enumerate(offsets, 1):
            for wanted in (offset, offset + 4):
                self.assertIn(bucket.read(wanted), (None, bytes([n]) * n))
        self.assertIsNone(bucket.read(1))
        self.assertIsNone(bucket.read(bucket.end))

    async def test_bucket_append(self) -> None:
        """The append path answers through its callback."""
        answers: list[Any] = []
        bucket = self.log.find_open("default", b"a")[0]
        for level in (OS, DISK):
            answered: Deferred[None] = Deferred()
            bucket.append(
                [b"x"], 7, level, lambda *answer, answered=answered: answers.append(answer) or answered.callback(None)
            )
            await answered
        self.assertEqual(answers, [((0,), None, OS), ((5,), None, DISK)])

    # -- prefixes and names ------------------------------------------------------------------

    async def test_prefixes(self) -> None:
        """Prefixes have nothing in common."""
        for prefix in ("one", "two"):
            self.assertEqual(await self.append(b"a", prefix.encode(), prefix=prefix), [0])
        self.assertEqual(await self.get(b"a", 0, "one"), b"one")
        self.assertEqual(await self.get(b"a", 0, "two"), b"two")

    async def test_default(self) -> None:
        """No prefix is the default one."""
        await self.append(b"a", b"x", prefix="")
        self.assertEqual(await self.get(b"a", 0, "default"), b"x")

    async def test_no_prefix(self) -> None:
        """Reading makes no prefix."""
        await self.refused(NoSuchPrefix, self.log.get("nowhere", b"a", 0))
        await self.refused(NoSuchPrefix, self.log.scan("nowhere", 0))
        await self.refused(NoSuchPrefix, self.log.stat("nowhere"))
        await self.refused(NoSuchPrefix, self.log.delete_prefix("nowhere"))
        self.assertEqual(list(await self.log.stat()), ["default"])

    async def test_invalid_prefix(self) -> None:
        """Every method checks the prefix."""
        for name in ("..", ".", ".wal", "a/b", "/etc", "a\\b", "a\x00b", "a\nb", "x" * 129, "é" * 65, "\udc80"):
            for deferred in (
                self.log.append(name, b"a", [b"x"]),
                self.log.get(name, b"a", 0),
                self.log.scan(name, 0),
                self.log.stat(name),
                self.log.close_prefix(name),
                self.log.delete_prefix(name),
            ):
                await self.refused(InvalidName, deferred)

    async def test_valid_prefix(self) -> None:
        for name in ("x" * 128, "events from 2017-11-11", "é" * 64, "-", "~", "append.0.raw"):
            await self.append(b"a", name.encode(), prefix=name)
            self.assertEqual(await self.get(b"a", 0, name), name.encode())

    async def test_invalid_identifier(self) -> None:
        for id in (b"", b"\xff", b"a\x00", b"a\n", b"x" * 1025):
            for deferred in (
                self.log.append("default", id, [b"x"]),
                self.log.get("default", id, 0),
                self.log.scan("default", id),
            ):
                await self.refused(InvalidName, deferred)
        await self.append("é/..\\ ".encode(), b"fine")

    async def test_bucket_count(self) -> None:
        """A log with another number of buckets does not touch what is there."""
        await self.append(b"a", b"x", prefix="other")
        await self.assertFailure(Deferred.fromCoroutine(self.reopen(buckets=BUCKETS + 1)), BucketCountMismatch)
        await self.reopen()
        self.assertEqual(await self.get(b"a", 0, "other"), b"x")

    # -- scanning ----------------------------------------------------------------------------

    async def test_scan(self) -> None:
        """A scan by bucket gives all records, in order, from the first at or after an offset."""
        one, other = ids_of(3, 2)
        expected = []
        for n in range(60):
            payload = b"%d" % n * (1 + n % 4)
            expected.append(((await self.append((one, other)[n % 2], payload))[0], payload))
        for _ in range(2):
            self.assertEqual(await self.scanned(3), expected)
            for start in (
                -5,
                0,
                1,
                expected[7][0] - 1,
                expected[7][0],
                expected[7][0] + 1,
                expected[-1][0],
                expected[-1][0] + 1,
                10**9,
                2**63,
            ):
                self.assertEqual(await self.scanned(3, start), [item for item in expected if item[0] >= start], start)
            await self.reopen()

    async def test_scan_identifier(self) -> None:
        """A scan by identifier gives that identifier's records."""
        one, other = ids_of(3, 2)
        offsets = [(await self.append((one, other)[n % 3 == 0], b"%d" % n))[0] for n in range(30)]
        self.assertEqual(await self.scanned(one), [(offsets[n], b"%d" % n) for n in range(30) if n % 3])
        self.assertEqual(
            await self.scanned(other, offsets[4]), [(offsets[n], b"%d" % n) for n in range(5, 30) if n % 3 == 0]
        )

    async def test_scan_long(self) -> None:
        """Many batches, and records longer than one."""
        (id,) = ids_of(0, 1)
        payloads = [b"s" * 10] * 700 + [b"l" * (MIB + 5), b"m" * 300_000, b"s"] + [b"t" * 3000] * 200 + [b"l" * 2 * MIB]
        appended = await self.log.append("default", id, payloads)
        found = await self.scanned(0)
        self.assertEqual([offset for offset, _ in found], list(appended.offsets))
        self.assertEqual([payload for _, payload in found], payloads)

    async def test_scan_nothing(self) -> None:
        self.assertEqual(await self.scanned(0), [])

    async def test_scan_no_such_bucket(self) -> None:
        for bucket in (-1, BUCKETS, 10**9):
            await self.refused(InvalidName, self.log.scan("default", bucket))

    async def test_follow(self) -> None:
        """A scan that follows gives records as they arrive."""
        (id,) = ids_of(1, 1)
        await self.append(id, b"before")
        scan = await self.log.scan("default", 1, 0, True)
        self.assertEqual([record.payload for record in await scan.next_batch()], [b"before"])
        for n, level in enumerate((OS, DISK)):
            waiting = scan.next_batch()
            self.assertNoResult(waiting)
            await self.append(id, b"%d" % n, durability=level)
            self.assertEqual([record.payload for record in await waiting], [b"%d" % n])
        waiting = scan.next_batch()
        scan.close()
        self.assertEqual(await waiting, [])
        self.assertEqual(await scan.next_batch(), [])
        scan.close()

    async def test_follow_identifier(self) -> None:
        """Other identifiers' records do not end the waiting."""
        one, other = ids_of(1, 2)
        scan = await self.log.scan("default", one, 0, True)
        waiting = scan.next_batch()
        await self.append(other, b"not this")
        self.assertNoResult(waiting)
        await self.append(one, b"this")
        self.assertEqual([record.payload for record in await waiting], [b"this"])
        scan.close()

    async def test_follow_until_close(self) -> None:
        """The closing of the prefix is the end, and so is a stop."""
        await self.append(b"a", b"x", prefix="other")
        for bucket in range(BUCKETS):
            scan = await self.log.scan("other", bucket, 10**6, True)
            waiting = scan.next_batch()
            await self.log.close_prefix("other")
            self.assertEqual(await waiting, [])
        scan = await self.log.scan("default", 0, 0, True)
        waiting = scan.next_batch()
        await self.log.stop()
        self.assertEqual(await waiting, [])

    async def test_scan_cut_off(self) -> None:
        """The closing of the prefix under a scan that has not reached the end is no end."""
        (id,) = ids_of(0, 1)
        await self.log.append("other", id, [b"x"] * 2000)
        scan = await self.log.scan("other", 0)
        await scan.next_batch()
        await self.log.close_prefix("other")
        await self.refused(Unavailable, scan.next_batch())
        scan.close()

    # -- stat --------------------------------------------------------------------------------

    async def test_stat(self) -> None:
        """Records, bytes and files, of one prefix or all, open or not."""
        one, other = ids_of(1, 1) + ids_of(2, 1)
        await self.append(one, b"abc", b"de", prefix="other")
        await self.append(other, b"f", prefix="other")
        open_ = PrefixStat(records=3, size=18, files=2, buckets=BUCKETS, is_open=True)
        closed = PrefixStat(records=3, size=18, files=2, buckets=BUCKETS, is_open=False)
        empty = PrefixStat(records=0, size=0, files=0, buckets=BUCKETS, is_open=True)
        self.assertEqual(await self.log.stat(), {"default": empty, "other": open_})
        self.assertEqual(await self.log.stat("other"), {"other": open_})
        await self.log.close_prefix("other")
        self.assertEqual(await self.log.stat(), {"default": empty, "other": closed})
        self.assertEqual(await self.log.stat("other"), {"other": closed})
        await self.reopen()
        self.assertEqual(await self.log.stat(), {"default": empty, "other": closed})

    # -- closing and deleting ----------------------------------------------------------------

    async def test_close(self) -> None:
        """A closed prefix is opened again by the next that needs it, and goes on where it was."""
        await self.append(b"a", b"one", prefix="other")
        await self.log.close_prefix("other")
        self.assertIsNone(self.log.find_open("other", b"a"))
        self.assertEqual(await self.append(b"a", b"two", prefix="other"), [7])
        await self.log.close_prefix("other")
        self.assertEqual(await self.get(b"a", 0, "other"), b"one")

    async def test_close_not_open(self) -> None:
        """Closing what is not open, or not there, is fine, and makes nothing."""
        await self.log.close_prefix("nowhere")
        self.assertEqual(list(await self.log.stat()), ["default"])

    async def test_close_default(self) -> None:
        await self.append(b"a", b"one")
        await self.log.close_prefix("")
        self.assertEqual(await self.append(b"a", b"two"), [7])

    async def test_close_answers(self) -> None:
        """What was queued before a close is answered, and what comes after opens the prefix again."""
        await self.append(b"a", b"0", prefix="other")
        before = [self.log.append("other", b"a", [b"%d" % n], (DISK, OS)[n % 2]) for n in range(1, 9)]
        closed = self.log.close_prefix("other")
        after = self.log.append("other", b"a", [b"9"])
        answers = await gatherResults(before)
        await closed
        self.assertEqual([answer.offsets for answer in [*answers, await after]], [(5 * n,) for n in range(1, 10)])

    async def test_closed_bucket(self) -> None:
        """A bucket of a closed prefix refuses, and does not write to somebody else's file."""
        await self.append(b"a", b"one", prefix="other")
        bucket = self.log.find_open("other", b"a")[0]
        await self.log.close_prefix("other")
        answered: Deferred[Any] = Deferred()
        bucket.append([b"x"], 7, OS, lambda *answer: answered.callback(answer))
        self.assertIsInstance((await answered)[1], Unavailable)

    async def test_delete(self) -> None:
        """A deleted prefix is gone, and one of the same name begins anew, also after a restart."""
        await self.append(b"a", b"old", b"old", prefix="other")
        await self.log.delete_prefix("other")
        await self.refused(NoSuchPrefix, self.log.get("other", b"a", 0))
        await self.refused(NoSuchPrefix, self.log.delete_prefix("other"))
        self.assertEqual(await self.append(b"a", b"new", prefix="other"), [0])
        await self.reopen()
        self.assertEqual(await self.get(b"a", 0, "other"), b"new")
        await self.refused(NoSuchRecord, self.log.get("other", b"a", 7))

    async def test_delete_closed(self) -> None:
        """A prefix need not be open to be deleted."""
        await self.append(b"a", b"old", prefix="other")
        await self.log.close_prefix("other")
        await self.log.delete_prefix("other")
        self.assertEqual(list(await self.log.stat()), ["default"])

    async def test_delete_if_closed(self) -> None:
        """Only what is closed is removed, and only if the caller still wants it then."""
        asked: list[str] = []

        def may_go() -> bool:
            asked.append("")
            return len(asked) > 1

        self.assertFalse(await self.log.delete_closed_prefix("other", may_go))
        await self.append(b"a", b"old", prefix="other")
        self.assertFalse(await self.log.delete_closed_prefix("other", may_go))
        self.assertEqual(asked, [])
        await self.log.close_prefix("other")
        self.assertFalse(await self.log.delete_closed_prefix("other", may_go))
        self.assertEqual(await self.get(b"a", 0, "other"), b"old")
        self.assertFalse(await self.log.delete_closed_prefix("other", may_go))
        await self.log.close_prefix("other")
        # One that comes at the same time waits, and makes it anew.
        removing = self.log.delete_closed_prefix("other", may_go)
        appending = self.log.append("other", b"a", [b"new"])
        self.assertTrue(await removing)
        self.assertEqual((await appending).offsets, (0,))
        self.assertEqual(len(asked), 2)
        await self.reopen()
        self.assertEqual(await self.get(b"a", 0, "other"), b"new")

    async def test_delete_default(self) -> None:
        await self.append(b"a", b"old")
        await self.log.delete_prefix("default")
        self.assertEqual(await self.append(b"a", b"new"), [0])

    async def test_changes_in_turn(self) -> None:
        """Opening, closing and deleting one prefix at the same time end well."""
        waiting = []
        for n in range(6):
            waiting.append(self.log.append("other", b"a", [b"%d" % n]))
            waiting.append(self.log.close_prefix("other"))
            waiting.append(self.log.append("other", b"a", [b"%d" % n]))
            waiting.append(self.log.delete_prefix("other").addErrback(lambda failure: failure.trap(NoSuchPrefix)))
        await gatherResults(waiting)
        await self.append(b"a", b"last", prefix="other")
        await self.log.delete_prefix("other")
        self.assertEqual(list(await self.log.stat()), ["default"])

    async def test_max_open(self) -> None:
        """So many prefixes are open at a time; the others are opened as they are asked for."""
        await self.reopen(max_open=3)
        for round_ in range(2):
            for n in range(6):
                self.assertEqual(await self.append(b"a", b"x", prefix=f"p{n}"), [5 * round_])
        stats = await self.log.stat()
        self.assertEqual(sum(stat.is_open for stat in stats.values()), 3)
        self.assertTrue(stats["default"].is_open)
        self.assertEqual({stat.records for name, stat in stats.items() if name != "default"}, {2})

    async def test_max_open_in_use(self) -> None:
        """A prefix under a scan is not closed to make room; if all are in use, the next is refused."""
        await self.reopen(max_open=2)
        await self.append(b"a", b"x", prefix="one")
        scan = await self.log.scan("one", 0)
        await self.refused(Unavailable, self.log.append("two", b"a", [b"x"]))
        scan.close()
        await self.append(b"a", b"x", prefix="two")

    # -- start and stop ----------------------------------------------------------------------

    async def test_reopen(self) -> None:
        """What was appended at either level is there after a restart, and offsets go on."""
        await self.append(b"a", b"one", durability=OS)
        await self.append(b"a", b"two", durability=DISK)
        await self.append(b"a", b"three", durability=OS)
        await self.reopen()
        self.assertEqual([await self.get(b"a", offset) for offset in (0, 7, 14)], [b"one", b"two", b"three"])
        self.assertEqual(await self.append(b"a", b"four"), [23])

    async def test_stop(self) -> None:
        """After a stop everything is refused; a second stop is fine."""
        bucket = self.log.find_open("default", b"a")[0]
        await self.log.stop()
        for deferred in (
            self.log.append("default", b"a", [b"x"]),
            self.log.get("default", b"a", 0),
            self.log.scan("default", 0),
            self.log.stat(),
            self.log.close_prefix("other"),
            self.log.delete_prefix("default"),
        ):
            await self.refused(Unavailable, deferred)
        answered: Deferred[Any] = Deferred()
        bucket.append([b"x"], 7, OS, lambda *answer: answered.callback(answer))
        self.assertIsInstance((await answered)[1], Unavailable)
        await self.log.stop()

    async def test_stop_answers(self) -> None:
        """What was queued before a stop is answered and kept."""
        waiting = [self.log.append("default", b"a", [b"%d" % n], (DISK, OS)[n % 2]) for n in range(6)]
        await self.log.stop()
        self.assertEqual([answer.offsets for answer in await gatherResults(waiting)], [(5 * n,) for n in range(6)])
        await self.reopen()
        self.assertEqual(await self.get(b"a", 25), b"5")
