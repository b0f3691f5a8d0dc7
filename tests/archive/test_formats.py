"""Bytes of both versions."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive.archive import ArchiveReader, ArchiveWriter
from storehouse.errors import InvalidRecord, InvalidSetting, UnknownArchiveFormat
from tests.archive.rig import KINDS, SALT, UNHURRIED, metadata, payloads, read, write

#: The example of docs/formats/archive.md.
GOLDEN = bytes.fromhex(
    """
    84 78 86 69 02 00 00 00 e8 03 00 00 00 00 00 00
    01 00 00 00 00 00 00 00 01 02 03 04 05 06 07 08
    64 73 67 98 52 05 06 07 d2 82 8b 38 d0 07 00 00
    00 00 00 00 01 00 00 00 01 00 00 00 02 00 00 00
    03 6b 76 68 69 49 05 06 07 17 f8 23 77 01 00 00
    00 24 00 00 00 00 00 00 00 00 00 00 00 00 00 00
    00 d0 07 00 00 00 00 00 00 d0 07 00 00 00 00 00
    00 45 00 00 00 00 00 00 00 01 00 00 00 00 00 00
    00 d0 07 00 00 00 00 00 00 d0 07 00 00 00 00 00
    00 53 45 41 4c 63 26 64 fb
    """
)

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats" / "archive.md"


def example(path: str) -> bytes:
    """The archive of the example."""
    with ArchiveWriter(path, created=1000, sequence=1, salt=SALT) as writer:
        writer.write({"k": "v"}, "hi", time=2000)
    return Path(path).read_bytes()


class GoldenTests(SynchronousTestCase):
    """Files that must stay readable."""

    def test_written(self) -> None:
        self.assertEqual(example(self.mktemp()), GOLDEN)

    def test_read(self) -> None:
        with ArchiveReader(GOLDEN) as reader:
            self.assertEqual((reader.info.created, reader.info.sequence, reader.info.salt), (1000, 1, SALT))
            self.assertTrue(reader.complete)
            (record,) = reader.records()
            self.assertEqual(tuple(record), (0, 36, 2000, {"k": "v"}, "hi"))

    def test_page(self) -> None:
        """The page shows it."""
        if not _PAGE.exists():
            return
        found = re.findall(r"^[0-9a-f]{8}  ([0-9a-f ]+?) *\|", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        self.assertEqual(bytes.fromhex("".join(found)), GOLDEN)

    def test_version_1(self) -> None:
        self.assertEqual(
            write(self.mktemp(), [({"k": "v"}, "hi")], version=1).hex(" "),
            "84 78 86 69 01 00 0e 00 00 00 06 00 00 00 00 00 00 00 "
            "04 00 00 00 01 00 00 00 01 00 00 00 6b 76 02 00 00 00 68 69",
        )


class CodecTests(SynchronousTestCase):
    """What is written comes back."""

    @UNHURRIED
    @given(st.lists(st.tuples(metadata, payloads), max_size=8), st.sampled_from(["version 2", "version 2, zstd"]))
    def test_version_2(self, records: list[tuple[dict[str, str], str | bytes]], kind: str) -> None:
        data = write("codec", records, **KINDS[kind])
        self.assertEqual(read(data), records)
        with ArchiveReader(data) as reader:
            self.assertEqual(reader.count, len(records))
            self.assertEqual([tuple(reader.record(n)[3:]) for n in range(len(records))], records)
            self.assertTrue(reader.verify().whole)

    @UNHURRIED
    @given(st.lists(st.tuples(metadata, payloads), max_size=8))
    def test_version_1(self, records: list[tuple[dict[str, str], str | bytes]]) -> None:
        """But for the kind of a payload: what is UTF-8 comes back as text."""
        data = write("codec", records, version=1)

        def seen(payload: str | bytes) -> str | bytes:
            try:
                return payload.decode() if isinstance(payload, bytes) else payload
            except UnicodeDecodeError:
                return payload

        self.assertEqual(read(data), [(kept, seen(payload)) for kept, payload in records])

    def test_kinds(self) -> None:
        """Text and bytes; strings that are hard to tell apart; many pairs."""
        hard = [
            ({}, ""),
            ({}, b""),
            ({"": ""}, b"text"),
            ({"": "", "\0": "\0\0", "\\": "\\0", "\\\0": "\\\\0\0"}, "text"),
            ({"a\0": "b"}, "é\U0001f600"),
            ({str(n): "x" * n for n in range(40)}, b"\xff"),
            *(({str(n): "é" for n in range(pairs)}, "x") for pairs in range(10)),
        ]
        for kind in ("version 2", "version 2, zstd"):
            self.assertEqual(read(write(self.mktemp(), hard, **KINDS[kind])), hard)
        for (kept, _), (given_, _) in zip(read(write(self.mktemp(), hard, version=1)), hard, strict=True):
            self.assertEqual(kept, given_)

    def test_buffers(self) -> None:
        """Anything that gives its bytes is a payload."""
        self.assertEqual(
            read(write(self.mktemp(), [({}, bytearray(b"x")), ({}, memoryview(b"y"))])), [({}, b"x"), ({}, b"y")]
        )

    def test_refused(self) -> None:
        """What is no record is refused, and nothing of it is written."""
        for how in KINDS.values():
            path = self.mktemp()
            with ArchiveWriter(path, **how) as writer:
                for bad in [
                    ({"a": 1}, "x"),
                    ({1: "a"}, "x"),
                    ({}, None),
                    ({}, 1),
                    (None, "x"),
                    ({"\ud800": "x"}, ""),
                    ({}, "\ud800"),
                ]:
                    self.assertRaises(InvalidRecord, writer.write, *bad)
                self.assertRaises(InvalidRecord, writer.write_many, [({}, "x"), ({}, None)])
                writer.write({}, "good")
            self.assertEqual(read(path), [({}, "good")])

    def test_other_versions(self) -> None:
        """Either reader refuses the other, and both refuse what is neither."""
        one, two = write(self.mktemp(), [({}, "x")], version=1), write(self.mktemp(), [({}, "x")])
        self.assertIn("version 1, not 2", str(self.assertRaises(UnknownArchiveFormat, ArchiveReader, one, version=2)))
        self.assertIn("version 2, not 1", str(self.assertRaises(UnknownArchiveFormat, ArchiveReader, two, version=1)))
        for data in (b"no archive", b"x", two[:4] + b"\3\0" + two[6:], b"\0" * 100):
            self.assertRaises(UnknownArchiveFormat, ArchiveReader, data)
        self.assertRaises(InvalidSetting, ArchiveWriter, self.mktemp(), version=3)
        self.assertRaises(InvalidSetting, ArchiveWriter, self.mktemp(), version=1, compression="zstd")
        self.assertRaises(InvalidSetting, ArchiveWriter, self.mktemp(), compression="lzma")
        self.assertRaises(InvalidSetting, ArchiveWriter, self.mktemp(), sync="never")
