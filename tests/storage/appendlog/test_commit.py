"""Group commit on disks that are full or broken."""

from __future__ import annotations

import errno
import os

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import NoSpace, StorageFailed, Unavailable
from storehouse.storage.appendlog import groups
from storehouse.storage.appendlog.formats import decode_index_header
from storehouse.storage.appendlog.groups import AT_ONCE
from tests.storage.appendlog.rig import DISK, OS, Driven, Watched, contents, id_in_bucket, no_space, raw

ZERO, ONE = id_in_bucket(0, 2), id_in_bucket(1, 2)


class CommitTestCase(SynchronousTestCase):
    """A log on watched files."""

    def setUp(self) -> None:
        self.files = Watched()
        self.driven = self.start(os.path.abspath(self.mktemp()), self.files)

    def start(self, directory: str, files: Watched | None = None) -> Driven:
        driven = Driven(directory, files)
        self.addCleanup(driven.kill)
        return driven.start()

    def queue(self, id: bytes, *payloads: bytes, durability: object = OS) -> list[object]:
        """Append without waiting. @return: gets the answer, offsets or an error."""
        answer: list[object] = []
        appended: Deferred[object] = self.driven.log.append("default", id, payloads, durability)
        appended.addCallbacks(lambda a: answer.append(a.offsets), lambda f: answer.append(f.value))
        return answer

    def settle(self, *answers: list[object]) -> list[object]:
        """Turn until all are answered."""
        self.driven.reactor.turn(lambda: all(answers))
        return [answer[0] for answer in answers]


class FullDiskTests(CommitTestCase):
    """A full disk."""

    def test_nothing_changed(self) -> None:
        """
        An append without room fails, leaves the log as it was, and works again when there is room; whatever was
        written before the disk was full.
        """
        for durability in (OS, DISK):
            for name in ("append.0.idx", "append.0.raw"):
                for partial in (0, 1, 5, 31, 33):
                    (end,) = self.driven.append(ZERO, b"before")
                    before = contents(self.driven.path("append.0.raw")), contents(self.driven.path("append.0.idx"))[32:]
                    self.files.fail, self.files.partial = no_space("write", name), partial
                    with self.assertRaises(NoSpace) as caught:
                        self.driven.append(ZERO, b"no room for this", durability=durability)
                    self.assertIn(self.driven.path("append.0.raw"), caught.exception.detail)
                    self.assertEqual(
                        (contents(self.driven.path("append.0.raw")), contents(self.driven.path("append.0.idx"))[32:]),
                        before,
                    )
                    self.files.fail, self.files.partial = (lambda name, path: 0), 0
                    self.assertEqual(self.driven.append(ZERO, b"after", durability=durability), (end + 10,))
        self.assertEqual({payload for _, payload in self.driven.scan(0)}, {b"before", b"after"})
        self.assertEqual(self.driven.failures, [])

    def test_errors(self) -> None:
        """A quota and a limit on file sizes are a full disk too."""
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            self.files.fail = lambda name, path, number=number: (
                number if name == "write" and path.endswith(".raw") else 0
            )
            with self.assertRaises(NoSpace):
                self.driven.append(ZERO, b"x")

    def test_other_buckets(self) -> None:
        """In one group, only the bucket without room fails, all of its appends, and the order of answers stays."""
        self.files.fail = no_space("write", "append.0.raw")
        answers = [self.queue((ZERO, ONE)[n % 2], b"x", durability=(OS, DISK)[n // 2 % 2]) for n in range(8)]
        results = self.settle(*answers)
        self.assertTrue(all(isinstance(result, NoSpace) for result in results[::2]))
        self.assertEqual(results[1::2], [(0,), (5,), (10,), (15,)])
        self.files.fail = lambda name, path: 0
        self.assertEqual(self.driven.append(ZERO, b"x"), (0,))

    def test_all_or_nothing(self) -> None:
        """Of several records of one append none is left."""
        self.files.fail, self.files.partial = no_space("write", "append.0.raw"), 6
        with self.assertRaises(NoSpace):
            self.driven.append(ZERO, b"a", b"b", b"c")
        self.assertEqual((contents(self.driven.path("append.0.raw")), self.driven.stat()["default"].records), (b"", 0))

    def test_large_group(self) -> None:
        """A group that the commit thread writes fails in the same way."""
        self.files.fail, self.files.partial = no_space("write", "append.0.raw"), 100_000
        with self.assertRaises(NoSpace):
            self.driven.append(ZERO, bytes(1 << 20))
        self.files.fail = lambda name, path: 0
        self.assertEqual(self.driven.append(ZERO, bytes(1 << 20)), (0,))

    def test_after_restart(self) -> None:
        """A restart finds what was acknowledged, and nothing of what had no room."""
        self.driven.append(ZERO, b"one", durability=DISK)
        self.files.fail, self.files.partial = no_space("write", "append.0.raw"), 6
        with self.assertRaises(NoSpace):
            self.driven.append(ZERO, b"no room", durability=DISK)
        self.files.fail = lambda name, path: 0
        self.driven.append(ZERO, b"two", durability=DISK)
        left = self.driven.copy(os.path.abspath(self.mktemp()))
        self.assertEqual(self.start(left).scan(0), [(0, b"one"), (7, b"two")])

    def test_new_prefix(self) -> None:
        """A prefix that cannot be made for want of room leaves nothing behind that another try or a start minds."""
        self.files.fail = no_space("write", "append.1.idx")
        with self.assertRaises(NoSpace):
            self.driven.append(ZERO, b"x", prefix="other")
        self.assertEqual(list(self.driven.stat()), ["default"])
        self.files.fail = lambda name, path: 0
        self.assertEqual(self.driven.append(ZERO, b"x", prefix="other"), (0,))

    def test_cannot_be_cut(self) -> None:
        """If what was written cannot be taken back either, the log stops."""
        self.files.fail = lambda name, path: errno.ENOSPC if name == "write" else errno.EIO if name == "truncate" else 0
        with self.assertRaises(StorageFailed):
            self.driven.append(ZERO, b"x")
        self.assertEqual(len(self.driven.failures), 1)


class BrokenDiskTests(CommitTestCase):
    """A write or a sync that fails."""

    def broken(self, name: str, path: str, number: int = errno.EIO) -> None:
        self.files.fail = lambda called, target: number if called == name and path in target else 0

    def check_stopped(self) -> None:
        """
        Nothing is taken any more, also when the disk is whole again; the owner of the log got one failure; reads work.
        """
        self.files.fail = lambda name, path: 0
        for durability in (OS, DISK):
            for id in (ZERO, ONE):
                with self.assertRaises(StorageFailed):
                    self.driven.append(id, b"later", durability=durability)
        self.assertEqual(len(self.driven.failures), 1)
        self.assertIsInstance(self.driven.failures[0], StorageFailed)
        self.assertEqual(self.driven.get(ONE, 0), b"before")
        self.driven.stop()
        self.assertFalse(os.path.exists(os.path.join(self.driven.directory, ".wal", "clean")))
        self.assertFalse(self.driven.log._commit._thread.is_alive() or self.driven.log.checkpointer._thread.is_alive())

    def test_write_ahead_log(self) -> None:
        """A failed write of the log is final."""
        for number in (errno.EIO, errno.ENOSPC):
            self.setUp()
            self.driven.append(ONE, b"before", durability=DISK)
            self.broken("write_synced", "segment", number)
            answers = [
                self.queue(ONE, b"x", durability=DISK),
                self.queue(ZERO, b"x", durability=OS),
                self.queue(ZERO, b"x", durability=DISK),
            ]
            for result in self.settle(*answers):
                self.assertIsInstance(result, StorageFailed)
            self.check_stopped()

    def test_write(self) -> None:
        """So is a failed write to a bucket file."""
        self.driven.append(ONE, b"before")
        self.broken("write", "append.0.raw")
        with self.assertRaises(StorageFailed):
            self.driven.append(ZERO, b"x")
        self.check_stopped()

    def test_encoding(self) -> None:
        """So is one within the encoding, as when memory is short: all are answered, those that come later, too."""
        for many in (1, 3 * AT_ONCE):
            self.setUp()
            self.driven.append(ONE, b"before")
            self.files.calls.clear()

            def fails(*_: object) -> None:
                raise MemoryError

            patches = [self.patch(groups, name, fails) for name in ("encode_appends", "encode_entries")]
            answers = [self.queue(ZERO, *[b"x"] * many), self.queue(ZERO, b"x", durability=DISK)]
            for result in self.settle(*answers):
                self.assertIsInstance(result, StorageFailed)
            self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)
            for patch in patches:
                patch.restore()
            self.check_stopped()

    def test_order_of_failures(self) -> None:
        """Appends that were queued behind a group are not answered before it, also when they fail."""
        self.driven.append(ONE, b"before")
        order: list[int] = []
        for n in range(3):
            self.driven.log.append("default", ONE, [b"x"], DISK).addBoth(lambda result, n=n: order.append(n))
            if n == 0:
                self.driven.reactor._calls.get()()
                self.broken("write", "append.1.raw")
        self.driven.reactor.turn(lambda: len(order) == 3)
        self.assertEqual(order, [0, 1, 2])
        self.check_stopped()

    def test_sync_of_a_bucket(self) -> None:
        """A failed sync of a bucket file is final, and the next one is not tried: its success would prove nothing."""
        self.driven.append(ONE, b"before", durability=DISK)
        self.driven.append(ZERO, b"os", durability=OS)
        self.broken("sync", "append.0.raw")
        with self.assertRaises(StorageFailed):
            self.driven.append(ZERO, b"disk", durability=DISK)
        self.files.fail = lambda name, path: 0
        self.files.calls.clear()
        with self.assertRaises(StorageFailed):
            self.driven.log.checkpointer.sync(self.driven.log.find_open("default", ONE)[0], 1)
        self.assertEqual(self.files.calls, [])
        self.check_stopped()

    def test_background_sync(self) -> None:
        """A failed sync in the background is final."""
        self.driven.append(ONE, b"before", durability=OS)
        self.broken("sync", "append.1")
        self.driven.log._sync_unsynced()
        self.driven.reactor.turn(lambda: bool(self.driven.failures))
        self.check_stopped()

    def test_checkpoint(self) -> None:
        """A segment whose buckets cannot be synced is never used again."""
        self.driven.append(ONE, b"before", durability=DISK)
        self.broken("sync", "append.")
        appended = 0
        with self.assertRaises(StorageFailed):
            while appended < 200:
                self.driven.append(ONE, bytes(5000), durability=DISK)
                appended += 1
        self.assertLess(appended, 40)
        left = self.driven.copy(os.path.abspath(self.mktemp()))
        for name in ("append.1.raw", "append.1.idx"):
            os.truncate(os.path.join(left, "default", name), 0 if name.endswith("raw") else 32)
        again = self.start(left)
        self.assertEqual([len(payload) for _, payload in again.scan(1)][: appended + 1], [6] + [5000] * appended)
        self.check_stopped()

    def test_close(self) -> None:
        """A prefix that cannot be synced is not closed as if it were."""
        self.driven.append(ONE, b"before")
        self.driven.append(ONE, b"x", prefix="other")
        self.broken("sync", "other")
        with self.assertRaises(StorageFailed):
            self.driven.close("other")
        self.check_stopped()

    def test_stop(self) -> None:
        """A stop whose sync fails still ends, leaves no mark of a clean stop, and has told."""
        self.driven.append(ONE, b"before")
        self.broken("sync", "append.1")
        self.driven.stop()
        self.assertEqual(len(self.driven.failures), 1)
        self.assertFalse(os.path.exists(os.path.join(self.driven.directory, ".wal", "clean")))
        self.assertFalse(self.driven.log._commit._thread.is_alive() or self.driven.log.checkpointer._thread.is_alive())


class OrderTests(CommitTestCase):
    """Which call comes when."""

    def calls(self) -> list[tuple[str, str]]:
        calls = list(self.files.calls)
        self.files.calls.clear()
        return calls

    def test_relaxed(self) -> None:
        """Entries, then records, and no sync."""
        self.calls()
        self.driven.append(ZERO, b"x", durability=OS)
        self.assertEqual(self.calls(), [("write", "append.0.idx"), ("write", "append.0.raw")])

    def test_durable(self) -> None:
        """Entries, records, and one synced write of the log for all buckets."""
        self.calls()
        self.settle(*[self.queue(id, b"x", durability=DISK) for id in (ZERO, ONE, ZERO)])
        both = [("write", f"append.{n}.{kind}") for n in (0, 1) for kind in ("idx", "raw")]
        self.assertEqual(self.calls(), [*both, ("write_synced", "segment.0")])

    def test_mixed_group(self) -> None:
        """
        In one group, what is relaxed in a bucket goes into the log with what is durable, and another bucket's does
        not.
        """
        used = self.driven.log.wal._segments[0].used
        self.settle(
            self.queue(ZERO, b"relaxed-zero"),
            self.queue(ZERO, b"durable"),
            self.queue(ONE, b"relaxed-one"),
            self.queue(ZERO, b"d", durability=DISK),
        )
        frame = contents(os.path.join(self.driven.directory, ".wal", "segment.0"))[used:]
        self.assertIn(raw(b"relaxed-zero", b"durable", b"d"), frame)
        self.assertNotIn(b"relaxed-one", frame)

    def test_after_relaxed(self) -> None:
        """A durable append behind a relaxed one syncs the bucket; the next durable one need not."""
        self.driven.append(ZERO, b"relaxed", durability=OS)
        self.calls()
        self.driven.append(ZERO, b"durable", durability=DISK)
        self.assertEqual(
            self.calls()[2:], [("sync", "append.0.raw"), ("write", "append.0.idx"), ("sync", "append.0.idx")]
        )
        self.driven.append(ZERO, b"durable", durability=DISK)
        self.assertEqual(self.calls()[2:], [("write_synced", "segment.0")])

    def test_background(self) -> None:
        """The background sync covers what is relaxed, once, and after it a durable append need not."""
        self.driven.append(ZERO, b"relaxed", durability=OS)
        self.calls()
        for _ in range(2):
            self.driven.log._sync_unsynced()
        bucket = self.driven.log.find_open("default", ZERO)[0]
        self.driven.reactor.turn(lambda: bucket.os_synced == bucket.os_appends)
        self.assertEqual(self.calls(), [("sync", "append.0.raw"), ("write", "append.0.idx"), ("sync", "append.0.idx")])
        self.driven.append(ZERO, b"durable", durability=DISK)
        self.assertEqual(self.calls()[2:], [("write_synced", "segment.0")])

    def test_close(self) -> None:
        """A close syncs, then says so in the log."""
        self.driven.append(ZERO, b"x", prefix="other", durability=DISK)
        self.calls()
        self.driven.close("other")
        calls = self.calls()
        self.assertEqual(calls[-1], ("write_synced", "segment.0"))
        self.assertEqual([name for name, _ in calls].count("sync"), 4)
        self.assertEqual(decode_index_header(contents(self.driven.path("append.0.idx", "other"))), 1)

    def test_delete(self) -> None:
        """A deletion renames and syncs the directory before it removes."""
        self.driven.append(ZERO, b"x", prefix="other", durability=DISK)
        self.calls()
        self.driven.delete("other")
        self.assertEqual(
            self.calls()[-2:],
            [("write_synced", "segment.0"), ("sync_directory", os.path.basename(self.driven.directory))],
        )

    def test_group(self) -> None:
        """What arrives while a group is written goes into the next one, all of it together."""
        frames = self.driven.log.wal.frames
        first = self.queue(ZERO, b"first", durability=DISK)
        self.driven.reactor._calls.get()()
        rest = [self.queue((ZERO, ONE)[n % 2], b"x", durability=DISK) for n in range(50)]
        self.settle(first, *rest)
        self.assertEqual(self.driven.log.wal.frames, frames + 2)

    def test_refused_when_closed(self) -> None:
        """An append to a bucket that was closed is refused, in its turn."""
        answers: list[object] = []
        bucket = self.driven.log.find_open("default", ZERO)[0]
        self.driven.close("default")
        bucket.append([b"x"], 0, OS, lambda offsets, error, level: answers.append(error))
        self.driven.reactor.turn(lambda: bool(answers))
        self.assertIsInstance(answers[0], Unavailable)
