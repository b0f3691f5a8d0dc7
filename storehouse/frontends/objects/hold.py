"""C{/hold}: what is removed is kept for a while, for a backup that is being made."""

from __future__ import annotations

from typing import Protocol

from storehouse.frontends.http.reply import MethodNotAllowed, Reply, json_reply
from storehouse.frontends.http.request import Leaf, StreamingRequest, check_fields
from storehouse.frontends.objects.params import names_in_path

__all__ = ["Hold", "IHolds"]

_NO_FIELDS: frozenset[bytes] = frozenset()


class IHolds(Protocol):
    """See C{Holds} of the data space."""

    @property
    def lease(self) -> float: ...

    def begin(self) -> str: ...

    def renew(self, token: str) -> None: ...

    def end(self, token: str) -> None: ...


class Hold(Leaf):
    """Begin, renew or end keeping what is removed."""

    takes_rest = True

    def __init__(self, holds: IHolds) -> None:
        Leaf.__init__(self)
        self._holds = holds

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        """Begin, or renew what the path names. It ends by itself if it is not renewed in time."""
        check_fields(request, _NO_FIELDS)
        names = names_in_path(request)
        if not names:
            return json_reply({"hold": self._holds.begin(), "seconds": self._holds.lease})
        self._holds.renew(self._token(request, names))
        return json_reply({"hold": names[0], "seconds": self._holds.lease})

    async def handle_DELETE(self, request: StreamingRequest) -> Reply:
        """End a hold: what was kept for it is removed."""
        check_fields(request, _NO_FIELDS)
        names = names_in_path(request)
        if not names:
            raise MethodNotAllowed(request.method, (b"POST",))
        self._holds.end(self._token(request, names))
        return json_reply({"success": True})

    @staticmethod
    def _token(request: StreamingRequest, names: list[str]) -> str:
        if len(names) != 1:
            raise request.no_such_resource()
        return names[0]
