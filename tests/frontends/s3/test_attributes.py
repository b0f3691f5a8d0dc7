"""Tests of L{storehouse.frontends.s3.attributes}."""

from __future__ import annotations

from storehouse.core.streams import BytesStream
from storehouse.storage.dataspace.interfaces import Part
from tests.frontends.s3.playing import S3Case


class AttributeTests(S3Case):
    """What is known of objects."""

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.successResultOf(self.store.create_bucket("box"))

    def test_plain(self) -> None:
        """What is asked for, in one field or in several, and nothing else."""
        system = {"checksum-crc32": "jNwWgw==", "checksum-type": "FULL_OBJECT", "storage-class": "STANDARD_IA"}
        info = self.successResultOf(self.store.put("box", "a", BytesStream(b"x"), 1, md5=True, system=system))
        every = "x-amz-object-attributes: ETag,Checksum,ObjectParts,StorageClass,ObjectSize"
        found = self.read("GetObjectAttributesResponse", "GET /box/a?attributes", None, every)
        self.assertEqual([each.name for each in found.children], ["ETag", "Checksum", "StorageClass", "ObjectSize"])
        self.assertEqual(
            [found.value(name) for name in ("ETag", "StorageClass", "ObjectSize")], [info.etag, "STANDARD_IA", "1"]
        )
        checksum = found.child("Checksum")
        assert checksum is not None
        self.assertEqual((checksum.value("ChecksumCRC32"), checksum.value("ChecksumType")), ("jNwWgw==", "FULL_OBJECT"))
        some = ("x-amz-object-attributes: ObjectSize", "x-amz-object-attributes: ETag")
        answer = self.done("GET /box/a?attributes", None, *some)
        self.assertEqual(answer.fields["last-modified"], "Mon, 21 Sep 2026 14:13:20 GMT")
        found = self.read("GetObjectAttributesResponse", "GET /box/a?attributes", None, *some)
        self.assertEqual([each.name for each in found.children], ["ETag", "ObjectSize"])

    def test_parts(self) -> None:
        """Page by page, with their numbers, sizes and checksums."""
        id = self.successResultOf(self.store.begin_upload("box", "a"))
        parts = []
        for number in (1, 4, 9):
            stored = self.store.upload_part(
                "box", "a", id, number, BytesStream(b"x" * number), number, True, lambda: "crc32=jNwWgw=="
            )
            parts.append(Part(number, self.successResultOf(stored), number))
        self.successResultOf(self.store.complete_upload("box", "a", id, parts))
        asked = "x-amz-object-attributes: ObjectParts"
        seen, marker = [], "0"
        for count in (2, 1):
            fields = (asked, "x-amz-max-parts: 2", f"x-amz-part-number-marker: {marker}")
            page = self.read("GetObjectAttributesResponse", "GET /box/a?attributes", None, *fields).child("ObjectParts")
            assert page is not None
            told = [page.value(name) for name in ("PartsCount", "PartNumberMarker", "MaxParts", "IsTruncated")]
            self.assertEqual(told, ["3", marker, "2", "true" if count == 2 else "false"])
            found = list(page.all("Part"))
            self.assertEqual(len(found), count)
            self.assertEqual({part.value("ChecksumCRC32") for part in found}, {"jNwWgw=="})
            seen += [(part.value("PartNumber"), part.value("Size")) for part in found]
            marker = page.value("NextPartNumberMarker")
        self.assertEqual(seen, [("1", "1"), ("4", "4"), ("9", "9")])

    def test_refused(self) -> None:
        self.successResultOf(self.store.put("box", "a", BytesStream(b"x"), 1))
        asked = "x-amz-object-attributes: ETag"
        for code, line, fields in (
            ("InvalidRequest", "a", []),
            ("InvalidRequest", "a", ["x-amz-object-attributes: ,"]),
            ("InvalidArgument", "a", ["x-amz-object-attributes: ETag,Colour"]),
            ("InvalidArgument", "a", [asked, "x-amz-max-parts: x"]),
            ("NoSuchKey", "b", [asked]),
        ):
            self.refused(code, f"GET /box/{line}?attributes", None, *fields)
