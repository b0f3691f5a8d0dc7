"""An append log driven step by step on recorded files, without a real reactor, and the ledger of what it promised."""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from storehouse.config.settings import AppendSettings
from storehouse.core.digests import fnv1a32
from storehouse.core.jobs import InlineDisk
from storehouse.storage.appendlog.interfaces import Durability
from storehouse.storage.appendlog.log import LocalAppendLog
from tests.crash.recording import Killed, Recorder, RecordingFiles

__all__ = [
    "Acked",
    "DeleteBegun",
    "DeleteUndone",
    "Deleted",
    "HandReactor",
    "Ledger",
    "Session",
    "Submitted",
    "identifier",
]

_PATIENCE = 300.0


class HandReactor(Clock):
    """Runs what is due when told to; time does not pass by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: queue.SimpleQueue[tuple[Any, tuple[Any, ...]]] = queue.SimpleQueue()

    def callFromThread(self, f: Any, *args: Any) -> None:
        self._calls.put((f, args))

    def turn(self, wait: float = 0.0) -> bool:
        """
        Run what is due, or the first thing that a thread hands over within C{wait} seconds.

        @return: whether there was anything.
        """
        due = [call for call in self.getDelayedCalls() if call.getTime() <= self.seconds()]
        if due:
            self.advance(0)
            return True
        try:
            f, args = self._calls.get(timeout=wait) if wait else self._calls.get_nowait()
        except queue.Empty:
            return False
        f(*args)
        return True


@attrs.frozen
class Submitted:
    prefix: str
    bucket: int
    payloads: tuple[bytes, ...]


@attrs.frozen
class Acked:
    prefix: str
    bucket: int
    offsets: tuple[int, ...]
    payloads: tuple[bytes, ...]
    durability: Durability


@attrs.frozen
class DeleteBegun:
    prefix: str


@attrs.frozen
class Deleted:
    prefix: str


@attrs.frozen
class DeleteUndone:
    prefix: str


class Ledger:
    """
    What was promised up to some moment, told by the notes of a history.

    @ivar acked: C{{(prefix, bucket): {offset: (payload, durability)}}}.
    @ivar submitted: where each payload, all of which are different, was to go.
    @ivar dead: payloads of deleted prefixes.
    @ivar deleting: prefixes whose deletion is under way: there as a whole or not at all.
    @ivar gone: prefixes that are deleted and for which nothing was submitted since.
    @ivar holes: offsets of C{os} records that an earlier cut left damaged.
    """

    def __init__(self) -> None:
        self.acked: dict[tuple[str, int], dict[int, tuple[bytes, Durability]]] = {}
        self.submitted: dict[bytes, tuple[str, int]] = {}
        self.dead: set[bytes] = set()
        self.deleting: set[str] = set()
        self.gone: set[str] = set()
        self.holes: set[tuple[str, int, int]] = set()

    def clone(self) -> Ledger:
        other = Ledger()
        other.acked = {place: dict(records) for place, records in self.acked.items()}
        other.submitted = dict(self.submitted)
        other.dead, other.deleting, other.gone, other.holes = (
            set(self.dead),
            set(self.deleting),
            set(self.gone),
            set(self.holes),
        )
        return other

    def take(self, note: Any) -> None:
        if isinstance(note, Submitted):
            self.gone.discard(note.prefix)
            for payload in note.payloads:
                self.submitted[payload] = (note.prefix, note.bucket)
        elif isinstance(note, Acked):
            records = self.acked.setdefault((note.prefix, note.bucket), {})
            for offset, payload in zip(note.offsets, note.payloads, strict=True):
                records[offset] = payload, note.durability
        elif isinstance(note, DeleteBegun):
            self.deleting.add(note.prefix)
        elif isinstance(note, DeleteUndone):
            self.deleting.discard(note.prefix)
        elif isinstance(note, Deleted):
            self.delete(note.prefix)

    def delete(self, prefix: str) -> None:
        """Nothing of it may come back."""
        self.deleting.discard(prefix)
        self.gone.add(prefix)
        self.dead |= {payload for payload, (name, _) in self.submitted.items() if name == prefix}
        self.acked = {place: records for place, records in self.acked.items() if place[0] != prefix}
        self.holes = {hole for hole in self.holes if hole[0] != prefix}

    def last_synced_end(self, prefix: str, bucket: int) -> int:
        """The offset behind the last record that is promised to be on disk."""
        records = self.acked.get((prefix, bucket), {})
        return max(
            (offset + 4 + len(payload) for offset, (payload, level) in records.items() if level is Durability.DISK),
            default=0,
        )


_identifiers: dict[tuple[int, int], bytes] = {}


def identifier(bucket: int, buckets: int) -> bytes:
    """An identifier of a bucket."""
    found = _identifiers.get((bucket, buckets))
    if found is None:
        found = next(
            name for name in (b"id%d" % number for number in range(100000)) if fnv1a32(name) % buckets == bucket
        )
        _identifiers[bucket, buckets] = found
    return found


class Session:
    """
    One life of a process.

    @param top: the log is in C{data/log} below it.
    @param files: what to use in place of L{RecordingFiles}.
    @ivar failures: what appends and other calls failed with, in order.
    """

    def __init__(
        self,
        top: str,
        recorder: Recorder | Any,
        wal_size: int = 256 << 10,
        buckets: int = 2,
        pause: float = 0.0,
        files: Any = None,
    ) -> None:
        self.recorder = recorder
        self.files = RecordingFiles(top, recorder, pause) if files is None else files
        self.reactor = HandReactor()
        self.buckets = buckets
        settings = AppendSettings(directory=f"{top}/data/log", buckets=buckets, wal_size=wal_size)
        self.log = LocalAppendLog(settings, self.reactor, InlineDisk(), files=self.files, max_open=4)
        self.failures: list[Exception] = []
        self._waiting = 0

    def start(self) -> None:
        self.log.start()

    def append(self, prefix: str, bucket: int, payloads: Sequence[bytes], durability: Durability) -> None:
        """Submit; L{settle} waits for the answers."""
        payloads = tuple(payloads)
        self.recorder.note(
            f"submit {prefix}/{bucket} {[len(payload) for payload in payloads]} {durability.value}",
            Submitted(prefix, bucket, payloads),
        )
        self._waiting += 1

        def done(appended: Any) -> None:
            self._waiting -= 1
            if self.files.killed:
                return
            self.recorder.note(
                f"acknowledged {prefix}/{bucket} at {appended.offsets} {durability.value}",
                Acked(prefix, bucket, appended.offsets, payloads, durability),
            )

        self.log.append(prefix, identifier(bucket, self.buckets), payloads, durability).addCallbacks(done, self._failed)

    def _failed(self, failure: Failure) -> None:
        self._waiting -= 1
        if not self.files.killed:
            failure.trap(Exception)
            self.failures.append(failure.value)

    def settle(self) -> None:
        """Until all appends are answered."""
        self._run(lambda: not self._waiting)

    def wait(self, deferred: Deferred[Any]) -> Any:
        """The result of a call."""
        outcome: list[Any] = []
        deferred.addBoth(outcome.append)
        self._run(lambda: bool(outcome))
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    def delete(self, prefix: str) -> None:
        self.recorder.note(f"delete {prefix}", DeleteBegun(prefix))
        self.wait(self.log.delete_prefix(prefix))
        self.recorder.note(f"deleted {prefix}", Deleted(prefix))

    def _run(self, happened: Any) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not happened():
            self.reactor.turn(0.05)
            if self.files.killed:
                raise Killed
            if time.monotonic() > deadline:
                raise AssertionError("waited in vain")

    def turns(self, number: int = 3) -> None:
        """Let some time pass, in turns of the reactor, without waiting for answers."""
        for _ in range(number):
            self.reactor.turn()

    def later(self, seconds: float) -> None:
        """Let time pass on the clock, and finish what that starts."""
        self.reactor.advance(seconds)
        for _ in range(20):
            self.reactor.turn(0.002)

    def stop(self) -> None:
        self.wait(self.log.stop())

    def abandon(self) -> None:
        """After a kill: end the threads and close the files, without a trace."""
        self.log._commit.stop()
        self.log.checkpointer.stop()
        self.files.abandon()
