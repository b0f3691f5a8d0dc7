"""Which uploads are not complete, and how many of them there may be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from storehouse.errors import Conflict, TooLarge
from storehouse.storage.resumable.formats import State

__all__ = ["MAX_OPEN", "OpenUploads"]

#: Uploads that are not complete, for each user, and for each link: with room for the partial ones of a final one.
MAX_OPEN = 2000


class _Open(NamedTuple):
    """
    @ivar created: seconds since 1970 UTC.
    @ivar claim: bytes of the bound of its link that it has for itself.
    """

    created: float
    claim: int


class OpenUploads:
    """
    Uploads that are not complete, by their owners and links.

    @param most: how many an owner, or a link, may have.
    """

    def __init__(self, most: int = MAX_OPEN) -> None:
        self._most = most
        self._groups: dict[tuple[str, str], dict[str, _Open]] = {}
        # Claims of those that are being begun, and have no ID yet.
        self._beginning: dict[tuple[str, str], list[int]] = {}

    def ids(self, owner: str | None = None) -> list[str]:
        """Those of one owner or all, oldest first."""
        found = [
            (upload.created, id)
            for (each_owner, _), group in self._groups.items()
            if owner in (None, each_owner)
            for id, upload in group.items()
        ]
        return [id for _, id in sorted(found)]

    @contextmanager
    def beginning(self, state: State) -> Iterator[None]:
        """
        One is being begun, and counts from now on.

        @raise Conflict: if there are as many as there may be.
        @raise TooLarge: if the partial ones of a link could have more bytes together than one upload by it.
        """
        group, claim = _group_of(state), _claim_of(state)
        claims = [upload.claim for upload in self._groups.get(group, {}).values()] + self._beginning.get(group, [])
        if len(claims) >= self._most:
            raise Conflict(f"{len(claims)} uploads are open, the limit: complete or remove some")
        together = sum(claims) + claim
        if claim and state.max_bytes is not None and together > state.max_bytes:
            raise TooLarge(
                f"the partial uploads by this link could have {together} bytes together; "
                f"at most {state.max_bytes} are allowed"
            )
        self._beginning.setdefault(group, []).append(claim)
        try:
            yield
        finally:
            self._beginning[group].remove(claim)
            if not self._beginning[group]:
                del self._beginning[group]

    def update(self, state: State) -> None:
        """Take the state of an upload, new or changed."""
        group = _group_of(state)
        if state.stage == "open":
            self._groups.setdefault(group, {})[state.id] = _Open(state.created, _claim_of(state))
        elif group in self._groups:
            self._groups[group].pop(state.id, None)
            if not self._groups[group]:
                del self._groups[group]


def _group_of(state: State) -> tuple[str, str]:
    return state.owner, state.grant


def _claim_of(state: State) -> int:
    """Partial uploads become one, so that together they may have as many bytes as one. Others are counted by themselves."""
    if not state.is_partial or not state.grant or state.max_bytes is None:
        return 0
    return state.max_bytes if state.length is None else state.length
