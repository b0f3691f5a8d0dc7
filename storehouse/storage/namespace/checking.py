"""All that is in a namespace, looked at while it is used."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any

from storehouse.errors import Damaged, NoSuchBucket, Unavailable
from storehouse.storage.namespace.check import check_bucket_rows, check_top
from storehouse.storage.namespace.interfaces import Bucket, Needed, Problem
from storehouse.storage.namespace.needed import find_needed
from storehouse.storage.namespace.rebuild import in_slices
from storehouse.storage.namespace.tree import Tree
from storehouse.storage.namespace.upkeep import Upkeep

__all__ = ["check", "needed"]


async def needed(
    upkeep: Upkeep,
    tree: Tree,
    ids: Collection[str],
    run: Callable[..., Awaitable[Any]],
    look_closer: Callable[[str, str], Coroutine[Any, Any, object]],
    progress: Callable[[int], object],
) -> Needed:
    """
    See L{INamespace.needed<storehouse.storage.namespace.interfaces.INamespace.needed>}. The first time after a crash it is
    seen, too, whether there are keys that the index does not have.

    @param look_closer: called with each such key: it may be on its way.
    """
    index = upkeep.index
    if not index.unsure or upkeep.broken is not None:
        return await find_needed(tree, ids, run, progress)
    missing: list[tuple[str, str]] = []

    def meet(bucket: str, key: str) -> None:
        try:
            if upkeep.index is index and not index.has(bucket, key.encode()):
                missing.append((bucket, key))
        except sqlite3.Error as error:
            upkeep.break_off(error)

    found = await find_needed(tree, ids, run, progress, meet)
    for bucket, key in missing:
        try:
            await look_closer(bucket, key)
        except (Damaged, NoSuchBucket):
            pass
    index.unsure = False
    return found


async def check(
    upkeep: Upkeep,
    tree: Tree,
    journal: str,
    run: Callable[..., Awaitable[Any]],
    buckets: Mapping[str, tuple[int, Bucket]],
    found: Callable[[Problem], object],
    look_closer: Callable[[str, str], Coroutine[Any, Any, None]],
    progress: Callable[[int], object],
) -> None:
    """
    Walk through everything.

    @param journal: its path.
    @param run: runs a function in a disk thread while no bucket comes or goes.
    @param buckets: those that there are, each with its number, at any time.
    @param look_closer: called with each key that may have a problem.
    @raise Unavailable: if the index is made anew meanwhile.
    """
    count = [0]
    suspects: list[tuple[str, str]] = []
    index = upkeep.index

    def take(item: Problem | tuple[str, str] | None) -> None:
        if isinstance(item, Problem):
            found(item)
        elif item is not None:
            suspects.append(item)
        else:
            count[0] += 1
            if count[0] % 1000 == 0:
                progress(count[0])

    async def with_index(f: Callable[[], Any]) -> Any:
        def same() -> Any:
            if upkeep.index is not index:
                raise Unavailable("the index was made anew meanwhile: check again")
            return f()

        return await run(same)

    if upkeep.broken is not None:
        found(Problem("index", "", None, None, f"{index.path} is damaged: {upkeep.broken}", True))
    for text in await with_index(index.faults):
        found(Problem("index", "", None, None, f"{index.path} is damaged: {text}; a rebuild helps", True))
    await in_slices(with_index, check_top(tree, journal, buckets), take)
    if await with_index(lambda: set(tree.bucket_names()).difference(buckets)):
        await with_index(upkeep.share)  # perhaps one is a copy of another
    for name in sorted(buckets):
        if name not in buckets:
            continue
        await in_slices(with_index, check_bucket_rows(tree, index, buckets[name][0], name), take)
        for bucket, key in suspects:
            try:
                await look_closer(bucket, key)
            except NoSuchBucket:
                break
            except Damaged as error:
                found(Problem("damaged", bucket, key, None, str(error), False))
        suspects.clear()
    progress(count[0])
