"""
C{POST /BUCKET?delete}: many keys in one request, each by itself, on its own condition::

    <Delete><Object><Key>a</Key><ETag>"..."</ETag></Object>...<Quiet>true</Quiet></Delete>

That a key has no object is as good as deleted, unless there was a condition.
"""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from storehouse.core.turns import breath
from storehouse.core.xmltext import XML, Node, document_in_turns, element, text
from storehouse.errors import NoSuchKey, PreconditionFailed, StorehouseError
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error, s3_error
from storehouse.frontends.s3.fields import check_key, kept_etag, read_checked_document, seconds_of
from storehouse.frontends.s3.route import handler
from storehouse.storage.objects.interfaces import ALWAYS, Condition

__all__: list[str] = []

#: Keys of a request.
_MOST = 1000

#: Bytes of a document: each letter of the longest keys may be written as a reference.
_MOST_BYTES = 8 << 20

#: Elements: of a key up to five.
_NODES = 6 * _MOST + 10

#: Characters of the message about a key.
_MOST_TEXT = 1024

#: Keys that are deleted at once: each waits for the disk.
_AT_ONCE = 16

_log = Logger()


@attrs.frozen
class _Asked:
    """
    A key that is to be deleted.

    @ivar version: as the request says it; empty if it does not.
    @ivar etag: that the object must have, or C{*} for any; C{None} if there is no condition.
    @ivar modified: the time that it must be of; seconds since 1970 UTC.
    @ivar size: bytes that it must have.
    """

    key: str
    version: str
    etag: str | None
    modified: int | None
    size: int | None


@handler("DeleteObjects")
async def delete_objects(call: Call) -> Reply:
    """Delete up to 1000 keys."""
    root = await read_checked_document(call, "Delete", _MOST_BYTES, _NODES)
    is_quiet = root.value("Quiet").lower() == "true"
    asked = await _asked(root)
    if not 0 < len(asked) <= _MOST:
        raise S3Error("MalformedXML")
    await call.store.get_bucket(call.bucket)
    results = [b""] * len(asked)
    left = iter(enumerate(asked))

    async def some() -> None:
        for number, each in left:
            results[number] = (await _result(call, each, is_quiet)).encode()
            await breath()

    await gatherResults([Deferred.fromCoroutine(some()) for _ in range(min(_AT_ONCE, len(asked)))], consumeErrors=True)
    return Reply(200, await document_in_turns("DeleteResult", results), XML)


async def _asked(root: Node) -> list[_Asked]:
    asked: list[_Asked] = []
    for node in root.take_all():
        if node.name == "Quiet":
            continue
        key = node.child("Key")
        if node.name != "Object" or key is None or not key.text:
            raise S3Error("MalformedXML")
        check_key(key.text)
        if any(len(each.text) > _MOST_TEXT for each in node.children):
            raise S3Error("MalformedXML")
        etag, time, size = node.value("ETag"), node.value("LastModifiedTime"), node.value("Size")
        modified = seconds_of(time) if time else None
        if (time and modified is None) or (size and not (size.isascii() and size.isdigit() and len(size) < 20)):
            raise S3Error("MalformedXML")
        asked.append(
            _Asked(
                key.text,
                node.value("VersionId"),
                kept_etag(etag) if etag else None,
                None if modified is None else int(modified),
                int(size) if size else None,
            )
        )
        await breath()
    return asked


async def _result(call: Call, asked: _Asked, is_quiet: bool) -> str:
    """Delete one, and write what came of it."""
    version = [text("VersionId", asked.version)] if asked.version else []
    try:
        await _delete(call, asked)
    except Exception as error:
        if not isinstance(error, StorehouseError):
            _log.failure("while deleting a key of many")
        said = s3_error(error)
        return element("Error", text("Key", asked.key), *version, text("Code", said.code), text("Message", said.detail))
    return "" if is_quiet else element("Deleted", text("Key", asked.key), *version)


async def _delete(call: Call, asked: _Asked) -> None:
    allowed = await call.check("DeleteObject", call.bucket, asked.key)
    if asked.etag not in (None, "*") or asked.modified is not None or asked.size is not None:
        # Whether a condition holds says what is there.
        await call.check("GetObject", call.bucket, asked.key)
    if asked.version not in ("", "null"):
        raise S3Error("NoSuchVersion")
    condition = ALWAYS if asked.etag is None else Condition(etag=asked.etag)
    if asked.modified is not None or asked.size is not None:
        info = await allowed.store.head(call.bucket, asked.key)
        if asked.size not in (None, info.size) or asked.modified not in (None, info.created // 10**9):
            raise PreconditionFailed("its size or its time is another one")
        if asked.etag in (None, "*"):
            # What is deleted is what was looked at.
            condition = Condition(etag=info.etag)
    try:
        await allowed.store.delete(call.bucket, asked.key, condition)
    except NoSuchKey:
        if condition != ALWAYS:
            raise
