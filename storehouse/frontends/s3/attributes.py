"""C{GET /BUCKET/KEY?attributes}: what is known of an object, with a page of the parts that it was uploaded in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from storehouse.core.xmltext import XML, document_in_turns, element, text
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import checksum_elements, http_time, limit_of
from storehouse.frontends.s3.notes import read_note
from storehouse.frontends.s3.route import handler
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects.interfaces import ObjectInfo
from storehouse.storage.objects.values import shown_etag

__all__: list[str] = []

#: What can be asked for, in the order of the document.
_NAMES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")


def _asked(call: Call) -> set[str]:
    values = call.request.requestHeaders.getRawHeaders(b"x-amz-object-attributes", [])
    asked = {name.strip() for value in values for name in value.decode("latin-1").split(",") if name.strip()}
    if not asked:
        raise S3Error(
            "InvalidRequest",
            "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
        )
    unknown = asked.difference(_NAMES)
    if unknown:
        raise S3Error(
            "InvalidArgument",
            "Invalid attribute name specified.",
            ArgumentName="x-amz-object-attributes",
            ArgumentValue=min(unknown)[:100],
        )
    return asked


@handler("GetObjectAttributes")
async def get_object_attributes(call: Call) -> Reply:
    """What of it the request asks for."""
    asked = _asked(call)
    most = limit_of(call.header("x-amz-max-parts"), "x-amz-max-parts")
    marker = limit_of(call.header("x-amz-part-number-marker"), "x-amz-part-number-marker", 0, None)
    info: ObjectInfo = await call.store.head(call.bucket, call.key)
    parts: list[Part] = []
    if "ObjectParts" in asked:
        parts = await call.store.list_object_parts(call.bucket, call.key)
    checksums = checksum_elements(info.system)
    found: Mapping[str, Iterable[str]] = {
        "ETag": (text("ETag", shown_etag(info.etag)),),
        "Checksum": (element("Checksum", *checksums),) if checksums else (),
        "ObjectParts": _page(parts, most, marker) if parts else (),
        "StorageClass": (text("StorageClass", info.system.get("storage-class", "STANDARD")),),
        "ObjectSize": (text("ObjectSize", info.size),),
    }
    said = (found[name] for name in _NAMES if name in asked)
    body = await document_in_turns("GetObjectAttributesResponse", chain.from_iterable(said))
    return Reply(200, body, XML, ((b"Last-Modified", http_time(info.created)),))


def _page(parts: list[Part], most: int, marker: int) -> Iterator[str]:
    left = [part for part in parts if part.number > marker]
    shown = left[:most]
    yield "<ObjectParts>"
    yield text("PartsCount", len(parts))
    yield text("PartNumberMarker", marker)
    yield text("NextPartNumberMarker", shown[-1].number if shown else marker)
    yield text("MaxParts", most)
    yield text("IsTruncated", len(left) > len(shown))
    for part in shown:
        known = checksum_elements(read_note(part.note))
        yield element("Part", text("PartNumber", part.number), text("Size", part.size), *known)
    yield "</ObjectParts>"
