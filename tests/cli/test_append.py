"""C{storehouse append} against a log in a thread."""

from __future__ import annotations

import json
import os
import subprocess
import threading

from tests.cli.case import CommandCase
from tests.cli.fake import Request
from tests.integration.process import PATIENCE


class AppendTests(CommandCase):
    """C{storehouse append}."""

    def test_stdin(self) -> None:
        """Standard input is one record; its offset and file are printed."""
        for args in (), ("-",):
            self.log.files.clear()
            result = self.run_command("append", "x", *args, stdin=b"some\ntext\n")
            self.assertEqual(result.stdout, "0\tdefault/append.0.raw\n")
            self.assertEqual(result.stderr, "")
            self.assertEqual(self.log.get("default", 0), b"some\ntext\n")

    def test_files(self) -> None:
        """Each file is one record, over one connection."""
        a, b = self.path("a", b"first"), self.path("b", b"second")
        result = self.run_command("append", "x", a, "-", b, stdin=b"in")
        self.assertEqual([line.split("\t")[0] for line in result.stdout.splitlines()], ["0", "9", "15"])
        self.assertEqual([seen.body for seen in self.log.seen], [b"first", b"in", b"second"])
        self.assertEqual(len({seen.client for seen in self.log.seen}), 1)

    def test_from_command(self) -> None:
        """What a program says is a record if it ends well; and if it has as many bytes as it must."""
        self.run_command("append", "--from-command", "x", "--", "printf", "some text")
        self.run_command("append", "x", "--size", "4", stdin=b"more")
        self.assertEqual([seen.body for seen in self.log.seen], [b"some text", b"more"])
        before = {name: bytes(data) for name, data in self.log.files.items()}
        self.run_command("append", "--from-command", "x", "--", "sh", "-c", "echo text; exit 3", status=1)
        self.run_command("append", "x", "--size", "5", stdin=b"more", status=1)
        self.run_command("append", "--from-command", "x", "--", str(self.path("none", b"")), status=1)
        self.assertEqual({name: bytes(data) for name, data in self.log.files.items()}, before)
        self.run_command("append", "--from-command", "x", status=2)
        self.run_command("append", "--lines", "--size", "4", "x", stdin=b"more", status=2)

    def test_names_travel(self) -> None:
        """Any identifier and prefix arrive as they were given."""
        for name in ("a b&c=d#e?/+%41", "sn\N{SNOWMAN}w"):
            self.run_command("append", "--prefix", name, name, stdin=b"x")
            self.assertEqual(self.log.seen[-1].query, {"id": name, "storagePrefix": name})
        process = self.start("append", os.fsdecode(b"\xff\xfe"), stdin=subprocess.PIPE)
        process.communicate(b"x", timeout=PATIENCE)
        self.assertEqual(os.fsencode(self.log.seen[-1].query["id"]), b"\xff\xfe")

    def test_durability(self) -> None:
        """The level is a header, and none is sent unless it is asked for."""
        self.run_command("append", "x", stdin=b"x")
        self.assertNotIn("Durability", self.log.seen[-1].headers)
        for level in ("disk", "os"):
            self.run_command("append", "x", "--durability", level, stdin=b"x")
            self.assertEqual(self.log.seen[-1].headers["Durability"], level)
            self.run_command("append", "x", "--lines", "--durability", level, stdin=b"x\ny")
            self.assertEqual(self.log.seen[-1].headers["Durability"], level)
        self.run_command("append", "x", "--durability", "never", status=2)

    def test_json_and_quiet(self) -> None:
        """JSON lines for programs, nothing for the hurried."""
        result = self.run_command("append", "x", "--json", stdin=b"x")
        self.assertEqual(result.stdout, '{"offset":0,"file":"default/append.0.raw"}\n')
        result = self.run_command("append", "x", "--json", "--lines", stdin=b"a\nb\n")
        self.assertEqual([json.loads(line)["offset"] for line in result.stdout.splitlines()], [5, 10])
        self.assertEqual(self.run_command("append", "x", "--quiet", stdin=b"x").output, "")

    def test_lines(self) -> None:
        """Lines go in batches; empty ones are left out, and said so."""
        result = self.run_command("append", "x", "--lines", stdin=b"one\n\ntwo\nthree")
        self.assertEqual([line.split("\t")[0] for line in result.stdout.splitlines()], ["0", "7", "14"])
        self.assertEqual(result.stderr, "standard input: 1 empty line skipped\n")
        self.assertEqual([seen.path for seen in self.log.seen], ["/appendMulti"])
        self.assertEqual(self.log.get("default", 14), b"three")

    def test_many_lines(self) -> None:
        """Many lines are many bounded batches, in order."""
        lines = [b"%d" % number for number in range(25_000)]
        path = self.path("lines", b"\n".join(lines))
        result = self.run_command("append", "x", "--lines", path)
        self.assertEqual(result.stdout.count("\n"), len(lines))
        self.assertEqual(len(self.log.seen), 3)
        offsets = [int(line.split("\t")[0]) for line in result.stdout.splitlines()]
        self.assertEqual([self.log.get("default", at) for at in offsets[:3]], lines[:3])

    def test_lines_as_they_come(self) -> None:
        """A slow input does not wait for a batch to fill."""
        process = self.start("append", "--lines", "x", stdin=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None
        for number, text in enumerate((b"a\n", b"b\nc", b"d\n")):
            process.stdin.write(text)
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), b"%d\tdefault/append.0.raw\n" % (number * 5))
        process.stdin.close()
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertEqual(self.log.get("default", 10), b"cd")

    def test_lines_say_what_was_stored(self) -> None:
        """A failure between batches tells how far it came."""

        def second_fails(request: Request) -> None:
            if self.log.seen:
                request.take_body()
                request.refuse(507, "NoSpace", "the disk is full")
            else:
                del self.log.overrides["/appendMulti"]
                request.do_GET()
                self.log.overrides["/appendMulti"] = second_fails

        self.log.overrides["/appendMulti"] = second_fails
        result = self.run_command("append", "x", "--lines", "-q", stdin=b"x\n" * 20_000, status=1)
        said = "Error: standard input: the disk is full (507 NoSpace); 10000 lines were appended before that\n"
        self.assertEqual(result.stderr, said)

    def test_large_file(self) -> None:
        """A file is announced with its size; a pipe is sent in chunks."""
        content = os.urandom(3_000_000)
        path = self.path("large", content)
        self.run_command("append", "x", path)
        self.assertEqual(self.log.seen[-1].headers["Content-Length"], "3000000")
        process = self.start("append", "x", stdin=subprocess.PIPE)
        out, err = process.communicate(content, timeout=PATIENCE)
        self.assertEqual((out, err), (b"3000004\tdefault/append.0.raw\n", b""))
        self.assertEqual(self.log.seen[-1].headers["Transfer-Encoding"], "chunked")
        self.assertEqual(self.log.get("default", 3000004), content)

    def test_redirected_file(self) -> None:
        """A file as standard input is announced with what is left of it."""
        with open(self.path("f", b"0123456789"), "rb") as file:
            file.seek(4)
            process = self.start("append", "x", stdin=file)
            process.communicate(timeout=PATIENCE)
        self.assertEqual(self.log.get("default", 0), b"456789")

    def test_empty_record(self) -> None:
        """The server's refusal is shown, with what was being sent."""
        result = self.run_command("append", "x", stdin=b"", status=1)
        self.assertEqual(
            result.stderr, "Error: standard input: a record must have at least one byte (400 EmptyRecord)\n"
        )

    def test_refused_before_the_end(self) -> None:
        """An answer that comes while the body is still on its way ends the sending and is shown."""

        def too_large(request: Request) -> None:
            request.close_connection = True
            request.refuse(413, "TooLarge", "at most 10 bytes are allowed")
            while request.rfile.read1(65536):
                pass

        self.log.overrides["/append"] = too_large
        path = self.path("large", b"")
        with open(path, "wb") as file:
            file.truncate(1 << 40)
        result = self.run_command("append", "x", path, status=1)
        self.assertEqual(result.stderr, f"Error: {path}: at most 10 bytes are allowed (413 TooLarge)\n")
        process = self.start("append", "x", stdin=subprocess.PIPE)
        _, err = process.communicate(bytes(30_000_000), timeout=PATIENCE)
        self.assertEqual(err, b"Error: standard input: at most 10 bytes are allowed (413 TooLarge)\n")
        self.assertEqual(process.returncode, 1)

    def test_missing_file(self) -> None:
        """A file that is not there is wrong usage, found before anything is sent."""
        self.run_command("append", "x", self.path("a", b"a"), "/nonexistent", status=2)
        self.assertEqual(self.log.seen, [])

    def test_senseless_answers(self) -> None:
        """A server that is no append log is found out."""
        for body in (b"<html>", b"[]", b"{}", b'{"offset":"1","file":"x"}', b'{"offset":true,"file":"x"}', b"\xff"):

            def answer(request: Request, body: bytes = body) -> None:
                request.take_body()
                request.send(body)

            self.log.overrides["/append"] = answer
            result = self.run_command("append", "x", stdin=b"x", status=1)
            self.assertIn("is it a storehouse server?", result.stderr)

    def test_idle_connection_closed(self) -> None:
        """
        A connection that the server closed between two records is replaced, and no record is lost or sent twice.
        """

        def answer_and_leave(request: Request) -> None:
            body = request.take_body()
            request.answer_append(body)
            request.close_connection = True

        self.log.overrides["/append"] = answer_and_leave
        process = self.start("append", "--lines", "x", stdin=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None
        for number in range(4):
            process.stdin.write(b"%d\n" % number)
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), b"%d\tdefault/append.0.raw\n" % (number * 5))
            # The server closes after its answer: its thread ends when it has.
            for thread in threading.enumerate():
                if "process_request_thread" in thread.name:
                    thread.join(PATIENCE)
        process.stdin.close()
        self.assertEqual(process.wait(PATIENCE), 0)
