"""Tests of L{storehouse.frontends.s3.deleting}."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from zlib import crc32

from storehouse.core.streams import BytesStream
from storehouse.core.xmltext import Node, document, element, text
from storehouse.errors import NoSuchKey
from storehouse.frontends.s3.call import Call, Door
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import iso_time
from tests.frontends.s3.playing import AnyAuthenticator, InlineDisk, S3Case


async def allow_mine(call: Call) -> None:
    """Nobody may delete what is another's."""
    if call.operation == "DeleteObject" and call.key.startswith("theirs/"):
        raise S3Error("AccessDenied")


def wanted(*keys: str, quiet: bool | None = None, **more: str) -> bytes:
    """A document: all keys with the same further elements."""
    parts = [text(name, value) for name, value in more.items()]
    objects = [element("Object", text("Key", key), *parts) for key in keys]
    return document("Delete", *objects, *([] if quiet is None else [text("Quiet", quiet)]))


def crc_of(body: bytes) -> str:
    """The header field that announces it."""
    return f"x-amz-checksum-crc32: {b64encode(crc32(body).to_bytes(4, 'big')).decode()}"


class DeleteObjectsTests(S3Case):
    """Many keys at once."""

    def make_door(self) -> S3Door:
        shared = Door(self.store, self.accounts, self.settings, self.clock, InlineDisk())
        return S3Door(shared, AnyAuthenticator(), allow_mine)

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.successResultOf(self.store.create_bucket("box"))

    def put(self, key: str, data: bytes = b"x") -> str:
        """Store an object; its etag."""
        return self.successResultOf(self.store.put("box", key, BytesStream(data), len(data), md5=True)).etag

    def delete(self, body: bytes) -> Node:
        """What comes of a document."""
        md5 = b64encode(hashlib.md5(body).digest()).decode()
        return self.read("DeleteResult", "POST /box?delete", body, f"Content-MD5: {md5}")

    def told(self, body: bytes) -> list[tuple[str, str]]:
        """Each key with the code of its error, or nothing."""
        return [(node.value("Key"), node.value("Code")) for node in self.delete(body).children]

    def keys(self) -> list[str]:
        """Those that are left."""
        return self.successResultOf(self.store.list_keys("box"))

    def test_deleted(self) -> None:
        """Keys that are there and keys that are not, in the order of the request; some of any characters."""
        for key in ("a", "b & <c>", " d ", "e"):
            self.put(key)
        result = self.delete(wanted("b & <c>", "a", "none", " d "))
        found = [node.child("Key") for node in result.children]
        self.assertEqual([each.text for each in found if each], ["b & <c>", "a", "none", " d "])
        self.assertEqual({node.name for node in result.children}, {"Deleted"})
        self.assertEqual(self.keys(), ["e"])

    def test_quiet(self) -> None:
        """Only errors are reported then."""
        self.put("a")
        self.put("theirs/a")
        self.assertEqual(self.told(wanted("a", "theirs/a", quiet=True)), [("theirs/a", "AccessDenied")])
        self.assertEqual(self.keys(), ["theirs/a"])
        self.assertEqual(self.told(wanted("a", quiet=False)), [("a", "")])

    def test_thousand(self) -> None:
        """A thousand keys are taken, and no more."""
        keys = [f"k{n:04}" for n in range(1000)]
        for key in keys[::3]:
            self.put(key)
        self.assertEqual(self.told(wanted(*keys)), [(key, "") for key in keys])
        self.assertEqual(self.keys(), [])
        self.put("a")
        body = wanted("a", *keys)
        self.refused("MalformedXML", "POST /box?delete", body, crc_of(body))
        self.assertEqual(self.keys(), ["a"])

    def test_conditions(self) -> None:
        """Each key has its own: an etag, a size, a time."""
        etag, other = self.put("a"), self.put("b", b"yy")
        both = document(
            "Delete",
            element("Object", text("Key", "a"), text("ETag", f'"{other}"')),
            element("Object", text("Key", "b"), text("ETag", other)),
            element("Object", text("Key", "c"), text("ETag", other)),
        )
        self.assertEqual(self.told(both), [("a", "PreconditionFailed"), ("b", ""), ("c", "NoSuchKey")])
        self.assertEqual(self.keys(), ["a"])
        now = iso_time(int(self.clock.seconds() * 1e9))
        self.assertEqual(self.told(wanted("a", Size="2")), [("a", "PreconditionFailed")])
        self.assertEqual(self.told(wanted("a", LastModifiedTime="2001-09-09T01:46:40Z")), [("a", "PreconditionFailed")])
        self.assertEqual(self.told(wanted("a", Size="1", LastModifiedTime=now, ETag=etag)), [("a", "")])
        self.assertEqual(self.told(wanted("a", Size="1")), [("a", "NoSuchKey")])

    def test_versions(self) -> None:
        """There is one, which is called null."""
        self.put("a")
        self.assertEqual(self.told(wanted("a", VersionId="7")), [("a", "NoSuchVersion")])
        (deleted,) = self.delete(wanted("a", VersionId="null")).children
        self.assertEqual((deleted.name, deleted.value("VersionId")), ("Deleted", "null"))
        self.failureResultOf(self.store.head("box", "a"), NoSuchKey)

    def test_refused(self) -> None:
        """Whatever is wrong with the whole, nothing is deleted."""
        self.put("a")
        self.refused("InvalidRequest", "POST /box?delete", wanted("a"))
        for body in (
            document("Delete"),
            document("Delete", element("Object")),
            document("Delete", element("Object", text("Key", ""))),
            document("Delete", element("Object", text("Key", "a")), element("Thing", text("Key", "a"))),
            wanted("a", Size="1x"),
            wanted("a", LastModifiedTime="whenever"),
            wanted("a", VersionId="v" * 1025),
            document("Deletion", element("Object", text("Key", "a"))),
        ):
            self.refused("MalformedXML", "POST /box?delete", body, crc_of(body))
        long = wanted("a", "é" * 513)
        self.refused("KeyTooLongError", "POST /box?delete", long, crc_of(long))
        self.assertEqual(self.keys(), ["a"])
        self.refused("NoSuchBucket", "POST /nobox?delete", wanted("a"), crc_of(wanted("a")))
        self.refused("MaxMessageLengthExceeded", "POST /box?delete", bytes(9 << 20), crc_of(bytes(9 << 20)))

    def test_memory(self) -> None:
        """What is made of a document counts in the door's memory as long as it is needed."""
        body = wanted(*(f"{number}" for number in range(1000)))
        held: list[int] = []

        async def look(call: Call) -> None:
            held.append(self.site.budget.used)

        shared = Door(self.store, self.accounts, self.settings, self.clock, InlineDisk())
        self.site.resource = S3Door(shared, AnyAuthenticator(), look).resource
        self.delete(body)
        self.assertGreater(min(held[1:]), 2 * len(body) + 2000 * 400)
        self.assertEqual(self.site.budget.used, 0)

    def test_failures(self) -> None:
        """A defect is reported for its key, and the others are deleted."""
        self.put("a")
        self.put("b")
        delete = self.store.delete

        def fails(bucket: str, key: str, *rest: object) -> object:
            if key == "a":
                raise ZeroDivisionError
            return delete(bucket, key, *rest)

        self.patch(self.store, "delete", fails)
        self.assertEqual(self.told(wanted("a", "b")), [("a", "InternalError"), ("b", "")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.keys(), ["a"])
