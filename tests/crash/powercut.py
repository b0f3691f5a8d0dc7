"""
What was promised of an append log, checked after every power cut there could have been, and after a kill.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from storehouse.errors import DamagedRecord, NoSuchPrefix, NoSuchRecord
from storehouse.storage.appendlog.interfaces import Durability
from tests.crash import explorer
from tests.crash.explorer import Broken
from tests.crash.recording import Recorder
from tests.crash.session import Deleted, DeleteUndone, Ledger, Session, identifier

__all__ = ["AppendLogExplorer", "Broken", "Explorer"]


class AppendLogExplorer(explorer.Explorer[Session, Ledger]):
    """Cuts histories of an append log."""

    def __init__(self, directory: str, seed: int, buckets: int = 2, wal_size: int = 256 << 10) -> None:
        super().__init__(directory, seed)
        self.buckets = buckets
        self.wal_size = wal_size

    def session(self, recorder: Recorder, top: str, **options: Any) -> Session:
        return Session(top, recorder, wal_size=self.wal_size, buckets=self.buckets, **options)

    def ledger(self) -> Ledger:
        return Ledger()

    def live_on(self, recorder: Recorder, top: str, ledger: Ledger) -> None:
        """Open what the cut left twice, check it, and append."""
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
        after = ledger.clone()
        self.follow(recorder, after)
        seen = self.verify(first, after)
        first.stop()
        again = self.session(recorder, top)
        again.start()
        if self.verify(again, after) != seen:
            raise AssertionError("opened a second time, it is not as it was")
        again.stop()

    def verify_kill(self, session: Session) -> None:
        """After a kill without a power cut, everything acknowledged is there, C{os} or C{disk}."""
        ledger = self.ledger()
        self.follow(session.recorder, ledger)
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


#: The name that L{tests.crash.test_failpoints} knows.
Explorer = AppendLogExplorer
