"""
C{POST /check} and C{POST /reindex}.

Their answers are lines of JSON: C{{"progress": N}} now and then; C{{"problem": {...}}} for each that was found; at last
C{{"done": N}}, the number of problems or keys, or C{{"error": NAME, "detail": TEXT}}.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs

from storehouse.errors import StorehouseError
from storehouse.frontends.http.errors import ClientGone
from storehouse.frontends.http.fields import check_fields
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import Leaf
from storehouse.frontends.objects.params import flag_of
from storehouse.storage.objects.interfaces import IMaintained

__all__ = ["Check", "Reindex"]

_LINES = b"application/x-ndjson"


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


class _Long(Leaf):
    known: frozenset[bytes] = frozenset()

    def __init__(self, store: IMaintained) -> None:
        Leaf.__init__(self)
        self._store = store

    async def handle_POST(self, request: StreamingRequest) -> None:
        """Do it, and tell how far it is."""
        check_fields(request, self.known)
        work = self._work(request)

        def progress(count: int) -> None:
            # Who does not read it in time need not have it all.
            if request.drained is None and not request.gone:
                request.write(_line({"progress": count}))

        request.begin(200, _LINES)
        try:
            await work(request, progress)
        except ClientGone:
            raise
        except StorehouseError as error:
            await request.send(_line({"error": type(error).__name__, "detail": error.detail}))

    def _work(self, request: StreamingRequest) -> Callable[..., Any]:
        raise NotImplementedError


class Check(_Long):
    """Keys, index and bytes compared."""

    known = frozenset({b"repair"})

    def _work(self, request: StreamingRequest) -> Callable[..., Any]:
        repair = flag_of(request, b"repair")

        async def check(request: StreamingRequest, progress: Callable[[int], object]) -> None:
            problems = await self._store.check(progress, repair)
            for problem in problems:
                await request.send(_line({"problem": attrs.asdict(problem)}))
            await request.send(_line({"done": len(problems)}))

        return check


class Reindex(_Long):
    """The index of keys made anew."""

    def _work(self, request: StreamingRequest) -> Callable[..., Any]:
        return self._reindex

    async def _reindex(self, request: StreamingRequest, progress: Callable[[int], object]) -> None:
        made = await self._store.reindex(progress)
        await request.send(_line({"damaged": made.damaged, "unknown": made.unknown}))
        await request.send(_line({"done": made.keys}))
