"""Tests of L{storehouse.frontends.s3.multipart}."""

from __future__ import annotations

import hashlib
import os
import zlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import Deferred

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, read_all
from storehouse.core.xmltext import Node, document, element, parse, text
from storehouse.errors import NoSuchKey, NoSuchUpload, UploadGone
from storehouse.frontends.s3 import lasting, multipart
from storehouse.frontends.s3.call import Door
from storehouse.frontends.s3.checksums import ALGORITHMS, Hasher, composite, encoded
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.fields import quoted
from storehouse.storage.objects.interfaces import ObjectInfo
from storehouse.storage.resumable.local import LocalResumableUploads, ResumableSettings
from tests.frontends.http.wire import Connection, request, split_answers
from tests.frontends.s3.playing import AnyAuthenticator, S3Case, allow_signed


def crc32(data: bytes) -> str:
    """As S3 writes it."""
    return b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def digest(name: str, data: bytes) -> bytes:
    """A checksum of any kind."""
    hasher = Hasher(name)
    hasher.update(data)
    return hasher.digest()


def wanted(etags: Iterable[tuple[int, str]], **checksums: Sequence[str]) -> bytes:
    """The document that completes an upload."""
    return document(
        "CompleteMultipartUpload",
        *(
            element(
                "Part",
                text("PartNumber", number),
                text("ETag", etag),
                *(text(name, values[at]) for name, values in checksums.items()),
            )
            for at, (number, etag) in enumerate(etags)
        ),
    )


class MultipartCase(S3Case):
    """Parts are small here."""

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.patch(multipart, "_LEAST", 4)
        self.successResultOf(self.store.create_bucket("box", owner="ann"))

    def begin(self, *fields: str, key: str = "a") -> str:
        """An upload; its ID."""
        begun = self.read("InitiateMultipartUploadResult", f"POST /box/{key}?uploads", b"", *fields)
        self.assertEqual((begun.value("Bucket"), begun.value("Key")), ("box", unquote(key)))
        return begun.value("UploadId")

    def part(self, id: str, number: int, data: bytes, *fields: str, key: str = "a") -> str:
        """Store a part; its etag."""
        answer = self.done(f"PUT /box/{key}?partNumber={number}&uploadId={id}", data, *fields)
        etag = answer.fields["etag"]
        self.assertEqual(etag, f'"{hashlib.md5(data).hexdigest()}"')
        return etag

    def complete(self, id: str, body: bytes, *fields: str, key: str = "a") -> Node:
        """Make the object."""
        return self.read("CompleteMultipartUploadResult", f"POST /box/{key}?uploadId={id}", body, *fields)

    def whole(self, key: str = "a") -> tuple[ObjectInfo, bytes]:
        """An object and its bytes."""
        reader = self.successResultOf(self.store.get("box", key))
        return reader.info, self.successResultOf(Deferred.fromCoroutine(read_all(reader)))

    def uploads(self) -> list[str]:
        """The IDs of those that are open."""
        return [upload.upload_id for upload in self.successResultOf(self.store.list_uploads("box"))]


class UploadTests(MultipartCase):
    """From the first part to the object."""

    def test_how_a_part_comes(self) -> None:
        """It has a length, and is not encoded; what the object is encoded in is no matter of a part's."""
        id = self.begin()
        path = f"PUT /box/a?partNumber=1&uploadId={id}"
        self.refused("MissingContentLength", path, None)
        self.refused("NotImplemented", path, b"x", "Content-Range: bytes 1-1/2")
        self.done(path, b"x", "Content-Encoding: gzip")

    def test_upload(self) -> None:
        """In any order; the object has the metadata that the upload was begun with, and S3's etag."""
        id = self.begin("Content-Type: text/css", "x-amz-meta-A: 1", "Cache-Control: no-cache", "x-amz-tagging: k=v")
        second, first = self.part(id, 7, b"end"), self.part(id, 2, b"begin")
        self.failureResultOf(self.store.head("box", "a"), NoSuchKey)
        result = self.complete(id, wanted([(2, first), (7, second)]))
        info, data = self.whole()
        md5 = hashlib.md5(hashlib.md5(b"begin").digest() + hashlib.md5(b"end").digest()).hexdigest()
        self.assertEqual((info.etag, data, info.size), (f"{md5}-2", b"beginend", 8))
        self.assertEqual((info.content_type, info.metadata), ("text/css", {"a": ["1"]}))
        crc = encoded(digest("crc64nvme", b"beginend"))
        self.assertEqual(
            dict(info.system),
            {
                "cache-control": "no-cache",
                "tagging": "k=v",
                "owner": "ann",
                "checksum-crc64nvme": crc,
                "checksum-type": "FULL_OBJECT",
            },
        )
        told = [
            result.value(name) for name in ("Location", "Bucket", "Key", "ETag", "ChecksumCRC64NVME", "ChecksumType")
        ]
        self.assertEqual(told, ["http://localhost/box/a", "box", "a", f'"{md5}-2"', crc, "FULL_OBJECT"])
        self.assertEqual(self.uploads(), [])

    def test_kept(self) -> None:
        """What is kept with an upload and its parts, as docs/s3.rst says it."""
        id = self.begin("x-amz-checksum-algorithm: CRC32", "x-amz-tagging: k=v w", "x-amz-storage-class: STANDARD_IA")
        self.part(id, 1, b"x")
        (upload,) = self.successResultOf(self.store.list_uploads("box"))
        self.assertEqual(
            dict(upload.system),
            {
                "door": "s3",
                "initiator": "ann",
                "checksum-algorithm": "crc32",
                "checksum-type": "COMPOSITE",
                "owner": "ann",
                "storage-class": "STANDARD_IA",
                "tagging": "k=v%20w",
            },
        )
        (part,) = self.successResultOf(self.store.list_parts("box", "a", id))
        self.assertEqual(part.note, "crc32=jNwWgw==")

    def test_parts_are_replaced_and_left_out(self) -> None:
        id = self.begin()
        self.part(id, 1, b"old one")
        self.part(id, 2, b"not wanted")
        etag = self.part(id, 1, b"new one")
        self.complete(id, wanted([(1, etag)]))
        self.assertEqual(self.whole()[1], b"new one")

    def test_large_parts(self) -> None:
        """Five MiB are enough, and a byte less is not."""
        self.patch(multipart, "_LEAST", 5 << 20)
        for size in (5 << 20, (5 << 20) - 1):
            id = self.begin()
            etags = [(number, self.part(id, number, bytes(length))) for number, length in ((1, size), (2, 1))]
            if size == 5 << 20:
                self.complete(id, wanted(etags))
                self.assertEqual(self.whole()[0].size, size + 1)
            else:
                said = self.refused("EntityTooSmall", f"POST /box/a?uploadId={id}", wanted(etags))
                self.assertEqual(
                    [said.value(name) for name in ("ProposedSize", "MinSizeAllowed", "PartNumber")],
                    [str(size), str(5 << 20), "1"],
                )
                self.assertEqual(self.uploads(), [id])

    def test_numbers(self) -> None:
        id = self.begin()
        for number in ("0", "10001", "-1", "x", "", "1" * 5000):
            self.refused("InvalidArgument", f"PUT /box/a?partNumber={number}&uploadId={id}", b"x")
        self.part(id, 10000, b"x")
        self.refused("InvalidArgument", "PUT /box/a?partNumber=1&uploadId=", b"x")

    def test_no_upload(self) -> None:
        id = self.begin()
        for line in (
            "PUT /box/a?partNumber=1&uploadId=no",
            f"PUT /box/b?partNumber=1&uploadId={id}",
            f"DELETE /box/b?uploadId={id}",
            f"GET /box/b?uploadId={id}",
        ):
            self.refused("NoSuchUpload", line, b"x")
        self.refused("NoSuchUpload", "POST /box/a?uploadId=no", wanted([(1, "x")]))
        self.refused("NoSuchBucket", "POST /nobox/a?uploads", b"")

    def test_part_is_whole_or_not_there(self) -> None:
        """A body that is not what was announced is no part."""
        id = self.begin()
        self.refused("BadDigest", f"PUT /box/a?partNumber=1&uploadId={id}", b"x", "x-amz-checksum-crc32: AAAAAA==")
        wrong = f"Content-MD5: {b64encode(bytes(16)).decode()}"
        self.refused("BadDigest", f"PUT /box/a?partNumber=1&uploadId={id}", b"x", wrong)
        self.assertEqual(self.successResultOf(self.store.list_parts("box", "a", id)), [])

    def test_wrong_documents(self) -> None:
        """Whatever is wrong with it, the upload goes on."""
        id = self.begin()
        one, two = self.part(id, 1, b"first"), self.part(id, 2, b"second")
        for code, body in (
            ("MissingRequestBodyError", b""),
            ("MalformedXML", document("CompleteMultipartUpload")),
            ("MalformedXML", document("CompleteMultipartUpload", element("Part", text("ETag", one)))),
            ("MalformedXML", document("Complete", element("Part", text("PartNumber", 1), text("ETag", one)))),
            ("InvalidArgument", wanted([(10001, one)])),
            ("InvalidPartOrder", wanted([(2, two), (1, one)])),
            ("InvalidPartOrder", wanted([(1, one), (1, one)])),
            ("InvalidPart", wanted([(1, two)])),
            ("InvalidPart", wanted([(1, one), (3, two)])),
            ("InvalidPart", wanted([(1, one)], ChecksumCRC64NVME=["AAAAAAAAAAA="])),
        ):
            self.refused(code, f"POST /box/a?uploadId={id}", body)
        self.complete(id, wanted([(1, one.strip('"')), (2, two)]))

    def test_object_size(self) -> None:
        id = self.begin()
        etags = [(1, self.part(id, 1, b"first")), (2, self.part(id, 2, b"second"))]
        for size in ("10", "x", "-1"):
            self.refused("InvalidRequest", f"POST /box/a?uploadId={id}", wanted(etags), f"x-amz-mp-object-size: {size}")
        self.complete(id, wanted(etags), "x-amz-mp-object-size: 11")

    def test_conditions(self) -> None:
        """If one does not hold, the upload goes on."""
        stored = self.successResultOf(self.store.put("box", "a", BytesStream(b"there"), 5, md5=True))
        id = self.begin()
        body = wanted([(1, self.part(id, 1, b"new"))])
        self.refused("PreconditionFailed", f"POST /box/a?uploadId={id}", body, "If-None-Match: *")
        self.refused("PreconditionFailed", f"POST /box/a?uploadId={id}", body, 'If-Match: "x"')
        self.assertEqual(self.whole()[1], b"there")
        self.complete(id, body, f"If-Match: {quoted(stored.etag)}")
        self.assertEqual(self.whole()[1], b"new")
        id = self.begin(key="b")
        body = wanted([(1, self.part(id, 1, b"new", key="b"))])
        self.refused("NoSuchKey", f"POST /box/b?uploadId={id}", body, 'If-Match: "x"')
        self.complete(id, body, "If-None-Match: *", key="b")

    def test_completed_again(self) -> None:
        """A client that did not get the response gets the same, whatever its condition is; with other parts there is no upload."""
        id = self.begin("x-amz-checksum-algorithm: CRC32")
        etags = [(1, self.part(id, 1, b"first")), (2, self.part(id, 2, b"second"))]
        body = wanted(etags, ChecksumCRC32=[crc32(b"first"), crc32(b"second")])
        first = self.done(f"POST /box/a?uploadId={id}", body, "If-None-Match: *").body
        self.assertEqual(self.done(f"POST /box/a?uploadId={id}", body, "If-None-Match: *").body, first)
        self.refused("NoSuchUpload", f"POST /box/a?uploadId={id}", wanted(etags[:1]))
        self.refused("NoSuchUpload", f"POST /box/b?uploadId={id}", body)
        id = self.begin()
        body = wanted([(1, self.part(id, 1, b"x"))])
        self.done(f"DELETE /box/a?uploadId={id}", status=204)
        self.refused("NoSuchUpload", f"POST /box/a?uploadId={id}", body)

    def test_abort(self) -> None:
        id = self.begin()
        self.part(id, 1, b"x")
        self.refused(
            "PreconditionFailed",
            f"DELETE /box/a?uploadId={id}",
            None,
            "x-amz-if-match-initiated-time: 2001-09-09T01:46:40Z",
        )
        self.done(f"DELETE /box/a?uploadId={id}", status=204)
        self.refused("NoSuchUpload", f"DELETE /box/a?uploadId={id}")
        self.assertEqual(self.uploads(), [])

    def test_other_doors(self) -> None:
        """What was begun at another door is listed and can be aborted, and nothing else."""
        id = self.successResultOf(self.store.begin_upload("box", "a", "", {"resumable": ["1"]}))
        self.successResultOf(
            self.store.upload_part("box", "a", id, 1, BytesStream(b"x"), 1, note=lambda: "crc32c=00000000")
        )
        self.refused("InvalidRequest", f"PUT /box/a?partNumber=2&uploadId={id}", b"x")
        self.refused("InvalidRequest", f"POST /box/a?uploadId={id}", wanted([(1, "x")]))
        (upload,) = self.read("ListMultipartUploadsResult", "GET /box?uploads").all("Upload")
        self.assertEqual((upload.value("Key"), upload.value("UploadId")), ("a", id))
        (part,) = self.read("ListPartsResult", f"GET /box/a?uploadId={id}").all("Part")
        self.assertEqual((part.value("Size"), part.child("ChecksumCRC32C")), ("1", None))
        self.done(f"DELETE /box/a?uploadId={id}", status=204)
        self.assertEqual(self.uploads(), [])

    def test_looks_like_another_door(self) -> None:
        """A client can say anything in its metadata: the upload stays one of this door."""
        answer = self.done("POST /box/a?uploads", b"", "x-amz-meta-resumable: 1")
        id = parse(answer.body, "InitiateMultipartUploadResult").value("UploadId")
        etag = self.done(f"PUT /box/a?partNumber=1&uploadId={id}", b"x").fields["etag"]
        self.done(f"POST /box/a?uploadId={id}", wanted([(1, etag)]))
        info, data = self.whole()
        self.assertEqual((data, info.metadata), (b"x", {"resumable": ["1"]}))
        self.assertNotIn("door", info.system)


class ResumableTests(MultipartCase):
    """Uploads that another room keeps."""

    def make_door(self) -> S3Door:
        settings = ResumableSettings(os.path.abspath(self.mktemp()), durable=False)
        self.resumable = LocalResumableUploads(self.store, InlineDisk(), self.clock, settings)
        shared = Door(self.store, self.accounts, self.settings, self.clock, InlineDisk(), resumable=self.resumable)
        return S3Door(shared, AnyAuthenticator(), allow_signed)

    def test_abort(self) -> None:
        """It is listed while it is open; aborted, it is gone for its own door at once."""
        self.successResultOf(self.store.create_bucket("uploads"))
        self.resumable.start()
        self.addCleanup(lambda: self.successResultOf(self.resumable.stop()))
        upload = self.successResultOf(self.resumable.create("ann", "film", 10))
        self.successResultOf(self.resumable.append(upload.id, 0, BytesStream(b"half"), 4))
        (listed,) = self.read("ListMultipartUploadsResult", "GET /uploads?uploads").all("Upload")
        self.assertEqual((listed.value("Key"), listed.value("UploadId")), ("film", upload.id))
        (part,) = self.read("ListPartsResult", f"GET /uploads/film?uploadId={upload.id}").all("Part")
        self.assertEqual(part.value("Size"), "4")
        self.refused("InvalidRequest", f"PUT /uploads/film?partNumber=2&uploadId={upload.id}", b"x")
        self.done(f"DELETE /uploads/film?uploadId={upload.id}", status=204)
        self.failureResultOf(self.resumable.get(upload.id), UploadGone)
        self.assertEqual(self.successResultOf(self.store.list_uploads("uploads")), [])
        self.assertEqual(self.successResultOf(self.resumable.list()), [])
        self.refused("NoSuchUpload", f"DELETE /uploads/film?uploadId={upload.id}")

    def test_start(self) -> None:
        """A start never takes an upload of S3 for an unfinished upload of another door, whatever its metadata."""
        self.successResultOf(self.store.create_bucket("uploads"))
        self.done("POST /uploads/film?uploads", b"", "x-amz-meta-resumable: 1")
        self.successResultOf(self.store.begin_upload("uploads", "left", "", {"resumable": ["1"]}))
        self.clock.advance(60)
        self.resumable.start()
        self.addCleanup(lambda: self.successResultOf(self.resumable.stop()))
        self.assertEqual([each.key for each in self.successResultOf(self.store.list_uploads("uploads"))], ["film"])


class ChecksumTests(MultipartCase):
    """Checksums of parts, and of what is made of them."""

    PARTS = (b"first", b"second", b"")

    def upload(self, name: str, kind: str = "") -> tuple[str, list[tuple[int, str]], list[str]]:
        """An upload with all parts; its ID, the parts' etags and their checksums."""
        algorithm = f"x-amz-checksum-algorithm: {name}"
        answer = self.done("POST /box/a?uploads", b"", algorithm, *([f"x-amz-checksum-type: {kind}"] if kind else []))
        self.assertEqual(answer.fields["x-amz-checksum-algorithm"], name.upper())
        if kind:
            self.assertEqual(answer.fields["x-amz-checksum-type"], kind)
        id = parse(answer.body, "InitiateMultipartUploadResult").value("UploadId")
        etags, sums = [], []
        for number, data in enumerate(self.PARTS, 1):
            sums.append(encoded(digest(name.lower(), data)))
            field = f"x-amz-checksum-{name}: {sums[-1]}"
            answer = self.done(f"PUT /box/a?partNumber={number}&uploadId={id}", data, field)
            self.assertEqual(answer.fields[f"x-amz-checksum-{name.lower()}"], sums[-1])
            etags.append((number, answer.fields["etag"]))
        return id, etags, sums

    def test_every_algorithm(self) -> None:
        """In each way that there is to make the object's of those of the parts."""
        for name, algorithm in ALGORITHMS.items():
            for kind in algorithm.types:
                id, etags, sums = self.upload(name.upper(), kind)
                element = f"Checksum{name.upper()}"
                result = self.complete(id, wanted(etags, **{element: sums}))
                if kind == "COMPOSITE":
                    expected = composite(name, [digest(name, data) for data in self.PARTS])
                else:
                    expected = encoded(digest(name, b"".join(self.PARTS)))
                self.assertEqual((result.value(element), result.value("ChecksumType")), (expected, kind))
                system = self.whole()[0].system
                self.assertEqual((system[f"checksum-{name}"], system["checksum-type"]), (expected, kind))
                self.assertNotIn("checksum-algorithm", system)

    def test_usual_types(self) -> None:
        for name, kind in (("crc32", "COMPOSITE"), ("CRC64NVME", "FULL_OBJECT"), ("SHA256", "COMPOSITE")):
            answer = self.done("POST /box/a?uploads", b"", f"x-amz-checksum-algorithm: {name}")
            self.assertEqual(answer.fields["x-amz-checksum-type"], kind)

    def test_what_there_is_not(self) -> None:
        for fields in (
            ["x-amz-checksum-algorithm: CRC16"],
            ["x-amz-checksum-type: COMPOSITE"],
            ["x-amz-checksum-algorithm: SHA256", "x-amz-checksum-type: FULL_OBJECT"],
            ["x-amz-checksum-algorithm: CRC64NVME", "x-amz-checksum-type: COMPOSITE"],
            ["x-amz-checksum-algorithm: CRC32", "x-amz-checksum-type: HALF"],
        ):
            self.refused("InvalidRequest", "POST /box/a?uploads", b"", *fields)

    def test_of_object(self) -> None:
        """The one that a client expects of the object is compared, before that is there."""
        id, etags, _ = self.upload("CRC32", "FULL_OBJECT")
        right = crc32(b"".join(self.PARTS))
        for code, fields in (
            ("BadDigest", ["x-amz-checksum-crc32: AAAAAA=="]),
            ("BadDigest", ["x-amz-checksum-type: COMPOSITE"]),
            ("BadDigest", [f"x-amz-checksum-crc32c: {right}"]),
            ("InvalidRequest", ["x-amz-checksum-crc32: x"]),
        ):
            self.refused(code, f"POST /box/a?uploadId={id}", wanted(etags), *fields)
        self.failureResultOf(self.store.head("box", "a"), NoSuchKey)
        self.complete(id, wanted(etags), f"x-amz-checksum-crc32: {right}", "x-amz-checksum-type: FULL_OBJECT")

    def test_composite_of_object(self) -> None:
        """With the number of parts behind it, or without."""
        whole = composite("sha256", [digest("sha256", data) for data in self.PARTS])
        for value in (whole, whole.partition("-")[0]):
            id, etags, sums = self.upload("SHA256")
            self.complete(id, wanted(etags, ChecksumSHA256=sums), f"x-amz-checksum-sha256: {value}")

    def test_composite_needs_those_of_parts(self) -> None:
        id, etags, sums = self.upload("CRC32")
        self.refused("InvalidRequest", f"POST /box/a?uploadId={id}", wanted(etags))
        self.refused("InvalidPart", f"POST /box/a?uploadId={id}", wanted(etags, ChecksumCRC32=sums[::-1]))
        self.complete(id, wanted(etags, ChecksumCRC32=sums))

    def test_other_algorithm(self) -> None:
        """A part has the upload's, whether it is said or not; one of another kind is refused, unless the upload names none."""
        id = self.begin("x-amz-checksum-algorithm: CRC32")
        line = f"PUT /box/a?partNumber=1&uploadId={id}"
        sha = encoded(digest("sha256", b"x"))
        self.refused("InvalidRequest", line, b"x", f"x-amz-checksum-sha256: {sha}")
        self.assertEqual(self.done(line, b"x").fields["x-amz-checksum-crc32"], crc32(b"x"))
        id = self.begin()
        answer = self.done(f"PUT /box/a?partNumber=1&uploadId={id}", b"x", f"x-amz-checksum-sha256: {sha}")
        self.assertEqual(answer.fields["x-amz-checksum-sha256"], sha)
        result = self.complete(id, wanted([(1, answer.fields["etag"])], ChecksumSHA256=[sha]))
        self.assertEqual(result.value("ChecksumCRC64NVME"), encoded(digest("crc64nvme", b"x")))


class CopyTests(MultipartCase):
    """Parts that are copied."""

    def setUp(self) -> None:
        MultipartCase.setUp(self)
        system = {"checksum-crc64nvme": encoded(digest("crc64nvme", b"0123456789")), "checksum-type": "FULL_OBJECT"}
        stored = self.store.put("box", "source", BytesStream(b"0123456789"), 10, md5=True, system=system)
        self.source = self.successResultOf(stored)

    def copy(self, id: str, number: int, *fields: str) -> Node:
        """A part that is granted."""
        line = f"PUT /box/a?partNumber={number}&uploadId={id}"
        return self.read("CopyPartResult", line, b"", "x-amz-copy-source: box/source", *fields)

    def test_ranges(self) -> None:
        """With and without a checksum that the upload asks for."""
        for fields in ([], ["x-amz-checksum-algorithm: CRC32"], ["x-amz-checksum-algorithm: SHA1"]):
            id = self.begin(*fields)
            results = [
                self.copy(id, 1),
                self.copy(id, 2, "x-amz-copy-source-range: bytes=2-5"),
                self.copy(id, 3, "x-amz-copy-source-range: bytes=9-9"),
            ]
            name = f"Checksum{fields[0].split()[-1]}" if fields else ""
            sums = {name: [result.value(name) for result in results]} if name else {}
            if name == "ChecksumCRC32":
                self.assertEqual(sums[name], [crc32(b"0123456789"), crc32(b"2345"), crc32(b"9")])
            etags = [(number, result.value("ETag")) for number, result in enumerate(results, 1)]
            self.complete(id, wanted(etags, **sums))
            info, data = self.whole()
            self.assertEqual(data, b"012345678923459")
            self.assertEqual(any(each.startswith("checksum-") for each in info.system), bool(fields))

    def test_whole_object(self) -> None:
        """What is known of its checksum is known of the part."""
        id = self.begin()
        part = self.copy(id, 1)
        self.assertEqual(part.value("ChecksumCRC64NVME"), self.source.system["checksum-crc64nvme"])
        result = self.complete(id, wanted([(1, part.value("ETag"))]))
        self.assertEqual(result.value("ChecksumCRC64NVME"), self.source.system["checksum-crc64nvme"])

    def test_empty(self) -> None:
        self.successResultOf(self.store.put("box", "source", BytesStream(), 0, md5=True))
        for fields in ([], ["x-amz-checksum-algorithm: SHA1", "x-amz-checksum-type: COMPOSITE"]):
            part = self.copy(self.begin(*fields), 1)
            self.assertEqual(part.value("ETag"), f'"{hashlib.md5().hexdigest()}"')

    def test_refused(self) -> None:
        id = self.begin()
        line = f"PUT /box/a?partNumber=1&uploadId={id}"
        for code, fields in (
            ("InvalidArgument", ["x-amz-copy-source: box"]),
            ("NoSuchKey", ["x-amz-copy-source: box/none"]),
            ("NoSuchBucket", ["x-amz-copy-source: nobox/source"]),
            ("InvalidArgument", ["x-amz-copy-source: box/source", "x-amz-copy-source-range: bytes=5-"]),
            ("InvalidArgument", ["x-amz-copy-source: box/source", "x-amz-copy-source-range: bytes=5-4"]),
            ("InvalidArgument", ["x-amz-copy-source: box/source", "x-amz-copy-source-range: bytes=5-10"]),
            ("PreconditionFailed", ["x-amz-copy-source: box/source", "x-amz-copy-source-if-match: x"]),
        ):
            self.refused(code, line, b"", *fields)
        self.copy(id, 1, f"x-amz-copy-source-if-match: {quoted(self.source.etag)}")

    def test_replaced_meanwhile(self) -> None:
        """What is copied, with a checksum or without, is of the object that was looked at."""
        self.replace_before("upload_part_copy")
        self.replace_before("get", "x-amz-checksum-algorithm: CRC32")

    def replace_before(self, method: str, *fields: str) -> None:
        """The source is replaced just before a method of the store is called."""
        id = self.begin(*fields)
        call = getattr(self.store, method)

        def late(*args: Any) -> Any:
            self.patch(self.store, method, call)
            self.successResultOf(self.store.put("box", "source", BytesStream(b"other"), 5, md5=True))
            return call(*args)

        self.patch(self.store, method, late)
        self.copy(id, 1)
        (part,) = self.successResultOf(self.store.list_parts("box", "a", id))
        self.assertEqual(part.size, 5)
        self.successResultOf(self.store.put("box", "source", BytesStream(b"0123456789"), 10, md5=True))


class ListTests(MultipartCase):
    """Pages of parts and of uploads."""

    def test_parts(self) -> None:
        id = self.begin("x-amz-checksum-algorithm: CRC32", "x-amz-storage-class: STANDARD_IA")
        for number in (1, 3, 5, 7, 9):
            self.part(id, number, b"%d" % number)
        seen, marker = [], 0
        for count in (2, 2, 1):
            page = self.read("ListPartsResult", f"GET /box/a?uploadId={id}&max-parts=2&part-number-marker={marker}")
            parts = list(page.all("Part"))
            self.assertEqual(len(parts), count)
            self.assertEqual(page.value("IsTruncated"), "true" if count == 2 else "false")
            self.assertEqual((page.value("PartNumberMarker"), page.value("MaxParts")), (str(marker), "2"))
            marker = int(page.value("NextPartNumberMarker"))
            seen += [int(part.value("PartNumber")) for part in parts]
            for part in parts:
                data = part.value("PartNumber").encode()
                self.assertEqual(part.value("ChecksumCRC32"), crc32(data))
                self.assertEqual(part.value("ETag"), f'"{hashlib.md5(data).hexdigest()}"')
                self.assertEqual(part.value("LastModified"), "2026-09-21T14:13:20.000Z")
        self.assertEqual(seen, [1, 3, 5, 7, 9])
        told = [
            page.value(name)
            for name in ("Bucket", "Key", "UploadId", "StorageClass", "ChecksumAlgorithm", "ChecksumType")
        ]
        self.assertEqual(told, ["box", "a", id, "STANDARD_IA", "CRC32", "COMPOSITE"])
        self.refused("InvalidArgument", f"GET /box/a?uploadId={id}&max-parts=x")

    def pages(self, query: str, most: int) -> tuple[list[str], list[str]]:
        """The keys and the prefixes of all pages, one after the other."""
        keys: list[str] = []
        prefixes: list[str] = []
        marker = ""
        while True:
            page = self.read("ListMultipartUploadsResult", f"GET /box?uploads&max-uploads={most}{query}{marker}")
            uploads, common = list(page.all("Upload")), list(page.all("CommonPrefixes"))
            self.assertLessEqual(len(uploads) + len(common), most)
            keys += [upload.value("Key") for upload in uploads]
            prefixes += [each.value("Prefix") for each in common]
            if page.value("IsTruncated") == "false":
                return keys, prefixes
            self.assertEqual(len(uploads) + len(common), most)
            marker = f"&key-marker={page.value('NextKeyMarker')}&upload-id-marker={page.value('NextUploadIdMarker')}"

    def test_uploads(self) -> None:
        """In the order of keys, those of one key in that in which they were begun; folded by a delimiter."""
        for key in ("b/1", "a", "b/2", "a", "b", "c", "a/", "a/x"):
            self.begin(key=key)
        everything = ["a", "a", "a/", "a/x", "b", "b/1", "b/2", "c"]
        for most in (1, 2, 3, 7, 8, 1000):
            self.assertEqual(self.pages("", most), (everything, []))
            self.assertEqual(self.pages("&prefix=b", most), (["b", "b/1", "b/2"], []))
            self.assertEqual(self.pages("&delimiter=/", most), (["a", "a", "b", "c"], ["a/", "b/"]))
            self.assertEqual(self.pages("&delimiter=/&prefix=b/", most), (["b/1", "b/2"], []))
        self.patch(multipart, "_PAGE", 2)
        self.assertEqual(self.pages("&delimiter=/", 2), (["a", "a", "b", "c"], ["a/", "b/"]))
        self.refused("NoSuchBucket", "GET /nobox?uploads")
        self.refused("InvalidArgument", "GET /box?uploads&max-uploads=-1")

    def test_names(self) -> None:
        """Percent-encoded if that is asked for."""
        self.begin(key="a%20%2B%C3%A4/b")
        page = self.read("ListMultipartUploadsResult", "GET /box?uploads&encoding-type=url&delimiter=/")
        (common,) = page.all("CommonPrefixes")
        self.assertEqual((common.value("Prefix"), page.value("EncodingType")), ("a%20%2B%C3%A4/", "url"))
        page = self.read("ListMultipartUploadsResult", "GET /box?uploads&delimiter=/")
        (common,) = page.all("CommonPrefixes")
        self.assertEqual(common.value("Prefix"), "a +ä/")
        self.refused("InvalidArgument", "GET /box?uploads&encoding-type=html")


class LastingTests(MultipartCase):
    """A store that takes long to complete an upload."""

    def ask_slowly(self, fails: BaseException | None = None) -> bytes:
        """What a client receives until the store is done, and then."""
        id = self.begin()
        body = wanted([(1, self.part(id, 1, b"x"))])
        complete = self.store.complete_upload
        wait: Deferred[None] = Deferred()
        self.patch(self.store, "complete_upload", lambda *args: wait.addCallback(lambda _: complete(*args)))
        connection = Connection(self.site)
        connection.send(request(f"POST /box/a?uploadId={id}", body, "Authorization: Test ann", host="localhost"))
        self.assertEqual(connection.received, b"")
        self.clock.advance(lasting._PATIENCE)
        first = connection.received
        self.assertTrue(first.startswith(b"HTTP/1.1 200"), first)
        for _ in range(3):
            self.clock.advance(lasting._PATIENCE)
        self.assertGreater(connection.received, first)
        if fails is None:
            wait.callback(None)
        else:
            wait.errback(fails)
        (answer,) = split_answers(connection.received, ["POST"])
        connection.close()
        self.assertEqual(answer.fields["content-type"], "application/xml")
        return bytes(answer.body)

    def test_late(self) -> None:
        """The head comes in time, then spaces, and at last the document."""
        body = self.ask_slowly()
        self.assertIn(b"\n   <Complete", body)
        self.assertEqual(parse(body, "CompleteMultipartUploadResult").value("Key"), "a")

    def test_late_failure(self) -> None:
        """It is in the document then."""
        self.assertEqual(parse(self.ask_slowly(NoSuchUpload("gone")), "Error").value("Code"), "NoSuchUpload")
        self.assertEqual(parse(self.ask_slowly(ZeroDivisionError()), "Error").value("Code"), "InternalError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
