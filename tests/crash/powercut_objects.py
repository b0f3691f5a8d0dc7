"""What was promised of a store of objects, checked after every power cut there could have been, and after a kill."""

from __future__ import annotations

import os
from typing import Any

from storehouse.errors import DamagedObject, NoSuchObject, NoSuchUpload
from tests.crash.explorer import Broken, Explorer
from tests.crash.objects import Contents, ObjectLedger, ObjectSession, Stored, use, verify
from tests.crash.recording import Recorder

__all__ = ["ObjectExplorer", "RelaxedExplorer"]


class ObjectExplorer(Explorer[ObjectSession, ObjectLedger]):
    """Cuts histories of a store of objects."""

    def __init__(self, directory: str, seed: int, hash: str = "CRC32C", block_size: int = 512) -> None:
        super().__init__(directory, seed)
        self.hash = hash
        self.block_size = block_size

    def session(self, recorder: Recorder, top: str, **options: Any) -> ObjectSession:
        return ObjectSession(top, recorder, self.block_size, self.hash, **options)

    def ledger(self) -> ObjectLedger:
        return ObjectLedger()

    def live_on(self, recorder: Recorder, top: str, ledger: ObjectLedger) -> None:
        """Open what the cut left, check it, use it, and now and then open it once more."""
        first = self.session(recorder, top)
        first.start()
        verify(first, ledger, self.random)
        use(first, Contents(self.random.getrandbits(32)), self.random)
        first.stop()
        if self.random.random() < 0.3:
            after = ledger.clone()
            self.follow(recorder, after)
            again = self.session(recorder, top)
            again.start()
            verify(again, after, self.random)
            again.stop()

    def verify_kill(self, session: ObjectSession) -> None:
        """After a kill without a power cut, everything acknowledged is there. What else is there is so for good."""
        ledger = self.ledger()
        self.follow(session.recorder, ledger)
        session.recorder.note("decided", verify(session, ledger, self.random))


class RelaxedExplorer(ObjectExplorer):
    """
    Cuts histories of a store that is not brought to disk: what comes back is what was once stored, or is reported as
    damaged, or is not there, and the store can be used.
    """

    def session(self, recorder: Recorder, top: str, **options: Any) -> ObjectSession:
        return super().session(recorder, top, **{"durable": False, **options})

    def live_on(self, recorder: Recorder, top: str, ledger: ObjectLedger) -> None:
        durable = self.random.random() < 0.5
        session = self.session(recorder, top, durable=durable)
        session.start()
        if os.listdir(session.root + "/tmp"):
            raise Broken("tmp was not emptied")
        contents = Contents(self.random.getrandbits(32))
        there = session.ids()
        for id in there:
            try:
                found = session.fetch(id)
            except DamagedObject as error:
                if error.id != id:
                    raise Broken(f"{id} is damaged, and {error.id} is said to be") from error
            else:
                # What was completed of what a cut had left could be anything that hangs together.
                if not id.startswith("ee") and not any(value.allows(found) for value in ledger.ever.get(id, ())):
                    raise Broken(f"{id} is {found}, which was never stored")
            if self.random.random() < 0.3:
                session.delete(id)
                session.put(id, contents())
                session.fetch(id)
        for id in ledger.ever.keys() - set(there):
            try:
                session.fetch(id)
            except NoSuchObject:
                session.put(id, contents())
            else:
                raise Broken(f"{id} is found and not listed")
        uploads = {upload.id for upload in session.wait(session.space.list_uploads())}
        for upload_id in sorted(ledger.seen | uploads):
            self._use_upload(session, upload_id, upload_id in uploads, ledger, contents)
        session.stop()
        if durable:
            # What was there when it was opened, and what was stored since, is on disk.
            self.durable_from_now(recorder, top)

    def _use_upload(
        self, session: ObjectSession, upload_id: str, listed: bool, ledger: ObjectLedger, contents: Contents
    ) -> None:
        try:
            parts = session.wait(session.space.list_parts(upload_id))
        except NoSuchUpload:
            if listed:
                raise
            session.init(upload_id)
            session.part(upload_id, 1, contents())
            return
        except DamagedObject as error:
            if error.id != upload_id:
                raise Broken(f"{upload_id} is damaged, and {error.id} is said to be") from error
            session.abort(upload_id)
            return
        if not parts:
            return
        id = f"ee{self.random.getrandbits(64):016x}"
        try:
            session.wait(session.space.complete_upload(id, upload_id, parts))
            found = session.fetch(id)
        except DamagedObject as error:
            if error.id not in (id, upload_id):
                raise Broken(f"{id} of {upload_id} is damaged, and {error.id} is said to be") from error
        else:
            # Which of the contents that a number had is any; none of them twice, and no other bytes.
            if len(found.data) != sum(part.size for part in parts):
                raise Broken(f"{upload_id} has become {found}")

    def durable_from_now(self, recorder: Recorder, top: str) -> None:
        """A second life of a store that was opened as durable: nothing of it may be lost."""
        world = recorder.world
        tree = world.after_cut(self.random, "lost")
        copy, second = self.fresh(tree)
        kept = self.session(second, copy, durable=True)
        kept.start()
        was = self.session(recorder, top, durable=True)
        was.start()
        if was.ids() != kept.ids():
            raise Broken(f"of {was.ids()} a cut has left {kept.ids()}")
        for id in was.ids():
            if self._look(was, id) != self._look(kept, id):
                raise Broken(f"{id} is not what it was before the cut")
        kept.stop()
        was.stop()

    def _look(self, session: ObjectSession, id: str) -> Stored | None:
        try:
            return session.fetch(id)
        except DamagedObject:
            return None
