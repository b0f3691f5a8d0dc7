"""
Every state that a power cut could leave of a recorded run: rebuilt, opened, and checked against what was promised.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from storehouse.errors import DamagedRecord, NoSuchPrefix, NoSuchRecord
from storehouse.storage.appendlog.interfaces import Durability
from tests.crash.disk import Tree, World, write_tree
from tests.crash.recording import Killed, Recorder
from tests.crash.session import Deleted, DeleteUndone, Ledger, Session, identifier

__all__ = ["POLICIES", "Broken", "Explorer"]

POLICIES = ("lost", "kept", "files", "writes", "blocks", "last", "names")


class Broken(AssertionError):
    """A promise was not kept."""


class Explorer:
    """
    Cuts histories.

    @ivar states: how many states were checked, by how deep they are: 0, a cut of the run; 1, of its recovery; and so
        on.
    @ivar broken: whether a promise was broken.
    """

    def __init__(self, directory: str, seed: int, buckets: int = 2, wal_size: int = 256 << 10) -> None:
        self.directory = os.path.abspath(directory)
        os.makedirs(self.directory)
        self.seed = seed
        self.random = Random(seed)
        self.buckets = buckets
        self.wal_size = wal_size
        self.states: Counter[int] = Counter()
        self.broken = False
        self._number = 0

    def session(self, recorder: Recorder, top: str, **options: Any) -> Session:
        return Session(top, recorder, wal_size=self.wal_size, buckets=self.buckets, **options)

    def fresh(self, tree: Tree | None = None) -> tuple[str, Recorder]:
        """A machine with nothing but what C{tree} has, all of it on disk."""
        self._number += 1
        top = os.path.join(self.directory, str(self._number))
        write_tree(tree or {}, top)
        return top, Recorder(World(tree or {}))

    # -- cutting -------------------------------------------------------------------------------

    def cut_everywhere(
        self,
        recorder: Recorder,
        samples: int,
        nested: float = 0.0,
        ledger: Ledger | None = None,
        step: int = 1,
        first: int = 0,
    ) -> None:
        """
        Cut a history before each event.

        @param samples: states a cut point, of those that can be had.
        @param nested: the share of states whose recovery is cut again.
        @param ledger: what was promised before it began.
        @param first: the event at which to begin.
        """
        world = recorder.start.clone()
        ledger = ledger.clone() if ledger else Ledger()
        offset = self.random.randrange(step)
        for number, (_, event) in enumerate([*recorder.events, ("end", None)]):
            if number >= first and (number + offset) % step == 0:
                policies = self.random.sample(POLICIES, samples) if world.pending() else ["kept"]
                for policy in policies:
                    self._check(recorder, number, world.after_cut(self.random, policy), ledger, policy, nested)
            _happen(event, world, ledger)

    def cut_at_random(
        self, recorder: Recorder, times: int, nested: float = 0.0, ledger: Ledger | None = None, first: int = 0
    ) -> None:
        """Cut a history before some of its events."""
        chosen = Counter(self.random.randrange(first, len(recorder.events) + 1) for _ in range(times))
        world = recorder.start.clone()
        ledger = ledger.clone() if ledger else Ledger()
        for number, (_, event) in enumerate([*recorder.events, ("end", None)]):
            for _ in range(chosen[number]):
                policy = self.random.choice(POLICIES)
                self._check(recorder, number, world.after_cut(self.random, policy), ledger, policy, nested)
            _happen(event, world, ledger)

    def _check(
        self, recorder: Recorder, number: int, tree: Tree, ledger: Ledger, policy: str, nested: float, depth: int = 0
    ) -> None:
        self.states[depth] += 1
        top, second = self.fresh(tree)
        try:
            ledger = ledger.clone()
            self._live_on(second, top, ledger)
            if self.random.random() < nested:
                self._cut_recovery(second, ledger, nested, depth)
        except Exception as error:
            self.broken = True
            raise Broken(self._story(recorder, number, policy, top, error)) from error
        shutil.rmtree(top)

    def _live_on(self, recorder: Recorder, top: str, ledger: Ledger) -> None:
        """Open what the cut left twice, check it, and append. C{ledger} follows."""
        first = self.session(recorder, top)
        first.start()
        found = self.verify(first, ledger)
        for prefix in sorted(found):
            for bucket in range(self.buckets):
                for level in (Durability.DISK, Durability.OS) if self.random.random() < 0.3 else (Durability.DISK,):
                    first.append(
                        prefix, bucket, [b"after %d %s" % (self.random.getrandbits(64), level.value.encode())], level
                    )
        first.settle()
        if first.failures:
            raise first.failures[0]
        self._follow(recorder, ledger, 0)
        seen = self.verify(first, ledger)
        first.stop()
        again = self.session(recorder, top)
        again.start()
        if self.verify(again, ledger) != seen:
            raise AssertionError("opened a second time, it is not as it was")
        again.stop()

    def _cut_recovery(self, recorder: Recorder, ledger: Ledger, nested: float, depth: int) -> None:
        """Cut the recovery that L{_live_on} recorded."""
        length = len(recorder.events)
        # Most of it happens at the beginning.
        for number in {self.random.randrange(length), self.random.randrange(min(length, 40))}:
            world = recorder.start.clone()
            promised = self._promised_before(recorder, ledger)
            for _, event in recorder.events[:number]:
                if callable(event):
                    event(world)
                elif event is not None:
                    promised.take(event)
                world.index += 1
            policy = self.random.choice(POLICIES)
            self._check(recorder, number, world.after_cut(self.random, policy), promised, policy, nested / 2, depth + 1)

    def _promised_before(self, recorder: Recorder, ledger: Ledger) -> Ledger:
        """C{ledger} without what the history itself added."""
        mine = {payload for _, note in recorder.events for payload in getattr(note, "payloads", ())}
        promised = ledger.clone()
        promised.submitted = {payload: place for payload, place in promised.submitted.items() if payload not in mine}
        promised.acked = {
            place: {offset: record for offset, record in records.items() if record[0] not in mine}
            for place, records in promised.acked.items()
        }
        return promised

    def _follow(self, recorder: Recorder, ledger: Ledger, first: int) -> None:
        for _, event in recorder.events[first:]:
            if event is not None and not callable(event):
                ledger.take(event)

    def _story(self, recorder: Recorder, number: int, policy: str, top: str, error: Exception) -> str:
        lines = [
            f"{error!r}",
            f"seed {self.seed}, cut before event {number} of {len(recorder.events)} ({policy}), state in {top}",
        ]
        lines += [f"  {index}: {recorder.events[index][0]}" for index in range(max(0, number - 60), number)]
        return "\n".join(lines)

    # -- dying ---------------------------------------------------------------------------------

    def run(self, session: Session, work: Any, kill_at: int | None = None) -> None:
        """Start a process and let it work; at C{kill_at} it is killed."""
        session.files.kill_at = kill_at
        try:
            session.start()
            work(session)
        except (Exception, Killed):
            # Calls that are made after the end fail in all sorts of ways.
            if not session.files.killed:
                raise
        if session.files.killed:
            session.abandon()

    def verify_kill(self, session: Session) -> None:
        """After a kill without a power cut, everything acknowledged is there, C{os} or C{disk}."""
        ledger = Ledger()
        self._follow(session.recorder, ledger, 0)
        everything = {
            (place, offset): payload
            for place, records in ledger.acked.items()
            for offset, (payload, _) in records.items()
        }
        deleting = set(ledger.deleting)
        found = self.verify(session, ledger)
        for ((prefix, bucket), offset), payload in everything.items():
            if found.get(prefix, {}).get(bucket, {}).get(offset) != payload and not (
                prefix in deleting and prefix not in found
            ):
                raise Broken(f"{payload[:40]!r} at {offset} of {prefix}/{bucket} did not survive a kill")
        for prefix in deleting:
            # From now on it is decided.
            session.recorder.note(f"decided {prefix}", DeleteUndone(prefix) if prefix in found else Deleted(prefix))

    # -- checking ------------------------------------------------------------------------------

    def verify(self, session: Session, ledger: Ledger) -> dict[str, dict[int, dict[int, bytes]]]:
        """
        Read everything back and compare.  What the cut decided (records that were not promised, deletions under way)
        goes into the ledger.

        @return: payloads by prefix, bucket and offset.
        """
        log = session.log
        there = set(session.wait(log.stat()))
        promised = {
            prefix
            for (prefix, _), records in ledger.acked.items()
            if any(level is Durability.DISK for _, level in records.values())
        }
        for prefix in list(ledger.deleting):
            ledger.deleting.discard(prefix)
            if prefix not in there:
                ledger.delete(prefix)
        for prefix in promised - there - ledger.gone:
            raise AssertionError(f"the prefix {prefix} is lost")
        for prefix in ledger.gone & there - {"default"}:
            raise AssertionError(f"the deleted prefix {prefix} is back")
        found: dict[str, dict[int, dict[int, bytes]]] = {}
        for prefix in sorted(there):
            try:
                found[prefix] = {
                    bucket: self._verify_bucket(session, ledger, prefix, bucket) for bucket in range(self.buckets)
                }
            except NoSuchPrefix:
                if prefix in promised:
                    raise
        return found

    def _verify_bucket(self, session: Session, ledger: Ledger, prefix: str, bucket: int) -> dict[int, bytes]:
        acked = ledger.acked.get((prefix, bucket), {})
        records: dict[int, bytes] = {}
        floor = ledger.last_synced_end(prefix, bucket)
        scan = session.wait(session.log.scan(prefix, bucket))
        try:
            while batch := session.wait(scan.next_batch()):
                for record in batch:
                    records[record.offset] = self._whole(session, record)
        except DamagedRecord as damage:
            if damage.offset < floor and (prefix, bucket, damage.offset) not in ledger.holes:
                raise AssertionError(
                    f"damage before a record that is promised to be on disk, at {floor} of {prefix}/{bucket}"
                ) from damage
            ledger.holes.add((prefix, bucket, damage.offset))
            for offset in acked:
                payload = self._get(session, ledger, prefix, bucket, offset)
                if payload is not None:
                    records[offset] = payload
        finally:
            scan.close()
        for offset, payload in records.items():
            if payload in ledger.dead:
                raise AssertionError(f"{payload[:40]!r} of a deleted prefix is back at {offset} of {prefix}/{bucket}")
            if ledger.submitted.get(payload) != (prefix, bucket):
                raise AssertionError(f"{payload[:40]!r} at {offset} was never appended to {prefix}/{bucket}")
        if len(set(records.values())) != len(records):
            raise AssertionError(f"a record is twice in {prefix}/{bucket}")
        places = {payload: offset for offset, payload in records.items()}
        for offset, (payload, level) in list(acked.items()):
            if offset in records and records[offset] != payload:
                raise AssertionError(
                    f"{records[offset][:40]!r} instead of {payload[:40]!r} at {offset} of {prefix}/{bucket}"
                )
            if places.get(payload, offset) != offset:
                raise AssertionError(f"{payload[:40]!r} of {offset} is at {places[payload]} of {prefix}/{bucket}")
            if offset not in records:
                if level is Durability.DISK:
                    raise AssertionError(
                        f"{payload[:40]!r} at {offset} of {prefix}/{bucket} was promised to be on disk and is not there"
                    )
                # Its place may be another record's from now on.
                del acked[offset]
        for offset in self.random.sample(sorted(acked), min(3, len(acked))):
            if self._get(session, ledger, prefix, bucket, offset) != acked[offset][0]:
                raise AssertionError(f"get does not give what scan gave at {offset} of {prefix}/{bucket}")
        return records

    def _get(self, session: Session, ledger: Ledger, prefix: str, bucket: int, offset: int) -> bytes | None:
        try:
            record = session.wait(session.log.get(prefix, identifier(bucket, self.buckets), offset))
        except NoSuchRecord:
            return None
        except DamagedRecord as damage:
            # Other records are then damaged as well: all that are not promised may be.
            ledger.holes.add((prefix, bucket, damage.offset))
            return None
        return self._whole(session, record) if record.offset == offset else None

    def _whole(self, session: Session, record: Any) -> bytes:
        pieces: list[bytes] = []
        position = 0
        while position < record.length:
            piece: bytes = session.wait(Deferred.fromCoroutine(record.read_piece(position)))
            pieces.append(piece)
            position += len(piece)
        return b"".join(pieces)


def _happen(event: Any, world: Any, ledger: Ledger) -> None:
    """An event that was not cut off: a change of the disk, or a promise."""
    if callable(event):
        event(world)
    elif event is not None:
        ledger.take(event)
    world.index += 1
