"""
C{POST /check}, C{POST /reindex} and C{POST /rekey}.

Their answers are lines of JSON: C{{"progress": N}} now and then; C{{"problem": {...}}} for each that was found; at last
C{{"done": N}}, the number of problems, keys or objects, or C{{"error": NAME, "detail": TEXT}}.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs

from storehouse.errors import BadRequest, Conflict, StorehouseError
from storehouse.frontends.http.reply import ClientGone
from storehouse.frontends.http.request import Leaf, StreamingRequest, check_fields
from storehouse.frontends.objects.params import flag_of, json_object

__all__ = ["Check", "IRekeying", "Reindex", "Rekey"]

_LINES = b"application/x-ndjson"


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


class _Long(Leaf):
    known: frozenset[bytes] = frozenset()

    def __init__(self, store: Any) -> None:
        Leaf.__init__(self)
        self._store = store

    async def handle_POST(self, request: StreamingRequest) -> None:
        """Do it, and tell how far it is."""
        check_fields(request, self.known)
        work = await self._work(request)

        def progress(count: int) -> None:
            # A client that does not read it in time does not get all of it.
            if request.drained is None and not request.gone:
                request.write(_line({"progress": count}))

        request.begin(200, _LINES)
        try:
            await work(request, progress)
        except ClientGone:
            raise
        except StorehouseError as error:
            await request.send(_line({"error": error.kind, "detail": error.detail}))

    async def _work(self, request: StreamingRequest) -> Callable[..., Any]:
        raise NotImplementedError


class Check(_Long):
    """Keys, index and bytes compared."""

    known = frozenset({b"repair"})

    async def _work(self, request: StreamingRequest) -> Callable[..., Any]:
        repair = flag_of(request, b"repair")

        async def check(request: StreamingRequest, progress: Callable[[int], object]) -> None:
            problems = await self._store.check(progress, repair)
            for problem in problems:
                await request.send(_line({"problem": attrs.asdict(problem)}))
            await request.send(_line({"done": len(problems)}))

        return check


class Reindex(_Long):
    """Rebuild the index of keys."""

    async def _work(self, request: StreamingRequest) -> Callable[..., Any]:
        return self._reindex

    async def _reindex(self, request: StreamingRequest, progress: Callable[[int], object]) -> None:
        made = await self._store.reindex(progress)
        await request.send(_line({"damaged": made.damaged, "unknown": made.unknown}))
        await request.send(_line({"done": made.keys}))


class _Rekeyed(Protocol):
    """What was rekeyed: how many, and what is damaged."""

    @property
    def objects(self) -> int: ...

    @property
    def uploads(self) -> int: ...

    @property
    def plain(self) -> int: ...

    @property
    def damaged(self) -> Sequence[object]: ...


class IRekeying(Protocol):
    """See C{Rekeying} of the data space."""

    async def rekey(
        self, new_master: bytes | None, on_total: Callable[[int], object], on_progress: Callable[[int], object]
    ) -> _Rekeyed: ...


class Rekey(_Long):
    """
    Another master key. The body may be C{{"new_master_key": BASE64}}; without one, a rekey that was begun continues. It tells
    C{{"total": N}} first, and C{{"damaged": [[ID, REASON], ...], "uploads": N, "plain": N}} before the last line.

    @param store: an L{IRekeying}; C{None} if nothing is encrypted.
    """

    async def _work(self, request: StreamingRequest) -> Callable[..., Any]:
        if self._store is None:
            raise Conflict("nothing is encrypted here")
        text = (await json_object(request, {"new_master_key": str})).get("new_master_key")
        try:
            new = None if text is None else base64.b64decode(str(text), validate=True)
        except ValueError:
            raise BadRequest("new_master_key is not base64") from None
        if new == b"":
            raise BadRequest("the new master key is empty")

        async def rekey(request: StreamingRequest, progress: Callable[[int], object]) -> None:
            count = 0

            def advance(more: int) -> None:
                nonlocal count
                count += more
                progress(count)

            done = await self._store.rekey(new, lambda total: request.write(_line({"total": total})), advance)
            await request.send(_line({"damaged": done.damaged, "uploads": done.uploads, "plain": done.plain}))
            await request.send(_line({"done": done.objects}))

        return rekey
