"""Tests of L{storehouse.frontends.s3.tagging}."""

from __future__ import annotations

import hashlib
from base64 import b64encode

from storehouse.core.streams import BytesStream
from storehouse.frontends.s3.tagsets import node_tags, tagging_document
from tests.frontends.s3.playing import S3Case


def md5_of(body: bytes) -> str:
    """The field Content-MD5 of a body."""
    return "Content-MD5: " + b64encode(hashlib.md5(body).digest()).decode()


class ObjectTaggingTests(S3Case):
    """Tags of objects."""

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.successResultOf(self.store.create_bucket("box"))
        system = {"cache-control": "no-cache"}
        self.info = self.successResultOf(self.store.put("box", "a", BytesStream(b"x"), 1, system=system))

    def test_tags(self) -> None:
        """They are set, changed and removed, and the object stays what it is."""
        self.assertEqual(node_tags(self.read("Tagging", "GET /box/a?tagging")), {})
        for tags in ({"k": "v", "other": "x y"}, {"k": "w"}, {}):
            body = tagging_document(tags)
            self.done("PUT /box/a?tagging", body, md5_of(body))
            self.assertEqual(node_tags(self.read("Tagging", "GET /box/a?tagging")), tags)
            info = self.successResultOf(self.store.head("box", "a"))
            self.assertEqual((info.id, info.created), (self.info.id, self.info.created))
            self.assertEqual(info.system["cache-control"], "no-cache")
            self.assertEqual("tagging" in info.system, bool(tags))
        body = tagging_document({"k": "v"})
        self.done("PUT /box/a?tagging", body, md5_of(body))
        self.done("DELETE /box/a?tagging", status=204)
        self.assertEqual(node_tags(self.read("Tagging", "GET /box/a?tagging")), {})

    def test_refused(self) -> None:
        body = tagging_document({"k": "v"})
        self.refused("NoSuchKey", "GET /box/b?tagging")
        self.refused("NoSuchKey", "PUT /box/b?tagging", body, md5_of(body))
        self.refused("NoSuchKey", "DELETE /box/b?tagging")
        self.refused("InvalidRequest", "PUT /box/a?tagging", body)
        many = tagging_document({f"k{n}": "v" for n in range(11)})
        self.refused("BadRequest", "PUT /box/a?tagging", many, md5_of(many))
        self.refused("MalformedXML", "PUT /box/a?tagging", b"<Tagging>", md5_of(b"<Tagging>"))


class BucketTaggingTests(S3Case):
    """Tags of buckets."""

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.successResultOf(self.store.create_bucket("box"))

    def test_tags(self) -> None:
        self.refused("NoSuchTagSet", "GET /box?tagging")
        for tags in ({f"k{n}": "v" for n in range(50)}, {"k": "ä @ b"}):
            body = tagging_document(tags)
            self.done("PUT /box?tagging", body, md5_of(body), status=204)
            self.assertEqual(node_tags(self.read("Tagging", "GET /box?tagging")), tags)
        self.assertEqual(
            self.successResultOf(self.store.bucket_config("box", "tagging")),
            '<?xml version="1.0" encoding="UTF-8"?>\n<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            "<TagSet><Tag><Key>k</Key><Value>ä @ b</Value></Tag></TagSet></Tagging>".encode(),
        )
        self.done("DELETE /box?tagging", status=204)
        self.refused("NoSuchTagSet", "GET /box?tagging")

    def test_refused(self) -> None:
        body = tagging_document({f"k{n}": "v" for n in range(51)})
        self.refused("BadRequest", "PUT /box?tagging", body, md5_of(body))
        body = tagging_document({"k": "v"})
        self.refused("InvalidRequest", "PUT /box?tagging", body)
        self.refused("NoSuchBucket", "PUT /nobox?tagging", body, md5_of(body))
        self.refused("NoSuchBucket", "GET /nobox?tagging")
        self.refused("NoSuchBucket", "DELETE /nobox?tagging")
