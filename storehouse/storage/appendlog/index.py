"""
Finding a record in an index file.

There are two ways. L{quick_find} interpolates, and verifies only the entry that it returns; it serves almost every
request. L{careful_find} verifies every entry that it looks at, and corrects those whose checksums fail, or rebuilds
them from the bucket file; it decides before a record is reported as missing.

Both take C{read(size, position) -> bytes} functions, so that the caller decides whether a read may wait for the disk.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import attrs

from storehouse.core.digests import crc32c
from storehouse.core.framing import LENGTH_SIZE, unpack_length
from storehouse.storage.appendlog.formats import (
    CONTINUES,
    ENTRY_SIZE,
    HEADER_SIZE,
    Entry,
    correct_byte,
    decode_entry,
    encode_entry,
    entry_fields,
)

__all__ = ["Read", "Rebuilt", "careful_find", "first_at_or_after", "quick_find", "rebuild_entry"]

#: C{read(size, position)}: bytes of a file, fewer at its end.
Read = Callable[[int, int], bytes]

# Entries that one probe of quick_find reads: 1 KiB costs no more than one entry, and catches near misses of
# interpolation.
_WINDOW = 32


def quick_find(read_index: Read, count: int, end: int, offset: int) -> Entry | None:
    """
    The entry of the record at C{offset}, or whose payload begins there.

    @param count: the number of committed entries.
    @param end: the offset behind the last record.
    @return: C{None} if there is none, or an entry on the way is damaged: L{careful_find} tells which.
    """
    low, high = 0, count
    low_offset, high_offset = 0, end
    probes = 0
    while low < high and low_offset <= offset < high_offset:
        probes += 1
        # Interpolation first; where sizes are too uneven for it, bisection bounds the number of probes.
        if probes < 5:
            guess = low + (offset - low_offset) * (high - low) // (high_offset - low_offset)
        else:
            guess = (low + high) // 2
        first = guess - _WINDOW // 2
        first = low if first < low else min(first, high - 1)
        wanted = min(_WINDOW, high - first)
        data = read_index(wanted * ENTRY_SIZE, HEADER_SIZE + first * ENTRY_SIZE)
        if len(data) < wanted * ENTRY_SIZE:
            return None
        offsets = memoryview(data).cast("Q")[::4]
        at = bisect_right(offsets, offset) - 1
        if at < 0:
            high, high_offset = first, offsets[0]
            continue
        fields = entry_fields(data, at * ENTRY_SIZE)
        begin = fields[0]
        # The payload offset of an empty record is the offset of the next record, which is meant.
        if begin == offset or (begin + LENGTH_SIZE == offset and fields[2]):
            return decode_entry(data, at * ENTRY_SIZE)
        if offset < begin + LENGTH_SIZE + fields[2] or at + 1 < wanted:
            return None
        low, low_offset = first + wanted, begin + LENGTH_SIZE + fields[2]
    return None


@attrs.frozen
class Rebuilt:
    """
    What is known of a record whose entry is damaged.

    @ivar entry: where the record is; its time and identifier hash are 0 unless C{complete}.
    @ivar proven: whether the record is known to be whole.
    @ivar complete: whether the entry is as it was before the damage, with time and identifier.
    """

    entry: Entry
    proven: bool
    complete: bool = False


def rebuild_entry(damaged: bytes, offset: int, read_raw: Read, end: int) -> Rebuilt | None:
    """
    Rebuild the damaged entry of the record that must begin at C{offset}.

    One damaged byte is corrected by the entry's own checksum. Otherwise the record proves itself whole: by the payload
    checksum in the damaged entry; or by the entry's own checksum, when the fields that the record gives make it right.

    @return: C{None} if no record can begin there.
    """
    corrected = correct_byte(damaged) if len(damaged) == ENTRY_SIZE else None
    entry = None if corrected is None else decode_entry(corrected)
    if entry is not None and entry.offset == offset and entry.end <= end:
        return Rebuilt(entry, True, True)
    head = read_raw(LENGTH_SIZE, offset)
    if len(head) < LENGTH_SIZE or offset + LENGTH_SIZE > end:
        return None
    length = unpack_length(head)
    if offset + LENGTH_SIZE + length > end:
        return None
    checksum = 0
    position, left = offset + LENGTH_SIZE, length
    while left:
        data = read_raw(min(left, 1 << 20), position)
        if not data:
            return None
        checksum = crc32c(data, checksum)
        position += len(data)
        left -= len(data)
    if len(damaged) < ENTRY_SIZE:
        return Rebuilt(Entry(offset, 0, length, checksum, 0), False)
    _, time, _, old_checksum, id_hash, entry_checksum = entry_fields(damaged)
    repaired = encode_entry(offset, time, length, checksum, id_hash)
    if unpack_length(repaired, 28) == entry_checksum:
        return Rebuilt(
            Entry(offset, time & ~CONTINUES, length, checksum, id_hash, time >= CONTINUES), True, complete=True
        )
    # The damage may be in the time or the identifier, so both are dropped. An empty record proves nothing: lost pages
    # of both files are zeros, and look like one.
    return Rebuilt(Entry(offset, 0, length, checksum, 0), length > 0 and old_checksum == checksum)


def _entry_at(read_index: Read, position: int) -> tuple[Entry | None, bytes]:
    data = read_index(ENTRY_SIZE, HEADER_SIZE + position * ENTRY_SIZE)
    return decode_entry(data), data


def _last_valid_before(read_index: Read, low: int, position: int) -> tuple[int, Entry] | None:
    while position >= low:
        entry, _ = _entry_at(read_index, position)
        if entry is not None:
            return position, entry
        position -= 1
    return None


def first_at_or_after(read_index: Read, count: int, offset: int) -> tuple[int, int]:
    """
    Where to begin a scan from C{offset}, by undamaged entries only.

    @return: C{(position, expected)}: a position in the index at or before that of the first record that begins at or
        after C{offset}, and the offset of the record there.
    """
    low, high = 0, count
    known = (0, 0)
    while low < high:
        middle = (low + high) // 2
        found = _last_valid_before(read_index, low, middle)
        if found is None:
            low = middle + 1
            continue
        position, entry = found
        if entry.offset <= offset:
            known = (position, entry.offset)
            low = middle + 1
        else:
            high = position
    return known


def careful_find(
    read_index: Read,
    read_raw: Read,
    count: int,
    end: int,
    offset: int,
    mend: Callable[[int, Entry], object] = lambda position, entry: None,
) -> tuple[Entry, bool] | None:
    """
    The entry of the record at C{offset}, or whose payload begins there, however damaged the index is.

    @param mend: called with the position and the content of each damaged entry that could be restored.
    @return: the entry, and whether it can be trusted; if not, there is damage from its offset on, which may cover
        C{offset}. C{None} if there is no record.
    """
    if offset >= end:
        return None
    position, expected = first_at_or_after(read_index, count, offset)
    while position < count and expected <= offset:
        entry, data = _entry_at(read_index, position)
        if entry is None or entry.offset != expected:
            rebuilt = rebuild_entry(data, expected, read_raw, end)
            if rebuilt is None or not rebuilt.proven:
                # Where the records behind it begin is unknown until the next undamaged entry.
                damage = Entry(expected, 0, 0, 0, 0) if rebuilt is None else rebuilt.entry
                position, expected = _next_valid(read_index, position + 1, count, expected, end)
                if offset < expected:
                    return damage, False
                continue
            entry = rebuilt.entry
            if rebuilt.complete:
                mend(position, entry)
        if offset in (entry.offset, entry.offset + LENGTH_SIZE) and not (
            entry.length == 0 and offset == entry.end and position + 1 < count
        ):
            return entry, True
        expected = entry.end
        position += 1
    return None


def _next_valid(read_index: Read, position: int, count: int, above: int, end: int) -> tuple[int, int]:
    """The first undamaged entry from C{position} on of a record behind C{above}: C{(position, offset)}."""
    while position < count:
        entry, _ = _entry_at(read_index, position)
        if entry is not None and entry.offset > above:
            return position, entry.offset
        position += 1
    return count, end
