"""C{storehouse archive convert}."""

from __future__ import annotations

import gzip
import os
import signal
import time
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

from storehouse.archive.archive import ArchiveReader, ArchiveWriter
from storehouse.cli.archive import convert
from storehouse.core.files import Files
from tests.cli.archives import BEGIN, SAMPLE, ArchiveCase, flip, sample
from tests.integration.process import wait_for


def records(path: str | Path) -> list[tuple[int, dict[str, str], str | bytes]]:
    """What an archive holds."""
    with ArchiveReader(str(path)) as reader:
        return [(record.time, record.metadata, record.payload) for record in reader.records()]


class ConvertTests(ArchiveCase):
    """The same records, in all formats."""

    def target(self, name: str = "target") -> str:
        """A path where nothing is."""
        return str(self.directory / name)

    def test_all_ways(self) -> None:
        """From each form to each; version 2 keeps all, with the place in the order."""
        forms: dict[str, dict[str, Any]] = {
            "2": {},
            "2 blocks": {"compression": "zstd"},
            "2.gz": {"whole": "gzip"},
            "2.zst": {"whole": "zstd"},
        }
        payloads = ("text", b"bytes \xff", b"bytes that are text", "", b"", "ü" * 100_000)
        for number, (kind, how) in enumerate(forms.items()):
            source = self.archive(f"from {kind}", *payloads, sequence=7, **how)
            for blocks, whole in (("none", "none"), ("zstd", "none"), ("none", "gzip"), ("none", "zstd")):
                target = self.target(f"{number} {blocks} {whole}")
                self.said("convert", source, target, "--blocks", blocks, "--whole", whole)
                self.assertEqual(records(target), records(source))
                with ArchiveReader(target) as reader:
                    list(reader)
                    self.assertEqual((reader.info.created, reader.info.sequence), (BEGIN, 7))
                    self.assertEqual(
                        (reader.info.compression or "none", reader.compressed_as or "none"), (blocks, whole)
                    )
                    self.assertTrue(reader.complete)
        self.assertEqual([name for name in os.listdir(self.directory) if name.startswith(".")], [])

    def test_sample(self) -> None:
        """There and back again, bit for bit."""
        for sampled in SAMPLE.glob("*.events.gz"):
            path = self.directory / sampled.name
            path.write_bytes(sampled.read_bytes())
            second, first = self.target(f"{path.name}.2"), self.target(f"{path.name}.1")
            result = self.run_command("convert", str(path), second, "--to-version", "2")
            self.assertRegex(result.stderr, r"^\d+ records converted: [\d.]+ KiB to [\d.]+ [KM]iB\n$")
            result = self.run_command("convert", second, first, "--to-version", "1")
            self.assertEqual(len(result.stderr.splitlines()), 1)
            self.assertEqual(Path(first).read_bytes(), gzip.decompress(path.read_bytes()))
            with ArchiveReader(second) as reader:
                self.assertEqual(reader.info.created, os.stat(path).st_mtime_ns)
        found = [(metadata, payload) for name in sorted(os.listdir(self.directory)) if name.endswith(".2")
                 for _, metadata, payload in records(self.directory / name)]  # fmt: skip
        self.assertEqual(found, sample())

    def test_losses(self) -> None:
        """What version 1 has no room for is reported."""
        source = self.archive("a", "text", b"\xff", b"text too")
        result = self.run_command("convert", source, self.target(), "--to-version", "1")
        times, kinds, done = result.stderr.splitlines()
        self.assertIn("the times of 3 records are lost: version 1 has none", times)
        self.assertIn("1 payload of bytes will be read as text", kinds)
        self.assertTrue(done.startswith("3 records converted"))
        self.assertEqual([payload for _, _, payload in records(self.target())], ["text", b"\xff", "text too"])

    def test_names(self) -> None:
        """The name says how to compress the whole; blocks are kept only where that is not done."""
        source = self.archive("a", "x" * 1000, compression="zstd")
        for name, options, expected in (
            ("b", (), ("zstd", None)),
            ("b.gz", (), (None, "gzip")),
            ("b.zst", ("--level", "19"), (None, "zstd")),
            ("c.gz", ("--whole", "none"), ("zstd", None)),
            ("d", ("--to-version", "1"), (None, None)),
        ):
            self.said("convert", source, self.target(name), *options)
            with ArchiveReader(self.target(name)) as reader:
                self.assertEqual((reader.info.compression, reader.compressed_as), expected, name)

    def test_permissions(self) -> None:
        source = self.archive("a", "x")
        os.chmod(source, 0o640)
        self.said("convert", source, self.target())
        self.assertEqual(os.stat(self.target()).st_mode & 0o777, 0o640)

    def test_usage(self) -> None:
        source = self.archive("a", "x")
        for options in (
            ("--to-version", "1", "--blocks", "zstd"),
            ("--blocks", "zstd", "--whole", "gzip"),
            ("--level", "3"),
            ("--whole", "gzip", "--level", "10"),
            ("--to-version", "3"),
        ):
            self.run_command("convert", source, self.target(), *options, status=2)
        self.run_command("convert", source, "store:x/y", status=2)
        self.run_command("convert", source, status=2)
        self.archive("ab", "x")
        self.run_command("convert", str(self.directory / "a*"), self.target(), status=2)
        self.run_command("convert", source, str(self.directory), status=2)
        self.assertIn("No such file or directory", self.refused("convert", source, f"{source}.none/b"))
        self.assertEqual(sorted(os.listdir(self.directory)), ["a", "ab"])

    def test_changes(self) -> None:
        """An archive that is written to meanwhile is not converted."""
        source = self.archive("a", "x")
        original = convert._compare

        def compare(*args: Any) -> None:
            original(*args)
            with open(source, "ab") as file:
                file.write(b"more")

        self.patch(convert, "_compare", compare)
        self.assertIn("changed while it was read", self.refused("convert", source, f"{source}.new"))
        self.assertEqual(os.listdir(self.directory), ["a"])

    def test_there_already(self) -> None:
        source = self.archive("a", "x", "y")
        other = self.archive("b", "z")
        before = Path(other).read_bytes()
        self.assertEqual(self.refused("convert", source, other), f"{other} already exists; --force replaces it")
        self.assertEqual(Path(other).read_bytes(), before)
        self.said("convert", source, other, "--force")
        self.assertEqual(records(other), records(source))
        # In its own place, too.
        self.said("convert", source, source, "--blocks", "zstd", "--force")
        self.assertEqual(records(source), records(other))

    def test_in_its_own_place(self) -> None:
        """By whatever name, and only if nothing of it is lost."""
        source, torn = self.archive("a", "x", b"y"), self.torn("b", "x" * 50, "y" * 50)
        damaged = self.archive("c", "x" * 200, "y" * 200)
        flip(damaged, 100)
        link = f"{source}.link"
        os.link(source, link)
        os.symlink(torn, f"{torn}.link")
        for args in (
            (source, source, "--to-version", "1"),
            (link, source, "--to-version", "1"),
            (torn, torn),
            (f"{torn}.link", torn),
            (damaged, damaged, "--skip-damaged"),
        ):
            before = Path(args[0]).read_bytes()
            self.assertIn("is ARCHIVE itself", self.refused("convert", *args, "--force"))
            self.assertEqual(Path(args[0]).read_bytes(), before)

    def test_made_meanwhile(self) -> None:
        """Somebody else was faster: that is not replaced."""
        source = self.archive("a", "x")

        def compare(*args: Any) -> None:
            Path(self.target()).write_bytes(b"mine")

        with mock.patch.object(convert, "_compare", compare):
            self.assertIn("already exists", self.refused("convert", source, self.target()))
        self.assertEqual(Path(self.target()).read_bytes(), b"mine")
        self.assertEqual(sorted(os.listdir(self.directory)), ["a", "target"])

    def test_no_links(self) -> None:
        """A file system without second names."""
        source = self.archive("a", "x")

        def link(self: Files, source: str, target: str) -> None:
            raise PermissionError(1, "Operation not permitted")

        with mock.patch.object(Files, "link", link):
            self.said("convert", source, self.target())
            self.assertEqual(records(self.target()), records(source))
            self.refused("convert", source, self.target())

    def test_damage(self) -> None:
        """It ends it, and leaves nothing, unless it is to be skipped; a torn tail is reported."""
        source = self.archive("a", "first", "second", "third")
        flip(source, Path(source).read_bytes().index(b"second"))
        self.assertIn("is damaged at offset", self.refused("convert", source, self.target()))
        self.assertEqual(os.listdir(self.directory), ["a"])
        result = self.run_command("convert", source, self.target(), "--skip-damaged", status=1)
        self.assertEqual([payload for _, _, payload in records(self.target())], ["first", "third"])
        skipped, done, last = result.stderr.splitlines()
        self.assertTrue(skipped.startswith("skipped: the archive "))
        self.assertTrue(done.startswith("2 records converted"))
        self.assertEqual(last, "Error: 1 damage was skipped")
        torn = self.torn("t", "first", "second")
        result = self.run_command("convert", torn, self.target("u"))
        self.assertEqual(result.stderr.count("torn tail"), 1)
        self.assertEqual(len(records(self.target("u"))), 1)
        other = self.directory / "o"
        other.write_bytes(b"no archive")
        self.assertIn("is not an archive", self.refused("convert", str(other), self.target("p")))

    def test_bad_metadata(self) -> None:
        """What version 2 does not take is not left out."""
        source = self.archive("a", "x", version=1)
        data = Path(source).read_bytes()
        at = data.index(b"name")
        Path(source).write_bytes(data[:at] + b"\xff" + data[at + 1 :])
        self.assertIn(
            f"record 0 of {source} cannot be converted",
            self.refused("convert", source, self.target(), "--to-version", "2"),
        )
        self.assertEqual(os.listdir(self.directory), ["a"])

    def test_compared(self) -> None:
        """A writer that writes something else, or less, or more."""
        source = self.archive("a", "x", "y", "z")
        write = ArchiveWriter.write

        def other(self: ArchiveWriter, metadata: Any, payload: Any, time: Any = None) -> None:
            write(self, metadata, payload + "!", time)

        def less(self: ArchiveWriter, metadata: Any, payload: Any, time: Any = None) -> None:
            if payload != "z":
                write(self, metadata, payload, time)

        def later(self: ArchiveWriter, metadata: Any, payload: Any, time: Any = None) -> None:
            write(self, metadata, payload, time + 1)

        def marked(self: ArchiveWriter, metadata: Any, payload: Any, time: Any = None) -> None:
            write(self, {**metadata, "x": "y"}, payload, time)

        for wrong, number in ((other, 0), (less, 2), (later, 0), (marked, 0)):
            with mock.patch.object(ArchiveWriter, "write", wrong):
                said = self.refused("convert", source, self.target())
            self.assertIn(f"record {number} is not read back as {source} has it; nothing was written", said)
            self.assertEqual(os.listdir(self.directory), ["a"])

    def test_no_room(self) -> None:
        """At each write."""
        source = self.archive("a", *("x" * 1000 for _ in range(1000)))
        write_at = Files.write_at
        for name, fails in product(("b", "b.gz"), range(8)):
            left = [fails]

            def limited(self: Files, *args: Any, left: list[int] = left) -> None:
                if not left[0]:
                    raise OSError(28, "No space left on device")
                left[0] -= 1
                write_at(self, *args)

            with mock.patch.object(Files, "write_at", limited):
                done = self.run_command_any("convert", source, self.target(name))
            if done.exit_code:
                self.assertEqual(done.stderr.splitlines()[-1], f"Error: no space for {self.target(name)}")
                self.assertEqual(os.listdir(self.directory), ["a"])
            else:
                self.assertEqual(len(records(self.target(name))), 1000)
                os.unlink(self.target(name))

    def test_interrupted(self) -> None:
        """The process is asked to end: nothing is left."""
        source = self.archive("a", *(f"{number} " * 300 for number in range(30_000)))
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            process = self.start("convert", source, self.target("b.zst"), "--level", "19")
            wait_for(lambda: len(os.listdir(self.directory)) > 1, "a temporary file")
            time.sleep(0.1)
            process.send_signal(number)
            self.assertEqual(self.ended(process), (status, "", ""))
            self.assertEqual(os.listdir(self.directory), ["a"])

    def test_killed(self) -> None:
        """What is left then is no archive to any pattern."""
        source = self.archive("a", *(f"{number} " * 300 for number in range(30_000)))
        process = self.start("convert", source, self.target("b.zst"), "--level", "19")
        wait_for(lambda: len(os.listdir(self.directory)) > 1, "a temporary file")
        process.kill()
        self.ended(process)
        self.assertFalse(os.path.exists(self.target("b.zst")))
        self.assertEqual(self.said("ls", str(self.directory / "*")).count("\n"), 2)
        self.assertIn("no file matches", self.refused("ls", str(self.directory / ".*")))

    def run_command_any(self, *args: str) -> Any:
        """Whatever the exit status is."""
        from click.testing import CliRunner

        from storehouse.cli import main

        return CliRunner().invoke(main, ["archive", *args], prog_name="storehouse")
