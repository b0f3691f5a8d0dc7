"""What is known, while it is needed, of an upload; and who may change it now."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.resumable.cutting import Cutter
from storehouse.storage.resumable.formats import State

__all__ = ["Known", "Memory"]


class Known:
    """
    An upload.

    @ivar state: what its file says.
    @ivar parts: those of the object store's upload, in order; none once its object is stored.
    @ivar touched: when something was last done with it.
    @ivar running: what is being added to it now.
    @ivar newest: when the last one came to change it: those before are stale.
    """

    def __init__(self, state: State, parts: list[Part], touched: float) -> None:
        self.state = state
        self.parts = parts
        self.touched = touched
        self.running: Cutter | None = None
        self.newest = 0
        self.users = 0

    @property
    def offset(self) -> int:
        """Bytes that are stored for good."""
        if self.state.stage == "complete":
            return self.state.size
        return sum(part.size for part in self.parts)

    @property
    def has_all(self) -> bool:
        """Whether it has as many bytes as it is to have. One that is made of others tells otherwise."""
        state = self.state
        return not (state.pieces or state.awaits_end) and state.length is not None and self.offset == state.length


class Memory:
    """
    Those that were needed last.

    @param most: how many are remembered while nobody uses them.
    """

    def __init__(self, most: int = 1024) -> None:
        self._most = most
        self._known: OrderedDict[str, Known] = OrderedDict()

    def get(self, id: str) -> Known | None:
        """One, if it is remembered."""
        known = self._known.get(id)
        if known is not None:
            self._known.move_to_end(id)
        return known

    def add(self, known: Known) -> Known:
        """Remember one; others are forgotten."""
        self._known[known.state.id] = known
        if len(self._known) > self._most:
            idle = [id for id, each in self._known.items() if not each.users and each is not known]
            for id in idle[: len(self._known) - self._most]:
                del self._known[id]
        return known

    def forget(self, id: str) -> None:
        """It is looked up anew if somebody asks."""
        self._known.pop(id, None)

    def all(self) -> list[Known]:
        """Those that are remembered."""
        return list(self._known.values())

    @contextmanager
    def used(self, known: Known) -> Iterator[None]:
        """It is not forgotten meanwhile."""
        known.users += 1
        try:
            yield
        finally:
            known.users -= 1
