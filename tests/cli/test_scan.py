"""C{storehouse scan} against a log in a thread."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
from base64 import b64decode
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.cli.frames import FrameParser, encode_header
from storehouse.cli.scan import JsonLines
from tests.cli.case import CommandCase
from tests.cli.fake import Request


class ScanTests(CommandCase):
    """C{storehouse scan}."""

    def setUp(self) -> None:
        """Store records of two identifiers."""
        super().setUp()
        self.log.append("default", "x", b"one")
        self.log.append("default", "y", b"other")
        self.log.append("default", "x", 'sn\N{SNOWMAN}w "\n'.encode())
        self.log.append("default", "x", b"\xff\0")

    def test_lines(self) -> None:
        """A line a record, of one identifier, in order."""
        got = self.run_command("scan", "x").stdout_bytes
        self.assertEqual(got, 'one\nsn\N{SNOWMAN}w "\n\n'.encode() + b"\xff\0\n")

    def test_raw(self) -> None:
        """The records and nothing else; a bucket has those of all identifiers."""
        got = self.run_command("scan", "--bucket", "0", "--format", "raw").stdout_bytes
        self.assertEqual(got, b"oneother" + 'sn\N{SNOWMAN}w "\n'.encode() + b"\xff\0")
        self.assertEqual(self.log.seen[-1].query, {"bucket": "0"})

    def test_jsonl(self) -> None:
        """Text where it is text, base64 where not."""
        got = self.run_command("scan", "x", "--format", "jsonl").stdout_bytes.decode()
        first, second, third = got.splitlines()
        self.assertEqual(first, '{"offset":0,"data":"one"}')
        self.assertEqual(json.loads(second), {"offset": 16, "data": 'sn\N{SNOWMAN}w "\n'})
        self.assertEqual(third, '{"offset":29,"data":{"base64":"/wA="}}')

    def test_framed(self) -> None:
        """The frames as they came."""
        got = self.run_command("scan", "y", "--format", "framed").stdout_bytes
        self.assertEqual(got, struct.pack("<IQ", 5, 7) + b"other")

    def test_from_and_limit(self) -> None:
        """Where to begin and when to end."""
        got = self.run_command("scan", "x", "--from", "1", "--limit", "1", "--format", "jsonl").stdout_bytes
        self.assertEqual(json.loads(got)["offset"], 16)
        self.assertEqual(self.log.seen[-1].query, {"id": "x", "offset": "1", "limit": "1"})

    def test_long_records(self) -> None:
        """Records in several pieces come out whole in every format."""
        long = bytes(range(256)) * 2000
        offset = self.log.append("big", "x", long)
        self.log.append("big", "x", b"after")
        run = ("scan", "x", "--prefix", "big", "--format")
        self.assertEqual(self.run_command(*run, "lines").stdout_bytes, long + b"\nafter\n")
        self.assertEqual(self.run_command(*run, "raw").stdout_bytes, long + b"after")
        framed = struct.pack("<IQ", len(long), offset) + long + struct.pack("<IQ", 5, len(long) + 4) + b"after"
        self.assertEqual(self.run_command(*run, "framed").stdout_bytes, framed)
        lines = self.run_command(*run, "jsonl").stdout_bytes.splitlines()
        self.assertEqual([json.loads(line)["offset"] for line in lines], [0, len(long) + 4])

    def test_error_within(self) -> None:
        """A damaged record: what came before it is written, the reason goes to standard error."""
        frames = struct.pack("<IQ", 1, 0) + b"a" + struct.pack("<IQ", 0, 5) + b"checksum\nfails"
        self.log.overrides["/scan"] = lambda request: request.send(frames)
        result = self.run_command("scan", "x", status=1)
        self.assertEqual((result.stdout, result.stderr), ("a\n", "Error: at offset 5: checksum fails\n"))

    def test_ends_within_a_record(self) -> None:
        """A stream that ends within a record is not taken for whole."""
        self.log.overrides["/scan"] = lambda request: request.send(struct.pack("<IQ", 9, 0) + b"a")
        result = self.run_command("scan", "x", status=1)
        self.assertEqual((result.stdout, result.stderr), ("", "Error: the response ended within record 1\n"))

    def test_monstrous_frame(self) -> None:
        """A length past the bound is refused, after what came before it."""
        frames = struct.pack("<IQ", 1, 0) + b"a" + struct.pack("<IQ", 2**31, 5) + b"b"
        self.log.overrides["/scan"] = lambda request: request.send(frames)
        result = self.run_command("scan", "x", status=1)
        self.assertEqual(result.stdout, "a\n")
        self.assertEqual(result.stderr, "Error: record 2 of the response claims 2147483648 bytes\n")

    def test_usage(self) -> None:
        """Either an identifier or a bucket."""
        for args in ([], ["x", "--bucket", "1"], ["x", "--limit", "0"], ["x", "--format", "xml"]):
            self.run_command("scan", *args, status=2)

    def test_follow_and_interrupt(self) -> None:
        """Following shows records at once, waits past the timeout, and ends at Ctrl-C with 130 and no word."""
        process = self.start("scan", "x", "--follow", "--timeout", "0.2", "--format", "jsonl")
        assert process.stdout is not None and process.stderr is not None
        for offset in 0, 16, 29:
            self.assertEqual(json.loads(process.stdout.readline())["offset"], offset)
        self.assertEqual(self.log.seen[-1].query["follow"], "1")
        self.assertIsNone(self._wait(process, 0.5))
        process.send_signal(signal.SIGINT)
        self.assertEqual(self._wait(process, 30), 130)
        self.assertEqual((process.stdout.read(), process.stderr.read()), (b"", b""))

    def test_follow_ends(self) -> None:
        """The end of a followed prefix is the end of the command."""
        process = self.start("scan", "y", "--follow")
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), b"other\n")
        self.log.stopping.set()
        self.assertEqual(self._wait(process, 30), 0)

    def test_reader_leaves(self) -> None:
        """A reader of standard output that has left ends the command without a word."""

        def endless(request: Request) -> None:
            def frames() -> Iterator[bytes]:
                while not self.log.stopping.is_set():
                    yield struct.pack("<IQ", 1000, 0) + b"x" * 1000

            request.send_chunked(frames())

        self.log.overrides["/scan"] = endless
        process = self.start("scan", "x")
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        self.assertEqual(self._wait(process, 30), 141)
        self.assertEqual(process.stderr.read(), b"")

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> int | None:
        """The exit status, or C{None} if it still runs."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


class JsonLinesTests(SynchronousTestCase):
    """L{JsonLines}."""

    @given(st.lists(st.binary(min_size=1) | st.text(min_size=1).map(str.encode), max_size=5))
    def test_any(self, records: list[bytes]) -> None:
        """Any record is one line from which it can be had again."""
        stream = b"".join(encode_header(len(data), at) + data for at, data in enumerate(records))
        writer = JsonLines()
        text = b"".join(map(writer.write, FrameParser(True).feed(stream)))
        lines = text.decode().split("\n")
        self.assertEqual(len(lines), len(records) + 1)
        for line, data in zip(lines, records, strict=False):
            value = json.loads(line)["data"]
            self.assertEqual(value.encode() if isinstance(value, str) else b64decode(value["base64"]), data)
