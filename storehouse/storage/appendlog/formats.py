"""
The bytes of the append log: records, index entries, frames of the write-ahead log. Codecs only, no files.

The tables are in docs/formats/appendlog.md::

    record          [u32 length][payload]
    index header    [8s magic][u64 synced_count][12 zero][u32 crc32c]                          32 bytes
    index entry     [u64 offset][u64 time][u32 length][u32 crc32c][u32 id hash][u32 crc32c]     32 bytes
    frame header    [4s magic][u32 crc32c][u64 sequence][u64 replay_from][u32 size][u32 runs]   32 bytes
    run header      [u16 prefix][u16 bucket][u32 entries][u64 offset][u64 position][u32 size]   28 bytes
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from struct import Struct, error

import attrs

from storehouse.core.digests import crc32c
from storehouse.core.framing import LENGTH_SIZE, pack_length, unpack_length
from storehouse.core.native import native
from storehouse.errors import Damaged

__all__ = [
    "CONTINUES",
    "ENTRY_SIZE",
    "FRAME_ALIGNMENT",
    "FRAME_MAGIC",
    "HEADER_SIZE",
    "RUN_HEADER_SIZE",
    "Entry",
    "Frame",
    "FrameRun",
    "correct_byte",
    "decode_entry",
    "decode_frame",
    "decode_index_header",
    "encode_appends",
    "encode_appends_twin",
    "encode_entries",
    "encode_entries_twin",
    "encode_entry",
    "encode_frame",
    "encode_index_header",
    "entry_fields",
]

ENTRY_SIZE = 32
HEADER_SIZE = 32
FRAME_ALIGNMENT = 4096

# -- the index -------------------------------------------------------------------------------

_INDEX_MAGIC = b"SHAPIDX1"
_index_header = Struct("<8sQ12x")
_entry = Struct("<QQIII")
_pack_entry = _entry.pack
_whole_entry = Struct("<QQIIII")
#: C{(offset, time, length, checksum, id_hash, entry_checksum) = entry_fields(data, at)}. Does not verify the checksum.
entry_fields = _whole_entry.unpack_from


#: The bit of an entry's time that is set if the next record belongs to the same append.
CONTINUES = 1 << 63


@attrs.frozen
class Entry:
    """
    One entry of an index.

    @ivar offset: of the record in the bucket file.
    @ivar time: of the append, nanoseconds since 1970 UTC; 0 when unknown.
    @ivar length: of the payload.
    @ivar checksum: CRC32C of the payload.
    @ivar id_hash: FNV-1a 32 of the identifier; 0 when unknown.
    @ivar continues: whether the next record belongs to the same append, so that this one counts only together with it.
    """

    offset: int
    time: int
    length: int
    checksum: int
    id_hash: int
    continues: bool = False

    @property
    def end(self) -> int:
        """The offset behind the record."""
        return self.offset + LENGTH_SIZE + self.length


def encode_entry(offset: int, time: int, length: int, checksum: int, id_hash: int) -> bytes:
    """The 32 bytes of an index entry. C{time} may hold L{CONTINUES}."""
    fields = _pack_entry(offset, time, length, checksum, id_hash)
    return fields + pack_length(crc32c(fields))


def encode_appends_twin(appends: Sequence[tuple[bytes, int]], offset: int, time: int) -> tuple[bytes, bytes]:
    """
    What appends of one record each add to a bucket file and its index.

    @param appends: payloads, each with the hash of its identifier.
    @param offset: where the first record begins.
    @return: the index entries and the records, each in one piece.
    """
    entries, records = [], []
    for payload, id_hash in appends:
        length = len(payload)
        entries.append(encode_entry(offset, time, length, crc32c(payload), id_hash))
        records.append(pack_length(length))
        records.append(payload)
        offset += LENGTH_SIZE + length
    return b"".join(entries), b"".join(records)


def encode_entries_twin(
    payloads: Sequence[bytes], offset: int, time: int, id_hash: int, is_last: bool
) -> tuple[bytes, tuple[int, ...]]:
    """
    The index entries of records of one append.

    @param offset: where the first record begins.
    @param is_last: whether the append ends with the last of these.
    @return: the entries in one piece, and the offsets of the records.
    """
    *offsets, _ = accumulate((LENGTH_SIZE + len(payload) for payload in payloads), initial=offset)
    stamp = time | CONTINUES
    fields = [
        _pack_entry(offset, stamp, len(payload), crc32c(payload), id_hash)
        for offset, payload in zip(offsets, payloads, strict=True)
    ]
    if is_last and fields:
        last = payloads[-1]
        fields[-1] = _pack_entry(offsets[-1], time, len(last), crc32c(last), id_hash)
    return b"".join([each + pack_length(crc32c(each)) for each in fields]), tuple(offsets)


if native is None:
    encode_appends, encode_entries = encode_appends_twin, encode_entries_twin
else:
    encode_appends, encode_entries = native.encode_appends, native.encode_entries


def decode_entry(data: bytes, at: int = 0) -> Entry | None:
    """The entry at C{at}; C{None} if its checksum fails or the data ends before it does."""
    if len(data) - at < ENTRY_SIZE:
        return None
    if crc32c(data[at : at + 28]) != unpack_length(data, at + 28):
        return None
    offset, time, length, checksum, id_hash = _entry.unpack_from(data, at)
    return Entry(offset, time & ~CONTINUES, length, checksum, id_hash, time >= CONTINUES)


def encode_index_header(synced_count: int) -> bytes:
    """The 32 bytes at the beginning of an index."""
    fields = _index_header.pack(_INDEX_MAGIC, synced_count)
    return fields + pack_length(crc32c(fields))


def decode_index_header(data: bytes) -> int | None:
    """The C{synced_count} of an index header; C{None} if it is not one or its checksum fails."""
    if len(data) < HEADER_SIZE or crc32c(data[:28]) != unpack_length(data, 28):
        return None
    magic, synced_count = _index_header.unpack_from(data)
    return int(synced_count) if magic == _INDEX_MAGIC else None


def correct_byte(data: bytes) -> bytes | None:
    """
    Correct one damaged byte in a short text that ends with its own CRC32C: an index entry, or the salt.

    @return: the only bytes with a right checksum that differ from C{data} in one byte; C{None} if there are none or
        several.
    """
    syndrome = crc32c(data[:-4]) ^ unpack_length(data, len(data) - 4)
    place = _syndromes(len(data)).get(syndrome)
    if place is None:
        return None
    at, difference = place
    whole = bytearray(data)
    whole[at] ^= difference
    return bytes(whole)


@cache
def _syndromes(size: int) -> dict[int, tuple[int, int] | None]:
    """
    For each difference between the stored and the computed checksum, the damaged byte that causes it: C{(position,
    xor)}, or C{None} if several would. A CRC is linear, so this does not depend on the other bytes.
    """
    found: dict[int, tuple[int, int] | None] = {}
    plain = bytes(size - 4)
    zero = crc32c(plain)
    for at in range(size):
        for difference in range(1, 256):
            if at < size - 4:
                changed = bytearray(plain)
                changed[at] = difference
                syndrome = crc32c(bytes(changed)) ^ zero
            else:
                syndrome = difference << 8 * (at - (size - 4))
            found[syndrome] = None if syndrome in found else (at, difference)
    return found


# -- the write-ahead log ---------------------------------------------------------------------

FRAME_MAGIC = b"SHWL"
_frame_header = Struct("<4sIQQII")
_run_header = Struct("<HHIQQI")
RUN_HEADER_SIZE = _run_header.size
_frame_rest = Struct("<QQII")


@attrs.frozen
class FrameRun:
    """
    What a frame adds to one bucket file.

    @ivar offset: where its records begin in the bucket file.
    @ivar position: the number of entries before its own.
    @ivar entries: its index entries, encoded.
    @ivar records: its records, encoded.
    """

    prefix: str
    bucket: int
    offset: int
    position: int
    entries: bytes
    records: bytes


@attrs.frozen
class Frame:
    """
    One group in the write-ahead log.

    @ivar sequence: 1 more than that of the frame before.
    @ivar replay_from: the lowest sequence that a replay still needs.
    @ivar size: its bytes, without the space up to the next boundary.
    """

    sequence: int
    replay_from: int
    runs: tuple[FrameRun, ...]
    size: int


def encode_frame(
    sequence: int,
    replay_from: int,
    runs: Iterable[tuple[bytes, int, int, int, bytes, bytes]],
    salt: int = 0,
) -> bytes:
    """
    @param salt: the start value of its checksum; see L{read_salt<storehouse.storage.appendlog.wal.read_salt>}.
    @param runs: C{(prefix, bucket, offset, position, entries, records)}, the entries and the records encoded.
    """
    body: list[bytes] = []
    count = 0
    for prefix, bucket, offset, position, entries, records in runs:
        count += 1
        body.append(_run_header.pack(len(prefix), bucket, len(entries) // ENTRY_SIZE, offset, position, len(records)))
        body.append(prefix)
        body.append(entries)
        body.append(records)
    runs_size = sum(map(len, body))
    covered = b"".join((_frame_rest.pack(sequence, replay_from, runs_size, count), *body))
    return b"".join((FRAME_MAGIC, pack_length(crc32c(covered, salt)), covered))


def decode_frame(data: bytes, at: int = 0, salt: int = 0) -> Frame | None:
    """
    The frame at C{at}; C{None} if there is none, or it is torn or damaged.

    @raise Damaged: if its checksum is right but its content is invalid: written by a defect, or another version.
    """
    if len(data) - at < HEADER_SIZE:
        return None
    magic, checksum, sequence, replay_from, runs_size, count = _frame_header.unpack_from(data, at)
    end = at + HEADER_SIZE + runs_size
    if magic != FRAME_MAGIC or end > len(data):
        return None
    if crc32c(memoryview(data)[at + 8 : end], salt) != checksum:
        return None
    runs = []
    position = at + HEADER_SIZE
    try:
        for _ in range(count):
            prefix_size, bucket, entries, offset, first, size = _run_header.unpack_from(data, position)
            prefix_at = position + _run_header.size
            entries_at = prefix_at + prefix_size
            records_at = entries_at + entries * ENTRY_SIZE
            position = records_at + size
            runs.append(
                FrameRun(
                    prefix=data[prefix_at:entries_at].decode("utf-8"),
                    bucket=bucket,
                    offset=offset,
                    position=first,
                    entries=data[entries_at:records_at],
                    records=data[records_at:position],
                )
            )
    except (error, UnicodeDecodeError) as problem:
        raise Damaged(f"frame {sequence} of the write-ahead log is invalid: {problem}") from None
    if position != end:
        raise Damaged(f"frame {sequence} of the write-ahead log is invalid: its runs end at {position}, not {end}")
    return Frame(sequence=sequence, replay_from=replay_from, runs=tuple(runs), size=HEADER_SIZE + runs_size)
