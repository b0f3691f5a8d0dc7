"""Lists of objects, by ListObjects and by its second version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from urllib.parse import quote

from storehouse.core.connections import Ahead
from storehouse.core.xmltext import XML, document_in_turns, element, text
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import iso_time, limit_of, quoted
from storehouse.frontends.s3.paging import read_token, write_token
from storehouse.frontends.s3.route import handler
from storehouse.storage.accounts.interfaces import canonical_id
from storehouse.storage.objects.interfaces import Listing, ObjectInfo

__all__ = ["encoder_of", "grow", "owner_element", "percent_encoded"]

#: Bytes of memory that an object takes on its way into a list, about.
_ROW = 2048

#: Bytes that a character of a key becomes at most, in memory and written.
_WIDEST = 12

_EMPTY = Listing((), (), None)


def percent_encoded(value: str) -> str:
    """As C{encoding-type=url} has it."""
    return quote(value, safe="/", errors="surrogatepass")


def _as_it_is(value: str) -> str:
    return value


def encoder_of(call: Call) -> Callable[[str], str]:
    """
    How names are written in a list, as C{encoding-type} asks for.

    @raise S3Error: C{InvalidArgument} if it does not say url.
    """
    value = call.query.get("encoding-type")
    if not value:
        return _as_it_is
    if value.lower() != "url":
        raise S3Error(
            "InvalidArgument",
            "Invalid Encoding Method specified in Request",
            ArgumentName="encoding-type",
            ArgumentValue=value[:100],
        )
    return percent_encoded


def owner_element(name: str, tag: str = "Owner") -> str:
    """
    A user as an owner.

    @param name: of the user; empty for what belongs to nobody.
    """
    return element(tag, text("ID", canonical_id(name)), text("DisplayName", name))


@handler("ListObjects")
async def list_objects(call: Call) -> Reply:
    """The first version: a page continues behind C{marker}."""
    encode = encoder_of(call)
    marker = call.query.get("marker", "")
    delimiter = call.query.get("delimiter", "")
    limit = limit_of(call.query.get("max-keys"), "max-keys")
    async with call.request.ahead(limit * _ROW) as ahead:
        page = await _page(call, marker, limit, ahead)
        parts = _head(call, encode, limit, page)
        parts.insert(2, text("Marker", encode(marker)))
        if page.next_after is not None and delimiter:
            parts.append(text("NextMarker", encode(page.next_after)))
        return await _written(call, parts, page, encode, True)


@handler("ListObjectsV2")
async def list_objects_v2(call: Call) -> Reply:
    """The second: a page continues by a token, the first one behind C{start-after}."""
    if call.query["list-type"] != "2":
        raise S3Error(
            "InvalidArgument",
            "The list type is not valid",
            ArgumentName="list-type",
            ArgumentValue=call.query["list-type"][:100],
        )
    encode = encoder_of(call)
    start, token = call.query.get("start-after", ""), call.query.get("continuation-token")
    limit = limit_of(call.query.get("max-keys"), "max-keys")
    after = start if token is None else read_token(token)
    async with call.request.ahead(limit * _ROW) as ahead:
        page = await _page(call, after, limit, ahead)
        parts = _head(call, encode, limit, page)
        parts.append(text("KeyCount", len(page.objects) + len(page.damaged) + len(page.prefixes)))
        if start:
            parts.append(text("StartAfter", encode(start)))
        if token is not None:
            parts.append(text("ContinuationToken", token))
        if page.next_after is not None:
            parts.append(text("NextContinuationToken", write_token(page.next_after)))
        return await _written(call, parts, page, encode, call.query.get("fetch-owner", "").lower() == "true")


async def _page(call: Call, after: str, limit: int, ahead: Ahead) -> Listing:
    if not limit:
        await call.store.get_bucket(call.bucket)
        return _EMPTY
    page: Listing = await call.store.list_objects(
        call.bucket, call.query.get("prefix", ""), call.query.get("delimiter", ""), after, limit
    )
    await grow(ahead, limit * _ROW, (*page.prefixes, *(info.key for info in page.objects)))
    return page


async def grow(ahead: Ahead, size: int, names: Iterable[str]) -> None:
    """Have memory for a list of names, if they are so long that C{size}, which there is for it, is not enough."""
    length = _WIDEST * sum(map(len, names))
    if length > size:
        await ahead.grow(size + length)


def _head(call: Call, encode: Callable[[str], str], limit: int, page: Listing) -> list[str]:
    parts = [text("Name", call.bucket), text("Prefix", encode(call.query.get("prefix", ""))), text("MaxKeys", limit)]
    if call.query.get("delimiter"):
        parts.append(text("Delimiter", encode(call.query["delimiter"])))
    if encode is percent_encoded:
        parts.append(text("EncodingType", "url"))
    parts.append(text("IsTruncated", page.next_after is not None))
    return parts


async def _written(call: Call, parts: list[str], page: Listing, encode: Callable[[str], str], owners: bool) -> Reply:
    bucket_owner = (await call.store.get_bucket(call.bucket)).owner if owners else ""
    rows = _rows(page, encode, bucket_owner, owners)
    return Reply(200, await document_in_turns("ListBucketResult", chain(parts, rows)), XML)


def _rows(page: Listing, encode: Callable[[str], str], bucket_owner: str, owners: bool) -> Iterator[str]:
    written: dict[str, str] = {}

    def row(info: ObjectInfo) -> str:
        owner = ""
        if owners:
            name = info.system.get("owner", bucket_owner)
            if name not in written:
                written[name] = owner_element(name)
            owner = written[name]
        return _object(info, encode, owner)

    if page.damaged:
        # They are there: a client that took them for removed could remove its own copies. Reading one tells what is wrong.
        there: dict[str, ObjectInfo | None] = {
            **dict.fromkeys(page.damaged),
            **{info.key: info for info in page.objects},
        }
        for key in sorted(there, key=lambda key: key.encode("utf-8", "surrogatepass")):
            info = there[key]
            yield _damaged(key, encode) if info is None else row(info)
    else:
        yield from map(row, page.objects)
    for prefix in page.prefixes:
        yield element("CommonPrefixes", text("Prefix", encode(prefix)))


def _object(info: ObjectInfo, encode: Callable[[str], str], owner: str) -> str:
    # In one piece, since a page has a thousand.
    kept = f"{''.join(_checksums(info))}<Size>{info.size}</Size>{owner}"
    storage_class = text("StorageClass", info.system.get("storage-class", "STANDARD"))
    return (
        f"<Contents>{text('Key', encode(info.key))}<LastModified>{iso_time(info.created)}</LastModified>"
        f"{text('ETag', quoted(info.etag))}{kept}{storage_class}</Contents>"
    )


def _checksums(info: ObjectInfo) -> Sequence[str]:
    names = [name[9:].upper() for name in info.system if name.startswith("checksum-") and name != "checksum-type"]
    parts = [text("ChecksumAlgorithm", name) for name in names]
    if names:
        parts.append(text("ChecksumType", info.system.get("checksum-type", "FULL_OBJECT").upper()))
    return parts


def _damaged(key: str, encode: Callable[[str], str]) -> str:
    return element(
        "Contents",
        text("Key", encode(key)),
        text("LastModified", iso_time(0)),
        text("ETag", '""'),
        text("Size", 0),
        text("StorageClass", "STANDARD"),
    )
