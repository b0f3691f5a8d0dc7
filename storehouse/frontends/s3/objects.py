"""Objects: stored, read and removed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import attrs

from storehouse.core.streams import read_all
from storehouse.errors import BadRequest, InvalidRange, NoSuchKey, PreconditionFailed, Unavailable
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.sending import (
    Span,
    Validators,
    check_conditions,
    content_range,
    parse_ranges,
    range_is_wanted,
    send_stream,
)
from storehouse.frontends.s3.access.owning import new_object
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.checksums import checksum_fields
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import (
    ANY_TYPE,
    CONDITIONS,
    SYSTEM_FIELDS,
    checked_value,
    condition_of,
    content_type_of,
    encryption_fields,
    http_time,
    quoted,
    stored_fields,
    system_of,
    user_metadata,
)
from storehouse.frontends.s3.notes import read_note
from storehouse.frontends.s3.route import handler
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects.interfaces import ALWAYS, ObjectInfo, ObjectReader
from storehouse.storage.objects.values import shown_etag

__all__: list[str] = []

#: How often an object is opened anew that is replaced between a look at it and its opening.
_TRIES = 8

#: Bytes up to which an object is read before its response begins, and sent with it at once.
_SMALL = 64 << 10

#: The highest number of a part.
_MAX_PART = 10_000

#: Header fields that a signed request can have the response say.
_OVERRIDES = {
    "response-cache-control": b"Cache-Control",
    "response-content-disposition": b"Content-Disposition",
    "response-content-encoding": b"Content-Encoding",
    "response-content-language": b"Content-Language",
    "response-content-type": b"Content-Type",
    "response-expires": b"Expires",
}

#: Fields by which less than the whole object may be asked for.
_SELECTING = CONDITIONS | {"if-range", "range"}

Fields = tuple[tuple[bytes, bytes], ...]

_printable = re.compile(r"[\x20-\x7e\t]*").fullmatch


# -- reading ---------------------------------------------------------------------------------------


@attrs.frozen
class _Selection:
    """
    What of an object is asked for.

    @ivar span: C{None} for nothing: the client has it.
    @ivar is_partial: whether the response says that it is a part of the object.
    @ivar part: the part that is asked for by its number.
    @ivar parts: how many the object has; 0 if no part is asked for.
    """

    span: Span | None
    is_partial: bool = False
    part: Part | None = None
    parts: int = 0


@handler("GetObject")
async def get_object(call: Call) -> Reply | None:
    """
    Give it, a range or a part of it. If it turns out to be damaged, the connection ends before the damaged block: that more
    was announced tells the client so.
    """
    overrides = _overrides_of(call)
    info, selection, reader = await _open(call, True)
    if reader is None:
        _begin(call, info, selection, overrides)
        return None
    try:
        if selection.span is not None and selection.span.length <= _SMALL:
            await call.request.backlog.room()
            head = _head_of(call, info, selection, overrides)
            return Reply(head.status, await read_all(reader, _SMALL), head.content_type, head.headers)
        _begin(call, info, selection, overrides)
        await send_stream(call.request, reader, f"{call.bucket}/{call.key}")
    finally:
        await reader.close()
    return None


@handler("HeadObject")
async def head_object(call: Call) -> None:
    """What is known of it: the head of the response that GetObject gives."""
    overrides = _overrides_of(call)
    info, selection, _ = await _open(call, False)
    _begin(call, info, selection, overrides)


async def _open(call: Call, wants_bytes: bool) -> tuple[ObjectInfo, _Selection, ObjectReader | None]:
    number = _part_number_of(call)
    if number is None and not call.has_any(_SELECTING):
        if not wants_bytes:
            info = await call.store.head(call.bucket, call.key)
            return info, _Selection(Span(0, info.size)), None
        reader = await call.store.get(call.bucket, call.key, 0, None)
        return reader.info, _Selection(Span(0, reader.info.size)), reader
    _quote_etags(call)
    for _ in range(_TRIES):
        info = await call.store.head(call.bucket, call.key)
        selection = await _select(call, info, number)
        if not wants_bytes or selection.span is None:
            return info, selection, None
        span = selection.span
        try:
            reader = await call.store.get(
                call.bucket, call.key, span.offset, span.length if selection.is_partial else None
            )
        except InvalidRange:
            continue  # what is there now is shorter
        if reader.info.id == info.id:
            return info, selection, reader
        await reader.close()
    raise Unavailable("the object is replaced too often to be sent: try again")


async def _select(call: Call, info: ObjectInfo, number: int | None) -> _Selection:
    request = call.request
    validators = Validators(shown_etag(info.etag), max(0, info.created // 10**9))
    try:
        if not check_conditions(request, validators):
            return _Selection(None)
    except PreconditionFailed as error:
        is_match = request.requestHeaders.hasHeader(b"If-Match")
        raise S3Error("PreconditionFailed", Condition="If-Match" if is_match else "If-Unmodified-Since") from error
    except BadRequest as error:
        raise S3Error("InvalidArgument", error.detail) from None
    whole = Span(0, info.size)
    if number is not None:
        return _select_part(number, whole, await call.store.list_object_parts(call.bucket, call.key))
    value = call.header("Range")
    if value is None or not range_is_wanted(request, validators, call.door.clock.seconds()):
        return _Selection(whole)
    try:
        spans = parse_ranges(value.encode(), info.size)
    except InvalidRange as error:
        headers = ((b"Content-Range", b"bytes */%d" % error.size),)
        raise S3Error(
            "InvalidRange", headers=headers, RangeRequested=value[:200], ActualObjectSize=error.size
        ) from None
    # Of several ranges S3 makes none.
    return _Selection(spans[0], True) if spans is not None and len(spans) == 1 else _Selection(whole)


def _select_part(number: int, whole: Span, parts: Sequence[Part]) -> _Selection:
    offset = 0
    for part in parts:
        if part.number == number:
            return _Selection(Span(offset, part.size), part.size > 0, part, len(parts))
        offset += part.size
    if not parts and number == 1:
        return _Selection(whole, whole.length > 0)
    raise S3Error("InvalidPartNumber", ActualPartCount=len(parts) or 1, PartNumberRequested=number)


def _part_number_of(call: Call) -> int | None:
    value = call.query.get("partNumber")
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 9 and 1 <= int(value) <= _MAX_PART):
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {_MAX_PART}, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=value[:100],
        )
    if call.header("Range") is not None:
        raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
    return int(value)


def _quote_etags(call: Call) -> None:
    """Etags without quotes are taken as S3 takes them."""
    headers = call.request.requestHeaders
    for name in ("If-Match", "If-None-Match", "If-Range"):
        value = call.header(name)
        if value is not None and re.fullmatch("[0-9A-Za-z-]+", value):
            headers.setRawHeaders(name.encode("ascii"), [b'"%b"' % value.encode("ascii")])


def _begin(call: Call, info: ObjectInfo, selection: _Selection, overrides: dict[bytes, bytes]) -> None:
    head = _head_of(call, info, selection, overrides)
    length = None if selection.span is None else selection.span.length
    call.request.begin(head.status, head.content_type, head.headers, length)


def _head_of(call: Call, info: ObjectInfo, selection: _Selection, overrides: dict[bytes, bytes]) -> Reply:
    """The response, without its body."""
    etag, modified = quoted(info.etag).encode("utf-8", "replace"), http_time(info.created)
    fields: Fields = ((b"ETag", etag), (b"Last-Modified", modified))
    span = selection.span
    if span is None:
        kept = [each for each in stored_fields(info) if each[0] in (b"Cache-Control", b"Expires")]
        return Reply(304, b"", b"", (*fields, *kept))
    fields += ((b"Accept-Ranges", b"bytes"),)
    if selection.is_partial:
        fields += ((b"Content-Range", content_range(span, info.size)),)
    if selection.parts:
        fields += ((b"x-amz-mp-parts-count", b"%d" % selection.parts),)
    fields += encryption_fields(call)
    if (call.header("x-amz-checksum-mode") or "").upper() == "ENABLED":
        fields += tuple(_checksums_of(info, selection))
    content_type = overrides.pop(b"Content-Type", None) or info.content_type.encode("utf-8", "replace")
    if not _printable(content_type.decode("latin-1")) or not content_type:
        content_type = ANY_TYPE.encode("ascii")
    stored = dict(stored_fields(info)) | overrides
    return Reply(206 if selection.is_partial else 200, b"", content_type, (*fields, *stored.items()))


def _checksums_of(info: ObjectInfo, selection: _Selection) -> Iterator[tuple[bytes, bytes]]:
    """Those of what is sent, a part of the object or all of it; of any other range there are none."""
    if selection.part is not None and selection.parts > 1:
        for name, value in read_note(selection.part.note).items():
            yield f"x-amz-{name}".encode("ascii"), value.encode("ascii")
    elif selection.span == Span(0, info.size):
        yield from checksum_fields(info.system)


def _overrides_of(call: Call) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    if not call.query:
        return found
    for name, field in _OVERRIDES.items():
        value = call.query.get(name)
        if value is None:
            continue
        if call.caller.user is None:
            raise S3Error(
                "InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests."
            )
        found[field] = checked_value(name, value).encode()
    return found


# -- changing --------------------------------------------------------------------------------------


@handler("PutObject")
async def put_object(call: Call) -> Reply:
    """Store it, in one step and durably, once all that the request announced of its bytes was found to be right."""
    call.check_body()
    system = (system_of(call.header) if call.has_any(SYSTEM_FIELDS) else {}) | await new_object(call)
    call.checksums.keep()
    info = await call.store.put(
        call.bucket,
        call.key,
        call.body,
        call.length,
        content_type_of(call.header),
        user_metadata(call),
        condition_of(call.header) if call.has_any(CONDITIONS) else ALWAYS,
        md5=call.checksums.md5(call.length),
        system=lambda: system | call.checksums.system(),
    )
    fields: Fields = ((b"ETag", quoted(info.etag).encode()), *checksum_fields(info.system))
    fields += encryption_fields(call)
    return Reply(200, b"", b"", fields)


@handler("DeleteObject")
async def delete_object(call: Call) -> Reply:
    """Remove it; one that is not there is removed already, unless there is a condition for it."""
    for name in ("x-amz-if-match-last-modified-time", "x-amz-if-match-size"):
        if call.header(name) is not None:
            raise S3Error("NotImplemented", f"{name} is not implemented", Header=name)
    condition = condition_of(call.header)
    try:
        await call.store.delete(call.bucket, call.key, condition)
    except NoSuchKey:
        if condition.etag is not None:
            raise
    return Reply(204, b"", b"")
