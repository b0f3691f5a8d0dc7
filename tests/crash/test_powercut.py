"""What was acknowledged as on disk survives a power cut at any moment, and nothing else is hurt by one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.digests import crc32c
from storehouse.core.framing import pack_length
from storehouse.errors import NoSpace
from storehouse.storage.appendlog.formats import FRAME_ALIGNMENT, encode_entry, encode_frame
from storehouse.storage.appendlog.interfaces import Durability
from tests.crash import SOAK, rounds
from tests.crash.disk import Tree
from tests.crash.powercut import Broken, Explorer
from tests.crash.session import Ledger, Session

DISK, OS = Durability.DISK, Durability.OS


class Payloads:
    """Payloads that are all different, and whose bytes tell where a tear is."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._number = 0

    def __call__(self, size: int = 0) -> bytes:
        self._number += 1
        head = b"<%d %d>" % (self._number, self._random.getrandbits(32))
        return head + self._random.randbytes(max(0, (size or self._random.choice((1, 40, 500, 600, 5000))) - len(head)))


class PowerCutTests(SynchronousTestCase):
    """One workload a test: run, cut everywhere, check."""

    def explorer(self, seed: int, **options: int) -> Explorer:
        # In memory if there is such a place: the syncs are not real, but directories come and go by the hundred.
        place = tempfile.mkdtemp("-powercut", "storehouse-", "/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        explorer = Explorer(os.path.join(place, "states"), seed, **options)

        def end() -> None:
            if SOAK:
                print(
                    f" {self._testMethodName}: {sum(explorer.states.values())} states {dict(explorer.states)}",
                    end="",
                    flush=True,
                )
            # What broke is kept, to be looked at.
            if not explorer.broken:
                shutil.rmtree(place)

        self.addCleanup(end)
        return explorer

    def explore(
        self,
        work: Callable[[Session, Payloads], None],
        everywhere: int = 1,
        nested: float = 0.2,
        step: int = 2,
        **options: int,
    ) -> None:
        """
        Run C{work} from an empty directory to its stop, and cut the history everywhere, more thoroughly if there is
        time.
        """
        if SOAK:
            everywhere, nested, step = everywhere + 1, nested + 0.1, max(1, step // 2)
        for seed in rounds(1):
            explorer = self.explorer(seed, **options)
            top, recorder = explorer.fresh()
            session = explorer.session(recorder, top, pause=0.0002)
            session.start()
            work(session, Payloads(seed))
            session.settle()
            session.stop()
            explorer.cut_everywhere(recorder, everywhere, nested, step=step)

    def test_first_start(self) -> None:
        """On an empty directory."""
        self.explore(lambda session, payload: None, everywhere=3, nested=0.4, step=1)

    def test_disk(self) -> None:
        def work(session: Session, payload: Payloads) -> None:
            for number in range(12):
                session.append("default", number % 2, [payload()], DISK)
                if number % 3:
                    session.turns()
                if number % 4 == 0:
                    session.settle()

        self.explore(work)

    def test_os(self) -> None:
        def work(session: Session, payload: Payloads) -> None:
            for number in range(12):
                session.append("default", number % 2, [payload()], OS)
                session.settle()
                if number == 7:
                    session.later(11)

        self.explore(work)

    def test_os_during_a_checkpoint(self) -> None:
        """Records that come between the syncs of a checkpoint."""

        def work(session: Session, payload: Payloads) -> None:
            session.files.pause = 0.004
            for _ in range(3):
                for number in range(8):
                    session.append("default", number % 2, [payload(600)], OS)
                    session.settle()
                    if number == 3:
                        session.reactor.advance(11)

        self.explore(work, nested=0.1, step=1)

    def test_mixed(self) -> None:
        def work(session: Session, payload: Payloads) -> None:
            random = Random(session.buckets)
            for number in range(16):
                session.append("default", random.randrange(2), [payload()], random.choice((DISK, OS)))
                if random.random() < 0.5:
                    session.settle()
                if number == 9:
                    session.later(11)

        self.explore(work)

    def test_batches(self) -> None:
        """Several records at once."""

        def work(session: Session, payload: Payloads) -> None:
            for number in range(6):
                session.append(
                    "default", number % 2, [payload() for _ in range(1 + 5 * (number % 3))], OS if number == 3 else DISK
                )
                session.turns(number % 3)
            session.settle()

        self.explore(work)

    def test_prefixes(self) -> None:
        """Made, closed, opened again, pushed out by others."""

        def work(session: Session, payload: Payloads) -> None:
            for name in ("a", "b", "default", "c", "d", "a"):
                session.append(name, 0, [payload(600)], DISK)
                session.append(name, 1, [payload(600)], OS)
                session.turns()
            session.settle()
            session.wait(session.log.close_prefix("a"))
            session.append("a", 0, [payload()], DISK)

        self.explore(work, step=3)

    def test_delete(self) -> None:
        """Nothing of a deleted prefix comes back, also under a new prefix of the same name."""

        def work(session: Session, payload: Payloads) -> None:
            for _ in range(2):
                for number in range(4):
                    session.append("a", number % 2, [payload()], DISK if number else OS)
                    session.append("default", number % 2, [payload()], DISK)
                    session.settle()
                session.delete("a")
            session.append("default", 0, [payload()], DISK)
            session.append("a", 0, [payload(40)], DISK)

        self.explore(work)

    def test_long_runs(self) -> None:
        """Runs that are too long for a frame."""

        def work(session: Session, payload: Payloads) -> None:
            longest = session.log.wal.longest_run
            for number, size in enumerate(
                (100, longest + 100, 100, 3 * longest, longest - 200, longest - 200, longest - 200, longest - 200, 100)
            ):
                session.append("default", number % 2, [payload(size)], DISK)
                if number % 2:
                    session.settle()

        self.explore(work)

    def test_wrap(self) -> None:
        """All segments are used, again and again."""

        def work(session: Session, payload: Payloads) -> None:
            for number in range(90):
                session.append("default", number % 2, [payload(12000)], OS if number % 17 == 0 else DISK)
                if number % 2:
                    session.settle()
                if number % 40 == 0:
                    session.append("a", 0, [payload()], DISK)

        self.explore(work, nested=0.1, step=6)

    def test_wrap_of_a_mebibyte(self) -> None:
        """The same with segments of the smallest size that users can set, and groups of many records."""

        def work(session: Session, payload: Payloads) -> None:
            for _ in range(60):
                for number in range(8):
                    session.append("default", number % 2, [payload(6000)], DISK)
                session.settle()

        self.explore(work, nested=0.1, step=16, wal_size=1 << 20)

    def test_payloads_that_are_frames(self) -> None:
        """
        Payloads that hold frames of the write-ahead log, at the very boundaries where recovery looks for frames:
        somebody's copy of a log, or somebody's malice.
        """
        record = pack_length(4) + b"evil"
        entry = encode_entry(0, 0, 4, crc32c(b"evil"), 0)
        forged = encode_frame(1 << 40, 1 << 40, [(b"default", 0, 0, 0, entry, record)])
        ahead = len(encode_frame(1, 1, [(b"default", 0, 0, 0, entry, pack_length(0))]))

        def work(session: Session, payload: Payloads) -> None:
            for number in range(60):
                text = payload(40)
                if number < 24:
                    text = b"".join(
                        (text.ljust(FRAME_ALIGNMENT - ahead, b"."), forged.ljust(FRAME_ALIGNMENT, b"."), forged)
                    )
                session.append("default", 0, [text], DISK)
                session.settle()

        self.explore(work, nested=0.0, step=6)

    def test_fences(self) -> None:
        """Fences alone fill segments, to the last page."""

        def work(session: Session, payload: Payloads) -> None:
            for number in range(40):
                session.append("a", 0, [payload(40)], DISK)
                if number % 9 == 0:
                    session.append("default", 0, [payload(40)], DISK)
                session.wait(session.log.close_prefix("a"))

        self.explore(work, nested=0.1, step=6)

    def test_full_disk(self) -> None:
        """Appends that fail for want of room leave no trace, with a cut behind them."""

        def work(session: Session, payload: Payloads) -> None:
            for room in (700, 3000, 40, 10000):
                session.files.room = room
                for number in range(6):
                    session.append(
                        "default",
                        number % 2,
                        [payload(500) for _ in range(1 + number % 3)],
                        OS if number % 4 == 1 else DISK,
                    )
                    session.turns(number % 3)
                session.settle()
                session.files.room = None
                session.append("default", 0, [payload(500)], DISK)
                session.settle()
            self.assertTrue(session.failures)
            for failure in session.failures:
                self.assertIsInstance(failure, NoSpace)

        self.explore(work)

    def test_kill_before_cut(self) -> None:
        """
        A process is killed, another starts on what is in the page cache, and then the power goes: what the second
        found there it must not take for being on disk.
        """

        def first(session: Session, payload: Payloads) -> None:
            for number in range(5):
                session.append("default", number % 2, [payload()], OS if number % 2 else DISK)
                session.append("a", number % 2, [payload(100)], OS)
                session.turns(number % 3)
            session.settle()
            session.delete("a")

        def second(session: Session, payload: Payloads) -> None:
            for number in range(4):
                session.append("default", number % 2, [payload(100)], DISK)
                session.settle()
            session.append("a", 0, [payload(40)], DISK)
            session.settle()

        for seed in rounds(1):
            explorer = self.explorer(seed)
            top, recorder = explorer.fresh()
            explorer.run(explorer.session(recorder, top), partial(first, payload=Payloads(seed)))
            length = len(recorder.events)
            for kill_at in range(0, length, 1 if SOAK else 4):
                top, recorder = explorer.fresh()
                explorer.run(explorer.session(recorder, top), partial(first, payload=Payloads(seed)), kill_at)
                killed = len(recorder.events)
                session = explorer.session(recorder, top)
                session.start()
                explorer.verify_kill(session)
                second(session, Payloads(seed + 1))
                session.stop()
                explorer.cut_at_random(recorder, 4, 0.1, first=killed)

    def test_foreign_directory(self) -> None:
        """Bucket files without indexes, as another program left them."""
        for seed in rounds(1):
            payload = Payloads(seed)
            explorer = self.explorer(seed)
            ledger = Ledger()
            tree: Tree = {}
            for bucket in range(2):
                data = b""
                for _ in range(5):
                    record = payload()
                    ledger.acked.setdefault(("default", bucket), {})[len(data)] = record, DISK
                    ledger.submitted[record] = "default", bucket
                    data += pack_length(len(record)) + record
                tree[f"append.{bucket}.raw"] = data
            top, recorder = explorer.fresh({"data": {"log": {"default": tree}}})
            session = explorer.session(recorder, top)
            session.start()
            for number in range(4):
                session.append("default", number % 2, [payload()], DISK)
                session.settle()
            session.stop()
            explorer.cut_everywhere(recorder, 1 + SOAK, 0.2, ledger=ledger)

    def test_a_disk_that_lies(self) -> None:
        """These tests see what they are there to see: on a disk that forgets syncs, promises are broken."""

        def work(session: Session, payload: Payloads) -> None:
            for number in range(6):
                session.append("default", number % 2, [payload(600)], DISK)
                session.settle()

        for lie in ("  synced data/log/.wal", "  synced directory"):
            explorer = self.explorer(1)
            top, recorder = explorer.fresh()
            session = explorer.session(recorder, top)
            session.start()
            work(session, Payloads(1))
            recorder.events = [(text, None if text.startswith(lie) else event) for text, event in recorder.events]
            self.assertRaises(Broken, explorer.cut_everywhere, recorder, 3, 0)
            explorer.broken = False
            session.stop()
