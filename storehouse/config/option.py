"""How a setting is declared, and what is known of one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, TypeVar, cast

import attrs

from storehouse.core.times import write_duration
from storehouse.core.values import write_size

__all__ = ["Option", "did_you_mean", "option", "options_of", "parts_of", "prefix"]


def _text(kind: str, value: object) -> str:
    """A value of a kind, as it could be written."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, frozenset):
        return ",".join(sorted(value))
    if kind == "NAME=TARGET" and isinstance(value, tuple):
        return ",".join(map("=".join, value))
    if kind == "SIZE" and isinstance(value, int):
        return write_size(value)
    if kind == "DURATION" and isinstance(value, int | float):
        return write_duration(value)
    return str(value)


@attrs.frozen
class Option:
    """
    What is known of one setting.

    @ivar name: as it is written in the file and on the command line, such as C{append-sync}.
    @ivar path: where its value is in L{Settings<storehouse.config.settings.Settings>}: C{("append", "sync")}; in a table,
        the last of it is its key.
    @ivar kind: what its values are: C{SIZE}, C{DURATION}, C{on|off} ...
    @ivar help: what it means, a sentence for users.
    @ivar shown: the default, for users: as it could be written, or in words.
    @ivar is_flag: whether the command line takes it without a value.
    @ivar on_command_line: whether it can be given there; all can be in the file.
    @ivar old_names: names that it had, or whose settings became part of it.
    @ivar is_secret: whether it is never shown, and not written in the file itself.
    @ivar is_needed: whether it has no default.
    @ivar parse: from what was written to the value; raises C{ValueError} with the reason.
    """

    name: str
    path: tuple[str, ...]
    kind: str
    help: str
    shown: str
    is_flag: bool
    on_command_line: bool
    old_names: tuple[str, ...]
    is_secret: bool
    is_needed: bool
    parse: Callable[[object], object]

    def value_in(self, settings: object) -> object:
        """Its value in L{Settings<storehouse.config.settings.Settings>}."""
        return attrgetter(".".join(self.path))(settings)

    def text(self, value: object) -> str:
        """A value, as it could be written; one that is not set as users are shown it."""
        is_set = value or (value is not None and isinstance(value, bool | int | float) and self.shown != "off")
        return _text(self.kind, value) if is_set else self.shown


T = TypeVar("T")


def option(
    default: object,
    parse: Callable[[object], object],
    kind: str,
    help: str,
    shown: str | None = None,
    cli: bool = False,
    name: str | None = None,
    old_names: tuple[str, ...] = (),
    validator: Callable[[object, attrs.Attribute[T], T], object]
    | Sequence[Callable[[object, attrs.Attribute[T], T], object]]
    | None = None,
    secret: bool = False,
) -> T:
    """
    Declare a setting, as a field of a frozen class. Its name is that of the field, behind the L{prefix} of its class.

    @param shown: the default in words, where there is none to write.
    @param cli: whether it can be given on the command line, too.
    @param default: C{attrs.NOTHING} if it has to be given.
    @param validator: of attrs, for what is not read from a file.
    @param secret: it is not shown, and stands in no file of settings: they name a file or a variable that has it.
    @param name: its name behind the prefix, where that is not the field's; empty for the prefix alone.
    """
    metadata = {
        "parse": parse,
        "kind": kind,
        "help": help,
        "shown": shown if shown is not None else "" if default is attrs.NOTHING else _text(kind, default),
        "cli": cli,
        "name": name,
        "old_names": old_names,
        "secret": secret,
    }
    # Of attrs' types none fits: the class that it makes has a value where the field is.
    found: Any = attrs.field(default=default, metadata=metadata, validator=cast(Any, validator), repr=not secret)
    return found  # type: ignore[no-any-return]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A question with those of some names that are like one; empty if none is."""
    word, known = name.lower().replace("_", "-"), {each.replace("_", "-"): each for each in names}
    near = difflib.get_close_matches(word, known, 3, 0.85) or difflib.get_close_matches(word, known, 3)
    return f": did you mean {' or '.join(known[each] for each in near)}?" if near else ""


def prefix(word: str) -> dict[str, str]:
    """
    The metadata of a field whose factory is a class of settings: they are a part of those of the class with the field.

    @param word: what all their names begin with, before C{-}; empty for nothing.
    """
    return {"prefix": word}


def parts_of(settings: type) -> dict[str, type]:
    """The classes that are parts of a class, by the names of their fields."""
    return {field.name: field.default.factory for field in attrs.fields(settings) if "prefix" in field.metadata}


def options_of(settings: type, first: str = "", path: tuple[str, ...] = ()) -> Iterator[Option]:
    """What a class declares, and its groups do, in that order."""
    parts = parts_of(settings)
    for field in attrs.fields(settings):
        about = field.metadata
        if field.name in parts:
            yield from options_of(parts[field.name], about["prefix"], (*path, field.name))
        elif "parse" in about:
            last = field.name.replace("_", "-") if about["name"] is None else about["name"]
            yield Option(
                name="-".join(filter(None, (first, last))),
                path=(*path, field.name),
                kind=about["kind"],
                help=about["help"],
                shown=about["shown"],
                is_flag=field.default is False,
                on_command_line=about["cli"],
                old_names=about["old_names"],
                is_secret=about["secret"],
                is_needed=field.default is attrs.NOTHING,
                parse=about["parse"],
            )
