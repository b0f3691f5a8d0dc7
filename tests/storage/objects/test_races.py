"""Many at a time want one key: one of them wins, and the others fail."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import NoSuchKey, PreconditionFailed
from storehouse.events import ObjectDeleted, ObjectReplaced, ObjectStored
from storehouse.storage.objects.interfaces import Condition
from tests.conformance.objectstore import ABSENT, StoreTestsMixin
from tests.soak import long_loop, rounds
from tests.storage.objects.rig import LocalStoreTestCase, MemoryStoreTestCase

ROUNDS = 6
RIVALS = 64


async def outcomes(rivals: list[Deferred[Any]]) -> list[Any]:
    """What became of each: a result or an error."""
    found = await DeferredList(rivals, consumeErrors=True)
    return [result.value if isinstance(result, Failure) else result for _, result in found]


class RaceTestsMixin(StoreTestsMixin):
    """See the module."""

    def body(self, turn: int, rival: int) -> bytes:
        # Some are longer than a block, some are hashed in threads.
        return b"<%d %d>" % (turn, rival) * (1 + rival % 7 * 300)

    def put_it(self, key: str, data: bytes, condition: Condition) -> Deferred[Any]:
        put: Deferred[Any] = self.store.put("bucket", key, BytesStream(data), len(data), condition=condition, md5=True)
        return put

    async def check_winner(self, key: str, found: list[Any], bodies: list[bytes]) -> Any:
        """There is one; what is there is his; the others got their own error."""
        (winner,) = [number for number, result in enumerate(found) if not isinstance(result, Exception)]
        info = await self.store.head("bucket", key)
        self.assertEqual(info, found[winner])
        self.assertEqual(await self.get(key), bodies[winner])
        losers = [error for number, error in enumerate(found) if number != winner]
        self.assertEqual({type(error) for error in losers}, {PreconditionFailed})
        self.assertEqual(len({id(error) for error in losers}), len(losers))
        return info

    @long_loop
    async def test_put_if_absent(self) -> None:
        for turn, _ in enumerate(rounds(ROUNDS)):
            bodies = [self.body(turn, rival) for rival in range(RIVALS)]
            found = await outcomes([self.put_it(f"key{turn}", body, ABSENT) for body in bodies])
            await self.check_winner(f"key{turn}", found, bodies)

    @long_loop
    async def test_put_if_match(self) -> None:
        info = await self.put("key", b"first", md5=True)
        for turn, _ in enumerate(rounds(ROUNDS)):
            bodies = [self.body(turn, rival) for rival in range(RIVALS)]
            condition = Condition(etag=info.etag)
            found = await outcomes([self.put_it("key", body, condition) for body in bodies])
            info = await self.check_winner("key", found, bodies)
            self.assertIn(info.etag, {hashlib.md5(body).hexdigest() for body in bodies})

    @long_loop
    async def test_with_completes_and_copies(self) -> None:
        """There is one winner, whichever way each takes."""
        random = Random(1)
        for turn, _ in enumerate(rounds(ROUNDS)):
            key = f"key{turn % 2}"
            there = turn >= 2
            condition = ABSENT
            if there:
                condition = Condition(etag=(await self.store.head("bucket", key)).etag)
            bodies, ready = [], []
            for rival in range(RIVALS):
                body = self.body(turn, rival)
                bodies.append(body)
                if rival % 4 == 1:
                    upload_id, parts = await self.upload(body[: len(body) // 2], body[len(body) // 2 :], key=key)
                    ready.append(("complete_upload", ("bucket", key, upload_id, parts, condition)))
                elif rival % 16 == 2:
                    await self.put(f"from{rival}", body, md5=True)
                    ready.append(("copy", ("bucket", key, "bucket", f"from{rival}", None, None, condition)))
                else:
                    ready.append(("put", ("bucket", key, BytesStream(body), len(body), "", None, condition, True)))
            order = list(range(RIVALS))
            random.shuffle(order)
            going: dict[int, Deferred[Any]] = {n: getattr(self.store, ready[n][0])(*ready[n][1]) for n in order}
            found = await outcomes([going[number] for number in range(RIVALS)])
            await self.check_winner(key, found, bodies)
            # An upload that lost goes on.
            lost = [n for n in range(RIVALS) if ready[n][0] == "complete_upload" and isinstance(found[n], Exception)]
            self.assertEqual(len(await self.store.list_uploads("bucket")), len(lost))
            for number in lost:
                await self.store.abort_upload(*ready[number][1][:3])

    @long_loop
    async def test_delete_if_match(self) -> None:
        """One of those who delete, or of those who replace."""
        for turn, _ in enumerate(rounds(ROUNDS)):
            info = await self.put("key", b"%d" % turn, md5=True)
            condition = Condition(etag=info.etag)
            rivals: list[Deferred[Any]] = []
            for rival in range(RIVALS):
                if rival % 2 == turn % 2:
                    rivals.append(self.store.delete("bucket", "key", condition))
                else:
                    rivals.append(self.put_it("key", self.body(turn, rival), condition))
            found = await outcomes(rivals)
            (winner,) = [result for result in found if not isinstance(result, Exception)]
            for error in found:
                if error is not winner:
                    self.assertIsInstance(error, NoSuchKey | PreconditionFailed)
            if winner == info:
                await self.refused(NoSuchKey, self.store.head("bucket", "key"))
            else:
                self.assertEqual(await self.store.head("bucket", "key"), winner)

    async def test_counter(self) -> None:
        """Everybody adds one to what he read, until it was he who did: none is lost. Events tell it in order."""
        heard: list[Any] = []
        for kind in (ObjectStored, ObjectReplaced, ObjectDeleted):
            self.events.subscribe(kind, heard.append)
        await self.put("key", b"0", md5=True)

        async def add() -> None:
            while True:
                info = await self.store.head("bucket", "key")
                reader = await self.store.get("bucket", "key")
                number = int(await self.read(reader))
                if reader.info.etag != info.etag:
                    continue
                try:
                    await self.put_it("key", b"%d" % (number + 1), Condition(etag=info.etag))
                except PreconditionFailed:
                    continue
                return

        await DeferredList([Deferred.fromCoroutine(add()) for _ in range(16)], fireOnOneErrback=True)
        self.assertEqual(await self.get("key"), b"16")
        self.assertEqual([event.before.id for event in heard[1:]], [event.info.id for event in heard[:-1]])
        self.assertEqual(
            [event.info.etag for event in heard], [hashlib.md5(b"%d" % number).hexdigest() for number in range(17)]
        )

    async def read(self, reader: Any) -> bytes:
        return await read_all(reader)


class LocalRaceTests(RaceTestsMixin, LocalStoreTestCase):
    """On disk."""


class MemoryRaceTests(RaceTestsMixin, MemoryStoreTestCase):
    """In memory."""
