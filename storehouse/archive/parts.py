"""How a writer divides what it hands over: into groups of the index, and into blocks if they are compressed."""

from __future__ import annotations

from collections.abc import Iterator

from storehouse.archive.formats2 import Group, record_time

__all__ = ["MOST_TOGETHER", "joined", "parts_of", "times_of"]

#: A part ends with the record by which it has so many bytes: a reader has a block in memory as a whole.
MOST_TOGETHER = 1 << 20


def parts_of(pieces: list[bytes], size: int, most: int) -> Iterator[tuple[list[bytes], int]]:
    """
    Pieces of records in parts, and the bytes of each part.

    @param pieces: two of each record.
    @param size: their bytes.
    @param most: a part ends when it has so many.
    """
    if size <= most:
        yield pieces, size
        return
    begin = have = 0
    for end in range(2, len(pieces) + 1, 2):
        have += len(pieces[end - 2]) + len(pieces[end - 1])
        if have >= most or end == len(pieces):
            yield pieces[begin:end], have
            begin, have = end, 0


def times_of(pieces: list[bytes], in_order: bool) -> tuple[int, int]:
    """The lowest and the highest time of records, given as two pieces each. @param in_order: by time."""
    if in_order:
        return record_time(pieces[0]), record_time(pieces[-2])
    times = list(map(record_time, pieces[::2]))
    return min(times), max(times)


def joined(group: Group, behind: Group) -> Group:
    """Two groups that follow each other as one."""
    return Group(group.offset, group.first, min(group.lowest, behind.lowest), max(group.highest, behind.highest))
