"""Objects and parts that were acknowledged survive a power cut at any moment, and nothing else is hurt by one."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import (
    AlreadyExists,
    InvalidPart,
    NoSpace,
    NoSuchObject,
    NoSuchUpload,
    StartFailed,
    StorehouseError,
)
from storehouse.storage.dataspace import directory as writing
from tests.crash import apart, rounds
from tests.crash.explorer import Broken
from tests.crash.objects import Contents, HandSource, ObjectSession, history, verify
from tests.crash.powercut_objects import ObjectExplorer, RelaxedExplorer
from tests.crash.recording import Killed
from tests.soak import count, long_loop

Work = Callable[[ObjectSession, Contents], None]


def objects(session: ObjectSession, contents: Contents) -> None:
    """Put, copied, deleted, put again."""
    session.put("aa01", contents(1500), key=["one"], other=["a", "b"])
    session.put("aa02", contents(10), sized=False)
    session.put("bb01", contents(0))
    session.copy("aa03", "aa01")
    session.copy("aa04", "aa01", 512, key=["aligned"])
    session.copy("bb02", "aa01", 100, 1200)
    session.copy("bb03", "aa01", 700, 0)
    session.describe("aa02", key=["described"])
    session.describe("bb02")
    session.copy("bb04", "aa02")
    reader = session.wait(session.space.get("aa01"))
    whole = session.view.objects["aa01"].data
    session.delete("aa01")
    session.put("aa01", contents(513))
    session.delete("aa03")
    if session.drain(reader) != whole:
        raise Broken("a reader was disturbed")
    session.copy("aa03", "aa01")


def uploads(session: ObjectSession, contents: Contents) -> None:
    """Parts out of order, replaced, completed with some of them, aborted."""
    session.put("aa01", contents(1500), key=["one"])
    session.init("aaf1", key=["of the upload"])
    session.part("aaf1", 5, contents(600))
    session.part("aaf1", 2, contents(1024), sized=False)
    session.init("bbf1")
    session.part("aaf1", 5, contents(700))
    session.part_copy("aaf1", 9, "aa01", 512, 700)
    session.part_copy("aaf1", 2, "aa01")
    session.part("bbf1", 1, contents(0))
    session.part_copy("bbf1", 3, "aa01", 3, 700)
    session.complete("bb01", "aaf1", 2, 9)
    session.init("aaf1")
    session.part("bbf1", 2, contents(40))
    session.complete("bb02", "bbf1", key=["of the object"])
    session.part("aaf1", 1, contents(40))
    session.abort("aaf1")
    session.copy("bb03", "bb02", 0, 30)


def together(session: ObjectSession, contents: Contents) -> None:
    """Several at a time, whose pieces come by turns."""

    def feed(*fed: tuple[HandSource, bytes]) -> None:
        for start in range(0, max(len(data) for _, data in fed), 400):
            for source, data in fed:
                source.feed(data[start : start + 400])

    def put(id: str, size: int) -> tuple[list[object], HandSource, bytes]:
        data, source = contents(size), HandSource()
        return session.begin_put(id, source, data, key=[id]), source, data

    def part(upload_id: str, number: int, size: int) -> tuple[list[object], HandSource, bytes]:
        data, source = contents(size), HandSource()
        return session.begin_part(upload_id, number, source, data), source, data

    one, first, first_data = put("aa01", 1300)
    two, second, second_data = put("aa02", 900)
    same, third, third_data = put("aa01", 1100)
    feed((first, first_data), (second, second_data), (third, third_data))
    second.end()
    third.end()
    session.delete("aa02")
    first.end()
    session.init("aaf1")
    four, fourth, fourth_data = part("aaf1", 1, 1200)
    five, fifth, fifth_data = part("aaf1", 1, 700)
    six, sixth, sixth_data = part("aaf1", 2, 100)
    feed((fourth, fourth_data), (fifth, fifth_data), (sixth, sixth_data))
    fifth.end()
    fourth.end()
    session.complete("bb01", "aaf1")
    sixth.end()
    seven, seventh, seventh_data = put("bb02", 1000)
    seventh.feed(seventh_data[:700])
    seventh.end(RuntimeError("the client went away"))
    for outcome in (same, six, seven):
        session.tolerated = (AlreadyExists, NoSuchUpload, RuntimeError)
        try:
            session._result(outcome)
        except session.tolerated as error:
            session.failures.append(error)
    for outcome in (one, two, four, five):
        # The one that ended first has won.
        if outcome is one:
            continue
        session._result(outcome)
    if [type(error) for error in session.failures] != [NoSuchUpload, RuntimeError]:
        raise Broken(f"failed with {session.failures}")


class ObjectPowerCutTests(SynchronousTestCase):
    """One workload a test: run, cut everywhere, check."""

    def place(self) -> str:
        # In memory if there is such a place: the syncs are not real, but directories come and go by the hundred.
        return tempfile.mkdtemp("-powercut", "storehouse-", "/dev/shm" if os.access("/dev/shm", os.W_OK) else None)

    def explorer(self, seed: int, kind: type[ObjectExplorer] = ObjectExplorer, hash: str = "CRC32C") -> ObjectExplorer:
        place = self.place()
        explorer = kind(os.path.join(place, "states"), seed, hash)

        def end() -> None:
            count("states", sum(explorer.states.values()))
            # What broke is kept, to be looked at.
            if not explorer.broken:
                shutil.rmtree(place)

        self.addCleanup(end)
        return explorer

    def explore(
        self,
        work: Work,
        everywhere: int = 2,
        nested: float = 0.2,
        step: int = 1,
        kind: type[ObjectExplorer] = ObjectExplorer,
        hash: str = "CRC32C",
    ) -> None:
        """
        Run C{work} from an empty directory to its stop, and cut the history everywhere, more thoroughly if there is
        time.
        """
        for seed in rounds(1):
            explorer = self.explorer(seed, kind, hash)
            top, recorder = explorer.fresh()
            session = explorer.session(recorder, top)
            session.start()
            work(session, Contents(seed))
            session.stop()
            explorer.cut_everywhere(recorder, everywhere, nested, step=apart(step))

    @long_loop
    def test_first_start(self) -> None:
        """On an empty directory."""
        self.explore(lambda session, contents: None, everywhere=3, nested=0.4, step=1)

    @long_loop
    def test_objects(self) -> None:
        self.explore(objects, everywhere=1, step=2, nested=0.1)

    @long_loop
    def test_uploads(self) -> None:
        self.explore(uploads, everywhere=1, step=3, nested=0.15, hash="HighwayHash256")

    @long_loop
    def test_together(self) -> None:
        """Several at a time; the one who comes last, or too late, leaves nothing."""
        self.explore(together, everywhere=1, step=2, nested=0.1, hash="BLAKE3")

    @long_loop
    def test_long_parts(self) -> None:
        """Parts with more checksums than are held: their lines are written before their header."""
        self.patch(writing, "_HELD_LINES", 40)

        def work(session: ObjectSession, contents: Contents) -> None:
            session.put("aa01", contents(4000), sized=False)
            session.put("aa02", contents(4000))
            session.copy("aa03", "aa01", 512, 3000)
            session.init("aaf1")
            session.part("aaf1", 1, contents(3000), sized=False)
            session.part("aaf1", 1, contents(3100))

        self.explore(work, nested=0.05, step=3)

    @long_loop
    def test_random(self) -> None:
        """Whatever comes."""

        def work(session: ObjectSession, contents: Contents) -> None:
            at_random(session, contents, Random(contents()), 25)

        self.explore(work, nested=0.1, step=2)

    @long_loop
    def test_full_disk(self) -> None:
        """What fails for want of room leaves no trace, with a cut behind it."""

        def work(session: ObjectSession, contents: Contents) -> None:
            session.put("aa01", contents(1000))
            session.init("aaf1")
            session.part("aaf1", 1, contents(100))
            session.tolerated = (NoSpace,)
            for number, room in enumerate((0, 300, 700, 1100, 1400)):
                for method, *arguments in (
                    ("put", f"bb0{number}", contents(1200)),
                    ("part", "aaf1", 1, contents(1200)),
                    ("part", "aaf1", 2 + number, contents(1200)),
                    ("copy", f"aa1{number}", "aa01", 10, 600),
                    ("complete", f"aa2{number}", "aaf1", 1),
                    ("init", f"aae{number}"),
                ):
                    session.files.room = room
                    getattr(session, method)(*arguments)
                    session.files.room = None
                    if os.listdir(session.root + "/tmp"):
                        raise Broken("something was left in tmp")
                if "aaf1" not in session.view.uploads:
                    session.init("aaf1")
                    session.part("aaf1", 1, contents(100))
            self.assertGreater(len(session.failures), 10)
            for failure in session.failures:
                self.assertIn("no space", str(failure))
            session.put("bb09", contents(1200))

        self.explore(work, everywhere=1, nested=0.05, step=8)

    @long_loop
    def test_killed(self) -> None:
        """A kill loses nothing that was acknowledged, whether it would be on disk or not."""
        for kind in (ObjectExplorer, RelaxedExplorer):
            self.kill_everywhere(kind, apart(9))

    def kill_everywhere(self, kind: type[ObjectExplorer], step: int) -> None:
        for seed in rounds(1):
            explorer = self.explorer(seed, kind)
            work = partial(history, contents=Contents(seed))
            top, recorder = explorer.fresh()
            explorer.run(explorer.session(recorder, top), work)
            for kill_at in range(seed % step, len(recorder.events), step):
                top, recorder = explorer.fresh()
                explorer.run(explorer.session(recorder, top), partial(history, contents=Contents(seed)), kill_at)
                self.flushLoggedErrors(Killed)
                session = explorer.session(recorder, top)
                session.start()
                try:
                    explorer.verify_kill(session)
                except Exception as error:
                    explorer.broken = True
                    raise Broken(f"seed {seed}, killed before event {kill_at}: {error!r}") from error
                session.stop()
                shutil.rmtree(top)

    @long_loop
    def test_kill_before_cut(self) -> None:
        """
        A process is killed, another starts on what is in the page cache and builds on that, and then the power goes:
        what the second found there it must not take for being on disk.
        """

        def second(session: ObjectSession, contents: Contents) -> None:
            for number, id in enumerate(sorted(session.view.objects)):
                session.copy(f"dd0{number}", id)
                if number % 3 == 2:
                    session.delete(id)
            for number, (upload_id, upload) in enumerate(sorted(session.view.uploads.items())):
                if number % 2:
                    session.part(upload_id, 1, contents(100))
                if upload.parts:
                    session.complete(f"dd1{number}", upload_id)
                else:
                    session.part(upload_id, 4, contents(100))
            session.put("ee01", contents(40))

        def only_look(session: ObjectSession, contents: Contents) -> None:
            pass

        for seed in rounds(1):
            explorer = self.explorer(seed)
            top, recorder = explorer.fresh()
            explorer.run(explorer.session(recorder, top), partial(history, contents=Contents(seed)))
            length = len(recorder.events)
            step = apart(6)
            for kill_at in range(seed % step, length, step):
                top, recorder = explorer.fresh()
                explorer.run(explorer.session(recorder, top), partial(history, contents=Contents(seed)), kill_at)
                self.flushLoggedErrors(Killed)
                killed = len(recorder.events)
                session = explorer.session(recorder, top)
                session.start()
                explorer.verify_kill(session)
                (only_look if explorer.random.random() < 0.4 else second)(session, Contents(seed + 1))
                session.stop()
                explorer.cut_at_random(recorder, 2, 0.1, first=killed)
                shutil.rmtree(top)

    @long_loop
    def test_relaxed(self) -> None:
        """What was not brought to disk may be lost or damaged, and is never served so."""

        def work(session: ObjectSession, contents: Contents) -> None:
            objects(session, contents)
            session.part_copy(*self._upload(session, contents), "aa02")

        self.explore(work, everywhere=1, nested=0.1, step=2, kind=RelaxedExplorer)

    def _upload(self, session: ObjectSession, contents: Contents) -> tuple[str, int]:
        session.init("ccf1")
        for number in (1, 2, 1):
            session.part("ccf1", number, contents(600))
        return "ccf1", 3

    @long_loop
    def test_durable_again(self) -> None:
        """A store that was relaxed is on disk once it was opened as a durable one, also after a kill."""
        for seed in rounds(1):
            explorer = self.explorer(seed)
            for kill_at in (None, 100, 171, 230):
                top, recorder = explorer.fresh()
                relaxed = explorer.session(recorder, top, durable=False)
                explorer.run(relaxed, partial(history, contents=Contents(seed)), kill_at)
                self.flushLoggedErrors(Killed)
                session = explorer.session(recorder, top)
                session.start()
                explorer.verify_kill(session)
                first = len(recorder.events)
                session.put("ee01", Contents(seed + 1)(700))
                session.stop()
                explorer.cut_everywhere(recorder, 2, 0.1, step=apart(4), first=first)
                shutil.rmtree(top)

    @long_loop
    def test_failing_calls(self) -> None:
        """
        A call that fails, whichever it is, makes the operation fail and nothing else, whether the process goes on, ends
        or the power goes; or else the store says that it cannot go on.
        """
        for seed in rounds(1):
            explorer = self.explorer(seed)
            top, recorder = explorer.fresh()
            explorer.run(explorer.session(recorder, top), partial(history, contents=Contents(seed)))
            step = apart(6)
            for number, (text, _) in enumerate(recorder.events):
                error = (errno.EIO, errno.ENOSPC)[number // step % 2]
                if number % step == seed % step:
                    self.fail_once(explorer, number, error, 2)
                if text.startswith(("exchange ", "rename ")):
                    # The sync that is to make it good.
                    self.fail_once(explorer, number + 1, error, 16 if text.startswith("exchange") else 4)

    def fail_once(self, explorer: ObjectExplorer, fail_at: int, error: int, cuts: int) -> None:
        top, recorder = explorer.fresh()
        session = explorer.session(recorder, top)
        session.tolerated = (StorehouseError,)
        session.files.fail_at, session.files.fail_with = fail_at, error
        try:
            session.start()
            history(session, Contents(explorer.seed))
            session.stop()
        except StartFailed:
            pass
        except (KeyError, StorehouseError):
            # What failed is missed later on.
            self.assertTrue(session.failures)
        self.flushLoggedErrors(OSError)
        explorer.cut_at_random(recorder, cuts, 0.05, first=min(fail_at, len(recorder.events)))
        again = explorer.session(recorder, top)
        again.start()
        try:
            explorer.verify_kill(again)
        except Exception as failure:
            explorer.broken = True
            raise Broken(f"seed {explorer.seed}, failed at event {fail_at}: {failure!r}") from failure
        again.stop()
        shutil.rmtree(top)

    def test_a_disk_that_lies(self) -> None:
        """These tests see what they are there to see: on a disk that forgets syncs, promises are broken."""
        staged = r"objects/tmp/put\.\w+"
        for lie in (
            rf"{staged}/part\.\d+",
            rf"{staged}/part\.\d+\.checksum",
            rf"{staged}/data\.json",
            rf"{staged}/parts\.json",
            rf"{staged}/upload\.json",
            rf"directory {staged}",
            r"directory objects/data",
            r"directory objects/data/\w\w",
            r"directory objects/uploads",
            r"directory objects/uploads/\w\w",
            r"directory objects/uploads/\w\w/\w+",
        ):
            explorer = self.explorer(1)
            top, recorder = explorer.fresh()
            session = explorer.session(recorder, top)
            session.start()
            history(session, Contents(1))
            session.stop()
            recorder.events = [
                (text, None if re.fullmatch("  synced " + lie, text) else event) for text, event in recorder.events
            ]
            try:
                explorer.cut_everywhere(recorder, 2, 0)
            except Broken:
                explorer.broken = False
            else:
                self.fail(f"nothing was found amiss without syncs of {lie}")


def at_random(session: ObjectSession, contents: Contents, random: Random, steps: int) -> None:
    """So many operations, some of them refused."""
    session.tolerated = (AlreadyExists, NoSuchObject, NoSuchUpload, InvalidPart)
    ids = [f"aa0{number}" for number in range(4)] + ["bb01", "bb02"]
    upload_ids = ["aaf1", "aaf2"]
    for _ in range(steps):
        there = sorted(session.view.objects)
        open_uploads = sorted(session.view.uploads)
        kind = random.randrange(10)
        id, upload_id = random.choice(ids), random.choice(upload_ids)
        source = random.choice(there) if there else ""
        size = len(session.view.objects[source].data) if there else 0
        start = random.choice((0, random.randint(0, size), random.randint(0, size) // 512 * 512))
        length = random.choice((None, random.randint(0, size - start)))
        if kind <= 1:
            session.put(id, contents(), random.random() < 0.5, key=[str(random.random())])
        elif kind == 2:
            session.delete(id)
        elif kind == 3 and there:
            session.copy(id, source, start, length)
        elif kind == 4:
            session.init(upload_id, key=["u"])
        elif kind in (5, 6) and open_uploads:
            session.part(random.choice(open_uploads), random.randint(1, 3), contents())
        elif kind == 7 and open_uploads and there:
            session.part_copy(random.choice(open_uploads), random.randint(1, 3), source, start, length)
        elif kind == 8 and open_uploads:
            upload_id = random.choice(open_uploads)
            numbers = sorted(session.view.uploads[upload_id].parts)
            if numbers:
                session.complete(id, upload_id, *sorted(random.sample(numbers, random.randint(1, len(numbers)))))
        elif kind == 9 and open_uploads and random.random() < 0.3:
            session.abort(random.choice(open_uploads))
    verify(session, session.view.clone(), random)
