"""What was acknowledged as on disk survives a power cut at any moment, and nothing else is hurt by one."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.digests import crc32c
from storehouse.core.framing import pack_length
from storehouse.errors import NoSpace
from storehouse.storage.appendlog.formats import FRAME_ALIGNMENT, encode_entry, encode_frame
from storehouse.storage.appendlog.interfaces import Durability
from tests.crash import apart, rounds
from tests.crash.disk import Linked, Tree, World, read_tree, write_tree
from tests.crash.explorer import POLICIES, Broken, Explorer
from tests.crash.powercut import AppendLogExplorer
from tests.crash.recording import Recorder, RecordingFiles
from tests.crash.session import Ledger, Session
from tests.soak import count, long_loop

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

    def explorer(self, seed: int, **options: int) -> AppendLogExplorer:
        # In memory if there is such a place: the syncs are not real, but directories come and go by the hundred.
        place = tempfile.mkdtemp("-powercut", "storehouse-", "/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        explorer = AppendLogExplorer(os.path.join(place, "states"), seed, **options)

        def end() -> None:
            count("states", sum(explorer.states.values()))
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
        for seed in rounds(1):
            explorer = self.explorer(seed, **options)
            top, recorder = explorer.fresh()
            session = explorer.session(recorder, top, pause=0.0002)
            session.start()
            work(session, Payloads(seed))
            session.settle()
            session.stop()
            explorer.cut_everywhere(recorder, everywhere, nested, step=apart(step))

    @long_loop
    def test_first_start(self) -> None:
        """On an empty directory."""
        self.explore(lambda session, payload: None, everywhere=3, nested=0.4, step=1)

    @long_loop
    def test_disk(self) -> None:
        def work(session: Session, payload: Payloads) -> None:
            for number in range(12):
                session.append("default", number % 2, [payload()], DISK)
                if number % 3:
                    session.turns()
                if number % 4 == 0:
                    session.settle()

        self.explore(work)

    @long_loop
    def test_os(self) -> None:
        def work(session: Session, payload: Payloads) -> None:
            for number in range(12):
                session.append("default", number % 2, [payload()], OS)
                session.settle()
                if number == 7:
                    session.later(11)

        self.explore(work)

    @long_loop
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

    @long_loop
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

    @long_loop
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

    @long_loop
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

    @long_loop
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

    @long_loop
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

    @long_loop
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

    @long_loop
    def test_wrap_of_a_mebibyte(self) -> None:
        """The same with segments of the smallest size that users can set, and groups of many records."""

        def work(session: Session, payload: Payloads) -> None:
            for _ in range(60):
                for number in range(8):
                    session.append("default", number % 2, [payload(6000)], DISK)
                session.settle()

        self.explore(work, nested=0.1, step=16, wal_size=1 << 20)

    @long_loop
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

    @long_loop
    def test_fences(self) -> None:
        """Fences alone fill segments, to the last page."""

        def work(session: Session, payload: Payloads) -> None:
            for number in range(40):
                session.append("a", 0, [payload(40)], DISK)
                if number % 9 == 0:
                    session.append("default", 0, [payload(40)], DISK)
                session.wait(session.log.close_prefix("a"))

        self.explore(work, nested=0.1, step=6)

    @long_loop
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

    @long_loop
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
            step = apart(4)
            for kill_at in range(seed % step, length, step):
                top, recorder = explorer.fresh()
                explorer.run(explorer.session(recorder, top), partial(first, payload=Payloads(seed)), kill_at)
                killed = len(recorder.events)
                session = explorer.session(recorder, top)
                session.start()
                explorer.verify_kill(session)
                second(session, Payloads(seed + 1))
                session.stop()
                explorer.cut_at_random(recorder, 4, 0.1, first=killed)

    @long_loop
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
            explorer.cut_everywhere(recorder, 1, 0.2, ledger=ledger, step=apart(1))

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


def links(tree: Tree, path: str = "") -> dict[int, list[str]]:
    """The names of each file that has several."""
    found: dict[int, list[str]] = {}
    for name, content in sorted(tree.items()):
        if isinstance(content, dict):
            for file, names in links(content, f"{path}/{name}").items():
                found.setdefault(file, []).extend(names)
        elif isinstance(content, Linked):
            found.setdefault(id(content), []).append(f"{path}/{name}")
    return found


def contents(tree: Tree) -> list[bytes]:
    """What is in all files, sorted."""
    found: list[bytes] = []
    for content in tree.values():
        found += contents(content) if isinstance(content, dict) else [content]
    return sorted(found)


class ModelTests(SynchronousTestCase):
    """The model of the disk is what the system does."""

    def machine(self, tree: Tree) -> None:
        self.top = os.path.abspath(self.mktemp())
        write_tree(tree, self.top)
        self.recorder = Recorder(World(tree))
        self.files = RecordingFiles(self.top, self.recorder)
        self.addCleanup(self.files.abandon)

    def path(self, name: str) -> str:
        return os.path.join(self.top, name)

    def assertAsReal(self) -> Tree:
        """The page cache of the model has what the directory has, and a state of it can be made and read."""
        real = read_tree(self.top)
        model = self.recorder.world.after_cut(Random(0), "kept")
        self.assertEqual(model, real)
        self.assertEqual(sorted(links(model).values()), sorted(links(real).values()))
        return model

    @long_loop
    def test_any_calls(self) -> None:
        """Names and bytes, with calls that fail among them, and directories synced here and there."""
        for seed in rounds(20):
            random = Random(seed)
            self.machine({"a": {"x": b"1" * 700, "y": b"2"}, "b": {}, "c": b"3"})
            for step in range(60):
                one, two = (
                    self.path(random.choice(("a", "b", "c", "a/x", "a/y", "a/z", "b/x", "b/d", "b/d/x"))) for _ in "12"
                )
                before = len(self.recorder.events)
                kind = random.randrange(9)
                try:
                    if kind == 0:
                        self.files.rename(one, two)
                    elif kind in (1, 2):
                        self.files.exchange(one, two)
                    elif kind in (3, 4):
                        self.files.link(one, two)
                    elif kind == 5:
                        self.files.unlink(one)
                    elif kind == 6:
                        self.files.mkdir(one)
                    elif kind == 7:
                        if os.path.isdir(one):
                            self.files.sync_directory(one)
                    else:
                        source = self.files.open(one, os.O_RDWR | os.O_CREAT)
                        target = self.files.open(two, os.O_RDWR | os.O_CREAT)
                        self.files.write_at(source, (b"%d" % step * random.randrange(400),), random.randrange(2000))
                        if not os.path.samefile(one, two):
                            size = os.fstat(source).st_size
                            self.files.copy_range(source, target, size // 2, size // 3, random.randrange(900))
                        if random.random() < 0.5:
                            self.files.sync_data(target)
                except OSError as error:
                    if kind != 8:
                        self.assertEqual(len(self.recorder.events), before, error)
                self.assertAsReal()
            state = self.recorder.world.after_cut(random, "names")
            copy = os.path.abspath(self.mktemp())
            write_tree(state, copy)
            self.assertEqual(read_tree(copy), state)
            self.assertEqual(sorted(links(read_tree(copy)).values()), sorted(links(state).values()))
            again = World(state).after_cut(random, "lost")
            self.assertEqual(sorted(links(again).values()), sorted(links(state).values()))

    def test_directory_in_the_way(self) -> None:
        """A directory goes over an empty one, not over one with something in it."""
        self.machine({"a": {"x": b"1"}, "b": {"y": b"2"}, "c": {}})
        error = self.assertRaises(OSError, self.files.rename, self.path("a"), self.path("b"))
        self.assertIn(error.errno, (errno.ENOTEMPTY, errno.EEXIST))
        self.assertEqual(self.recorder.events, [])
        self.files.rename(self.path("a"), self.path("c"))
        self.assertEqual(self.assertAsReal(), {"b": {"y": b"2"}, "c": {"x": b"1"}})
        self.files.remove_tree(self.path("c"))
        self.assertEqual(self.assertAsReal(), {"b": {"y": b"2"}})

    def test_whole(self) -> None:
        """An exchange happens or not, also if one of its names goes on; nothing is lost that nobody removed."""
        self.machine({"a": {"p": b"1"}, "b": {"q": b"2"}})
        self.files.exchange(self.path("a/p"), self.path("b/q"))
        seen = set()
        for further in (True, False):
            for policy in POLICIES:
                for seed in range(50):
                    state = self.recorder.world.after_cut(Random(seed), policy)
                    self.assertEqual(contents(state), [b"1", b"2"], state)
                    seen.add(repr(state))
            if further:
                self.files.rename(self.path("b/q"), self.path("b/r"))
        self.assertEqual(len(seen), 3)
        self.files.sync_directory(self.path("b"))
        self.assertEqual(self.recorder.world.after_cut(Random(0), "lost"), {"a": {"p": b"2"}, "b": {"r": b"1"}})

    def test_synced_elsewhere(self) -> None:
        """What was renamed into a directory that is synced does not come back where it was."""
        self.machine({"a": {}, "b": {}})
        self.files.open(self.path("a/x"), os.O_RDWR | os.O_CREAT)
        self.files.rename(self.path("a/x"), self.path("b/x"))
        self.files.sync_directory(self.path("b"))
        for policy in POLICIES:
            self.assertEqual(self.recorder.world.after_cut(Random(0), policy), {"a": {}, "b": {"x": b""}})

    def test_links(self) -> None:
        """A file with two names is one file, whatever a cut leaves of it; a name that was not synced may be gone."""
        self.machine({"a": b"1" * 2000})
        fd = self.files.open(self.path("a"), os.O_RDWR)
        self.files.link(self.path("a"), self.path("b"))
        self.files.write_at(fd, (b"2" * 2000,), 0)
        states = [self.recorder.world.after_cut(Random(seed), policy) for policy in POLICIES for seed in range(20)]
        self.assertEqual({tuple(state) for state in states}, {("a",), ("a", "b")})
        self.assertTrue(all(state["a"] is state.get("b", state["a"]) for state in states))
        self.assertGreater(len({state["a"] for state in states if "b" in state}), 3)
        self.files.unlink(self.path("a"))
        self.files.sync_data(fd)
        self.files.sync_directory(self.top)
        state = self.recorder.world.after_cut(Random(0), "lost")
        self.assertEqual((state, links(state)), ({"b": b"2" * 2000}, {}))

    def test_copy_without_room(self) -> None:
        """A copy fills the disk as a write does, and is told like one."""
        self.machine({"a": bytes(range(100)), "b": b"...."})
        source, target = (self.files.open(self.path(name), os.O_RDWR) for name in "ab")
        self.files.room = 10
        self.files.copy_range(source, target, 8, 3, 1)
        self.assertEqual(self.files.room, 5)
        error = self.assertRaises(OSError, self.files.copy_range, source, target, 20, 50, 9)
        self.assertEqual((error.errno, self.files.room), (errno.ENOSPC, 0))
        self.files.room = None
        error = self.assertRaises(OSError, self.files.copy_range, source, target, 20, 98, 0)
        self.assertEqual(error.errno, errno.EIO)
        self.assertEqual(self.assertAsReal()["b"], b"bc" + bytes(range(4, 11)) + bytes(range(50, 55)))
        self.assertEqual(
            [text for text, _ in self.recorder.events],
            ["copy a 3 to b 1 8", "copy a 50 to b 9 5 (full)", "copy a 98 to b 0 2"],
        )
        self.files.sync_data(target)
        self.assertEqual(self.recorder.world.after_cut(Random(0), "lost")["b"], read_tree(self.top)["b"])


class Shelf:
    """As little of a store as can break a promise: files, whose names are synced or not."""

    def __init__(self, top: str, recorder: Recorder) -> None:
        self.recorder = recorder
        self.files = RecordingFiles(top, recorder)
        self.directory = top + "/shelf"
        self.synced = True

    def start(self) -> None:
        self.files.make_directory(self.directory)

    def put(self, name: str, data: bytes) -> None:
        path = f"{self.directory}/{name}"
        self.recorder.note(f"put {name}", (name, data, False))
        fd = self.files.open(path + ".new", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self.files.write_at(fd, (data,), 0)
        self.files.sync_data(fd)
        self.files.close(fd)
        if os.path.exists(path):
            self.files.exchange(path + ".new", path)
        else:
            self.files.link(path + ".new", path)
        self.files.unlink(path + ".new")
        if self.synced:
            self.files.sync_directory(self.directory)
        self.recorder.note(f"acknowledged {name}", (name, data, True))

    def read(self) -> dict[str, bytes]:
        tree = read_tree(self.directory)
        return {name: data for name, data in tree.items() if isinstance(data, bytes) and not name.endswith(".new")}

    def abandon(self) -> None:
        self.files.abandon()


class ShelfLedger:
    """
    What each name may have.

    @ivar taken: how many notes.
    """

    def __init__(self) -> None:
        self.allowed: dict[str, set[bytes | None]] = {}
        self.taken = 0

    def clone(self) -> ShelfLedger:
        other = ShelfLedger()
        other.allowed = {name: set(values) for name, values in self.allowed.items()}
        other.taken = self.taken
        return other

    def take(self, note: Any) -> None:
        name, data, done = note
        self.taken += 1
        values = self.allowed.setdefault(name, {None})
        if done:
            values.clear()
        values.add(data)


class ShelfExplorer(Explorer[Shelf, ShelfLedger]):
    """
    Cuts histories of a shelf.

    @ivar checked: how many notes had been taken when a state was checked, by depth.
    """

    def __init__(self, directory: str, seed: int) -> None:
        super().__init__(directory, seed)
        self.checked: set[int] = set()

    def session(self, recorder: Recorder, top: str, **options: Any) -> Shelf:
        return Shelf(top, recorder, **options)

    def ledger(self) -> ShelfLedger:
        return ShelfLedger()

    def live_on(self, recorder: Recorder, top: str, ledger: ShelfLedger) -> None:
        self.checked.add(ledger.taken)
        shelf = self.session(recorder, top)
        shelf.start()
        self.verify(shelf, ledger)
        shelf.put("after", b"%d" % self.random.getrandbits(64))
        after = ledger.clone()
        self.follow(recorder, after)
        self.verify(shelf, after)

    def verify(self, shelf: Shelf, ledger: ShelfLedger) -> None:
        found = shelf.read()
        for name in {*found, *ledger.allowed}:
            if found.get(name) not in ledger.allowed.get(name, ()):
                raise AssertionError(f"{name} is {found.get(name)!r}")


class ExplorerTests(SynchronousTestCase):
    """The machinery itself, on a store that is easily seen through."""

    def explore(self, synced: bool, kill_at: int | None = None) -> ShelfExplorer:
        explorer = ShelfExplorer(self.mktemp(), 1)
        top, recorder = explorer.fresh()
        shelf = explorer.session(recorder, top)
        shelf.synced = synced

        def work(shelf: Shelf) -> None:
            for number in range(6):
                shelf.put("ab"[number % 2], b"%d" % number * 600)

        explorer.run(shelf, work, kill_at)
        explorer.cut_everywhere(recorder, 3, 0.5)
        explorer.cut_at_random(recorder, 10)
        return explorer

    def test_kept(self) -> None:
        """Every promise comes to the ledger, before all cuts that follow it; recoveries are cut as well."""
        explorer = self.explore(True)
        self.assertTrue(explorer.checked >= set(range(13)), explorer.checked)
        self.assertFalse(explorer.broken)
        self.assertGreater(explorer.states[0], 100)
        self.assertGreater(explorer.states[1], 20)

    def test_killed(self) -> None:
        """A history that ends in the middle."""
        self.assertFalse(self.explore(True, 30).broken)

    def test_broken(self) -> None:
        """A promise that is not kept is found, and its story told."""
        error = self.assertRaises(Broken, self.explore, False)
        self.assertIn("seed 1, cut before event", str(error))
        self.assertIn(": acknowledged ", str(error))

    def test_notes(self) -> None:
        """What could be taken for a change of the disk is no note."""
        self.assertRaises(AssertionError, Recorder(World()).note, "a class", Ledger)
