"""
Verification of one object or upload, in a disk thread: description, files, headers, sizes, blocks, tags.

It is held by its directory. Before something is reported, that directory must still be in its place: what is deleted,
completed or replaced meanwhile is no damage.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import attrs

from storehouse.core.files import forget_cached, read_exactly
from storehouse.errors import DamagedObject
from storehouse.storage.dataspace.directory import checksum_name, part_name
from storehouse.storage.dataspace.formats import (
    TAG_SIZE,
    check_own,
    decode_object,
    decode_parts,
    decode_upload,
    encode_header,
    is_our_tag,
    joined_etag,
)
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.opened import OpenPart, read_description

__all__ = ["Entry", "Finding", "Moved", "reason_of"]

# Bytes and blocks that are read at once.
_BATCH = 1 << 20
_BATCH_BLOCKS = 256

# What a block costs at least.
_SMALL_BLOCK = 4 << 10

_file_of_part = re.compile(r"part\.[1-9][0-9]*(\.checksum)?")


@attrs.frozen
class Finding:
    """
    Something damaged.

    @ivar id: the ID of the object or upload, or that a key names; for what belongs to none, its path below the store's
        directory.
    @ivar part: the number of the part; C{None} for what describes the whole.
    @ivar block: the number of the block in the part, from 0; C{None} if it is no block.
    @ivar kind: C{object}, C{upload}, C{key} for a key whose object is not what the key says, or C{store} for what
        belongs to none.
    """

    id: str
    part: int | None
    block: int | None
    reason: str
    kind: str


class Moved(Exception):
    """What is looked at is not in its place any more."""


def reason_of(error: OSError) -> str:
    """What the system says."""
    return error.strerror or str(error)


class Entry:
    """
    One object or upload, held by its directory. Its steps are C{(bytes of parts that were read, cost)}.

    @raise OSError: if the directory cannot be opened.
    """

    def __init__(self, kind: str, path: str, id: str, found: Callable[[Finding], None]) -> None:
        self._kind = kind
        self._path = path
        self._id = id
        self._found = found
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Entry:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)

    def verify(self) -> Iterator[tuple[int, int]]:
        """
        All of it.

        @raise Moved: if something seems damaged, and it is not in its place any more.
        """
        if self._kind == "object":
            with self._described("data.json"):
                info = decode_object(read_description(self._fd, "data.json", self._id))
                check_own(info.id, self._id)
                yield from self._parts(info.parts)
                ours = all(is_our_tag(part.etag) for part in info.parts)
                if ours and len(info.parts) > 1 and info.etag != joined_etag(part.etag for part in info.parts):
                    self._report("its etag does not match its parts")
            return
        with self._described("upload.json"):
            if self._has("upload.json"):
                check_own(decode_upload(read_description(self._fd, "upload.json", self._id))[2], self._id)
        with self._described("parts.json"):
            parts = decode_parts(read_description(self._fd, "parts.json", self._id))
            yield from self._parts([parts[number] for number in sorted(parts)])

    @contextmanager
    def _described(self, name: str) -> Iterator[None]:
        try:
            yield
        except DamagedObject as error:
            self._report(error.reason)
        except ValueError as error:
            self._report(f"{name} cannot be read: {error}")
        except OSError as error:
            self._report(f"{name} cannot be read: {reason_of(error)}")

    def _report(self, reason: str, part: int | None = None, block: int | None = None) -> None:
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            raise Moved from None
        if not os.path.samestat(now, os.fstat(self._fd)):
            raise Moved
        self._found(Finding(self._id, part, block, reason, self._kind))

    def _has(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _parts(self, parts: Sequence[Part]) -> Iterator[tuple[int, int]]:
        if self._kind == "object":
            known = {"data.json"}
            for part in parts:
                known |= {part_name(part.number), checksum_name(part.number)}
        else:
            known = {"upload.json", "parts.json"}
        for name in sorted(os.listdir(self._fd)):
            # Files of parts that an upload does not have are left over from a crash; or they come just now.
            if name not in known and not (self._kind == "upload" and _file_of_part.fullmatch(name)):
                self._report(f"unknown file {name}")
        for part in parts:
            yield from self._part(part)

    def _part(self, part: Part) -> Iterator[tuple[int, int]]:
        try:
            opened = OpenPart(self._fd, self._id, part, compared=False)
        except DamagedObject as error:
            self._report(error.reason, part.number)
            return
        except OSError as error:
            self._report(f"its files cannot be read: {reason_of(error)}", part.number)
            return
        try:
            # What the kernel has in memory says nothing about the disk.
            forget_cached(opened.fd)
            yield from self._blocks(opened)
        finally:
            opened.close()

    def _blocks(self, opened: OpenPart) -> Iterator[tuple[int, int]]:
        header, part = opened.header, opened.part
        tag = hashlib.blake2b(digest_size=TAG_SIZE)
        at_once = max(1, min(_BATCH // header.block_size, _BATCH_BLOCKS))
        for first in range(0, header.block_count, at_once):
            count = min(at_once, header.block_count - first)
            try:
                lines = opened.lines(first, count)
            except OSError as error:
                self._report(f"{checksum_name(part.number)} cannot be read: {reason_of(error)}", part.number)
                return
            tag.update(lines)
            size = self._batch(opened, first, count, lines)
            yield size, max(size, count * _SMALL_BLOCK)
        tag.update(encode_header(header))
        if is_our_tag(part.etag) and tag.hexdigest() != part.etag:
            self._report(f"its etag does not match {checksum_name(part.number)}", part.number)

    def _batch(self, opened: OpenPart, first: int, count: int, lines: bytes) -> int:
        """Some blocks. @return: their bytes."""
        header, number = opened.header, opened.part.number
        start = first * header.block_size
        last, size = header.span(first + count - 1)
        length = last + size - start
        try:
            data = read_exactly(opened.fd, length, start)
        except OSError:
            data = None  # one of them; which, is found out below
        for at in range(count):
            block = first + at
            offset, size = header.span(block)
            try:
                piece = (
                    read_exactly(opened.fd, size, offset)
                    if data is None
                    else data
                    if count == 1
                    else data[offset - start : offset - start + size]
                )
            except OSError as error:
                self._report(f"it cannot be read: {reason_of(error)}", number, block)
                continue
            line = lines[at * header.line_length : (at + 1) * header.line_length]
            if len(piece) != size:
                self._report(f"it ends after {len(piece)} of {size} bytes", number, block)
            elif header.line(piece) != line:
                self._report("its checksum is wrong", number, block)
        return length
