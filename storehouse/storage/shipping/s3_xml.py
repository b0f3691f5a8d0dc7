"""The XML of S3."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from storehouse.errors import RemoteUnavailable
from storehouse.storage.shipping.interfaces import Listing, Stored

__all__ = ["find_text", "read_code", "read_listing", "read_uploads", "write_completion", "write_location"]

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def _read(data: bytes) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError:
        raise RemoteUnavailable("an S3 server answered with something that is not XML") from None
    # Some servers name the namespace, some do not.
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def read_code(body: bytes) -> str:
    """The code of an error; empty if this is none."""
    try:
        root = _read(body) if body else None
    except RemoteUnavailable:
        return ""
    return root.findtext("Code", "") if root is not None and root.tag == "Error" else ""


def find_text(body: bytes, name: str) -> str:
    """The text of an element; empty if there is none."""
    return _read(body).findtext(name, "")


def read_listing(body: bytes) -> Listing:
    """A page of a bucket."""
    root = _read(body)
    entries = [
        Stored(each.findtext("Key", ""), int(each.findtext("Size", "0")), each.findtext("ETag", "").strip('"'))
        for each in root.iter("Contents")
    ]
    more = root.findtext("IsTruncated", "") == "true" and bool(entries)
    return Listing(entries, entries[-1].name if more else None)


def read_uploads(body: bytes) -> list[tuple[str, str]]:
    """Keys and upload IDs of open uploads."""
    return [(each.findtext("Key", ""), each.findtext("UploadId", "")) for each in _read(body).iter("Upload")]


def write_completion(tags: Sequence[str]) -> bytes:
    """What completes an upload of so many parts."""
    root = ElementTree.Element("CompleteMultipartUpload", xmlns=_NAMESPACE)
    for number, tag in enumerate(tags, 1):
        part = ElementTree.SubElement(root, "Part")
        ElementTree.SubElement(part, "PartNumber").text = str(number)
        ElementTree.SubElement(part, "ETag").text = f'"{tag}"'
    return ElementTree.tostring(root)


def write_location(region: str) -> bytes:
    """Where a bucket is to be made."""
    root = ElementTree.Element("CreateBucketConfiguration", xmlns=_NAMESPACE)
    ElementTree.SubElement(root, "LocationConstraint").text = region
    return ElementTree.tostring(root)
