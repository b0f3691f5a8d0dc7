"""Tests of L{storehouse.storage.dataspace.formats}: the bytes that docs/formats/wormer.md promises."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import storehouse
from storehouse.core.digests import crc32c
from storehouse.storage.dataspace.formats import (
    MAX_BLOCK,
    MAX_HEADER,
    ChecksumHeader,
    ObjectInfo,
    check_own,
    decode_header,
    decode_object,
    decode_parts,
    decode_upload,
    encode_header,
    encode_object,
    encode_part,
    encode_parts,
    encode_upload,
    find_hash,
    joined_etag,
)
from storehouse.storage.dataspace.interfaces import Part
from tests.storage.appendlog.test_formats import cuts, flips

bounded = settings(deadline=None, max_examples=80)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
sizes = st.integers(0, 2**40)
metadatas = st.dictionaries(texts, st.lists(texts, max_size=3), max_size=3)
parts = st.lists(
    st.builds(Part, st.integers(1, 2**31 - 1), texts, sizes, texts), max_size=4, unique_by=lambda p: p.number
)

DATA = (
    b'{"etag":"aa-2","key":"a/b","parts":[{"etag":"a1","number":1,"size":7},{"etag":"b2","number":3,"size":0}],'
    b'"size":7,"metadata":{"key":["a/b","c"],"\xc3\xbc":[]},"checksum":"17a38b11"}'
)
INFO = ObjectInfo("aa-2", 7, (Part(1, "a1", 7), Part(3, "b2", 0)), {"key": ["a/b", "c"], "ü": []})
OWN = DATA[: DATA.index(b',"checksum"')] + b',"id":"ab01","checksum":"f2ad8be0"}'
OWN_UPLOAD = b'{"createdAt":1700000000123456789,"metadata":{"key":["x"]},"id":"ab01","checksum":"832e936d"}'
PARTS = (
    b'{"2":{"etag":"b2","number":2,"size":5,"checksum":"a2e90b1e"},'
    b'"10":{"etag":"a1","number":10,"size":0,"checksum":"8a96b6d3"}}'
)
NOTED = b'"3":{"etag":"c","number":3,"size":4,"note":"n\xc3\xbc","checksum":"6ac9beb9"}'
TIMED = b'"3":{"etag":"c","number":3,"size":4,"note":"n","stored":1700000000123456789,"checksum":"489084b1"}'
LISTED = {2: Part(2, "b2", 5), 10: Part(10, "a1", 0)}
UPLOAD = b'{"createdAt":1700000000123456789,"metadata":{"key":["x"]},"checksum":"9b85e8f4"}'
HEADER = (
    b'{"hashName":"BLAKE3","hashKey":"' + b"0f" * 32 + b'","hashLength":32,"blockSize":1000,"blockCount":3,'
    b'"dataLength":2001}\n'
)

# The examples of the specification.
SEED_DATA = b"""{
    "etag": "akinkekhybbe",
    "key": "mybucket/path/to/myobject",
    "parts": [
        {
            "etag": "poumnasdfk",
            "number": 2,
            "size": 8762812
        }
    ],
    "size": 8762812
}
"""
SEED_PARTS = b"""{
    "2": {
        "etag": "poumnasdfk",
        "number": 2,
        "size": 8762812
    }
}
"""
SEED_HEADER = (
    b'{"hashName":"HighwayHash256","hashKey":"","hashLength":32,"blockSize":10485760,"blockCount":84,'
    b'"dataLength":871265537}\n'
)

DECODERS: dict[str, Callable[[bytes], Any]] = {
    "data.json": decode_object,
    "parts.json": decode_parts,
    "upload.json": decode_upload,
    "header": decode_header,
}


def encode_all(given: list[Part]) -> bytes:
    return encode_parts({part.number: encode_part(part) for part in given})


def sealed(text: bytes) -> bytes:
    """An object with the checksum that it ought to have."""
    return b'%s,"checksum":"%08x"}' % (text[:-1], crc32c(text[:-1]))


def documented() -> str:
    return Path(storehouse.__file__).parents[1].joinpath("docs/formats/wormer.md").read_text()


class GoldenTests(SynchronousTestCase):
    """The very bytes."""

    def test_object(self) -> None:
        self.assertEqual(encode_object(INFO), DATA)
        self.assertEqual(decode_object(DATA), INFO)

    def test_own_id(self) -> None:
        """A description says of which object or upload it is; older ones, and those of other programs, do not."""
        self.assertEqual(encode_object(attrs.evolve(INFO, id="ab01")), OWN)
        self.assertEqual(decode_object(OWN), attrs.evolve(INFO, id="ab01"))
        self.assertEqual(encode_upload(1700000000123456789, {"key": ["x"]}, "ab01"), OWN_UPLOAD)
        self.assertEqual(decode_upload(OWN_UPLOAD), (1700000000123456789, {"key": ["x"]}, "ab01"))
        check_own("", "ab01")
        check_own("ab01", "ab01")
        self.assertRaises(ValueError, check_own, "ab02", "ab01")
        self.assertRaises(ValueError, decode_object, b'{"etag":"e","key":"k","parts":[],"size":0,"id":"ab"}')

    def test_checksum(self) -> None:
        """Of all bytes before the comma that precedes it."""
        for data in (DATA, UPLOAD):
            text, _, checksum = data.rpartition(b',"checksum":"')
            self.assertEqual(b"%08x" % crc32c(text), checksum[:8])

    def test_parts(self) -> None:
        """In ascending order of the numbers, not of their digits."""
        self.assertEqual(encode_all(list(LISTED.values())[::-1]), PARTS)
        self.assertEqual(decode_parts(PARTS), LISTED)
        self.assertEqual((encode_parts({}), decode_parts(b"{}")), (b"{}", {}))

    def test_times(self) -> None:
        """A part of an upload may have the time when it came, behind its note; that of an object has none."""
        part = Part(3, "c", 4, "n", 1700000000123456789)
        self.assertEqual(encode_part(part), TIMED)
        self.assertEqual(decode_parts(b"{%s}" % TIMED)[3].stored, part.stored)
        self.assertEqual([each.stored for each in decode_parts(PARTS).values()], [0, 0])
        (of_object,) = decode_object(encode_object(ObjectInfo("c", 4, (part,), {}))).parts
        self.assertEqual((of_object, of_object.stored), (part, 0))
        for changed in flips(b"{%s}" % TIMED):
            self.assertRaises(ValueError, decode_parts, changed)

    def test_notes(self) -> None:
        """A part may have a note, behind its size."""
        self.assertEqual(encode_part(Part(3, "c", 4, "n\u00fc")), NOTED)
        self.assertEqual(decode_parts(b"{%s}" % NOTED), {3: Part(3, "c", 4, "n\u00fc")})
        info = ObjectInfo("c", 4, (Part(3, "c", 4, "n\u00fc"),), {})
        self.assertIn(b'"parts":[{"etag":"c","number":3,"size":4,"note":"n\xc3\xbc"}],', encode_object(info))
        self.assertEqual(decode_object(encode_object(info)), info)

    def test_upload(self) -> None:
        self.assertEqual(encode_upload(1700000000123456789, {"key": ["x"]}), UPLOAD)
        self.assertEqual(decode_upload(UPLOAD), (1700000000123456789, {"key": ["x"]}, ""))

    def test_header(self) -> None:
        header = ChecksumHeader(find_hash("BLAKE3", b"\x0f" * 32), 1000, 2001)
        self.assertEqual(encode_header(header), HEADER)
        decoded, at = decode_header(HEADER + b"lines")
        self.assertEqual((encode_header(decoded), at), (HEADER, len(HEADER)))

    def test_key(self) -> None:
        """The first value of the metadata "key", for people."""
        for metadata, key in (({}, ""), ({"key": []}, ""), ({"key": ["", "b"]}, ""), ({"key": ["a", "b"]}, "a")):
            self.assertEqual(json.loads(encode_object(ObjectInfo("e", 0, (), metadata)))["key"], key)

    def test_documented_header(self) -> None:
        """The example of the format's page, character by character."""
        match = re.search(r"holds `([^`]*)`, with CRC32C:\n\n```\n(.*?)```", documented(), re.DOTALL)
        assert match is not None
        data, text = match[1].encode(), match[2].encode()
        header = ChecksumHeader(find_hash("CRC32C"), 1 << 20, len(data))
        self.assertEqual(encode_header(header) + header.line(data), text)
        decoded, at = decode_header(text)
        self.assertEqual((encode_header(decoded), text[at:]), (text[:at], header.line(data)))

    def test_documented_fields(self) -> None:
        """Fields stand in the order in which the page lists them."""
        page = documented()
        for data, section in ((OWN, "`data.json`\n\n"), (HEADER, "may follow its `}`):\n\n")):
            table = page[page.index(section) + len(section) :].split("\n\n")[0]
            self.assertEqual(list(json.loads(data)), re.findall(r"(?m)^\| `(\w+)`", table))

    def test_etags(self) -> None:
        """The tag of several parts, of theirs; that of one is its own."""
        self.assertEqual(joined_etag(["x"]), "x")
        self.assertEqual(joined_etag(["x", "y"]), blake2b(b"x\ny\n", digest_size=24).hexdigest() + "-2")
        self.assertEqual(joined_etag([]), blake2b(b"", digest_size=24).hexdigest() + "-0")


class SeedTests(SynchronousTestCase):
    """What the specification shows is read."""

    def test_object(self) -> None:
        self.assertEqual(
            decode_object(SEED_DATA),
            ObjectInfo(
                "akinkekhybbe", 8762812, (Part(2, "poumnasdfk", 8762812),), {"key": ["mybucket/path/to/myobject"]}
            ),
        )

    def test_no_key(self) -> None:
        self.assertEqual(decode_object(b'{"etag":"e","key":"","parts":[],"size":0}'), ObjectInfo("e", 0, (), {}))

    def test_parts(self) -> None:
        self.assertEqual(decode_parts(SEED_PARTS), {2: Part(2, "poumnasdfk", 8762812)})

    def test_header(self) -> None:
        """Under both names of the key."""
        for name in (b"hashKey", b"haskKey"):
            header, at = decode_header(SEED_HEADER.replace(b"hashKey", name))
            self.assertEqual(
                (header.hash.name, header.hash.key, header.hash.length, header.block_size, header.data_length),
                ("HighwayHash256", b"", 32, 10485760, 871265537),
            )
            self.assertEqual((header.block_count, header.line_length, at), (84, 65, len(SEED_HEADER)))
            self.assertEqual(header.span(83), (83 * 10485760, 871265537 - 83 * 10485760))
        self.assertEqual(encode_header(header), SEED_HEADER)

    def test_spaces(self) -> None:
        """Without a checksum, spaces do not matter."""
        header, at = decode_header(SEED_HEADER.replace(b",", b" ,\t").replace(b"}", b" }    "))
        self.assertEqual((encode_header(header), at), (SEED_HEADER, len(SEED_HEADER) + 15))


class DamageTests(SynchronousTestCase):
    """What has changed is refused, or says what it said."""

    def check(self, data: bytes, decode: Callable[[bytes], Any]) -> None:
        value = decode(data)
        for changed in (*flips(data), *cuts(data)):
            try:
                found = decode(changed)
            except ValueError:
                continue
            self.assertEqual(found, value, changed)

    def test_flips(self) -> None:
        """No bit of a file with a checksum can turn unnoticed, nor can its end be missing."""
        self.check(DATA, decode_object)
        self.check(PARTS, decode_parts)
        self.check(UPLOAD, decode_upload)
        self.check(encode_upload(0, {}), decode_upload)
        self.check(b"{%s}" % NOTED, decode_parts)
        self.check(encode_object(ObjectInfo("c", 4, (Part(3, "c", 4, "note"),), {})), decode_object)
        for data in (DATA, PARTS, UPLOAD):
            for changed in flips(data):
                self.assertRaises(
                    ValueError, {DATA: decode_object, PARTS: decode_parts}.get(data, decode_upload), changed
                )

    def test_flips_of_empty(self) -> None:
        """parts.json of an upload without parts."""
        self.check(b"{}", decode_parts)

    def test_flips_of_escapes(self) -> None:
        info = ObjectInfo("e", 0, (), {'","checksum":"00000000"}': ["\x00\\", '"}']})
        self.assertEqual(decode_object(encode_object(info)), info)
        self.check(encode_object(info), decode_object)

    def test_header(self) -> None:
        """A header has no checksum: yet its hash and its key do not change unnoticed into what would not be noticed."""
        padded = HEADER[:-1] + b"     \n"
        for data in (HEADER, padded):
            header, at = decode_header(data)
            for changed in flips(data):
                try:
                    found, found_at = decode_header(changed)
                except ValueError:
                    continue
                self.assertEqual((found.hash.name, found_at), (header.hash.name, at))
                same = (found.data_length, found.hash.key, found.block_size)
                differs = sum(map(lambda a, b: a != b, same, (header.data_length, header.hash.key, header.block_size)))
                # One field, of which each makes checksums or sizes be others.
                self.assertLessEqual(differs, 1)

    def test_added(self) -> None:
        """What follows is noticed too."""
        for data, decode in ((DATA, decode_object), (PARTS, decode_parts), (UPLOAD, decode_upload)):
            for changed in (data + b"\n", b" " + data, data + b" ", data + data, data.replace(b":", b": ", 1)):
                self.assertRaises(ValueError, decode, changed)

    def test_mixed(self) -> None:
        """Entries with checksums of their own: all have one, or none has."""
        first, second = encode_part(LISTED[2]), encode_part(LISTED[10])
        bare = b'"10":{"etag":"a1","number":10,"size":0}'
        self.assertRaises(ValueError, decode_parts, encode_parts({2: first, 10: bare}))
        self.assertRaises(ValueError, decode_parts, b"{%s,%s}" % (second, first))
        self.assertEqual(decode_parts(b"{%s}" % bare), {10: Part(10, "a1", 0)})

    def test_half_of_ours(self) -> None:
        """An object with one of our fields must have all."""
        value = json.loads(SEED_DATA)
        noted = json.loads(SEED_PARTS)["2"] | {"note": "n"}
        self.assertRaises(ValueError, decode_parts, json.dumps({"2": noted}).encode())
        self.assertRaises(ValueError, decode_object, json.dumps({**value, "parts": [noted]}).encode())
        for extra in ({"metadata": {}}, {"checksum": "00000000"}, {"other": 1}):
            self.assertRaises(ValueError, decode_object, json.dumps({**value, **extra}).encode())


class RoundTripTests(SynchronousTestCase):
    """What was encoded is decoded."""

    @bounded
    @given(texts, parts, metadatas)
    def test_object(self, etag: str, given: list[Part], metadata: dict[str, list[str]]) -> None:
        info = ObjectInfo(etag, sum(part.size for part in given), tuple(given), metadata)
        data = encode_object(info)
        self.assertEqual(decode_object(data), info)
        self.assertNotIn(b"\n", data)
        self.assertEqual(list(decode_object(data).metadata), list(metadata))

    @bounded
    @given(parts)
    def test_parts(self, given: list[Part]) -> None:
        data = encode_all(given)
        self.assertEqual(decode_parts(data), {part.number: part for part in given})
        self.assertEqual(list(decode_parts(data)), sorted(part.number for part in given))

    @bounded
    @given(st.integers(0, 2**63 - 1), metadatas)
    def test_upload(self, created: int, metadata: dict[str, list[str]]) -> None:
        self.assertEqual(decode_upload(encode_upload(created, metadata, "ab")), (created, metadata, "ab"))

    @bounded
    @given(
        st.sampled_from(["HighwayHash256", "BLAKE3", "CRC32C"]),
        st.booleans(),
        st.integers(1, MAX_BLOCK),
        st.integers(0, 2**63 - 1),
        st.integers(0, 300),
    )
    def test_header(self, name: str, keyed: bool, block_size: int, length: int, padding: int) -> None:
        header = ChecksumHeader(find_hash(name, b"k" * 32 if keyed and name != "CRC32C" else b""), block_size, length)
        data = encode_header(header)
        self.assertLess(len(data), 257)  # the room that is left for it when its numbers are not known yet
        padded = data[:-1] + b" " * padding + b"\n"
        found, at = decode_header(padded + b"0123\n")
        self.assertEqual((encode_header(found), at), (data, len(padded)))
        if length:
            start, size = header.span(header.block_count - 1)
            self.assertEqual(start + size, length)
            self.assertTrue(0 < size <= block_size)
        else:
            self.assertEqual(header.block_count, 0)


def odd_values() -> Iterator[str]:
    """JSON that is no size, no number of a part, no text and no list."""
    yield from ("null", "true", "false", "NaN", "Infinity", "-Infinity", "-1", "1.0", "1e3", "1E400", "0.5", "-0.0")
    yield from ("9223372036854775808", "-9223372036854775808", "1" * 100, "9" * 4000, "9" * 10_000, "-" + "9" * 5000)
    yield from ('"5"', '{"a":1}', "[[]]", "[1]", '["x",null]', '{"a":["b",1]}', '{"a":"b"}')
    yield "[" * 200 + "]" * 200


class MalformedTests(SynchronousTestCase):
    """Whatever comes, it is a C{ValueError} that says something."""

    def refused(self, data: bytes, *names: str) -> None:
        for name in names or DECODERS:
            try:
                value = DECODERS[name](data)
            except ValueError as error:
                self.assertNotIsInstance(error, UnicodeError)
                text = str(error)
                self.assertTrue(text)
                self.assertLess(len(text), 500)
                text.encode()
            else:
                self.fail(f"{name} took {data[:100]!r}: {value!r:.200}")

    def survives(self, data: bytes) -> None:
        for decode in DECODERS.values():
            for changed in (data, data + b"\n"):
                try:
                    decode(changed)
                except ValueError as error:
                    self.assertTrue(str(error))
                    str(error).encode()

    def test_no_json(self) -> None:
        for data in (
            *(b"", b" ", b"\n", b"{", b"}", b"{}}", b"[", b"nul", b"{'a':1}", b'{"a"}', b'{"a":1,}', b"\xef\xbb\xbf{}"),
            *(
                b"\xff\xfe{\x00}\x00",
                b'{"\xc3":1}',
                b'{"\xed\xa0\x80":1}',
                b'{"a":"\xff"}',
                b"\x00" * 100,
                b'{"a":"\x01"}',
            ),
        ):
            self.refused(data)
            self.refused(data + b"\n")

    def test_other_values(self) -> None:
        for data in (b"null", b"1", b'"text"', b"[]", b"[{}]", b"true", b"NaN", b"9" * 5000, b'{"a":{}}', b'{"1":1}'):
            self.refused(data)
            self.refused(data + b"\n", "header")
        self.refused(b"{}", "data.json", "upload.json")
        self.refused(b"{}\n", "header")

    def test_fields(self) -> None:
        """Fields of a wrong kind, missing ones, doubled ones and others, with the right checksum."""
        for data, kinds in (
            (DATA[: DATA.rindex(b',"checksum"')] + b"}", ("data.json",)),
            (b'{"etag":"e","key":"k","parts":[],"size":0}', ("data.json",)),
            (UPLOAD[: UPLOAD.rindex(b',"checksum"')] + b"}", ("upload.json",)),
            (HEADER[:-1], ("header",)),
        ):
            fields = json.loads(data)
            finish = (lambda text: text + b"\n") if kinds == ("header",) else sealed
            if kinds == ("data.json",) and b"metadata" not in data:
                finish = bytes
            for field in fields:
                without = {name: value for name, value in fields.items() if name != field}
                self.refused(finish(json.dumps(without).encode()), *kinds)
                doubled = data[:-1] + b"," + json.dumps({field: fields[field]}).encode()[1:]
                self.refused(finish(doubled), *kinds)
                for value in odd_values():
                    if field in ("etag", "key") and value == '"5"':
                        continue
                    text = json.dumps({**without, field: "HERE"}).replace('"HERE"', value)
                    self.refused(finish(text.encode()), *kinds)
            self.refused(finish(json.dumps({**fields, "more": 1}).encode()), *kinds)
        self.refused(HEADER.replace(b'"hashKey"', b'"haskKey":"","hashKey"'), "header")

    def test_part_fields(self) -> None:
        for value in odd_values():
            for field in ("etag", "number", "size"):
                part = json.dumps({"etag": "e", "number": 1, "size": 0, field: "HERE"}).replace('"HERE"', value)
                if field != "etag" or value != '"5"':
                    self.refused(b'{"1":%s}' % part.encode(), "parts.json")
                    self.refused(b'{"etag":"e","key":"","parts":[%s],"size":0}' % part.encode(), "data.json")
            self.refused(b'{"1":%s}' % value.encode(), "parts.json")
            self.refused(b'{"etag":"e","key":"","parts":[%s],"size":0}' % value.encode(), "data.json")

    def test_numbers_of_parts(self) -> None:
        for name, number in (("1", 2), ("01", 1), ("", 1), ("+1", 1), ("1 ", 1), ("\u0661", 1), ("0", 0), ("-1", -1)):
            entry = {name: {"etag": "e", "number": number, "size": 0}}
            self.refused(json.dumps(entry).encode(), "parts.json")
        twice = b'{"etag":"e","number":1,"size":0}'
        self.refused(b'{"1":%s,"1":%s}' % (twice, twice), "parts.json")
        self.refused(b'{"etag":"e","key":"","parts":[%s,%s],"size":0}' % (twice, twice), "data.json")

    def test_sizes(self) -> None:
        """An object has the bytes of its parts."""
        self.refused(SEED_DATA.replace(b"8762812", b"8762813", 1), "data.json")
        self.refused(b'{"etag":"e","key":"","parts":[],"size":1}', "data.json")

    def test_headers(self) -> None:
        """What does not fit together."""
        for old, new in (
            (b'"blockCount":3', b'"blockCount":2'),
            (b'"blockSize":1000', b'"blockSize":0'),
            (b'"blockSize":1000', b'"blockSize":%d' % (MAX_BLOCK + 1)),
            (b'"hashLength":32', b'"hashLength":4'),
            (b"BLAKE3", b"BLAKE2"),
            (b"BLAKE3", b"CRC32C"),
            (b"0f0f", b"0f"),
            (b"0f0f", b"0g0f"),
            (b"0f0f", b"\xd9\xa0f0f"),
            (b"\n", b""),
            (b"\n", b" x\n"),
            (b"{", b"\n{"),
        ):
            self.assertEqual(HEADER.count(old) > 0, True)
            self.refused(HEADER.replace(old, new, 1), "header")
        self.refused(HEADER[:-1].ljust(MAX_HEADER), "header")

    def test_surrogates(self) -> None:
        """Halves of characters are no text: they could not be written again, nor shown."""
        for text in (b'"\\ud800"', b'"\\udc80"', b'"a\\ud83dz"', b'"\\ude00\\ud83d"'):
            part = b'{"etag":%s,"number":1,"size":0}' % text
            for data in (
                b'{"etag":%s,"key":"","parts":[],"size":0}' % text,
                b'{"etag":"","key":%s,"parts":[],"size":0}' % text,
                b'{"etag":"","key":"","parts":[%s],"size":0}' % part,
                b'{"1":%s}' % part,
                b"{%s:1}" % text,
                SEED_HEADER.replace(b'"HighwayHash256"', text),
            ):
                self.refused(data)
            self.refused(sealed(b'{"createdAt":1,"metadata":{"a":[%s]}}' % text), "upload.json")
            self.refused(sealed(b'{"createdAt":1,"metadata":{%s:[]}}' % text), "upload.json")
        # Both halves are one.
        info = decode_object(b'{"etag":"\\ud83d\\ude00","key":"","parts":[],"size":0}')
        self.assertEqual(info.etag, "\U0001f600")

    def test_nesting(self) -> None:
        """Nothing is so deep that it is another error; the depths around where the parser gives up among them."""
        for depth in (1, 50, 300, *range(920, 1000), 10_000, 100_000):
            for opening, closing in (("[", "]"), ('{"a":', "}")):
                deep = opening * depth + "1" + closing * depth
                for data in (
                    deep,
                    f'{{"etag":"e","key":"","parts":{deep},"size":0}}',
                    f'{{"etag":"e","key":"\\u0041","parts":[],"size":{deep}}}',
                    f'{{"1":{{"etag":"e","number":{deep},"size":0}}}}',
                ):
                    self.refused(data.encode())

    @settings(deadline=None, max_examples=150)
    @given(st.binary(max_size=200))
    def test_random_bytes(self, data: bytes) -> None:
        self.survives(data)

    @settings(deadline=None, max_examples=150)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.text(max_size=3)
                    | st.sampled_from(
                        ["etag", "key", "parts", "size", "number", "metadata", "checksum", "createdAt", "1"]
                    ),
                    inner,
                    max_size=6,
                )
            ),
            max_leaves=20,
        )
    )
    def test_random_json(self, value: Any) -> None:
        self.survives(json.dumps(value).encode())
        if isinstance(value, dict) and value:
            self.survives(sealed(json.dumps(value).encode()))

    @settings(deadline=None, max_examples=200)
    @given(st.sampled_from([DATA, PARTS, UPLOAD, HEADER, SEED_DATA, SEED_PARTS]), st.data())
    def test_random_changes(self, data: bytes, choice: st.DataObject) -> None:
        """Pieces of what is right, replaced."""
        start = choice.draw(st.integers(0, len(data)))
        end = choice.draw(st.integers(start, min(len(data), start + 10)))
        self.survives(data[:start] + choice.draw(st.binary(max_size=5)) + data[end:])
