"""Which uploads are not complete, and how many of them there may be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from storehouse.errors import Conflict, TooLarge
from storehouse.storage.resumable.formats import State

__all__ = ["MAX_OPEN", "OpenUploads"]

#: Uploads that a user, or those who have a link, may have open: with room for the partial ones of a final one.
MAX_OPEN = 2000


@attrs.frozen
class _Opened:
    """
    @ivar created: seconds since 1970 UTC.
    @ivar claim: bytes of what its link allows that it takes from others.
    """

    created: float
    claim: int


class OpenUploads:
    """
    Uploads that are not complete, by their owners and links.

    @param most: how many an owner, or a link, may have; others are not held up by that.
    """

    def __init__(self, most: int = MAX_OPEN) -> None:
        self._most = most
        self._opened: dict[tuple[str, str], dict[str, _Opened]] = {}
        # Claims of those that are being begun, and have no ID yet.
        self._coming: dict[tuple[str, str], list[int]] = {}

    def ids(self, owner: str | None = None) -> list[str]:
        """Those of one owner or all, oldest first."""
        found = [
            (opened.created, id)
            for (whose, _), group in self._opened.items()
            if owner in (None, whose)
            for id, opened in group.items()
        ]
        return [id for _, id in sorted(found)]

    @contextmanager
    def coming(self, state: State) -> Iterator[None]:
        """
        One is being begun, and counts until it is, or is not.

        @raise Conflict: if there are as many as there may be.
        @raise TooLarge: if the partial ones of a link could have more bytes together than one upload by it.
        """
        group, claim = _group_of(state), _claim_of(state)
        claims = [opened.claim for opened in self._opened.get(group, {}).values()] + self._coming.get(group, [])
        if len(claims) >= self._most:
            raise Conflict(
                f"{len(claims)} uploads are not complete, which is as many as there may be: go on with them, "
                "or give them up"
            )
        together = sum(claims) + claim
        if claim and state.max_bytes is not None and together > state.max_bytes:
            raise TooLarge(
                f"the partial uploads by this link could have {together} bytes together; "
                f"at most {state.max_bytes} are allowed"
            )
        self._coming.setdefault(group, []).append(claim)
        try:
            yield
        finally:
            self._coming[group].remove(claim)
            if not self._coming[group]:
                del self._coming[group]

    def settle(self, state: State) -> None:
        """What is known of an upload is this."""
        group = _group_of(state)
        if state.stage == "open":
            self._opened.setdefault(group, {})[state.id] = _Opened(state.created, _claim_of(state))
        elif group in self._opened:
            self._opened[group].pop(state.id, None)
            if not self._opened[group]:
                del self._opened[group]


def _group_of(state: State) -> tuple[str, str]:
    return state.owner, state.grant


def _claim_of(state: State) -> int:
    """Partial uploads become one, so that they have together what one may have. What is none is a use of its own."""
    if not state.is_partial or not state.grant or state.max_bytes is None:
        return 0
    return state.max_bytes if state.length is None else state.length
