"""
Names for a file whose name is taken: C{report.pdf}, C{report (1).pdf}, C{report (2).pdf} and so on.

Nobody looks first whether a name is free and takes it then: somebody else may be as quick. A name is claimed, by a store
that refuses one that is taken, and the next one is tried.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from storehouse.errors import AlreadyExists, PreconditionFailed

__all__ = ["MOST_CANDIDATES", "NAME_RULES", "candidates", "claim"]

T = TypeVar("T")

#: What an upload does whose name is taken: the values of the setting C{https-names}.
NAME_RULES = ("rename", "replace", "refuse")

#: Names that are tried for one file.
MOST_CANDIDATES = 10_000

# Bytes of UTF-8 that a key may have.
_MOST_BYTES = 1024

# An ending is what people take for one: not all that follows a dot.
_LONGEST_ENDING = 16

_TWO_ENDINGS = frozenset({"bz2", "gz", "lz", "lz4", "lzma", "xz", "zst"})


def candidates(key: str) -> Iterator[str]:
    """
    The key itself, then those that a number makes of it: C{a/b.txt}, C{a/b (1).txt}, C{a/b (2).txt}; at most
    L{MOST_CANDIDATES}. All have at most 1024 bytes: a name that would be longer is cut before its number.
    """
    yield key
    folder, slash, name = key.rpartition("/")
    stem, ending = _split(name)
    for number in range(1, MOST_CANDIDATES):
        mark = f" ({number}){ending}"
        yield folder + slash + _cut(stem, _MOST_BYTES - len((folder + slash + mark).encode())) + mark


def _split(name: str) -> tuple[str, str]:
    """A name and its ending with the dot: C{.tar.gz} is one, and C{.profile} has none."""
    stem, dot, ending = name.rpartition(".")
    if not stem.strip(".") or not 0 < len(ending) <= _LONGEST_ENDING:
        return name, ""
    if ending.lower() in _TWO_ENDINGS:
        inner, inner_dot, first = stem.rpartition(".")
        if inner.strip(".") and first.lower() == "tar":
            return inner, inner_dot + first + dot + ending
    return stem, dot + ending


def _cut(text: str, size: int) -> str:
    """The beginning of a text, of at most C{size} bytes, without half a character at its end."""
    data = text.encode()
    return text if len(data) <= size else data[: max(size, 0)].decode(errors="ignore")


async def claim(key: str, rule: str, store: Callable[[str, bool], Awaitable[T]]) -> T:
    """
    Store under a key, or what the rule makes of it if that is taken.

    @param rule: one of L{NAME_RULES}.
    @param store: called with a key, and whether nothing may have it yet; raises L{PreconditionFailed} if something does.
        What it would store must still be there for the next call.
    @return: what C{store} did.
    @raise AlreadyExists: if the rule is to refuse, or too many names are taken.
    """
    if rule == "replace":
        return await store(key, False)
    for candidate in candidates(key) if rule == "rename" else (key,):
        try:
            return await store(candidate, True)
        except PreconditionFailed:
            continue
    if rule == "refuse":
        raise AlreadyExists(f"there is a {key} already")
    raise AlreadyExists(f"there is a {key} already, and {MOST_CANDIDATES - 1} with a number behind the name")
