"""
Verification of everything in a Wormer store: descriptions, headers, sizes, blocks, tags, and what should not be there.

Nothing is locked and nothing written, so it may run beside a service on the same directory.  What is deleted,
completed or replaced meanwhile is no damage: an object or upload is held by its directory, and before something is
reported that directory must still be in its place.

The work is cut into slices, each a job in a disk thread: some blocks, or some small objects.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice

import attrs

from storehouse.core.jobs import IDisk, whole
from storehouse.errors import StartFailed
from storehouse.storage.dataspace.directory import Layout, check_format
from storehouse.storage.dataspace.verify import Entry, Finding, Moved, reason_of

__all__ = ["SMALL", "Finding", "Progress", "count", "scrub"]

#: What an object costs at least, in bytes: a million tiny ones are work too.
SMALL = 64 << 10

# What one job may cost; a block of more is a job of its own.
_SLICE = 1 << 20

# How often something is looked at anew that is replaced while it is looked at.
_TRIES = 5

_index = re.compile("[0-9a-f]{2}")
_id = re.compile("[0-9a-f]{2,128}")
_bytes_of_part = re.compile(r"part\.[1-9][0-9]*")


@attrs.frozen
class Progress:
    """
    How far a scrub is.

    @ivar objects: objects and uploads that were looked at.
    @ivar size: bytes of parts that were read.
    @ivar total: bytes of parts that there were when they were counted; C{None} if they were not.
    @ivar share: how much of all is done, 0 to 1.
    """

    objects: int
    size: int
    total: int | None
    share: float


async def count(directory: str, disk: IDisk, on_count: Callable[[int], object] = lambda size: None) -> int:
    """
    Bytes of all parts, by the sizes of their files.

    @param on_count: called with the number of bytes as they are found.
    """
    steps = _sizes(Layout(directory))
    total = 0
    while sizes := await whole(disk, _some, steps, 100):
        total += sum(sizes)
        on_count(sum(sizes))
    return total


async def scrub(
    directory: str,
    disk: IDisk,
    on_finding: Callable[[Finding], object],
    on_progress: Callable[[Progress], object] = lambda progress: None,
    total: int | None = None,
    pace: Callable[[int], Awaitable[bool]] | None = None,
    first: str = "",
) -> Progress:
    """
    Verify everything below the directory of a store. Damage does not end it.

    @param on_finding: called with each damage, in the reactor's thread.
    @param on_progress: told after each slice.
    @param total: what L{count} said.
    @param pace: awaited after each slice with its cost in bytes; the scrub ends early when it says no.
    @param first: the INDEX of objects to begin with; those before it come last.
    """
    walk = _Walk(Layout(directory), first)
    more = True
    try:
        while more:
            cost, more = await whole(disk, walk.advance)
            findings, walk.findings = walk.findings, []
            for finding in findings:
                on_finding(finding)
            on_progress(walk.progress(total))
            if pace is not None and not await pace(cost):
                break
    finally:
        walk.close()
    return walk.progress(total)


def _some(steps: Iterator[int], at_most: int) -> list[int]:
    return list(islice(steps, at_most))


def _sizes(layout: Layout) -> Iterator[int]:
    """The bytes of the parts of each object and upload."""
    for tree in (layout.uploads, layout.data):
        for index in _listed(tree):
            for name in _listed(f"{tree}/{index}"):
                yield _size_of(f"{tree}/{index}/{name}")


def _size_of(path: str) -> int:
    size = 0
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if _bytes_of_part.fullmatch(entry.name):
                    size += entry.stat().st_size
    except OSError:
        pass  # it went meanwhile; or the scrub says what is wrong
    return size


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


class _Walk:
    """All of a store, one slice after the other, in a disk thread."""

    def __init__(self, layout: Layout, first: str) -> None:
        self.objects = 0
        self.size = 0
        self.share = 0.0
        self.findings: list[Finding] = []
        self._layout = layout
        self._first = first
        self._steps = self._everything()

    def advance(self) -> tuple[int, bool]:
        """Go on for one slice. @return: what it cost, and whether there is more."""
        spent = 0
        for cost in self._steps:
            spent += cost
            if spent >= _SLICE:
                return spent, True
        self.share = 1.0
        return spent, False

    def close(self) -> None:
        """Close what is open."""
        self._steps.close()  # type: ignore[attr-defined]

    def progress(self, total: int | None) -> Progress:
        """How far it is."""
        share = self.share if not total else min(self.size / total, 1.0)
        return Progress(self.objects, self.size, total, share)

    def _found(self, path: str, reason: str, kind: str = "store") -> None:
        self.findings.append(Finding(os.path.relpath(path, self._layout.root), None, None, reason, kind))

    def _names(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []
        except OSError as error:
            self._found(path, f"it cannot be listed: {reason_of(error)}")
            return []

    def _everything(self) -> Iterator[int]:
        layout = self._layout
        try:
            check_format(layout.root)
        except StartFailed as error:
            self._found(f"{layout.root}/format.json", str(error))
        except OSError as error:
            self._found(f"{layout.root}/format.json", f"it cannot be read: {reason_of(error)}")
        if not os.path.isdir(layout.data):
            self._found(layout.data, "it is missing")
        places = [("upload", layout.uploads, index) for index in self._indexes(layout.uploads)]
        objects = [("object", layout.data, index) for index in self._indexes(layout.data)]
        places += sorted(objects, key=lambda place: (place[2] < self._first, place[2]))
        for at, (kind, tree, index) in enumerate(places):
            names = self._names(f"{tree}/{index}")
            for number, name in enumerate(names):
                self.share = (at + number / len(names)) / len(places)
                path = f"{tree}/{index}/{name}"
                if _id.fullmatch(name) and name.startswith(index):
                    yield from self._entry(kind, path, name)
                elif os.path.lexists(path):
                    self._found(path, f"unknown file {name}", kind)

    def _indexes(self, tree: str) -> Iterator[str]:
        for name in self._names(tree):
            if _index.fullmatch(name) and os.path.isdir(f"{tree}/{name}"):
                yield name
            else:
                self._found(f"{tree}/{name}", f"unknown file {name}")

    def _entry(self, kind: str, path: str, id: str) -> Iterator[int]:
        seen: set[Finding] = set()

        def found(finding: Finding) -> None:
            if finding not in seen:
                seen.add(finding)
                self.findings.append(finding)

        spent = 0
        for _ in range(_TRIES):
            try:
                with Entry(kind, path, id, found) as entry:
                    for size, cost in entry.verify():
                        self.size += size
                        spent += cost
                        yield cost
                break
            except Moved:
                continue
            except FileNotFoundError:
                return
            except OSError as error:
                if os.path.lexists(path):
                    found(Finding(id, None, None, f"it cannot be opened: {reason_of(error)}", kind))
                break
        self.objects += 1
        if spent < SMALL:
            yield SMALL - spent
