"""A whole object store, killed at each of its calls, or cut from the power, or met by failing calls."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import NoSpace, NoSuchKey, StartFailed, StorehouseError
from tests.crash import apart, rounds
from tests.crash.explorer import Broken
from tests.crash.objects import Contents
from tests.crash.recording import Killed
from tests.crash.store import StoreExplorer, StoreSession, store_history, use_store, verify_store, version_history
from tests.soak import long_loop

Work = Callable[[StoreSession, Contents], None]


def objects(session: StoreSession, contents: Contents) -> None:
    """Put, replaced, copied, deleted, put again; short keys and long ones."""
    session.create()
    for key in ("a", "a/b", "x" * 450, ".."):
        session.put(key, contents(700))
    session.put("a", contents(1300), md5=False)
    session.copy("copy", "a")
    session.copy("x" * 450, "a")
    reader = session.wait(session.store.get("bucket", ".."))
    session.put("..", contents(20))
    session.delete("a/b")
    session.delete("x" * 450)
    session.put("a/b", contents(0))
    reader.close()
    session.delete("copy")


def uploads(session: StoreSession, contents: Contents) -> None:
    """Completed where nothing was, and over something; aborted; going on."""
    session.create()
    session.put("there", contents(30))
    for key in ("new", "there"):
        upload_id = session.begin(key)
        for number in (1, 3, 2, 3):
            session.part(upload_id, number, contents(300))
        session.complete(upload_id, 1, 3)
    session.begin("empty")
    upload_id = session.begin("going on")
    session.part(upload_id, 1, contents(30))
    upload_id = session.begin("aborted")
    session.part(upload_id, 1, contents(30))
    session.abort(upload_id)
    session.put("new", contents(10))


class StoreCrashTests(SynchronousTestCase):
    """See the module."""

    def explorer(self, seed: int) -> StoreExplorer:
        place = tempfile.mkdtemp("-store", "storehouse-", "/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        explorer = StoreExplorer(os.path.join(place, "states"), seed)

        def end() -> None:
            # What broke is kept, to be looked at.
            if not explorer.broken:
                shutil.rmtree(place)

        self.addCleanup(end)
        return explorer

    def explore(self, work: Work, step: int, nested: float = 0.1) -> None:
        """Cut a run of C{work} everywhere, more thoroughly if there is time."""
        for seed in rounds(1):
            explorer = self.explorer(seed)
            top, recorder = explorer.fresh()
            session = explorer.session(recorder, top)
            session.start()
            work(session, Contents(seed))
            session.stop()
            explorer.cut_everywhere(recorder, 1, nested, step=apart(step))

    @long_loop
    def test_objects(self) -> None:
        self.explore(objects, 11)

    @long_loop
    def test_uploads(self) -> None:
        self.explore(uploads, 11)

    @long_loop
    def test_everything(self) -> None:
        self.explore(store_history, 16)

    @long_loop
    def test_versions(self) -> None:
        self.explore(version_history, 11)

    @long_loop
    def test_full_disk(self) -> None:
        """What fails for want of room leaves no trace, with a cut behind it."""

        def work(session: StoreSession, contents: Contents) -> None:
            session.create()
            session.put("there", contents(900))
            session.tolerated = (NoSpace,)
            for number, room in enumerate((0, 60, 300, 900, 1400, 1800)):
                for method, *arguments in (
                    ("put", f"new{number}", contents(1200)),
                    ("put", "there", contents(1200)),
                    ("copy", f"copy{number}", "there"),
                    ("begin", "upload"),
                    ("delete", "there"),
                ):
                    session.files.room = room
                    getattr(session, method)(*arguments)
                    session.files.room = None
                    if "there" not in session.view.keys:
                        session.put("there", contents(900))
            self.assertGreater(len(session.failures), 10)
            verify_store(session, session.view.clone())

        self.explore(work, 48, 0.05)

    @long_loop
    def test_killed(self) -> None:
        """A kill loses nothing that was acknowledged; another start finds the same."""
        self.assertGreater(self.kill_everywhere(store_history), 0)

    @long_loop
    def test_versions_killed(self) -> None:
        self.kill_everywhere(version_history)

    def kill_everywhere(self, history: Work) -> int:
        """@return: how many uploads were completed by the starts that followed."""
        step = apart(13)
        completed = 0
        for seed in rounds(1):
            explorer = self.explorer(seed)
            work = partial(history, contents=Contents(seed))
            top, recorder = explorer.fresh()
            explorer.run(explorer.session(recorder, top), work)
            for kill_at in range(seed % step, len(recorder.events), step):
                top, recorder = explorer.fresh()
                explorer.run(explorer.session(recorder, top), partial(history, contents=Contents(seed)), kill_at)
                self.flushLoggedErrors(Killed)
                try:
                    session = explorer.session(recorder, top)
                    session.start()
                    explorer.verify_kill(session)
                    completed += session.store._pair.metrics.completed
                    use_store(session, Contents(seed + 1), explorer.random)
                    # And again, from where that was left.
                    session.abandon()
                    session = explorer.session(recorder, top)
                    session.start()
                    explorer.verify_kill(session)
                    session.stop()
                except Exception as error:
                    explorer.broken = True
                    raise Broken(f"seed {seed}, killed before event {kill_at}, {top}: {error!r}") from error
                shutil.rmtree(top)
        # What was killed in the middle of something else is reported when it is collected.
        gc.collect()
        self.flushLoggedErrors(Killed)
        return completed

    @long_loop
    def test_failing_calls(self) -> None:
        """A call that fails, whichever it is, makes no key lose its bytes, and nothing that was acknowledged go."""
        self.fail_everywhere(store_history)

    @long_loop
    def test_versions_with_failing_calls(self) -> None:
        self.fail_everywhere(version_history)

    def fail_everywhere(self, history: Work) -> None:
        step = apart(17)
        for seed in rounds(1):
            explorer = self.explorer(seed)
            top, recorder = explorer.fresh()
            explorer.run(explorer.session(recorder, top), partial(history, contents=Contents(seed)))
            for number, (text, _) in enumerate(recorder.events):
                # The sync behind a change of names is where it is not known what has happened; what follows it is where
                # the change has been made.
                if number % step == seed % step or text.startswith(
                    ("sync directory names", "unlink names", "rmdir names")
                ):
                    self.fail_once(explorer, number, (errno.EIO, errno.ENOSPC)[number // step % 2], history)

    def fail_once(self, explorer: StoreExplorer, fail_at: int, error: int, history: Work) -> None:
        top, recorder = explorer.fresh()
        session = explorer.session(recorder, top)
        session.tolerated = (StorehouseError,)
        session.files.fail_at, session.files.fail_with = fail_at, error
        try:
            session.start()
            history(session, Contents(explorer.seed))
            session.stop()
        except (StartFailed, OSError):
            session.abandon()
        except (KeyError, NoSuchKey, StorehouseError):
            # What failed is missed later on.
            self.assertTrue(session.failures)
            session.stop()
        self.flushLoggedErrors(OSError, StorehouseError)
        again = explorer.session(recorder, top)
        try:
            again.start()
            explorer.verify_kill(again)
        except Exception as failure:
            explorer.broken = True
            texts = [text for text, _ in recorder.events[max(0, fail_at - 10) : fail_at + 3]]
            raise Broken(f"seed {explorer.seed}, failed at event {fail_at}, {top}: {failure!r} {texts}") from failure
        again.stop()
        shutil.rmtree(top)


class InterruptedTests(SynchronousTestCase):
    """A completion that ends between its two steps."""

    def test_interrupted(self) -> None:
        """It is finished by the next start, also if that ends right there; and only once."""
        for over in (False, True):
            explorer = StoreExplorer(self.mktemp(), 0)
            top, recorder = explorer.fresh()
            session = explorer.session(recorder, top)
            session.start()
            session.create()
            if over:
                session.put("key", b"before")
            upload_id = session.begin("key")
            session.part(upload_id, 1, b"one")
            session.part(upload_id, 5, b"five")
            first = len(recorder.events)
            session.complete(upload_id)
            session.stop()
            # Between the two: after the last call of the data space, before the first rename of the namespace.
            texts = [text for text, _ in recorder.events]
            ends = [
                number
                for number in range(first, len(texts))
                if texts[number].startswith(("rename names/tmp", "create names/tmp", "mkdir names/tmp"))
            ]
            for kill_at in (ends[0], ends[0] + 1):
                top, second = explorer.fresh()
                session = explorer.session(second, top)

                def work(session: StoreSession, over: bool = over) -> None:
                    session.create()
                    if over:
                        session.put("key", b"before")
                    upload_id = session.begin("key")
                    session.part(upload_id, 1, b"one")
                    session.part(upload_id, 5, b"five")
                    session.complete(upload_id)

                explorer.run(session, work, kill_at)
                self.flushLoggedErrors(Killed)
                self.assertTrue(session.files.killed)
                # A start that ends before it is done leaves it to the next one.
                early = explorer.session(second, top)
                early.space.start()
                early.names.start()
                self.assertEqual(len(early.names.unpublished), 1)
                early.abandon()
                again = explorer.session(second, top)
                again.start()
                self.assertEqual(again.fetch("key")[0], b"onefive")
                self.assertEqual(again.store._pair.metrics.completed, 1)
                self.assertEqual(again.wait(again.store.list_uploads("bucket")), [])
                explorer.verify_kill(again)
                again.put("key", b"after")
                again.abandon()
                last = explorer.session(second, top)
                last.start()
                self.assertEqual(last.fetch("key")[0], b"after")
                self.assertEqual(last.store._pair.metrics.completed, 0)
                last.stop()
