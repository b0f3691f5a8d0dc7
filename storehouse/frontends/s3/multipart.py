"""
Uploads in parts: C{?uploads} and C{?uploadId=ID}.

Parts have numbers from 1 to 10,000, at least 5 MiB each but for the last, at most 5 GiB, and may come in any order and together.
Each has its checksums with it; those of the object are made of them, so that no byte is read again: of the digests of the parts
(C{COMPOSITE}), or, for CRCs, what the object would have if it had come at once (C{FULL_OBJECT}).

Uploads of other doors are listed here, with those of this one, and can be aborted; only their own door can continue them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

import attrs

from storehouse.core.streams import limited
from storehouse.core.turns import breath
from storehouse.core.xmltext import XML, Node, document, document_in_turns, element, text
from storehouse.errors import NoSuchUpload, NotFound
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.access.owning import new_object
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.checksums import (
    COMPOSITE,
    DEFAULT,
    FULL_OBJECT,
    Checksums,
    algorithm_of,
    checksum_system,
    combine,
    composite,
    decoded,
    encoded,
    object_checksum,
    type_of,
)
from storehouse.frontends.s3.copying import from_source, known_checksums, open_source, read_source
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import (
    checksum_elements,
    condition_of,
    content_type_of,
    encryption_fields,
    iso_time,
    kept_etag,
    limit_of,
    quoted,
    seconds_of,
    system_of,
    user_metadata,
)
from storehouse.frontends.s3.lasting import lasting
from storehouse.frontends.s3.listing import encoder_of, grow, owner_element
from storehouse.frontends.s3.notes import read_note, write_note
from storehouse.frontends.s3.route import handler
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects.interfaces import Condition, ObjectInfo, OpenUpload

__all__: list[str] = []

#: Numbers of parts.
_MOST_PARTS = 10_000

#: Bytes of a part.
_LEAST, _LARGEST = 5 << 20, 5 << 30

#: Bytes, and elements, of the document that completes an upload.
_MOST_BYTES, _NODES = 8 << 20, 6 * _MOST_PARTS + 10

#: Uploads that are read at once.
_PAGE = 1000

#: Bytes of memory that an upload, or a part, takes in a list, about.
_ROW = 2048

#: What is kept with an upload of how its checksum is made, and with an object only the second of them.
_ALGORITHM, _TYPE = "checksum-algorithm", "checksum-type"

_CHECKSUM = "checksum-"

#: What the metadata of uploads of other doors has; and what those of this one have beside it, since a client can say anything in the
#: metadata.
_RESUMABLE, _DOOR = "resumable", "door"

#: What is kept with an upload of the user who began it.
_INITIATOR = "initiator"

_range = re.compile(r"bytes=(\d{1,18})-(\d{1,18})", re.ASCII).fullmatch


# -- beginning -------------------------------------------------------------------------------------


@handler("CreateMultipartUpload")
async def create_multipart_upload(call: Call) -> Reply:
    """Begin an upload."""
    checksum = _checksum_asked(call)
    own = {_DOOR: "s3", **({_INITIATOR: call.caller.name} if call.caller.name else {})}
    system = {**system_of(call.header), **checksum, **await new_object(call), **own}
    upload_id: str = await call.store.begin_upload(
        call.bucket, call.key, content_type_of(call.header), user_metadata(call), system
    )
    body = document(
        "InitiateMultipartUploadResult",
        text("Bucket", call.bucket),
        text("Key", call.key),
        text("UploadId", upload_id),
    )
    headers = tuple(
        (f"x-amz-{name}".encode("ascii"), value.upper().encode("ascii")) for name, value in checksum.items()
    )
    return Reply(200, body, XML, (*headers, *encryption_fields(call)))


def _checksum_asked(call: Call) -> dict[str, str]:
    """
    How the checksum of an object is to be made; empty if that is not said.

    @raise S3Error: C{InvalidRequest} if there is no such way.
    """
    algorithm, kind = call.header("x-amz-checksum-algorithm"), call.header("x-amz-checksum-type")
    if algorithm is None:
        if kind is not None:
            raise S3Error(
                "InvalidRequest",
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            )
        return {}
    name = algorithm_of(algorithm)
    return {_ALGORITHM: name, _TYPE: type_of(name, kind)}


# -- parts -----------------------------------------------------------------------------------------


def _upload_id(call: Call) -> str:
    found = call.query.get("uploadId", "")
    if not found:
        raise S3Error("InvalidArgument", "The upload ID is missing", ArgumentName="uploadId", ArgumentValue="")
    return found


def _is_resumable(upload: OpenUpload) -> bool:
    return _RESUMABLE in upload.metadata and _DOOR not in upload.system


async def _open_upload(call: Call) -> OpenUpload:
    """
    The upload that a request is for.

    @raise S3Error: C{InvalidRequest} if it is another door's.
    """
    upload: OpenUpload = await call.store.get_upload(call.bucket, call.key, _upload_id(call))
    if _is_resumable(upload):
        raise S3Error("InvalidRequest", "The upload was begun at another door, and can only be continued there")
    return upload


def _part_number(call: Call) -> int:
    value = call.query.get("partNumber", "")
    number = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0
    if not 1 <= number <= _MOST_PARTS:
        raise S3Error(
            "InvalidArgument",
            "Part number must be an integer between 1 and 10000, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=value[:100],
        )
    return number


@handler("UploadPart")
async def upload_part(call: Call) -> Reply:
    """Store a part, in place of the one that had its number."""
    number = _part_number(call)
    call.check_body()
    if call.length is not None and call.length > _LARGEST:
        raise S3Error("EntityTooLarge", ProposedSize=call.length, MaxSizeAllowed=_LARGEST)
    upload = await _open_upload(call)
    checksums, algorithm = call.checksums, upload.system.get(_ALGORITHM)
    if algorithm is not None and checksums.name not in ("", algorithm):
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {algorithm}, actual checksum Type: "
            f"{checksums.name}",
        )
    names = {algorithm or DEFAULT, checksums.name} - {""}
    checksums.want(algorithm or DEFAULT)
    note = ""

    def noted() -> str:
        nonlocal note
        note = write_note({name: checksums.values[name] for name in sorted(names)})
        return note

    etag: str = await call.store.upload_part(
        call.bucket,
        call.key,
        upload.upload_id,
        number,
        limited(call.body, _LARGEST, lambda: S3Error("EntityTooLarge", MaxSizeAllowed=_LARGEST)),
        call.length,
        checksums.md5(call.length),
        noted,
    )
    fields = ((f"x-amz-{name}".encode("ascii"), value.encode("ascii")) for name, value in read_note(note).items())
    return Reply(200, b"", b"", ((b"ETag", quoted(etag).encode("ascii")), *fields, *encryption_fields(call)))


@handler("UploadPartCopy")
async def upload_part_copy(call: Call) -> Reply | None:
    """Store a range of an object as a part. Its bytes are read here if the upload needs a checksum of them."""
    number = _part_number(call)
    upload = await _open_upload(call)
    algorithm = upload.system.get(_ALGORITHM)
    source = await open_source(call)

    async def copy(info: ObjectInfo) -> tuple[str, str]:
        offset, length = _range_of(call, info.size)
        # What is copied is what was looked at.
        condition = Condition(etag=info.etag)
        if algorithm is None:
            etag = await call.store.upload_part_copy(
                call.bucket,
                call.key,
                upload.upload_id,
                number,
                source.bucket,
                source.key,
                offset,
                length,
                condition,
                _note_of_whole(info) if length == info.size else "",
            )
            return etag, _note_of_whole(info) if length == info.size else ""
        reader = await read_source(call, source, info, offset, length)
        checksums = Checksums()
        checksums.want(algorithm)
        stream = checksums.stream(reader, call.door.disk, {}, call.door.transfers.batch)
        etag = await call.store.upload_part(
            call.bucket, call.key, upload.upload_id, number, stream, length, True, lambda: write_note(checksums.values)
        )
        return etag, write_note(checksums.values)

    async def work() -> bytes:
        etag, note = await from_source(call, source, copy)
        return document(
            "CopyPartResult",
            text("LastModified", iso_time(int(call.door.clock.seconds() * 1e9))),
            text("ETag", quoted(etag)),
            *checksum_elements(read_note(note)),
        )

    return await lasting(call, work(), encryption_fields(call))


def _note_of_whole(info: ObjectInfo) -> str:
    """What is known of all bytes of an object, as a note of a part."""
    if info.system.get(_TYPE) != FULL_OBJECT:
        return ""
    known = known_checksums(info.system)
    return write_note({name.removeprefix(_CHECKSUM): value for name, value in known.items() if name != _TYPE})


def _range_of(call: Call, size: int) -> tuple[int, int]:
    """
    The offset and the length of what is to be copied.

    @param size: of the source.
    """
    value = call.header("x-amz-copy-source-range")
    if value is None:
        return 0, size
    match = _range(value)
    if match is None or int(match[1]) > int(match[2]):
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "
            "zero-based offsets of the first and last bytes to copy",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=value[:100],
        )
    first, last = int(match[1]), int(match[2])
    if last >= size:
        raise S3Error(
            "InvalidArgument",
            f"Range specified is not valid for source object of size: {size}",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=value,
        )
    return first, last - first + 1


# -- ending ----------------------------------------------------------------------------------------


@attrs.frozen
class _Named:
    """A part as the request that completes the upload names it; its checksums by the names of a note's."""

    number: int
    etag: str
    checksums: Mapping[str, str]


@handler("CompleteMultipartUpload")
async def complete_multipart_upload(call: Call) -> Reply | None:
    """
    Make an object of the parts. A client that did not get the response may ask again: the object is the one that the upload
    became.
    """
    upload_id = _upload_id(call)
    condition = condition_of(call.header)
    named = await _named(await call.read_document("CompleteMultipartUpload", _MOST_BYTES, _NODES))
    try:
        upload = await _open_upload(call)
    except NoSuchUpload:
        parts, system = [], None
        for each in named:
            parts.append(Part(each.number, each.etag, 0))
            await breath()
    else:
        parts = await _chosen(upload, named, await call.store.list_parts(call.bucket, call.key, upload_id))
        _check_size(call, parts)
        system = await _system_of(call, upload, parts)

    async def complete() -> bytes:
        info: ObjectInfo = await call.store.complete_upload(
            call.bucket, call.key, upload_id, parts, condition, None, None, system
        )
        scheme = "https" if call.request.is_secure else "http"
        host = (call.request.requestHeaders.getRawHeaders(b"Host") or [b""])[0].decode("latin-1")
        return document(
            "CompleteMultipartUploadResult",
            text("Location", f"{scheme}://{host}{call.request.path.decode('ascii', 'replace')}"),
            text("Bucket", call.bucket),
            text("Key", call.key),
            text("ETag", quoted(info.etag)),
            *checksum_elements(info.system),
        )

    return await lasting(call, complete(), encryption_fields(call))


async def _named(root: Node) -> list[_Named]:
    named: list[_Named] = []
    for node in root.take_all():
        value = node.value("PartNumber")
        if node.name != "Part" or not (value.isascii() and value.isdigit() and len(value) < 10):
            raise S3Error("MalformedXML")
        checksums = {
            child.name.lower().replace("checksum", _CHECKSUM, 1): child.text.strip()
            for child in node.children
            if child.name.startswith("Checksum")
        }
        if not 1 <= int(value) <= _MOST_PARTS:
            raise S3Error(
                "InvalidArgument",
                "PartNumber must be an integer between 1 and 10000, inclusive",
                ArgumentName="PartNumber",
                ArgumentValue=value,
            )
        if named and int(value) <= named[-1].number:
            raise S3Error("InvalidPartOrder")
        named.append(_Named(int(value), kept_etag(node.value("ETag")), checksums))
        await breath()
    if not named:
        raise S3Error("MalformedXML")
    return named


async def _chosen(upload: OpenUpload, named: Sequence[_Named], there: Sequence[Part]) -> list[Part]:
    """The named parts of an upload: all exist, are large enough, and have the stated checksums."""
    known = {part.number: part for part in there}
    algorithm = upload.system.get(_ALGORITHM, "") if upload.system.get(_TYPE) == COMPOSITE else ""
    chosen: list[Part] = []
    for each in named:
        part = known.get(each.number)
        if part is None or part.etag != each.etag:
            raise S3Error("InvalidPart", UploadId=upload.upload_id, PartNumber=each.number, ETag=each.etag[:100])
        if chosen and chosen[-1].size < _LEAST:
            small = chosen[-1]
            raise S3Error(
                "EntityTooSmall",
                ProposedSize=small.size,
                MinSizeAllowed=_LEAST,
                PartNumber=small.number,
                ETag=small.etag,
            )
        if algorithm and not each.checksums:
            raise S3Error(
                "InvalidRequest",
                f"The upload was created using a {algorithm} checksum. The complete request must include the "
                f"checksum for each part. It was missing for part {each.number} in the request.",
            )
        if not each.checksums.items() <= read_note(part.note).items():
            raise S3Error("InvalidPart", UploadId=upload.upload_id, PartNumber=each.number, ETag=each.etag)
        chosen.append(part)
        await breath()
    return chosen


def _check_size(call: Call, parts: Sequence[Part]) -> None:
    """@raise S3Error: if the object would not have the size that the client expects."""
    value = call.header("x-amz-mp-object-size")
    if value is None:
        return
    size = sum(part.size for part in parts)
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise S3Error("InvalidRequest", "Value for x-amz-mp-object-size header is invalid.")
    if int(value) != size:
        raise S3Error(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {value} does not match what was computed: {size}",
        )


async def _system_of(call: Call, upload: OpenUpload, parts: Sequence[Part]) -> dict[str, str]:
    """
    What is kept with the object: what was with the upload, and its checksum.

    @raise S3Error: C{BadDigest} if it is not the one that the client expects.
    """
    system = {
        name: value for name, value in upload.system.items() if name not in (_ALGORITHM, _TYPE, _DOOR, _INITIATOR)
    }
    algorithm = upload.system.get(_ALGORITHM, DEFAULT)
    kind = upload.system.get(_TYPE, FULL_OBJECT)
    digests: list[tuple[bytes, int]] = []
    for part in parts:
        digest = decoded(algorithm, read_note(part.note).get(_CHECKSUM + algorithm, ""))
        if digest is not None:
            digests.append((digest, part.size))
        await breath()
    if len(digests) == len(parts):
        if kind == FULL_OBJECT:
            value = encoded(combine(algorithm, digests))
        else:
            value = composite(algorithm, [digest for digest, _ in digests])
        system |= checksum_system(algorithm, value, kind)
    _check_checksum(call, system, kind)
    return system


def _check_checksum(call: Call, system: Mapping[str, str], kind: str) -> None:
    """@raise S3Error: C{BadDigest} if a request expects another checksum of the object."""
    expected = call.header("x-amz-checksum-type")
    if expected is not None and expected.upper() != kind:
        raise S3Error("BadDigest", f"The upload's checksum type is {kind}, and not {expected[:100]}")
    said = object_checksum(list(call.fields), call.header)
    if said is not None:
        name, value = said
        has = system.get(_CHECKSUM + name)
        if has is None or value not in (has, has.partition("-")[0]):
            raise S3Error("BadDigest", f"The {name.upper()} you specified did not match the calculated checksum.")


@handler("AbortMultipartUpload")
async def abort_multipart_upload(call: Call) -> Reply:
    """Abort an upload of any door, and remove its parts. A user who cannot remove objects can abort only own uploads."""
    upload_id = _upload_id(call)
    upload: OpenUpload = await call.store.get_upload(call.bucket, call.key, upload_id)
    if call.only_own and upload.system.get(_INITIATOR) != call.caller.name:
        raise S3Error("AccessDenied")
    begun = call.header("x-amz-if-match-initiated-time")
    if begun is not None and seconds_of(begun) != int(upload.created):
        raise S3Error("PreconditionFailed", Condition="x-amz-if-match-initiated-time")
    if _is_resumable(upload) and call.door.resumable is not None:
        try:
            # The other door forgets the upload with its parts, so that its client gets an error.
            await call.door.resumable.remove(upload_id)
        except NotFound:
            pass  # it does not know the upload
        else:
            return Reply(204, b"", b"")
    await call.store.abort_upload(call.bucket, call.key, upload_id)
    return Reply(204, b"", b"")


# -- listing ---------------------------------------------------------------------------------------


def _described(upload: OpenUpload) -> list[str]:
    """What lists say of an upload, beside its times."""
    system = upload.system
    owner = system.get("owner", "")
    named = [
        text("ChecksumAlgorithm", system[_ALGORITHM].upper()) if _ALGORITHM in system else "",
        text("ChecksumType", system[_TYPE]) if _TYPE in system else "",
    ]
    return [
        owner_element(system.get(_INITIATOR, owner), "Initiator"),
        owner_element(owner),
        text("StorageClass", system.get("storage-class", "STANDARD")),
        *named,
    ]


@handler("ListParts")
async def list_parts(call: Call) -> Reply:
    """A page of the parts of an upload."""
    most = limit_of(call.query.get("max-parts"), "max-parts")
    marker = limit_of(call.query.get("part-number-marker"), "part-number-marker", 0, None)
    upload: OpenUpload = await call.store.get_upload(call.bucket, call.key, _upload_id(call))
    async with call.request.ahead(most * _ROW):
        found: list[Part] = await call.store.list_parts(call.bucket, call.key, upload.upload_id, marker, most + 1)
        return Reply(200, await _written_parts(call, upload, marker, most, found), XML)


async def _written_parts(call: Call, upload: OpenUpload, marker: int, most: int, found: Sequence[Part]) -> bytes:
    shown = found[:most]
    head = (
        text("Bucket", call.bucket),
        text("Key", call.key),
        text("UploadId", upload.upload_id),
        *_described(upload),
        text("PartNumberMarker", marker),
        text("NextPartNumberMarker", shown[-1].number if shown else marker),
        text("MaxParts", most),
        text("IsTruncated", len(found) > len(shown)),
    )
    return await document_in_turns("ListPartsResult", chain(head, map(_listed_part, shown)))


def _listed_part(part: Part) -> str:
    return element(
        "Part",
        text("PartNumber", part.number),
        text("LastModified", iso_time(part.stored)),
        text("ETag", quoted(part.etag)),
        text("Size", part.size),
        *checksum_elements(read_note(part.note)),
    )


@attrs.define
class _Page:
    """
    A page of uploads.

    @ivar prefixes: what keys have in common up to the delimiter: each stands for all their uploads.
    @ivar marker: the key, or what stands for some, and the ID of the last.
    """

    uploads: list[OpenUpload] = attrs.Factory(list)
    prefixes: list[str] = attrs.Factory(list)
    marker: tuple[str, str] = ("", "")
    is_truncated: bool = False


@handler("ListMultipartUploads")
async def list_multipart_uploads(call: Call) -> Reply:
    """A page of the uploads of a bucket, whatever door they were begun at."""
    query = call.query
    most = limit_of(query.get("max-uploads"), "max-uploads")
    encode = encoder_of(call)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    key, upload_id = query.get("key-marker", ""), query.get("upload-id-marker", "")
    async with call.request.ahead(most * _ROW) as ahead:
        page = await _page(call, prefix, delimiter, (key, upload_id if key else ""), most)
        await grow(ahead, most * _ROW, (*page.prefixes, *(upload.key for upload in page.uploads)))
        return Reply(
            200, await document_in_turns("ListMultipartUploadsResult", _written(call, page, encode, most)), XML
        )


def _written(call: Call, page: _Page, encode: Callable[[str], str], most: int) -> Iterator[str]:
    query = call.query

    def name(tag: str, value: str) -> str:
        return text(tag, encode(value))

    yield text("Bucket", call.bucket)
    yield name("KeyMarker", query.get("key-marker", ""))
    yield text("UploadIdMarker", query.get("upload-id-marker", ""))
    if page.is_truncated:
        yield name("NextKeyMarker", page.marker[0])
        yield text("NextUploadIdMarker", page.marker[1])
    yield name("Prefix", query.get("prefix", ""))
    if query.get("delimiter"):
        yield name("Delimiter", query["delimiter"])
    if query.get("encoding-type"):
        yield text("EncodingType", "url")
    yield text("MaxUploads", most)
    yield text("IsTruncated", page.is_truncated)
    for upload in page.uploads:
        yield element(
            "Upload",
            name("Key", upload.key),
            text("UploadId", upload.upload_id),
            *_described(upload),
            text("Initiated", iso_time(int(upload.created * 1e9))),
        )
    for each in page.prefixes:
        yield element("CommonPrefixes", name("Prefix", each))


async def _page(call: Call, prefix: str, delimiter: str, after: tuple[str, str], most: int) -> _Page:
    page = _Page(marker=after)
    # What stands for many keys may have been the last of the page before: then all of them were listed.
    common = after[0] if delimiter and after[0].endswith(delimiter) and not after[1] else None
    while True:
        found: list[OpenUpload] = await call.store.list_uploads(call.bucket, prefix, *after, _PAGE)
        for upload in found:
            end = upload.key.find(delimiter, len(prefix)) if delimiter else -1
            shared = upload.key[: end + len(delimiter)] if end >= 0 else None
            if shared is not None and shared == common:
                continue
            if len(page.uploads) + len(page.prefixes) >= most:
                page.is_truncated = most > 0
                return page
            common = shared
            if shared is None:
                page.uploads.append(upload)
                page.marker = (upload.key, upload.upload_id)
            else:
                page.prefixes.append(shared)
                page.marker = (shared, "")
        if len(found) < _PAGE:
            return page
        after = (found[-1].key, found[-1].upload_id)
        await breath()
