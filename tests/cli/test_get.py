"""C{storehouse get} against a log in a thread."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from tests.cli.case import CommandCase
from tests.cli.fake import Request
from tests.integration.process import PATIENCE


class GetTests(CommandCase):
    """C{storehouse get}."""

    def setUp(self) -> None:
        """Store some records."""
        super().setUp()
        self.data = [b"one", b"\0\xff\n", b"x" * 200_000]
        self.offsets = [str(self.log.append("default", "x", data)) for data in self.data]

    def test_one(self) -> None:
        """The bytes of a record, and nothing else."""
        for offset, data in zip(self.offsets, self.data, strict=True):
            self.assertEqual(self.run_command("get", "x", offset).stdout_bytes, data)
        self.assertEqual({seen.path for seen in self.log.seen}, {"/get"})

    def test_several(self) -> None:
        """Records one after the other, in the order asked."""
        asked = list(reversed(self.offsets))
        self.assertEqual(self.run_command("get", "x", *asked).stdout_bytes, b"".join(reversed(self.data)))
        self.assertEqual([seen.path for seen in self.log.seen], ["/getMulti"])

    def test_newline(self) -> None:
        """A newline after each."""
        self.assertEqual(self.run_command("get", "x", "0", "--newline").stdout_bytes, b"one\n")
        got = self.run_command("get", "x", *self.offsets, "--newline").stdout_bytes
        self.assertEqual(got, b"".join(data + b"\n" for data in self.data))

    def test_length_prefixed(self) -> None:
        """A length before each, as on the wire."""
        got = self.run_command("get", "x", *self.offsets, "--length-prefixed").stdout_bytes
        self.assertEqual(got, b"".join(struct.pack("<I", len(data)) + data for data in self.data))
        self.assertEqual(self.run_command("get", "x", "0", "--length-prefixed").stdout_bytes, b"\x03\0\0\0one")
        self.run_command("get", "x", "0", "--length-prefixed", "--newline", status=2)

    def test_more_than_one_request_takes(self) -> None:
        """Many offsets go in several requests."""
        got = self.run_command("get", "x", *(["0"] * 600))
        self.assertEqual(got.stdout_bytes, b"one" * 600)
        self.assertEqual([len(seen.body) for seen in self.log.seen], [2048, 2048, 704])

    def test_file(self) -> None:
        """Into a file; a request that fails leaves it as it was."""
        path = self.path("out", b"old")
        self.run_command("get", "x", "5", "-o", path, status=1)
        self.assertEqual(Path(path).read_bytes(), b"old")
        self.run_command("get", "x", self.offsets[2], "-o", path)
        self.assertEqual(Path(path).read_bytes(), self.data[2])
        self.assertEqual(self.run_command("get", "x", "0", "-o", "-").stdout_bytes, b"one")
        result = self.run_command("get", "x", "0", "-o", "/nonexistent/file", status=1)
        self.assertEqual(result.stderr, "Error: cannot write /nonexistent/file: No such file or directory\n")

    def test_no_such_record(self) -> None:
        """The server's reason, on one line; several: those before it first."""
        result = self.run_command("get", "x", "5", status=1)
        self.assertEqual(result.stderr, "Error: no record is at offset 5 (404 NoSuchRecord)\n")
        result = self.run_command("get", "x", "0", "5", "0", status=1)
        self.assertEqual((result.stdout, result.stderr), ("one", "Error: no record is at offset 5\n"))

    def test_too_few(self) -> None:
        """An answer with fewer records than were asked for is not taken for whole."""
        self.log.overrides["/getMulti"] = lambda request: request.send(b"\x01\0\0\0a")
        result = self.run_command("get", "x", "0", "0", status=1)
        self.assertEqual((result.stdout, result.stderr), ("a", "Error: 2 records were requested, 1 received\n"))

    def test_ends_early(self) -> None:
        """A connection that breaks within a record is an error, whichever way the answer is framed."""

        def short(request: Request) -> None:
            request.send_response(200)
            request.send_header("Content-Length", "10")
            request.end_headers()
            request.wfile.write(b"abc")
            request.close_connection = True

        def short_chunks(request: Request) -> None:
            request.send_response(200)
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            request.wfile.write(b"5\r\nabc")
            request.close_connection = True

        for override in short, short_chunks:
            self.log.overrides["/get"] = override
            result = self.run_command("get", "x", "0", status=1)
            self.assertEqual(result.stdout, "abc")
            self.assertIn("it ended too early", result.stderr)

    def test_usage(self) -> None:
        """Offsets are numbers of 64 bits, at least one."""
        for args in ([], ["x"], ["x", "--", "-1"], ["x", "one"], ["x", str(2**64)]):
            self.run_command("get", *args, status=2)
        self.assertEqual(self.log.seen, [])

    def test_full_disk(self) -> None:
        """A standard output without room is one line and exit status 1."""
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        for offset in self.offsets:
            with open("/dev/full", "wb") as full:
                process = self.start("get", "x", offset, stdout=full)
                _, err = process.communicate(timeout=PATIENCE)
            self.assertEqual(err, b"Error: cannot write standard output: No space left on device\n")
            self.assertEqual(process.returncode, 1)
