"""Tests of L{storehouse.frontends.s3.tagsets}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.xmltext import parse
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.tagsets import (
    check_bucket_tags,
    check_object_tags,
    node_tags,
    read_tags,
    tagging_document,
    write_tags,
)

#: Without what UTF-8 cannot say, and what XML cannot.
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn"]), max_size=20)
keys = texts.filter(bool)


class TagSetTests(SynchronousTestCase):
    """Tags as texts, and as documents."""

    def refused(self, code: str, text: str) -> None:
        """A header that is none."""
        error = self.assertRaises(S3Error, read_tags, text)
        self.assertEqual(error.code, code)

    @given(st.dictionaries(keys, texts, max_size=12))
    def test_both_forms(self, tags: dict[str, str]) -> None:
        self.assertEqual(read_tags(write_tags(tags)), tags)
        self.assertEqual(node_tags(parse(tagging_document(tags), "Tagging")), tags)

    def test_header(self) -> None:
        self.assertEqual(read_tags("a=b&c&d=x+y%26&&e="), {"a": "b", "c": "", "d": "x y&", "e": ""})
        self.refused("InvalidTag", "a=1&b=2&a=3")
        for text in ("=x", "a=b=c", "a=%ff"):
            self.refused("InvalidArgument", text)

    def test_bounds(self) -> None:
        check_object_tags({f"k{n}": "v" for n in range(10)})
        check_bucket_tags({f"k{n}": "v" for n in range(50)})
        check_object_tags({"k" * 128: "v" * 256, "a+-=.:/@_ Ä漢": ""})
        for check, tags, code in (
            (check_object_tags, {f"k{n}": "v" for n in range(11)}, "BadRequest"),
            (check_bucket_tags, {f"k{n}": "v" for n in range(51)}, "BadRequest"),
            (check_object_tags, {"k" * 129: "v"}, "InvalidTag"),
            (check_object_tags, {"\U0001d11e" * 65: "v"}, "InvalidTag"),
            (check_object_tags, {"k": "v" * 257}, "InvalidTag"),
            (check_object_tags, {"k<": "v"}, "InvalidTag"),
            (check_object_tags, {"k": "v?"}, "InvalidTag"),
            (check_object_tags, {"AWS:k": "v"}, "InvalidTag"),
        ):
            self.assertEqual(self.assertRaises(S3Error, check, tags).code, code)

    def test_documents(self) -> None:
        for text in (
            "<Tagging/>",
            "<Tagging><TagSet/><TagSet/></Tagging>",
            "<Tagging><TagSet><Tag><Key>k</Key></Tag></TagSet></Tagging>",
            "<Tagging><TagSet><Tag><Key>k</Key><Value/><Value/></Tag></TagSet></Tagging>",
            "<Tagging><TagSet><Tug><Key>k</Key><Value/></Tug></TagSet></Tagging>",
        ):
            error = self.assertRaises(S3Error, node_tags, parse(text.encode(), "Tagging"))
            self.assertEqual(error.code, "MalformedXML")
        twice = "<Tag><Key>k</Key><Value/></Tag>" * 2
        node = parse(f"<Tagging><TagSet>{twice}</TagSet></Tagging>".encode(), "Tagging")
        self.assertEqual(self.assertRaises(S3Error, node_tags, node).code, "InvalidTag")
