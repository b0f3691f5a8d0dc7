"""What tus and the IETF's draft have in common: whose an upload is, where it is, and how bytes get into it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

from storehouse.core.streams import BytesStream
from storehouse.errors import Forbidden, NoSuchUpload, StorehouseError, TooLarge
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.upload.gate import Gate, Visitor
from storehouse.frontends.upload.intake import Checksums, Intake, checked
from storehouse.storage.objects.interfaces import ALWAYS, Condition
from storehouse.storage.resumable.interfaces import IResumableUploads, ResumableUpload

__all__ = ["Resuming", "id_in", "is_his", "object_metadata", "path_of", "quietly_removed", "url_of_upload"]

_id = re.compile("[0-9a-f]{32}").fullmatch


def path_of(name: str) -> str:
    """The path that a link for a name is for."""
    return "/upload/" + quote(name, safe="/")


def id_in(request: StreamingRequest) -> str:
    """
    The ID that the path of a request ends with.

    @raise NoSuchUpload: if that cannot be one.
    """
    text = request.path.rpartition(b"/")[2].decode("ascii", "replace")
    if request.path.count(b"/") != 2 or not _id(text):
        raise NoSuchUpload(f"there is no upload {text[:100]}")
    return text


def url_of_upload(request: StreamingRequest, door: str, id: str) -> bytes:
    """
    Where an upload is continued: relative to the door, by whatever name it is reached. A client with a link needs it
    there, too.

    @param door: C{tus} or C{resumable}.
    """
    url = f"/{door}/{id}".encode("ascii")
    if b"signature" not in request.fields:
        return url
    return url + b"?" + request.uri.partition(b"?")[2]


def is_his(visitor: Visitor, upload: ResumableUpload) -> bool:
    """Whether a visitor may continue an upload: the user who began it, anybody with the same link, an administrator."""
    if visitor.grant is not None:
        return upload.grant == visitor.grant.nonce
    if visitor.user is None:
        return False
    return visitor.user.is_unlimited_admin or visitor.user.name == upload.owner


class Resuming:
    """
    What handlers do with uploads.

    @ivar uploads: an L{IResumableUploads}.
    @param kind: C{tus} or C{ietf}, for the figures of C{/stats}.
    """

    def __init__(self, gate: Gate, uploads: IResumableUploads, intake: Intake, kind: str) -> None:
        self.gate = gate
        self.uploads = uploads
        self.intake = intake
        self._kind = kind

    async def admit(self, request: StreamingRequest, interrupt: bool = False) -> tuple[Visitor, ResumableUpload]:
        """
        The user of a request for an upload, and the upload.

        @param interrupt: whether to interrupt a request that adds to it first.
        @raise NoSuchUpload: if there is none, or it is somebody else's.
        @raise UploadGone: if there was one.
        """
        id = id_in(request)
        # Looked at once, and at once: that tells which of two requests came first.
        if b"signature" in request.fields:
            # What the link must be for is known only by looking.
            upload = await self.uploads.get(id)
            visitor = await self.gate.admit(request, "put", path_of(upload.name), goes_on=True)
        else:
            visitor = await self.gate.admit(request, "put", goes_on=True)
            upload = await self.uploads.get(id)
        if not is_his(visitor, upload):
            raise NoSuchUpload(f"there is no upload {id}")
        # Rights may have been revoked since it was begun.
        await self.gate.put_condition(visitor, upload.name, ALWAYS)
        if interrupt:
            upload = await self.uploads.interrupt(id)
        return visitor, upload

    async def names_for(self, visitor: Visitor, name: str, names: str = "") -> str:
        """
        What becomes of a name that is taken, for a visitor who perhaps can only store what is new.

        @param names: what the request wants; empty for what is set.
        @raise Forbidden: if the visitor has no right to store it.
        """
        rule = names or self.intake.rule
        condition = await self.gate.put_condition(
            visitor, name, ALWAYS if rule == "replace" else Condition(absent=True)
        )
        if condition.etag is not None:
            # When the last bytes are there, it may be too late to find that there is nothing to replace.
            raise Forbidden(f"{visitor.name} can only replace files, and not by a resumable upload")
        return "refuse" if condition.absent and rule == "replace" else names

    def check_size(self, visitor: Visitor, length: int | None) -> None:
        """
        To be called before a link is used up.

        @raise TooLarge: for more bytes than the visitor may store.
        """
        most = self.intake.limit_of(visitor)
        if length is not None and most is not None and length > most:
            raise TooLarge(f"the upload has {length} bytes; at most {most} are allowed")

    async def append(
        self,
        request: StreamingRequest,
        visitor: Visitor,
        upload: ResumableUpload,
        offset: int,
        algorithms: tuple[str, ...] = (),
        verify: Callable[[Checksums], None] | None = None,
        is_last: bool = False,
        progress: Callable[[int], object] | None = None,
        at_end: Callable[[Checksums], None] | None = None,
        length: int | None = None,
    ) -> ResumableUpload:
        """
        Add the body of a request.

        @param algorithms: what C{verify} and C{at_end} will ask of the L{Checksums}.
        @param at_end: of a last one: called when all bytes are stored, before the upload is complete with them. What it
            raises is raised, and the upload given up. It must be one that awaits its end, or whose length is not known.
        @param length: the bytes that the upload will have, if the request says so.
        @raise TooManyUploads: at once.
        @raise StorehouseError: as L{IResumableUploads.append} does.
        """
        async with self.intake.memory.receiving(request.body, visitor.shares) as session:
            activity = self.intake.activity.begin_upload(self._kind, upload.name, visitor.name)
            try:
                checksums = Checksums(algorithms, self.intake.disk, session)
                checking = None if verify is None else partial(verify, checksums)
                body = checked(request.body, checksums, activity.add)
                ends = is_last and at_end is None
                added: ResumableUpload = await self.uploads.append(
                    upload.id, offset, body, request.body.length, checking, ends, progress, length, upload.seen
                )
                if is_last and at_end is not None:
                    added = await self._end(added, partial(at_end, checksums))
                if added.is_complete and not added.is_partial:
                    activity.end(added.key, added.offset, max(0.0, self.intake.activity.now() - added.created))
            finally:
                # What is not complete can be continued, however this ended.
                activity.suspend()
        return added

    async def _end(self, upload: ResumableUpload, check: Callable[[], None]) -> ResumableUpload:
        try:
            check()
        except StorehouseError:
            await quietly_removed(self.uploads, upload.id)
            raise
        ended: ResumableUpload = await self.uploads.append(upload.id, upload.offset, BytesStream(), 0, is_last=True)
        return ended


def object_metadata(visitor: Visitor, filename: str, via: str) -> dict[str, list[str]]:
    """What is kept with the object of an upload."""
    return {"filename": [filename], "uploader": [visitor.name], "via": [via]}


async def quietly_removed(uploads: IResumableUploads, id: str) -> None:
    """Remove an upload whose URL no client got, or that cannot be continued."""
    try:
        await uploads.remove(id)
    except StorehouseError:
        pass  # it expires
