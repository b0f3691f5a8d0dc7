"""Tests of L{storehouse.frontends.s3.listing}."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock
from urllib.parse import quote, unquote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import succeed

from storehouse.core.xmltext import Node
from storehouse.storage.accounts.interfaces import canonical_id
from storehouse.storage.objects.interfaces import Listing
from tests.frontends.s3.playing import S3Case

V1, V2 = "", "list-type=2&"


class ListCase(S3Case):
    """A bucket C{box}."""

    def setUp(self) -> None:
        super().setUp()
        self.done("PUT /box", b"")

    def put(self, *keys: str) -> None:
        for key in keys:
            self.done(f"PUT /box/{quote(key)}", b"x")

    def list(self, query: str = "", version: str = V2, **more: str) -> Node:
        return self.read("ListBucketResult", f"GET /box?{version}{query}", **more)

    def found(self, node: Node) -> tuple[list[str], list[str]]:
        """The keys, and the common prefixes."""
        keys = [(each.child("Key") or each).text for each in node.all("Contents")]
        return keys, [(each.child("Prefix") or each).text for each in node.all("CommonPrefixes")]


class ListTests(ListCase):
    """What both versions have."""

    def test_delimiters(self) -> None:
        self.put("a", "b/1", "b/2", "c--d", "c--e", "f")
        for version in (V1, V2):
            self.assertEqual(self.found(self.list("", version))[0], ["a", "b/1", "b/2", "c--d", "c--e", "f"])
            node = self.list("delimiter=%2F", version)
            self.assertEqual(self.found(node), (["a", "c--d", "c--e", "f"], ["b/"]))
            self.assertEqual(node.value("Delimiter"), "/")
            self.assertEqual(self.found(self.list("delimiter=--", version)), (["a", "b/1", "b/2", "f"], ["c--"]))
            self.assertEqual(self.found(self.list("delimiter=/&prefix=b/", version)), (["b/1", "b/2"], []))
            self.assertEqual(self.found(self.list("delimiter=&prefix=", version))[0][0], "a")
            self.assertEqual(self.found(self.list("prefix=none", version)), ([], []))

    def test_contents(self) -> None:
        self.done("PUT /box/a%20b", b"hello", "x-amz-storage-class: STANDARD_IA")
        for version, query in ((V1, ""), (V2, "fetch-owner=true")):
            node = self.list(query, version)
            (item,) = node.all("Contents")
            self.assertEqual(
                (item.value("Key"), item.value("Size"), item.value("ETag"), item.value("StorageClass")),
                ("a b", "5", '"5d41402abc4b2a76b9719d911017c592"', "STANDARD_IA"),
            )
            self.assertEqual(
                (item.value("ChecksumAlgorithm"), item.value("ChecksumType")), ("CRC64NVME", "FULL_OBJECT")
            )
            (owner,) = item.all("Owner")
            self.assertEqual((owner.value("ID"), owner.value("DisplayName")), (canonical_id("ann"), "ann"))
            self.assertEqual(
                (node.value("Name"), node.value("IsTruncated"), node.value("MaxKeys")), ("box", "false", "1000")
            )
        (item,) = self.list().all("Contents")
        self.assertEqual(item.child("Owner"), None)

    def test_other_doors(self) -> None:
        """What other doors stored is listed, with an etag that is not taken for an MD5."""
        from storehouse.core.streams import BytesStream

        info = self.successResultOf(self.store.put("box", "form", BytesStream(b"x"), 1))
        (item,) = self.list().all("Contents")
        self.assertEqual((item.value("ETag"), item.child("ChecksumAlgorithm")), (f'"{info.etag}-1"', None))

    def test_encoding(self) -> None:
        keys = ["a b+c", "ä/é", "tab\there", "nul\x01", "\uffff", "x&y<z>", "%41"]
        self.put(*keys)
        for version in (V1, V2):
            node = self.list("encoding-type=url&prefix=&delimiter=%C3%A9", version)
            found, prefixes = self.found(node)
            self.assertEqual(sorted(map(unquote, found)), sorted(set(keys) - {"ä/é"}))
            self.assertIn("a%20b%2Bc", found)
            self.assertEqual(prefixes, ["%C3%A4/%C3%A9"])
            self.assertEqual((node.value("EncodingType"), node.value("Delimiter")), ("url", "%C3%A9"))
            self.refused("InvalidArgument", f"GET /box?{version}encoding-type=base64")
        self.done("DELETE /box/nul%01", status=204)
        self.done("DELETE /box/%EF%BF%BF", status=204)
        self.assertIn("x&y<z>", self.found(self.list())[0])

    def test_limits(self) -> None:
        self.put("a", "b")
        for version in (V1, V2):
            node = self.list("max-keys=0", version)
            self.assertEqual((self.found(node), node.value("IsTruncated")), (([], []), "false"))
            self.assertEqual(self.list("max-keys=5000", version).value("MaxKeys"), "1000")
            for wrong in ("-1", "x", "99999999999"):
                self.refused("InvalidArgument", f"GET /box?{version}max-keys={wrong}")
            self.refused("NoSuchBucket", f"GET /none?{version}max-keys=0")
            self.refused("NoSuchBucket", f"GET /none?{version}")
        self.refused("InvalidArgument", "GET /box?list-type=3")

    def test_damaged(self) -> None:
        """A key that cannot be read is not left out, which a client would take for removed."""
        self.put("a", "c")
        page = self.successResultOf(self.store.list_objects("box"))
        listing = Listing(page.objects, (), None, ["b"])
        with mock.patch.object(self.store, "list_objects", lambda *given: succeed(listing)):
            node = self.list()
        self.assertEqual((self.found(node)[0], node.value("KeyCount")), (["a", "b", "c"], "3"))


class FirstVersionTests(ListCase):
    """ListObjects."""

    def test_pages(self) -> None:
        self.put("a", "b/1", "b/2", "c")
        node = self.list("max-keys=2&delimiter=/", V1)
        self.assertEqual((self.found(node), node.value("IsTruncated")), ((["a"], ["b/"]), "true"))
        self.assertEqual(node.value("NextMarker"), "b/")
        node = self.list("max-keys=2&delimiter=/&marker=b/", V1)
        self.assertEqual((self.found(node), node.value("Marker")), ((["c"], []), "b/"))
        node = self.list("max-keys=2", V1)
        self.assertEqual((self.found(node)[0], node.child("NextMarker")), (["a", "b/1"], None))
        self.assertEqual(self.found(self.list("marker=b/1", V1))[0], ["b/2", "c"])
        self.assertEqual(self.found(self.list("marker=bb", V1))[0], ["c"])


class SecondVersionTests(ListCase):
    """ListObjectsV2."""

    def test_pages(self) -> None:
        self.put("a", "b/1", "b/2", "c")
        node = self.list("max-keys=2&delimiter=/")
        self.assertEqual((self.found(node), node.value("KeyCount")), ((["a"], ["b/"]), "2"))
        token = node.value("NextContinuationToken")
        node = self.list(f"max-keys=2&delimiter=/&continuation-token={token}&start-after=zzz")
        self.assertEqual((self.found(node), node.value("ContinuationToken")), ((["c"], []), token))
        self.assertEqual((node.value("IsTruncated"), node.child("NextContinuationToken")), ("false", None))
        node = self.list("start-after=b/1")
        self.assertEqual((self.found(node)[0], node.value("StartAfter")), (["b/2", "c"], "b/1"))
        for wrong in ("", "x", "%21"):
            self.refused("InvalidArgument", f"GET /box?list-type=2&continuation-token={wrong}")


def expected(keys: Sequence[str], prefix: str, delimiter: str) -> tuple[list[str], list[str]]:
    """What a whole list has, by the words of the reference."""
    plain, common = [], set()
    for key in keys:
        if not key.startswith(prefix):
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            plain.append(key)
        else:
            common.add(key[: at + len(delimiter)])
    order: Any = str.encode
    return sorted(plain, key=order), sorted(common, key=order)


class ModelTests(ListCase):
    """Pages of any size give together what there is, each once."""

    @settings(max_examples=25, deadline=None)
    @given(
        st.sets(st.text("ab/ä", min_size=1, max_size=4), max_size=12),
        st.sampled_from(["", "a", "a/", "ä"]),
        st.sampled_from(["", "/", "b/", "ä"]),
        st.integers(1, 4),
        st.sampled_from([V1, V2]),
    )
    def test_pages(self, keys: set[str], prefix: str, delimiter: str, limit: int, version: str) -> None:
        for key in self.found(self.list())[0]:
            self.done(f"DELETE /box/{quote(key)}", status=204)
        self.put(*keys)
        query = f"prefix={quote(prefix)}&delimiter={quote(delimiter, safe='')}&max-keys={limit}"
        found: tuple[list[str], list[str]] = ([], [])
        after = ""
        while True:
            node = self.list(query + after, version)
            page = self.found(node)
            self.assertLessEqual(len(page[0]) + len(page[1]), limit)
            found[0].extend(page[0])
            found[1].extend(page[1])
            if node.value("IsTruncated") == "false":
                break
            if version == V2:
                after = f"&continuation-token={node.value('NextContinuationToken')}"
            else:
                after = f"&marker={quote(node.value('NextMarker') if delimiter else page[0][-1], safe='')}"
        self.assertEqual(found, expected(sorted(keys), prefix, delimiter))
