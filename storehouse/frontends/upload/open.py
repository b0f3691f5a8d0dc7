"""C{/uploads}: resumable uploads that are not complete."""

from __future__ import annotations

from storehouse.frontends.http.reply import Reply, json_reply
from storehouse.frontends.http.request import Leaf, StreamingRequest, check_fields
from storehouse.frontends.upload.gate import Gate
from storehouse.storage.resumable.interfaces import IResumableUploads

__all__ = ["OpenUploads"]

_NO_FIELDS: frozenset[bytes] = frozenset()


class OpenUploads(Leaf):
    """Open uploads of the user, oldest first. They are continued at C{/tus/ID} or C{/resumable/ID}."""

    def __init__(self, gate: Gate, uploads: IResumableUploads) -> None:
        Leaf.__init__(self)
        self._gate = gate
        self._uploads = uploads

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """A JSON object with a list of them."""
        visitor = await self._gate.admit(request, "manage")
        check_fields(request, _NO_FIELDS)
        uploads = await self._uploads.list(visitor.name)
        return json_reply(
            {
                "uploads": [
                    {
                        "id": each.id,
                        "name": each.name,
                        "offset": each.offset,
                        "length": each.length,
                        "created": each.created,
                        "expires": each.expires,
                    }
                    for each in uploads
                    if not each.is_partial
                ]
            }
        )
