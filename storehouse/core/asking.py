"""The request that the current work is done for: set by doors, read by what reports events."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

__all__ = ["Asker", "asker", "by_form"]


class Asker(Protocol):
    """A request. Its user may be found out after it was set."""

    @property
    def visitor(self) -> str:
        """The user; empty for nobody, or while not known."""

    @property
    def address(self) -> str:
        """Of the client; empty at a socket file."""

    @property
    def request_id(self) -> str:
        """Empty if the door gives none."""


#: The request; C{None} for work that no request caused, and at doors that do not speak HTTP.
asker: ContextVar[Asker | None] = ContextVar("asker", default=None)

#: Whether its body is a form.
by_form: ContextVar[bool] = ContextVar("by_form", default=False)
