"""
Tags: the texts that they are kept and sent as, their bounds, and their XML::

    key=value&other=other%20value

    <Tagging><TagSet><Tag><Key>key</Key><Value>value</Value></Tag></TagSet></Tagging>

Sources: "PutObjectTagging", "PutBucketTagging" and "Object tags" of Amazon's S3 documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote_plus

from storehouse.core.xmltext import Node, document, element, text
from storehouse.frontends.s3.errors import S3Error

__all__ = ["check_bucket_tags", "check_object_tags", "node_tags", "read_tags", "tagging_document", "write_tags"]

#: Tags of an object, and of a bucket.
_OF_OBJECT, _OF_BUCKET = 10, 50

#: Characters, as UTF-16 counts them.
_KEY, _VALUE = 128, 256

#: Letters, digits and spaces of any script, and these.
_allowed = re.compile(r"[\w\s+\-=.:/@]*", re.UNICODE).fullmatch


def read_tags(header: str) -> dict[str, str]:
    """
    Tags that are encoded as a query is.

    @raise S3Error: C{InvalidArgument} if they are not well-formed; C{InvalidTag} for a key that is there twice.
    """
    tags: dict[str, str] = {}
    for part in header.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        try:
            key, content = (unquote_plus(each, errors="strict") for each in (name, value))
        except UnicodeDecodeError:
            raise _malformed(header) from None
        if not key or "=" in value:
            raise _malformed(header)
        _add(tags, key, content)
    return tags


def _malformed(header: str) -> S3Error:
    return S3Error(
        "InvalidArgument",
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name "
        "duplicates",
        ArgumentName="x-amz-tagging",
        ArgumentValue=header[:1024],
    )


def _add(tags: dict[str, str], key: str, value: str) -> None:
    if key in tags:
        raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key", TagKey=key[:_KEY])
    tags[key] = value


def write_tags(tags: Mapping[str, str]) -> str:
    """The text that L{read_tags} reads."""
    return "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in tags.items())


def check_object_tags(tags: Mapping[str, str]) -> None:
    """@raise S3Error: C{BadRequest} for more than ten; C{InvalidTag}."""
    if len(tags) > _OF_OBJECT:
        raise S3Error("BadRequest", "Object tags cannot be greater than 10")
    _check(tags)


def check_bucket_tags(tags: Mapping[str, str]) -> None:
    """@raise S3Error: C{BadRequest} for more than fifty; C{InvalidTag}."""
    if len(tags) > _OF_BUCKET:
        raise S3Error("BadRequest", "Bucket tag count cannot be greater than 50")
    _check(tags)


def _check(tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        if not 0 < _units(key) <= _KEY or not _allowed(key):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", TagKey=key[:_KEY])
        if _units(value) > _VALUE or not _allowed(value):
            raise S3Error(
                "InvalidTag", "The TagValue you have provided is invalid", TagKey=key, TagValue=value[:_VALUE]
            )
        if key.lower().startswith("aws:"):
            raise S3Error("InvalidTag", "System tags cannot be added/updated by requester", TagKey=key)


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def node_tags(tagging: Node) -> dict[str, str]:
    """
    The tags of a document C{Tagging}.

    @raise S3Error: C{MalformedXML} if it is of another form; C{InvalidTag} for a key that is there twice.
    """
    tags: dict[str, str] = {}
    found = tagging.child("TagSet")
    if found is None or len(tagging.children) > 1:
        raise S3Error("MalformedXML")
    for tag in found.children:
        key, value = tag.child("Key"), tag.child("Value")
        if tag.name != "Tag" or key is None or value is None or len(tag.children) > 2:
            raise S3Error("MalformedXML")
        _add(tags, key.text, value.text)
    return tags


def tagging_document(tags: Mapping[str, str]) -> bytes:
    """A document C{Tagging}."""
    written = (element("Tag", text("Key", key), text("Value", value)) for key, value in tags.items())
    return document("Tagging", element("TagSet", *written))
