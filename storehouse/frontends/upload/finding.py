"""
What of a bucket is on a page of its list: searched, and sorted.

A store lists by keys.  Anything else is found by looking at all of them, a slice after the other, so that the reactor has
its turn between; a page's worth of the best is all that is kept meanwhile, and no more than L{MOST_SORTED} are looked at.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from heapq import nsmallest
from typing import Any
from unicodedata import normalize

import attrs

from storehouse.core.turns import breath
from storehouse.errors import BadRequest, DamagedEntry, NoSuchKey
from storehouse.storage.objects.interfaces import IObjectStore, ObjectInfo

__all__ = ["MOST_SEARCHED", "MOST_SORTED", "Found", "Wanted", "find"]

#: Names that are searched for one page in the order of names: the next page continues after them.
MOST_SEARCHED = 20_000

#: Files that are looked at for a page in any other order.
MOST_SORTED = 100_000

_SLICE = 1000

#: Whether it is a file (folders come first), what it is sorted by, its name.
_Rank = tuple[int, Any, str]

# Turns the order of names around: the bytes of UTF-8 are 0 to 0xf4.
_turned = bytes((254 - byte) % 256 for byte in range(256))


@attrs.frozen
class Wanted:
    """
    What a list is asked for.

    @ivar search: what names behind the prefix contain, in any case and any normal form of Unicode; empty for all.
    @ivar sort: C{name}, C{size} or C{created}.
    @ivar is_descending: the greatest first.
    @ivar after: what the page before gave as L{Found.next_after}; empty for the first page.
    @ivar limit: the most files and folders of a page, 1 at least.
    @ivar is_recursive: every file, not only up to the next slash. A search always is.
    """

    bucket: str
    prefix: str = ""
    search: str = ""
    sort: str = "name"
    is_descending: bool = False
    after: str = ""
    limit: int = 200
    is_recursive: bool = False

    @property
    def delimiter(self) -> str:
        """What names are listed up to."""
        return "" if self.is_recursive or self.search else "/"

    @property
    def is_by_name(self) -> bool:
        """Whether it is the order that the store has."""
        return self.sort == "name" and not self.is_descending


@attrs.frozen
class Found:
    """
    A page.

    @ivar files: in the order that was asked for.
    @ivar folders: what names have in common up to the next slash.
    @ivar next_after: what the next page is after; C{None} if this is the last one.
    @ivar looked_at: how many names were, if the work ended before the bucket did; C{None} if it did not.
    @ivar damaged: names of files that are there, and of which nothing can be read.
    """

    files: list[ObjectInfo]
    folders: list[str]
    next_after: str | None
    looked_at: int | None = None
    damaged: list[str] = attrs.Factory(list)


async def find(store: IObjectStore, wanted: Wanted) -> Found:
    """
    Find a page.

    @raise BadRequest: if C{after} is nothing that a page of this order gave.
    """
    if not wanted.is_by_name:
        return await _sorted(store, wanted)
    if wanted.search:
        return await _searched(store, wanted)
    page = await store.list_objects(wanted.bucket, wanted.prefix, wanted.delimiter, wanted.after, wanted.limit)
    return Found(list(page.objects), list(page.prefixes), page.next_after, None, list(page.damaged))


def _folded(text: str) -> str:
    """
    The same for texts that differ only in case, or in how letters with marks are written: as one character, or as a letter
    and its marks, as some systems store names (Unicode Standard, section 3.13, canonical caseless matching).
    """
    return text.lower() if text.isascii() else normalize("NFC", normalize("NFD", text).casefold())


async def _matching(wanted: Wanted, needle: str, keys: Iterable[str]) -> list[str]:
    """
    Those of some names that are searched for.

    @param needle: L{_folded}; long names that are not ASCII take tenths of a millisecond each.
    """
    found = []
    for key in keys:
        await breath()
        if needle in _folded(key[len(wanted.prefix) :]):
            found.append(key)
    return found


# -- by name ---------------------------------------------------------------------------------------


async def _searched(store: IObjectStore, wanted: Wanted) -> Found:
    needle = _folded(wanted.search)
    names: list[str] = []
    at, count = wanted.after, 0
    while count < MOST_SEARCHED:
        keys = await store.list_keys(wanted.bucket, wanted.prefix, at, _SLICE)
        for key in await _matching(wanted, needle, keys):
            if len(names) == wanted.limit:
                return await _known(store, wanted.bucket, names, names[-1])
            names.append(key)
        if len(keys) < _SLICE:
            return await _known(store, wanted.bucket, names, None)
        count += len(keys)
        at = keys[-1]
    return await _known(store, wanted.bucket, names, at, count)


async def _known(
    store: IObjectStore, bucket: str, names: Iterable[str], next_after: str | None, looked_at: int | None = None
) -> Found:
    """A page of what is known of those that are still there."""
    found = Found([], [], next_after, looked_at)
    for name in names:
        try:
            found.files.append(await store.head(bucket, name))
        except NoSuchKey:
            continue  # removed since it was listed
        except DamagedEntry:
            found.damaged.append(name)
        await breath()
    return found


# -- in any other order ----------------------------------------------------------------------------


async def _sorted(store: IObjectStore, wanted: Wanted) -> Found:
    needle = _folded(wanted.search)
    before = _rank_of_token(wanted) if wanted.after else None
    best: list[tuple[_Rank, ObjectInfo | None]] = []
    at: str | None = ""
    count = 0
    damaged: list[str] = []
    while at is not None and count < MOST_SORTED:
        page: Any = await store.list_objects(wanted.bucket, wanted.prefix, wanted.delimiter, at, _SLICE)
        worst = best[-1][0] if len(best) > wanted.limit else None
        infos = page.objects
        if needle:
            matching = set(await _matching(wanted, needle, [info.key for info in infos]))
            infos = [info for info in infos if info.key in matching]
        ranked: list[tuple[_Rank, ObjectInfo | None]] = [(_rank(wanted, info), info) for info in infos]
        ranked += [((0, _by_name(wanted, name), name), None) for name in page.prefixes]
        best += [each for each in ranked if (before is None or each[0] > before) and (worst is None or each[0] < worst)]
        # One more tells whether there is another page.
        best = nsmallest(wanted.limit + 1, best, key=lambda each: each[0])
        damaged += await _matching(wanted, needle, page.damaged)
        count += len(page.objects) + len(page.prefixes)
        at = page.next_after
        await breath()
    shown = best[: wanted.limit]
    return Found(
        [info for _, info in shown if info is not None],
        [rank[2] for rank, info in shown if info is None],
        _token(shown[-1][0]) if len(best) > wanted.limit else None,
        None if at is None else count,
        # Damaged entries have no size or time to sort by: the first page lists them.
        damaged[: wanted.limit] if before is None else [],
    )


def _rank(wanted: Wanted, info: ObjectInfo) -> _Rank:
    if wanted.sort == "name":
        return 1, _by_name(wanted, info.key), info.key
    value = info.size if wanted.sort == "size" else info.created
    return 1, -value if wanted.is_descending else value, info.key


def _by_name(wanted: Wanted, name: str) -> Any:
    """Folders are sorted by their names in any case, backwards if names are wanted so."""
    if wanted.sort == "name" and wanted.is_descending:
        return name.encode().translate(_turned) + b"\xff"
    return b""


def _token(rank: _Rank) -> str:
    is_file, value, name = rank
    text = json.dumps([is_file, value if isinstance(value, int) else 0, name], separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode("ascii")


def _rank_of_token(wanted: Wanted) -> _Rank:
    try:
        text = wanted.after.encode("ascii")
        is_file, value, name = json.loads(urlsafe_b64decode(text + b"=" * (-len(text) % 4)))
        if is_file not in (0, 1) or type(value) is not int or not isinstance(name, str):
            raise ValueError
        if not is_file or wanted.sort == "name":
            return is_file, _by_name(wanted, name), name
        return 1, value, name
    except (ValueError, TypeError, RecursionError):
        raise BadRequest("after must be the next_after of a page in this order") from None
