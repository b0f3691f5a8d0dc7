"""Reading a log directory without a server: by a log opened in this process."""

from __future__ import annotations

from collections.abc import Iterable

from storehouse.config.settings import AppendSettings
from storehouse.core.jobs import InlineDisk
from storehouse.storage.appendlog.log import LocalAppendLog
from tests.crash.clients import Answer, is_whole
from tests.crash.session import HandReactor

__all__ = ["check_answers", "read_log"]


def read_log(directory: str, buckets: int, wal_size: int = 1 << 20) -> dict[str, dict[int, bytes]]:
    """Open a log, recover it, give all payloads of the default prefix by file and offset, and stop it."""
    reactor = HandReactor()
    log = LocalAppendLog(AppendSettings(directory=directory, buckets=buckets, wal_size=wal_size), reactor, InlineDisk())
    log.start()
    found: dict[str, dict[int, bytes]] = {}

    def wait(deferred: object) -> object:
        outcome: list[object] = []
        deferred.addBoth(outcome.append)  # type: ignore[attr-defined]
        while not outcome:
            reactor.turn(0.05)
        if hasattr(outcome[0], "raiseException"):
            outcome[0].raiseException()
        return outcome[0]

    try:
        for bucket in range(buckets):
            scan = wait(log.scan("default", bucket))
            records = found[scan.bucket.path] = {}  # type: ignore[attr-defined]
            while batch := wait(scan.next_batch()):  # type: ignore[attr-defined]
                records.update({record.offset: record.payload for record in batch})  # type: ignore[attr-defined]
    finally:
        wait(log.stop())
    return found


def check_answers(found: dict[str, dict[int, bytes]], answers: Iterable[Answer], sent: set[bytes]) -> None:
    """
    Everything acknowledged is there; nothing is there that was not sent, or twice, or torn; no offset was given
    twice.

    @raise AssertionError: otherwise.
    """
    places: dict[tuple[str, int], bytes] = {}
    for answer in answers:
        place = answer.file, answer.offset
        if place in places:
            raise AssertionError(
                f"the offset {answer.offset} of {answer.file} was given to {places[place]!r} and to {answer.payload!r}"
            )
        places[place] = answer.payload
        there = found[answer.file].get(answer.offset)
        if there != answer.payload:
            raise AssertionError(f"{answer} was acknowledged, but its place holds {there!r}")
    stored = [payload for records in found.values() for payload in records.values()]
    for payload in stored:
        if payload not in sent or not is_whole(payload):
            raise AssertionError(f"{payload!r} was never sent")
    if len(set(stored)) != len(stored):
        raise AssertionError("a record is twice there")
