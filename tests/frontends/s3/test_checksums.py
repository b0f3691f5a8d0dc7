"""Tests of checksums: botocore computes them as well, and S3's rules are kept."""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64encode
from collections.abc import Mapping
from itertools import pairwise
from random import Random
from typing import Any

from botocore.httpchecksum import _CHECKSUM_CLS
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, read_all
from storehouse.frontends.s3.checksums import (
    ALGORITHMS,
    COMPOSITE,
    FULL_OBJECT,
    Checksums,
    Hasher,
    algorithm_of,
    checksum_fields,
    checksum_system,
    checksums_of,
    combine,
    composite,
    decoded,
    encoded,
    object_checksum,
    type_of,
)
from storehouse.frontends.s3.errors import S3Error

#: Of b"123456789", by the definitions of these CRCs; of no bytes, by that of XXHash.
CHECKS = {"crc32": "cbf43926", "crc32c": "e3069283", "crc64nvme": "ae8b14860a799888"}
EMPTY = {
    "xxhash64": "ef46db3751d8e999",
    "xxhash3": "2d06800538d394c2",
    "xxhash128": "99aa06d3014798d86001c324468d497f",
}


def of(name: str, data: bytes) -> bytes:
    hasher = Hasher(name)
    hasher.update(data)
    return hasher.digest()


def announced(headers: Mapping[str, str], trailer: str = "") -> Checksums:
    return checksums_of(list(headers), headers.get, trailer)


class AlgorithmTests(SynchronousTestCase):
    """What is computed."""

    def test_definitions(self) -> None:
        for name, value in CHECKS.items():
            self.assertEqual(of(name, b"123456789").hex(), value)
        for name, value in EMPTY.items():
            self.assertEqual(of(name, b"").hex(), value)
        for name in ("sha1", "sha256", "sha512", "md5"):
            self.assertEqual(of(name, b"data"), hashlib.new(name, b"data").digest())
        self.assertEqual(of("crc32", b"data"), zlib.crc32(b"data").to_bytes(4, "big"))

    def test_all(self) -> None:
        """Those of botocore, as it computes them."""
        self.assertEqual(set(_CHECKSUM_CLS) | {"md5"}, set(ALGORITHMS))
        for size in (0, 1, 1000, 1 << 20):
            data = Random(size).randbytes(size)
            for name, theirs in _CHECKSUM_CLS.items():
                checksum = theirs()
                checksum.update(data)
                self.assertEqual(encoded(of(name, data)), checksum.b64digest())
                self.assertEqual(decoded(name, checksum.b64digest()), of(name, data))
                self.assertEqual(len(of(name, data)), ALGORITHMS[name].size)

    @settings(max_examples=30, deadline=None)
    @given(st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=5))
    def test_pieces(self, data: bytes, cuts: list[int]) -> None:
        """However the bytes come: the same; and the full object's from the parts'."""
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        parts = [data[start:end] for start, end in pairwise(edges)]
        for name in ALGORITHMS:
            hasher = Hasher(name)
            for part in parts:
                hasher.update(memoryview(part))
            self.assertEqual(hasher.digest(), of(name, data))
        for name in CHECKS:
            self.assertEqual(combine(name, [(of(name, part), len(part)) for part in parts]), of(name, data))

    def test_combine(self) -> None:
        self.assertEqual(combine("crc32", []), bytes(4))
        zeros = combine("crc64nvme", [(bytes(8), 5 << 40)] * 3)
        self.assertEqual(zeros, bytes(8))
        for name in set(ALGORITHMS) - set(CHECKS):
            self.assertRaises(ValueError, combine, name, [])

    def test_composite(self) -> None:
        digests = [hashlib.sha256(part).digest() for part in (b"a", b"b", b"c")]
        expected = b64encode(hashlib.sha256(b"".join(digests)).digest()).decode() + "-3"
        self.assertEqual(composite("sha256", digests), expected)
        parts = [of("crc32", b"a"), of("crc32", b"b")]
        self.assertEqual(composite("crc32", parts), encoded(zlib.crc32(b"".join(parts)).to_bytes(4, "big")) + "-2")

    def test_decoded(self) -> None:
        for value in ("", "AAAA", "AAAAAAA=", "AAAAAA=", "AAAA AA==", "AAAAA\u20ac==", "!!!!!!==", "AAAAAA==\n"):
            self.assertIsNone(decoded("crc32", value), value)
        self.assertEqual(decoded("crc32", "AAAAAA=="), bytes(4))


class RequestTests(SynchronousTestCase):
    """What requests say, and how S3 refuses it."""

    def refused(self, code: str, part: str, call: Any, *args: Any) -> S3Error:
        error: S3Error = self.assertRaises(S3Error, call, *args)
        self.assertEqual(error.code, code)
        self.assertIn(part, error.detail)
        return error

    def test_none(self) -> None:
        for headers in ({}, {"x-amz-checksum-mode": "ENABLED"}, {"x-amz-checksum-algorithm": "CRC32"}):
            self.assertFalse(announced(headers).is_announced)

    def test_announced(self) -> None:
        for name in ALGORITHMS:
            value = encoded(of(name, b"data"))
            checksums = announced({f"x-amz-checksum-{name}": value, "x-amz-sdk-checksum-algorithm": name.upper()})
            self.assertEqual((checksums.name, checksums.is_announced), (name, True))
            checksums = announced({"x-amz-sdk-checksum-algorithm": name}, f"x-amz-checksum-{name}")
            self.assertEqual((checksums.name, checksums.is_announced), (name, True))
        self.assertTrue(announced({"content-md5": encoded(bytes(16))}).is_announced)

    def test_refused(self) -> None:
        crc = {"x-amz-checksum-crc32": "AAAAAA=="}
        sdk = "x-amz-sdk-checksum-algorithm"
        for code, part, headers, trailer in (
            (
                "InvalidRequest",
                "Value for x-amz-checksum-crc32 header is invalid",
                {"x-amz-checksum-crc32": "AAAA"},
                "",
            ),
            ("InvalidRequest", "Value for x-amz-checksum-crc32 header is invalid", {"x-amz-checksum-crc32": ""}, ""),
            ("InvalidRequest", "Multiple checksum Types", {**crc, "x-amz-checksum-crc32c": "AAAAAA=="}, ""),
            ("InvalidRequest", "Multiple checksum Types", crc, "x-amz-checksum-crc32c"),
            ("InvalidRequest", "Multiple checksum Types", crc, "x-amz-checksum-crc32"),
            ("InvalidRequest", "x-amz-checksum-crc16", {"x-amz-checksum-crc16": "AAA="}, ""),
            ("InvalidRequest", "x-amz-trailer", {}, "x-amz-checksum-crc16"),
            ("InvalidRequest", "x-amz-trailer", {}, "x-amz-checksum-type"),
            ("InvalidRequest", "x-amz-trailer", {}, "expires"),
            ("InvalidRequest", f"Value for {sdk} header is invalid", {**crc, sdk: "CRC16"}, ""),
            ("InvalidRequest", "no corresponding", {sdk: "CRC32"}, ""),
            ("BadDigest", "CRC32C", {**crc, sdk: "CRC32C"}, ""),
            ("BadDigest", "CRC32C", {sdk: "CRC32"}, "x-amz-checksum-crc32c"),
            ("InvalidDigest", "Content-MD5", {"content-md5": "AAAA"}, ""),
            ("InvalidDigest", "Content-MD5", {"content-md5": ""}, ""),
            ("InvalidDigest", "Content-MD5", {"content-md5": "0" * 32}, ""),
        ):
            self.refused(code, part, announced, headers, trailer)

    def test_algorithms_and_types(self) -> None:
        for name in ALGORITHMS:
            self.assertEqual(algorithm_of(name.upper()), name)
            for type in (COMPOSITE, FULL_OBJECT):
                if type in ALGORITHMS[name].types:
                    self.assertEqual(type_of(name, type), type)
                else:
                    part = f"The {type} checksum type cannot be used with the {name} checksum algorithm."
                    self.refused("InvalidRequest", part, type_of, name, type)
        self.assertEqual(
            [type_of(name, None) for name in ("crc32", "crc64nvme", "md5")], [COMPOSITE, FULL_OBJECT, COMPOSITE]
        )
        self.refused("InvalidRequest", "x-amz-checksum-type", type_of, "crc32", "WHOLE")
        self.refused("InvalidRequest", "CRC64NVME", algorithm_of, "CRC16")

    def test_of_an_object(self) -> None:
        """Of an upload that is completed, it may be a composite one."""

        def found(headers: dict[str, str]) -> Any:
            return object_checksum(list(headers), headers.get)

        self.assertIsNone(found({"x-amz-checksum-type": "COMPOSITE"}))
        for value in ("AAAAAA==", "AAAAAA==-3"):
            self.assertEqual(found({"x-amz-checksum-crc32": value}), ("crc32", value))
        for value in ("", "AAAA", "AAAAAA==-x", "-3"):
            self.refused("InvalidRequest", "is invalid", found, {"x-amz-checksum-crc32": value})


class StreamTests(SynchronousTestCase):
    """Bodies are verified as they pass."""

    def read(self, checksums: Checksums, data: bytes, trailers: Mapping[str, str] | None = None) -> Any:
        stream = checksums.stream(BytesStream(data), InlineDisk(), trailers or {})
        return Deferred.fromCoroutine(read_all(stream))

    def test_right(self) -> None:
        for size in (0, 4, 3 << 20):
            data = Random(size).randbytes(size)
            for name in ALGORITHMS:
                value = encoded(of(name, data))
                for checksums, trailers in (
                    (announced({f"x-amz-checksum-{name}": value}), {}),
                    (announced({}, f"x-amz-checksum-{name}"), {f"x-amz-checksum-{name}": value}),
                ):
                    self.assertEqual(self.successResultOf(self.read(checksums, data, trailers)), data)
                    self.assertEqual(checksums.values, {name: value})
                    self.assertEqual(checksums.system(), {f"checksum-{name}": value, "checksum-type": "FULL_OBJECT"})

    def test_wrong(self) -> None:
        for name in ALGORITHMS:
            value = encoded(of(name, b"data"))
            field = f"x-amz-checksum-{name}"
            for data in (b"dato", b"", b"data" * (1 << 18)):
                for checksums, trailers in ((announced({field: value}), {}), (announced({}, field), {field: value})):
                    error = self.failureResultOf(self.read(checksums, data, trailers), S3Error).value
                    self.assertEqual(
                        (error.code, error.detail),
                        ("BadDigest", f"The {name.upper()} you specified did not match the calculated checksum."),
                    )
                    self.assertEqual((checksums.values, checksums.system()), ({}, {}))

    def test_trailer(self) -> None:
        for trailers in ({}, {"x-amz-checksum-crc32": "AAAA"}, {"x-amz-checksum-crc32": ""}):
            error = self.failureResultOf(self.read(announced({}, "x-amz-checksum-crc32"), b"data", trailers), S3Error)
            self.assertEqual(error.value.code, "InvalidRequest")

    def test_content_md5(self) -> None:
        value = encoded(hashlib.md5(b"data").digest())
        crc = encoded(of("crc32", b"data"))
        checksums = announced({"content-md5": value, "x-amz-checksum-crc32": crc})
        self.assertEqual(self.successResultOf(self.read(checksums, b"data")), b"data")
        self.assertEqual(checksums.system(), {"checksum-crc32": crc, "checksum-type": "FULL_OBJECT"})
        error = self.failureResultOf(self.read(announced({"content-md5": value}), b"dato"), S3Error).value
        self.assertEqual(error.code, "BadDigest")
        self.assertEqual(error.fields["ExpectedDigest"], value)
        self.assertEqual(error.fields["CalculatedDigest"], encoded(hashlib.md5(b"dato").digest()))
        # It is not kept: it is of the transport.
        checksums = announced({"content-md5": value})
        self.successResultOf(self.read(checksums, b"data"))
        self.assertEqual(checksums.system(), {})

    def test_wanted(self) -> None:
        """What S3 computes by itself."""
        checksums = announced({})
        checksums.want("crc64nvme")
        self.successResultOf(self.read(checksums, b"123456789"))
        self.assertEqual(checksums.values, {"crc64nvme": encoded(bytes.fromhex(CHECKS["crc64nvme"]))})
        self.assertEqual(checksums.system()["checksum-crc64nvme"], checksums.values["crc64nvme"])
        self.assertRaises(RuntimeError, checksums.want, "crc32")
        self.assertFalse(checksums.is_announced)

    def test_kept(self) -> None:
        """What is announced, or the usual one, also beside an MD5 of the transport."""
        md5, crc = encoded(hashlib.md5(b"data").digest()), encoded(of("crc32", b"data"))
        for headers, name in (
            ({}, "crc64nvme"),
            ({"content-md5": md5}, "crc64nvme"),
            ({"content-md5": md5, "x-amz-checksum-crc32": crc}, "crc32"),
        ):
            checksums = announced(headers)
            checksums.keep()
            self.successResultOf(self.read(checksums, b"data"))
            self.assertEqual(
                checksums.system(), {f"checksum-{name}": encoded(of(name, b"data")), "checksum-type": "FULL_OBJECT"}
            )

    def test_etag(self) -> None:
        """The MD5 is computed once: here if a client announces it, or the bytes are few, otherwise by the store."""
        expected = hashlib.md5(b"data").hexdigest()
        value = encoded(hashlib.md5(b"data").digest())
        for headers, size, is_here in (
            ({}, 4, True),
            ({"content-md5": value}, 1 << 30, True),
            ({"x-amz-checksum-md5": value}, None, True),
            ({}, 1 << 30, False),
            ({}, None, False),
        ):
            checksums = announced(headers)
            checksums.keep()
            md5 = checksums.md5(size)
            self.successResultOf(self.read(checksums, b"data"))
            if is_here:
                self.assertEqual(md5(), expected)
            else:
                self.assertIs(md5, True)
            name = "md5" if "x-amz-checksum-md5" in headers else "crc64nvme"
            self.assertEqual(list(checksums.system()), [f"checksum-{name}", "checksum-type"])

    def test_given_back(self) -> None:
        system = checksum_system("sha256", "abc", COMPOSITE)
        self.assertEqual(
            list(checksum_fields({**system, "owner": "ann"})),
            [(b"x-amz-checksum-sha256", b"abc"), (b"x-amz-checksum-type", b"COMPOSITE")],
        )
        self.assertEqual(list(checksum_fields({"owner": "ann"})), [])
