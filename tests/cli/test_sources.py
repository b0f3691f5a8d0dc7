"""Lines to batches, sources to bodies."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.cli import sources
from storehouse.cli.errors import CommandError
from storehouse.cli.sources import BATCH_BYTES, BATCH_RECORDS, LineBatcher, Source, open_command, open_source


def batches(*chunks: bytes) -> list[list[bytes]]:
    """All batches of some input."""
    batcher = LineBatcher("input")
    return [*(batch for chunk in chunks for batch in batcher.feed(chunk)), *batcher.finish()]


class LineBatcherTests(SynchronousTestCase):
    """L{LineBatcher}."""

    def test_lines(self) -> None:
        """Records are lines without their newlines; a carriage return is data; the last newline may be missing."""
        self.assertEqual(batches(b"a\nb\r\nc"), [[b"a", b"b\r", b"c"]])
        self.assertEqual(batches(b"a\nb\n"), [[b"a", b"b"]])

    def test_nothing(self) -> None:
        """No input, and input of empty lines, is no batch."""
        self.assertEqual(batches(), [])
        batcher = LineBatcher("input")
        self.assertEqual([*batcher.feed(b"\n\na\n\n"), *batcher.finish()], [[b"a"]])
        self.assertEqual(batcher.empty, 3)

    def test_count_bound(self) -> None:
        """A batch has no more than so many records."""
        found = batches(b"x\n" * (BATCH_RECORDS * 2 + 1))
        self.assertEqual([len(batch) for batch in found], [BATCH_RECORDS, BATCH_RECORDS, 1])

    def test_byte_bound(self) -> None:
        """A batch has no more than so many bytes with its framing."""
        line = b"y" * (BATCH_BYTES // 4 - 4)
        found = batches((line + b"\n") * 9)
        self.assertEqual([len(batch) for batch in found], [4, 4, 1])
        self.assertEqual([len(batch) for batch in batches((line + b"y\n") * 4)], [3, 1])

    def test_line_longer_than_batch(self) -> None:
        """A line past the bound of a batch is a batch of its own."""
        long = b"z" * (BATCH_BYTES + 1)
        self.assertEqual(batches(b"a\n" + long + b"\nb\n"), [[b"a"], [long], [b"b"]])

    def test_line_too_long(self) -> None:
        """A line without an end is refused before it fills the memory."""
        self.patch(sources, "MAX_LINE", 100)
        batcher = LineBatcher("input")
        list(batcher.feed(b"a" * 60))
        with self.assertRaises(CommandError) as caught:
            list(batcher.feed(b"a" * 60))
        self.assertEqual(caught.exception.message, "input has a line of more than 100 bytes")

    def test_take(self) -> None:
        """What is whole can be had at once; an open line stays."""
        batcher = LineBatcher("input")
        self.assertEqual(list(batcher.feed(b"a\nb\nc")), [])
        self.assertEqual(batcher.take(), [b"a", b"b"])
        self.assertEqual(batcher.take(), [])
        self.assertEqual([*batcher.feed(b"d\n"), *batcher.finish()], [[b"cd"]])

    @given(st.lists(st.binary(max_size=10).map(lambda line: line.replace(b"z", b"\n")), max_size=10))
    def test_any_cut(self, chunks: list[bytes]) -> None:
        """Any cut gives the lines of the whole."""
        whole = [line for line in b"".join(chunks).split(b"\n") if line]
        self.assertEqual([line for batch in batches(*chunks) for line in batch], whole)


class BodyTests(SynchronousTestCase):
    """L{Source.as_body}."""

    def body(self, content: bytes, size: int | None) -> tuple[bytes, int | None, int]:
        """What is sent of a source: its bytes, the size announced, the progress told."""
        told: list[int] = []
        body = Source("input", size, io.BytesIO(content), None).as_body(told.append)
        return b"".join(body.pieces), body.size, sum(told)

    def test_known(self) -> None:
        """A file is announced with its size."""
        self.assertEqual(self.body(b"a" * 10**6, 10**6), (b"a" * 10**6, 10**6, 10**6))

    def test_grows(self) -> None:
        """What has more than it should is an error before the last bytes of it are taken."""
        for size in (0, 2):
            error = self.assertRaises(CommandError, self.body, b"abc", size)
            self.assertEqual(error.message, f"input has more than {size} bytes; nothing was stored")

    def test_shrinks(self) -> None:
        """What is missing is an error."""
        error = self.assertRaises(CommandError, self.body, b"abc", 4)
        self.assertEqual(error.message, "input has 3 bytes, not 4; nothing was stored")

    def test_short_unknown(self) -> None:
        """A short input is sent with its size all the same."""
        self.assertEqual(self.body(b"abc", None), (b"abc", 3, 0))
        self.assertEqual(self.body(b"", None), (b"", 0, 0))

    def test_long_unknown(self) -> None:
        """A long input is sent without a size."""
        content = bytes(range(256)) * 4096
        self.assertEqual(self.body(content, None), (content, None, len(content)))


class _Slow(io.BytesIO):
    """Gives a piece at a time, and does something before the second."""

    def __init__(self, content: bytes, then: Callable[[], object]) -> None:
        super().__init__(content)
        self.then = then

    def read1(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            self.then()
        return super().read1(4)


class OpenTests(SynchronousTestCase):
    """L{open_source} and L{open_command}."""

    def taken(self, opened: AbstractContextManager[Source]) -> list[bytes]:
        """What is sent, although not all of it may be."""
        pieces: list[bytes] = []
        self.addCleanup(setattr, self, "pieces", pieces)
        self.pieces = pieces
        with opened as source:
            pieces.extend(source.as_body(lambda size: None).pieces)
        return pieces

    def test_unchanged(self) -> None:
        """A file, whose size may be told."""
        path = self.mktemp()
        Path(path).write_bytes(b"abcdef")
        self.assertEqual(self.taken(open_source(path)), [b"abcdef"])
        self.assertEqual(self.taken(open_source(path, 6)), [b"abcdef"])
        error = self.assertRaises(CommandError, self.taken, open_source(path, 7))
        self.assertEqual(error.message, f"{path} has 6 bytes, not 7; nothing was stored")

    def test_changes(self) -> None:
        """A file that is written to, that grows or that is cut while it is read is not given to its end."""

        def rewrite(path: str) -> None:
            Path(path).write_bytes(b"ABCDEF")
            os.utime(path, (1, 1))

        for change in (
            rewrite,
            lambda path: os.truncate(path, 3),
            lambda path: os.truncate(path, 9),
        ):
            path = self.mktemp()
            Path(path).write_bytes(b"abcdef")
            with open_source(path) as source:
                slow = attrs.evolve(source, stream=_Slow(b"abcdef", lambda path=path, change=change: change(path)))
                pieces = iter(slow.as_body(lambda size: None).pieces)
                self.assertEqual(next(pieces), b"abcd")
                error = self.assertRaises(CommandError, next, pieces)
            self.assertIn("changed while it was read", error.message)

    def test_command(self) -> None:
        """The output of a program, if it ends well."""
        self.assertEqual(self.taken(open_command(["echo", "some text"])), [b"some text\n"])
        long = b"".join(self.taken(open_command(["head", "-c", "600000", "/dev/zero"], 600000)))
        self.assertEqual(long, bytes(600000))

    def test_command_fails(self) -> None:
        """Whatever it has said before."""
        for script, reason in [
            ("exit 3", "sh exited with status 3; nothing was stored"),
            ("echo text; exit 3", "sh exited with status 3; nothing was stored"),
            ("head -c 600000 /dev/zero; exit 3", "sh exited with status 3; nothing was stored"),
            ("echo text; kill -9 $$", "sh was killed by SIGKILL; nothing was stored"),
        ]:
            error = self.assertRaises(CommandError, self.taken, open_command(["sh", "-c", script]))
            self.assertEqual(error.message, reason)
            self.assertLess(sum(map(len, self.pieces)), 600000)
        error = self.assertRaises(CommandError, self.taken, open_command(["echo", "text"], 4))
        self.assertEqual(error.message, "the output of echo has more than 4 bytes; nothing was stored")
        error = self.assertRaises(CommandError, self.taken, open_command([self.mktemp()]))
        self.assertIn("No such file", error.message)

    def test_unwanted(self) -> None:
        """A program whose output is not wanted to its end is ended."""
        with open_command(["cat", "/dev/zero"]) as source:
            self.assertEqual(len(next(iter(source.as_body(lambda size: None).pieces))), sources.READ_SIZE)
