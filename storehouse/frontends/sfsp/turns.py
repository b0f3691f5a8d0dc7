"""Which requests of one connection may be worked on at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from storehouse.core.sfsp import List, Receive, Request, Send

__all__ = ["Turns"]


class Turns:
    """
    The requests in work. One that could see or undo what another one does must wait: each is to find what those before
    it left, as if they were done one after the other. Of lists, one at a time is made and kept until it is out.
    """

    def __init__(self) -> None:
        self._sent: set[tuple[bytes, int]] = set()
        self._received: Counter[tuple[bytes, int]] = Counter()
        self._listed = 0
        self._lists = 0

    def must_wait(self, request: Request) -> bool:
        """Whether it cannot be begun while those in work are not done."""
        if isinstance(request, List):
            return bool(self._sent or self._lists)
        touched = (request.name, request.id)
        if isinstance(request, Receive):
            return touched in self._sent
        return touched in self._sent or touched in self._received or bool(self._listed)

    @contextmanager
    def held(self, request: Request) -> Iterator[None]:
        """It is in work for as long as the block lasts."""
        if isinstance(request, List):
            self._listed += 1
            self._lists += 1
        elif isinstance(request, Send):
            self._sent.add((request.name, request.id))
        else:
            self._received[request.name, request.id] += 1
        try:
            yield
        finally:
            if isinstance(request, List):
                self._listed -= 1
            elif isinstance(request, Send):
                self._sent.discard((request.name, request.id))
            else:
                self._received[request.name, request.id] -= 1
                if not self._received[request.name, request.id]:
                    del self._received[request.name, request.id]

    def list_is_out(self) -> None:
        """A list was written to its end, or was answered otherwise."""
        self._lists -= 1
