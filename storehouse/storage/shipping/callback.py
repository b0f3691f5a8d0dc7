"""The archive callback that hands closed archives to a shipper."""

from __future__ import annotations

from zope.interface import implementer

from storehouse.archive.interfaces import IArchiveCallback
from storehouse.core.jobs import deferred
from storehouse.storage.shipping.interfaces import IShipper

__all__ = ["UploadFile"]


@implementer(IArchiveCallback)
class UploadFile:
    """
    An archive callback that ships closed archives.

    @param shipper: a started L{IShipper}.
    @param stream: what names at the destination begin with.
    @param delete: whether to remove archives once they have arrived; C{None} for the shipper's setting.
    @ivar removes_file: whether the file may be gone at any time after it was handed over.
    """

    def __init__(self, *, shipper: IShipper, stream: str = "", delete: bool | None = None) -> None:
        self._shipper = shipper
        self._stream = stream
        self._delete = delete
        self.removes_file = bool(shipper.deletes if delete is None else delete)

    def on_open(self, filename: str) -> None:
        pass

    @deferred
    async def on_close(self, filename: str) -> str:
        """
        Hand the archive over. Harmless if repeated.

        @return: fires with C{filename} when the shipper has noted it: from then on the file may be renamed or removed, and its
            bytes arrive nevertheless.
        """
        await self._shipper.ship(filename, self._stream, self._delete)
        return filename
