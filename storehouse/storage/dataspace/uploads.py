"""Uploads on disk, in a disk thread: what they hold, and the steps that change them."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

from storehouse.core.files import CANNOT_EXCHANGE
from storehouse.errors import DamagedObject, NoSuchUpload, StorageFailed
from storehouse.storage.dataspace.directory import Staging, checksum_name, part_name
from storehouse.storage.dataspace.formats import (
    ObjectInfo,
    check_own,
    decode_parts,
    decode_upload,
    encode_object,
    encode_part,
    encode_parts,
    encode_upload,
    joined_etag,
)
from storehouse.storage.dataspace.interfaces import Metadata, Part, Upload
from storehouse.storage.dataspace.opened import OpenUploadPart, read_description

__all__ = [
    "UploadState",
    "begin_upload",
    "commit_part",
    "commit_parts",
    "complete",
    "describe_upload",
    "examine_upload",
    "link_parts",
    "load_upload",
    "remove_unlisted",
    "touched_at",
]

_file_of_part = re.compile(r"part\.([0-9]+)(\.checksum)?")


class UploadState:
    """
    What an upload holds.

    @ivar created: nanoseconds since 1970 UTC; 0 when unknown.
    @ivar parts: its parts, by number.
    """

    def __init__(self, created: int, metadata: Metadata, parts: dict[int, Part]) -> None:
        self.created = created
        self.metadata = metadata
        self.parts = parts
        self._entries = {number: encode_part(part) for number, part in parts.items()}

    def changed(self, parts: Iterable[Part], without: Iterable[int] = ()) -> bytes:
        """Its parts.json, once it has these parts, and not those."""
        entries = dict(self._entries)
        for number in without:
            entries.pop(number, None)
        return encode_parts({**entries, **{part.number: encode_part(part) for part in parts}})

    def change(self, parts: Iterable[Part], without: Iterable[int] = ()) -> None:
        """It has these parts, and not those."""
        for number in without:
            self.parts.pop(number, None)
            self._entries.pop(number, None)
        for part in parts:
            self.parts[part.number] = part
            self._entries[part.number] = encode_part(part)


def load_upload(path: str, upload_id: str) -> UploadState:
    """
    What an upload's files say.

    @raise NoSuchUpload: if it is not there.
    @raise DamagedObject: if they are not what was stored.
    """
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NoSuchUpload(f"there is no upload {upload_id}") from None
    except NotADirectoryError:
        raise DamagedObject(upload_id, "it is not a directory") from None
    name = "parts.json"
    try:
        parts = decode_parts(read_description(directory, name, upload_id))
        created, metadata = 0, dict[str, list[str]]()
        if _has(directory, "upload.json"):
            name = "upload.json"
            created, metadata, said = decode_upload(read_description(directory, name, upload_id))
            check_own(said, upload_id)
    except ValueError as error:
        raise DamagedObject(upload_id, f"{name} cannot be read: {error}") from None
    finally:
        os.close(directory)
    return UploadState(created, metadata, parts)


def _has(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def begin_upload(staging: Staging, target: str, created: int, metadata: Metadata) -> None:
    """A new upload."""
    staging.write("upload.json", encode_upload(created, metadata, os.path.basename(target)))
    staging.write("parts.json", encode_parts({}))
    # Both files, then the name: the first part may arrive as soon as the directory has its name.
    staging.flush()
    staging.publish(target)


def commit_part(staging: Staging, path: str, state: UploadState, part: Part) -> None:
    """
    Make a part, whose files are in C{staging} and on disk, one of an upload.

    @param path: the directory of the upload.
    """
    if part.number not in state.parts:
        commit_parts(staging, path, state, [part])
        return
    staging.write("parts.json", state.changed([part]))
    names = _files_of([part.number])
    # Hard links to all other files make a whole second directory, which then changes places with the first in one step:
    # readers and crashes see the old part with its checksums or the new one, and no mixture.
    for name in os.listdir(path):
        if name != "parts.json" and name not in names:
            _link(staging, path, name, name)
    staging.flush()
    try:
        staging.files.exchange(staging.path, path)
    except OSError as error:
        if error.errno not in CANNOT_EXCHANGE:
            raise
        _replace_part(staging, path, state, part)
        return
    try:
        _sync_changed(staging, os.path.dirname(path))
    except StorageFailed:
        # What is there now may be what a power cut leaves of the upload.
        staging.leave()
        raise
    # The part is stored, whatever becomes of this. What cannot be removed goes with the next start.
    with suppress(OSError):
        staging.discard()


def _replace_part(staging: Staging, path: str, state: UploadState, part: Part) -> None:
    """
    What L{commit_part} does where two directories cannot change places: the part is taken out of the list, and then comes
    back as what is now on disk in C{staging}. A crash between may leave the upload without that part; it is never one of
    other bytes.
    """
    staging.write("without.json", state.changed([], [part.number]))
    staging.flush()
    staging.files.rename(f"{staging.path}/without.json", f"{path}/parts.json")
    staging.sync(path)
    # The list on disk no longer names the part, so that its files can be replaced one by one.
    for name in _files_of([part.number]):
        staging.move(name, path)
    staging.sync(path)
    staging.move("parts.json", path)
    _sync_changed(staging, path)
    with suppress(OSError):
        staging.discard()


def commit_parts(
    staging: Staging, path: str, state: UploadState, parts: Sequence[Part], instead_of: Sequence[int] = ()
) -> None:
    """
    Make parts, whose files are in C{staging} and whose numbers are not there yet, parts of an upload, in one step.

    @param path: the directory of the upload.
    @param instead_of: the numbers of parts that it then does not have any more.
    """
    staging.write("parts.json", state.changed(parts, instead_of))
    staging.flush()
    for name in _files_of([part.number for part in parts]):
        staging.move(name, path)
    # Before parts.json names them, they are there.
    staging.sync(path)
    staging.move("parts.json", path)
    _sync_changed(staging, path)
    # The parts are stored, whatever becomes of this. What cannot be removed goes with the next start.
    with suppress(OSError):
        for name in _files_of([number for number in instead_of if number in state.parts]):
            staging.files.unlink(f"{path}/{name}")
    with suppress(OSError):
        staging.discard()


def link_parts(staging: Staging, path: str, parts: Sequence[Part], number: int) -> None:
    """
    Links to the files of parts of an upload, under numbers that begin with C{number}.

    @param path: the directory of that upload.
    @raise DamagedObject: if one is missing.
    """
    for place, part in enumerate(parts):
        for source, name in zip(_files_of([part.number]), _files_of([number + place]), strict=True):
            _link(staging, path, source, name, part.number)


def _link(staging: Staging, path: str, source: str, name: str, number: int | None = None) -> None:
    """
    Another name for a file of an upload.

    @raise DamagedObject: if it is not there, or is none.
    """
    try:
        staging.link(f"{path}/{source}", name)
    except FileNotFoundError:
        raise DamagedObject(os.path.basename(path), f"{source} is missing", number) from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise DamagedObject(os.path.basename(path), f"{source} is not a regular file", number) from None


def _files_of(numbers: Iterable[int]) -> list[str]:
    return [name for number in numbers for name in (checksum_name(number), part_name(number))]


def _sync_changed(staging: Staging, directory: str) -> None:
    try:
        staging.sync(directory)
    except OSError as error:
        raise StorageFailed(f"{directory} could not be synced to disk: {error.strerror or error}") from None


def complete(staging: Staging, path: str, parts: list[Part], metadata: Metadata, target: str) -> Part:
    """
    Make an object of parts of an upload. The upload stays as it is.

    @param path: the directory of the upload.
    @param target: that of the object.
    """
    for part in parts:
        for name in (part_name(part.number), checksum_name(part.number)):
            # Linked, not moved: until the object has its name the upload must stay whole, to be completed again.
            _link(staging, path, name, name, part.number)
    info = ObjectInfo(
        joined_etag(part.etag for part in parts),
        sum(part.size for part in parts),
        tuple(parts),
        metadata,
        os.path.basename(target),
    )
    staging.write("data.json", encode_object(info))
    staging.flush()
    staging.publish(target)
    return Part(0, info.etag, info.size)


def touched_at(path: str, upload_id: str) -> float:
    """
    When an upload last got a part, seconds since 1970 UTC.

    @raise NoSuchUpload: if it is not there.
    """
    # Each part rewrites parts.json; without it, which is damage, the directory still has a time.
    for place in (f"{path}/parts.json", path):
        try:
            return os.stat(place, follow_symlinks=False).st_mtime
        except (FileNotFoundError, NotADirectoryError):
            pass  # no such file here; the next place may have it
    raise NoSuchUpload(f"there is no upload {upload_id}")


def describe_upload(path: str, upload_id: str) -> Upload:
    """
    An upload for those who list them.

    @raise NoSuchUpload: if it is not there.
    """
    touched = touched_at(path, upload_id)
    try:
        state = load_upload(path, upload_id)
    except (DamagedObject, OSError):
        return Upload(upload_id, 0, touched, 0, 0)
    size = sum(part.size for part in state.parts.values())
    return Upload(upload_id, state.created / 1e9, touched, len(state.parts), size, state.metadata)


def examine_upload(path: str, upload_id: str) -> None:
    """
    Look whether an upload has the files that it should have.

    @raise NoSuchUpload: if it is not there.
    @raise DamagedObject: if not.
    """
    state = load_upload(path, upload_id)
    for part in state.parts.values():
        opened = OpenUploadPart(path, upload_id, part)
        try:
            opened.part(part).check_lines()
        finally:
            opened.close()


def remove_unlisted(staging: Staging, path: str, state: UploadState) -> int:
    """Remove files of parts that an upload does not have: a process was killed before it had them. @return: how many."""
    removed = 0
    for name in os.listdir(path):
        match = _file_of_part.fullmatch(name)
        if match and int(match[1]) not in state.parts:
            staging.files.unlink(f"{path}/{name}")
            removed += 1
    return removed
