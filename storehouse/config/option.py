"""One setting: what is known of it, and how it is declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["Option", "option"]


@attrs.frozen
class Option:
    """
    What is known about one setting, for those who show or read settings.

    @ivar name: as it is written on the command line and in the file, such as C{append-sync}.
    @ivar help: one sentence for a user, with the default.
    @ivar is_flag: whether the command line takes it without a value.
    @ivar parse: from what was written to the value; raises C{ValueError} with the reason.
    """

    name: str
    help: str
    is_flag: bool
    parse: Callable[[Any], Any]

    @property
    def field(self) -> str:
        """Its name in L{Settings}."""
        return self.name.replace("-", "_")


def option(default: Any, parse: Callable[[Any], Any], help: str, shown: str | None = None, flag: bool = False) -> Any:
    """Declare a setting, as a field of a class of settings."""
    shown = str(default) if shown is None else shown
    text = help if flag else f"{help} [default: {shown}]"
    return attrs.field(default=default, metadata={"parse": parse, "help": text, "flag": flag})
