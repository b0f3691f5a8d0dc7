"""The half of a Wormer store that has uploads in parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from storehouse.core.streams import IByteStream
from storehouse.storage.dataspace.ground import Ground
from storehouse.storage.dataspace.interfaces import Metadata, Part, Reader, Upload
from storehouse.storage.dataspace.uploading import Uploading

__all__ = ["WormerUploads"]


class WormerUploads:
    """A base class: what C{IDataSpace} and C{IUploads} ask for that is about uploads, counted as operations."""

    def __init__(self, ground: Ground, uploading: Uploading) -> None:
        self._ground = ground
        self._uploading = uploading

    def init_upload(self, upload_id: str, metadata: Metadata) -> Deferred[None]:
        """See L{IDataSpace.init_upload}."""
        return self._ground.operation("init_upload", self._uploading.init(upload_id, metadata))

    def upload_part(
        self,
        upload_id: str,
        number: int,
        stream: IByteStream,
        size: int | None,
        note: Callable[[], str] | None = None,
        instead_of: Sequence[int] = (),
    ) -> Deferred[str]:
        """See L{IDataSpace.upload_part}."""
        work = self._uploading.part(upload_id, number, stream, size, note, instead_of)
        return self._ground.operation("upload_part", work, stream)

    def upload_part_copy(
        self,
        upload_id: str,
        number: int,
        source_id: str,
        offset: int = 0,
        length: int | None = None,
        note: str = "",
        expected: Part | None = None,
    ) -> Deferred[str]:
        """See L{IDataSpace.upload_part_copy}."""
        work = self._uploading.part_copy(upload_id, number, source_id, offset, length, note, expected)
        return self._ground.operation("upload_part_copy", work)

    def upload_part_link(
        self,
        upload_id: str,
        number: int,
        source_upload_id: str,
        source_numbers: Sequence[int],
        note: Callable[[Part, int], str] | None = None,
    ) -> Deferred[list[str]]:
        """See L{IDataSpace.upload_part_link}."""
        work = self._uploading.part_link(upload_id, number, source_upload_id, source_numbers, note)
        return self._ground.operation("upload_part_link", work)

    def get_part(self, upload_id: str, number: int) -> Deferred[Reader]:
        """See L{IDataSpace.get_part}."""
        return self._ground.operation("get_part", self._uploading.get_part(upload_id, number))

    def complete_upload(
        self, id: str, upload_id: str, parts: Sequence[Part], metadata: Metadata | None = None
    ) -> Deferred[Part]:
        """See L{IDataSpace.complete_upload}."""
        return self._ground.operation("complete_upload", self._uploading.complete(id, upload_id, parts, metadata))

    def abort_upload(self, upload_id: str) -> Deferred[None]:
        """See L{IDataSpace.abort_upload}."""
        return self._ground.operation("abort_upload", self._uploading.abort(upload_id))

    def list_parts(self, upload_id: str) -> Deferred[list[Part]]:
        """See L{IDataSpace.list_parts}."""
        return self._ground.operation("list_parts", self._uploading.list_parts(upload_id))

    def list_uploads(self) -> Deferred[list[Upload]]:
        """See L{IUploads.list_uploads}."""
        return self._ground.operation("list_uploads", self._uploading.list_uploads())

    def get_upload(self, upload_id: str) -> Deferred[Upload]:
        """See L{IUploads.get_upload}."""
        return self._ground.operation("get_upload", self._uploading.get_upload(upload_id))

    def examine_upload(self, upload_id: str) -> Deferred[None]:
        """See L{IInventory.examine_upload}."""
        return self._ground.operation("examine_upload", self._uploading.examine(upload_id))

    def replace_upload_metadata(self, upload_id: str, metadata: Metadata) -> Deferred[None]:
        """See L{IDescribed.replace_upload_metadata}."""
        work = self._uploading.replace_metadata(upload_id, metadata)
        return self._ground.operation("replace_upload_metadata", work)

    def expire_uploads(self, age: float, keep: Callable[[str], bool] | None = None) -> Deferred[list[str]]:
        """See L{IUploads.expire_uploads}."""
        return self._ground.operation("expire_uploads", self._uploading.expire(age, keep))
