"""The archive callback that hands closed archives to a shipper."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from storehouse.archive.interfaces import IArchiveCallback
from storehouse.core.streams import deferred
from storehouse.storage.shipping.interfaces import IShipper

__all__ = ["UploadFile"]


@implementer(IArchiveCallback)
class UploadFile:
    """
    An archive callback: what is closed is shipped.

    @param shipper: a started L{IShipper}.
    @param stream: what names at the destination begin with.
    @param delete: whether to remove archives once they are there; C{None} for what the shipper is set to.
    @ivar removes_file: whether the file may go at any time after it was handed over.
    """

    def __init__(self, *, shipper: IShipper, stream: str = "", delete: bool | None = None) -> None:
        self._shipper: Any = shipper
        self._stream = stream
        self._delete = delete
        self.removes_file = bool(shipper.deletes if delete is None else delete)

    def on_open(self, filename: str) -> None:
        """Nothing to be done yet."""

    @deferred
    async def on_close(self, filename: str) -> str:
        """
        Hand it over. A repeat is harmless.

        @return: fires with C{filename} when the shipper has noted it: whatever is done with the file from then on, it is
            shipped as it is now.
        """
        await self._shipper.ship(filename, self._stream, self._delete)
        return filename
