"""Which request the work that runs now is for: set by doors, read where something is reported of it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

__all__ = ["Asker", "asker", "by_form"]


class Asker(Protocol):
    """A request. Its user may be found out after it was set."""

    @property
    def visitor(self) -> str:
        """The user; empty for nobody, or as long as that is not known."""

    @property
    def address(self) -> str:
        """Of the client; empty at a socket file."""

    @property
    def request_id(self) -> str:
        """Empty if the door gives none."""


#: The request; C{None} for what the process does by itself, and at doors that do not speak HTTP.
asker: ContextVar[Asker | None] = ContextVar("asker", default=None)

#: Whether its body is a form.
by_form: ContextVar[bool] = ContextVar("by_form", default=False)
