"""
C{/download} and C{/download/NAME}: what is stored, given back (RFC 9110).

Nothing that somebody stored is run as if it were ours. A file keeps the media type that it was stored with only if no browser runs
files of that type. And it is shown, rather than saved, only if who asks wants that and a browser can do no more than show it.
Whatever it is, its page has no scripts, no forms and an origin of its own (CSP level 3, C{sandbox}).
"""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import quote

import attrs
from twisted.logger import Logger

from storehouse.core.names import UPLOADS
from storehouse.errors import BadRequest, InvalidRange
from storehouse.frontends.http.reply import OCTETS, MethodNotAllowed, Reply, json_reply
from storehouse.frontends.http.request import Leaf, StreamingRequest, check_fields, decoded, parse_query, text_of
from storehouse.frontends.http.sending import (
    Selection,
    check_conditions,
    content_range,
    has_conditions,
    open_selected,
    send_stream,
    unsatisfied_reply,
    validators_of,
)
from storehouse.frontends.upload.gate import Gate, Visitor, check_query
from storehouse.frontends.upload.intake import Activity, Download
from storehouse.frontends.upload.listing import Listings, described
from storehouse.frontends.upload.ranges import ByteRanges
from storehouse.storage.objects.interfaces import ALWAYS, Condition, IObjectStore, ObjectInfo, ObjectReader

__all__ = ["Downloads", "Presentation", "content_disposition", "present"]


_KNOWN = frozenset({b"bucket", b"inline"})
_ALONE = frozenset({b"bucket"})

#: Bytes of a form that asks for a change.
_MOST_FORM = 64 * 1024

_crc32c = re.compile(r"[0-9a-f]{8}").fullmatch
_own_list = re.compile(rb"/download(?:\?[\x21-\x7e]*)?").fullmatch


class Downloads(Leaf):
    """
    Files, and the list of them.

    A field C{bucket} of the query names another bucket than the door's own, to be read only.

    @param listings: gives the list.
    @param bucket: the door's own bucket.
    """

    _log = Logger()
    takes_rest = True

    def __init__(
        self, store: IObjectStore, gate: Gate, activity: Activity, listings: Listings, bucket: str = UPLOADS
    ) -> None:
        Leaf.__init__(self)
        self._store = store
        self._gate = gate
        self._activity = activity
        self._listings = listings
        self._bucket = bucket

    # -- reading -----------------------------------------------------------------------------

    async def handle_GET(self, request: StreamingRequest) -> Reply | None:
        """Give a file, or ranges of it; or the list."""
        path = _path_of(request)
        if not path:
            return await self._listings.answer(request)
        bucket = text_of(request, b"bucket") or self._bucket
        key = decoded("path", path)
        visitor = await self._gate.admit(request, "get", bucket=bucket, key=key)
        _check_fields(request, _KNOWN)
        try:
            info, selection, reader = await open_selected(
                request,
                lambda: self._store.head(bucket, key),
                lambda offset, length: self._store.get(bucket, key, offset, length),
                several=True,
            )
        except InvalidRange as error:
            return unsatisfied_reply(error)
        try:
            await self._answer(request, visitor, bucket, info, selection, reader)
        finally:
            if reader is not None:
                await reader.close()
        return None

    async def _answer(
        self,
        request: StreamingRequest,
        visitor: Visitor,
        bucket: str,
        info: ObjectInfo,
        selection: Selection,
        reader: ObjectReader | None,
    ) -> None:
        how = present(info.key, info.content_type, request.fields.get(b"inline") == b"1")
        fields = (*validators_of(info).fields, (b"Cache-Control", _caching(visitor)))
        if selection.status == 304:
            request.begin(304, b"", fields)
            return
        fields += ((b"Accept-Ranges", b"bytes"), *how.fields, *_digest(info))
        if reader is None:
            request.begin(200, how.content_type, fields, info.size)
            return
        if visitor.grant is not None:
            await self._gate.use(visitor)
        frame = None
        if len(selection.spans) > 1:
            frame = ByteRanges(selection.spans, info.size, how.content_type)
            request.begin(206, frame.content_type, fields, frame.length)
        else:
            (span,) = selection.spans
            if selection.status == 206:
                fields += ((b"Content-Range", content_range(span, info.size)),)
            request.begin(selection.status, how.content_type, fields, span.length)
        transfer = self._activity.begin_download(info.key, visitor.name)
        try:
            if frame is None:
                is_whole = await send_stream(request, reader, f"{bucket}/{info.key}", transfer.add)
            else:
                is_whole = await self._send_several(request, transfer, reader, bucket, info, selection, frame)
            if is_whole:
                transfer.end()
        finally:
            transfer.fail()

    async def _send_several(
        self,
        request: StreamingRequest,
        transfer: Download,
        first: ObjectReader,
        bucket: str,
        info: ObjectInfo,
        selection: Selection,
        frame: ByteRanges,
    ) -> bool:
        """One range after the other: each is opened when its turn comes."""
        name = f"{bucket}/{info.key}"
        reader = first
        for number, span in enumerate(selection.spans):
            await request.send(frame.heads[number])
            if number:
                reader = await self._store.get(bucket, info.key, span.offset, span.length)
            if reader.info.id != info.id:
                # Bytes of two files must not be taken for one. Asked again, the client gets those of the new one.
                self._log.info("{name} was replaced while ranges of it were sent", name=name)
                await reader.close()
                request.break_off()
                return False
            if not await send_stream(request, reader, name, transfer.add):
                return False
        await request.send(frame.tail)
        return True

    # -- removing ----------------------------------------------------------------------------

    async def handle_DELETE(self, request: StreamingRequest) -> Reply:
        """Remove a file; all conditions of section 13 hold for that."""
        key = self._key_to_change(request)
        await self._gate.admit(request, "delete", key=key)
        check_query(request)
        return json_reply(described(await self._delete(request, key)))

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        """What the form of a page without scripts asks for: C{action=delete}, and C{next} to go to."""
        key = self._key_to_change(request)
        visitor = await self._gate.admit(request, "delete", token_later=True, key=key)
        check_query(request)
        form = parse_query(await request.body.read_all(_MOST_FORM))
        self._gate.check_token(visitor, form.get(b"csrf", b"").decode("latin-1"))
        if form.get(b"action") != b"delete":
            raise BadRequest("action must be delete")
        await self._delete(request, key)
        target = form.get(b"next", b"")
        return Reply(303, b"", b"text/plain", ((b"Location", target if _own_list(target) else b"/download"),))

    def _key_to_change(self, request: StreamingRequest) -> str:
        path = _path_of(request)
        if not path:
            raise MethodNotAllowed(request.method, (b"GET", b"HEAD"))
        return decoded("path", path)

    async def _delete(self, request: StreamingRequest, key: str) -> ObjectInfo:
        condition = ALWAYS
        if has_conditions(request):
            info = await self._store.head(self._bucket, key)
            check_conditions(request, validators_of(info))
            # What was looked at is what is removed, or nothing is.
            condition = Condition(etag=info.etag or "*")
        return await self._store.delete(self._bucket, key, condition)


def _path_of(request: StreamingRequest) -> bytes:
    """What follows the door's own part of the path."""
    return request.path[1:].partition(b"/")[2]


def _check_fields(request: StreamingRequest, known: frozenset[bytes]) -> None:
    """Refuse unknown parameters; the query of a link was checked by its signature."""
    if b"signature" not in request.fields:
        check_fields(request, known)


def _caching(visitor: Visitor) -> bytes:
    """
    C{no-cache}: clients may keep it, but ask each time, so that a replaced file or a lost permission shows at once.
    """
    return b"no-cache" if visitor.how == "public" else b"private, no-cache"


def _digest(info: ObjectInfo) -> tuple[tuple[bytes, bytes], ...]:
    """The checksum of all of the file, if it is known (RFC 9530)."""
    for text in info.metadata.get("crc32c", ()):
        if _crc32c(text):
            return ((b"Repr-Digest", b"crc32c=:%b:" % b64encode(bytes.fromhex(text))),)
    return ()


_PARAMETER = r"""(?:[ \t]*;[ \t]*[a-z0-9-]+=(?:[a-z0-9._+-]+|"[a-z0-9 .,_+-]*"))*"""

# SVG, and whatever else is XML, is a document that may have scripts.
_shown = re.compile(
    rf"(?:(?:image|audio|video)/(?!.*xml)[a-z0-9.+-]+|text/plain|application/pdf){_PARAMETER}", re.IGNORECASE
).fullmatch
_inert = re.compile(
    r"(?:font/[a-z0-9.+-]+|text/(?:csv|markdown|tab-separated-values|calendar|vcard)"
    r"|application/(?:json|x-ndjson|zip|gzip|zstd|x-(?:tar|bzip2|xz|7z-compressed|rar-compressed|iso9660-image)"
    r"|vnd\.rar|epub\+zip|msword|rtf|vnd\.(?!.*xml(?:$|;))[a-z0-9.-]+"
    rf"|octet-stream)){_PARAMETER}",
    re.IGNORECASE,
).fullmatch

_LOCKED = b"sandbox; default-src 'none'"
_MEDIA = _LOCKED + b"; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
# Viewers of PDF are plugins, which a sandbox does not let in.
_PDF = b"default-src 'none'; object-src 'self'; style-src 'unsafe-inline'"

# What a name must not do to the line that it is in, nor to those who read it.
_unfit = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069/\\]").sub
# Also spaces at the ends, which clients strip, and what begins an encoded word, which some decode.
_not_plain = re.compile(r"""[^\x20-\x7e]|["%\\]|=\?|^ | $""").sub


@attrs.frozen
class Presentation:
    """
    @ivar content_type: the media type to send.
    @ivar fields: C{Content-Disposition}, and what keeps the file from being more than data.
    """

    content_type: bytes
    fields: tuple[tuple[bytes, bytes], ...]


def present(key: str, content_type: str, inline: bool) -> Presentation:
    """
    How to hand out a file.

    @param content_type: as it was stored; may be anything.
    @param inline: whether browsers show it, if they can.
    """
    is_shown = _shown(content_type) is not None
    told = content_type.encode("ascii") if is_shown or _inert(content_type) else OCTETS
    is_pdf = told.lower().startswith(b"application/pdf")
    policy = _LOCKED if not (inline and is_shown) else _PDF if is_pdf else _MEDIA
    return Presentation(
        told,
        (
            (b"Content-Disposition", content_disposition(key, inline and is_shown)),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Content-Security-Policy", policy),
        ),
    )


def content_disposition(key: str, inline: bool = False) -> bytes:
    """The field: with a name in ASCII for old clients, and the true one (RFC 6266, RFC 8187). Folders are left out."""
    name = _unfit("_", key.rstrip("/").rpartition("/")[2]) or "download"
    plain = _not_plain("_", name)
    value = f'{"inline" if inline else "attachment"}; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{quote(name, safe='!#$&+-.^_`|~')}"
    return value.encode("ascii")
