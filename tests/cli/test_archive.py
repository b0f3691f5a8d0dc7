"""C{storehouse archive}: ls, cat, verify and grep on files."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import sys
import time
from pathlib import Path

from storehouse.archive.archive import ArchiveWriter
from storehouse.cli.archive.times import exact_time, parse_time
from tests.cli.archives import BEGIN, SAMPLE, SECOND, ArchiveCase, flip, lines, sample
from tests.integration.process import PATIENCE


class LsTests(ArchiveCase):
    """What there is."""

    def test_all_kinds(self) -> None:
        """Versions, compressions, states, in the order of writing."""
        self.archive("d", "x", at=BEGIN + 9 * SECOND)
        self.archive("c", "x", "y", "z", compression="zstd")
        self.archive("b.gz", "x", "y", whole="gzip", at=BEGIN + SECOND)
        self.archive("a.zst", "x", whole="zstd", at=BEGIN + 2 * SECOND)
        self.archive("z", "x", "y", version=1)
        self.torn("t", "x", "y", "z")
        (self.directory / "empty").write_bytes(b"")
        result = self.run_command("ls", str(self.directory / "*"), "--json")
        found = {os.path.basename(each["archive"]): each for each in lines(result)}
        self.assertEqual(list(found), ["empty", "z", "c", "t", "b.gz", "a.zst", "d"])
        self.assertEqual(
            {name: (each["version"], each["blocks"], each["whole"], each["state"], each["records"]) for name, each in found.items()},
            {
                "empty": (1, None, None, None, 0),
                "z": (1, None, None, None, 2),
                "c": (2, "zstd", None, "complete", 3),
                "t": (2, None, None, "torn", 2),
                "b.gz": (2, None, "gzip", "complete", 2),
                "a.zst": (2, None, "zstd", "complete", 1),
                "d": (2, None, None, "complete", 1),
            },
        )  # fmt: skip
        self.assertEqual(found["c"]["first"], "2027-01-15T08:00:00.000000000Z")
        self.assertEqual(found["c"]["last"], "2027-01-15T08:00:02.000000000Z")
        self.assertEqual(found["t"]["last"], "2027-01-15T08:00:01.000000000Z")
        self.assertEqual(found["z"]["first"], None)
        self.assertEqual(found["d"]["size"], os.stat(self.directory / "d").st_size)

    def test_text(self) -> None:
        path = self.archive("a\n", "x" * 2000)
        head, line = self.said("ls", path).splitlines()
        self.assertRegex(head, r"^FORMAT +STATE +RECORDS +SIZE +FIRST +LAST +ARCHIVE$")
        self.assertRegex(line, r"^v2 +complete +1 +2\.1 KiB  2027-01-15T08:00:00Z  2027-01-15T08:00:00Z  .*/a\\n$")
        size = os.stat(path).st_size
        self.assertRegex(self.said("ls", "-l", path), rf"(?m)^v2 .* {size} .* 2027-01-15T08:00:00Z +1  .*a\\n$")
        self.assertRegex(
            self.said("ls", "--no-count", str(SAMPLE / "*_429298.events.gz")), r"v1 in gzip +- +- +12.6 KiB"
        )
        self.assertRegex(self.said("ls", str(SAMPLE / "*_429298.events.gz")), r"v1 in gzip +- +57 +12.6 KiB +- +- ")

    def test_others(self) -> None:
        """What is no archive is named, and the others are listed all the same."""
        good = self.archive("a", "x")
        (self.directory / "b").write_bytes(b"hello, world")
        damaged = self.archive("c", "x")
        flip(damaged, 10)
        result = self.run_command("ls", "--json", str(self.directory / "*"), status=1)
        self.assertEqual([each["archive"] for each in lines(result)], [good])
        first, second, last = result.stderr.splitlines()
        self.assertIn("b is not an archive", first)
        self.assertIn("c is damaged at offset 0", second)
        self.assertEqual(last, "Error: 2 of 3 cannot be read as archives")

    def test_damage_met(self) -> None:
        path = self.torn("a", "x" * 99, "y", cut=0)
        flip(path, 90)
        self.assertEqual(lines(self.run_command("ls", "--json", path))[0]["state"], "damaged")


class NameTests(ArchiveCase):
    """What arguments stand for."""

    def test_patterns(self) -> None:
        """Quoted ones; what is beside archives is none; each once."""
        for name in ("a.events", "b.events", "sub-b.events"):
            self.archive(name, name)
        (self.directory / "deep" / "er").mkdir(parents=True)
        os.rename(self.directory / "sub-b.events", self.directory / "deep" / "er" / "c.events")
        for name in ("a.events.torn", ".a.events.open", ".x.tmp"):
            (self.directory / name).write_bytes(b"no archive")
        where = str(self.directory)
        self.assertEqual(self.said("cat", f"{where}/*"), "a.events\nb.events\n")
        self.assertEqual(self.said("cat", f"{where}/[b-z].events"), "b.events\n")
        self.assertEqual(self.said("cat", f"{where}/**/?.events"), "a.events\nb.events\nsub-b.events\n")
        self.assertEqual(self.said("cat", f"{where}/*", f"{where}/a.events", f"{where}/./a.events").count("a"), 1)

    def test_odd_names(self) -> None:
        """A name is a name first; bytes that are no UTF-8, line ends."""
        for name in ("[a]*.events", "a*.events", "-x", "n\nl", b"\xff".decode("utf-8", "surrogateescape")):
            path = self.archive(name, ascii(name))
            self.assertEqual(self.said("cat", path), f"{name!a}\n")
            self.assertEqual(lines(self.run_command("cat", path, "--json"))[0]["archive"], path)
            self.said("ls", path)
            self.said("verify", path)
        where = str(self.directory)
        self.assertEqual(self.said("cat", f"{where}/[[]a*"), "'[a]*.events'\n")
        self.assertIn(rf"{where}/n\nl:0:", self.said("grep", "", f"{where}/n?l"))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(where)
        self.archive("store:x", "found")
        self.assertEqual(self.said("cat", "./store:x"), "found\n")

    def test_some(self) -> None:
        """Those that are there are done, and the others named."""
        first, second = self.archive("a.events", "first"), self.archive("b.events", "second")
        none = str(self.directory / "none")
        result = self.run_command("cat", first, none, second, status=1)
        self.assertEqual(result.stdout, "first\nsecond\n")
        self.assertEqual(result.stderr, f"Error: cannot read {none}: No such file or directory\n")
        for verb in ("ls", "verify"):
            self.assertIn(none, self.run_command(verb, first, none, f"{none}*", second, status=1).stderr)
        self.assertEqual(self.run_command("cat", none, f"{none}*", status=1).stderr.count("Error: "), 2)

    def test_none(self) -> None:
        where = str(self.directory)
        self.assertEqual(self.refused("cat", f"{where}/*.events"), f"no file matches {where}/*.events")
        self.assertEqual(self.refused("cat", f"{where}/a"), f"cannot read {where}/a: No such file or directory")
        self.assertEqual(self.refused("ls", where), f"{where} is not a regular file; use a pattern to name its files")
        self.run_command("ls", status=2)
        self.run_command("cat", "store:x", status=2)
        result = self.run_command("cat", "store:x/y", "--root", f"{where}/no-root", status=2)
        self.assertIn("there are no buckets", result.stderr)

    def test_unreadable(self) -> None:
        if not os.geteuid():
            return  # root reads everything
        path = self.archive("a", "x")
        os.chmod(path, 0)
        self.assertIn("Permission denied", self.refused("cat", path))


class CatTests(ArchiveCase):
    """Records."""

    def test_sample(self) -> None:
        """Everything that the first program wrote, in order, whatever the order of the arguments."""
        paths = sorted(map(str, SAMPLE.glob("*.events.gz")), reverse=True)
        result = self.run_command("cat", *paths, "--json")
        self.assertEqual([(each["metadata"], each["payload"]) for each in lines(result)], sample())
        self.assertEqual(self.said("cat", *paths), "".join(f"{payload}\n" for _, payload in sample()))

    def test_order(self) -> None:
        """Version 1 first, then by time, not by name."""
        self.archive("b", "2", at=BEGIN)
        self.archive("a", "3", at=BEGIN + 1)
        self.archive("c", "1", version=1)
        self.archive("d.gz", "4", at=BEGIN + 2, whole="gzip")
        self.assertEqual(self.said("cat", str(self.directory / "*")), "1\n2\n3\n4\n")

    def test_max_record(self) -> None:
        """What says that it is larger is not read, unless that is asked for."""
        path = self.archive("a", "x" * 3_000_000, compression="zstd")
        for verb in (("cat",), ("grep", "x"), ("verify",), ("ls",)):
            self.run_command(*verb, path, "--max-record", "4MiB")
        for words in (("cat", path), ("verify", path), ("convert", path, f"{path}.new")):
            self.assertIn(
                "max-record" if words[0] != "verify" else "1 damage", self.refused(*words, "--max-record", "1MiB")
            )
        for size in ("0", "3GiB", "much"):
            self.run_command("cat", path, "--max-record", size, status=2)

    def test_both_names(self) -> None:
        """An archive as it is and compressed is read once, and shown twice."""
        for version in (1, 2):
            path = self.archive(f"q{version}.ev", "x", "y", version=version)
            Path(f"{path}.gz").write_bytes(gzip.compress(Path(path).read_bytes()))
            for words in ((f"{path}*",), (f"{path}.gz", path)):
                self.assertEqual(self.said("cat", *words), "x\ny\n")
            self.assertEqual(self.said("grep", "-c", "x", f"{path}*").splitlines(), [f"{path}:1"])
            self.assertEqual(len(lines(self.run_command("ls", "--json", f"{path}*"))), 2)

    def test_forms(self) -> None:
        path = self.archive("a", "text", b"\x00\xff", compression="zstd")
        first, second = lines(self.run_command("cat", path, "--json"))
        self.assertEqual(
            first,
            {
                "archive": path,
                "record": 0,
                "time": "2027-01-15T08:00:00.000000000Z",
                "metadata": {"n": "0", "name": "a"},
                "payload": "text",
            },
        )
        self.assertEqual(base64.b64decode(second["payload_base64"]), b"\x00\xff")
        self.assertNotIn("payload", second)
        self.assertEqual(self.run_command("cat", path).stdout_bytes, b"text\n\x00\xff\n")
        self.assertEqual(
            self.run_command("cat", path, "--metadata").stdout_bytes,
            b'{"n": "0", "name": "a"}\ttext\n{"n": "1", "name": "a"}\t\x00\xff\n',
        )
        target = self.directory / "out"
        self.assertEqual(self.said("cat", path, "-o", str(target)), "")
        self.assertEqual(target.read_bytes(), b"text\n\x00\xff\n")
        self.said("cat", self.archive("none"), "-o", str(target))
        self.assertEqual(target.read_bytes(), b"")

    def test_record(self) -> None:
        path = self.archive("a", *map(str, range(5000)))
        self.assertEqual(self.said("cat", path, "--record", "4321", "--record", "7"), "4321\n7\n")
        self.assertEqual(self.said("cat", self.archive("b.gz", "x", "y", whole="gzip"), "--record", "1"), "y\n")
        self.assertIn("there is no record 5000", self.refused("cat", path, "--record", "5000"))
        self.assertIn(
            "2 are given", self.run_command("cat", str(self.directory / "*"), "--record", "0", status=2).stderr
        )
        self.run_command("cat", path, "--record", "0", "--from", "-1h", status=2)

    def test_times(self) -> None:
        first = self.archive("a", "0", "1", "2")
        second = self.archive("b.zst", "3", "4", at=BEGIN + 3 * SECOND, whole="zstd")
        both = (first, second)
        self.assertEqual(self.said("cat", *both, "--from", "2027-01-15T08:00:01Z"), "1\n2\n3\n4\n")
        self.assertEqual(self.said("cat", *both, "--to", "2027-01-15T10:00:03+02:00"), "0\n1\n2\n")
        self.assertEqual(
            self.said("cat", *both, "--from", "2027-01-15 08:00:01.5", "--to", "2027-01-15T08:00:03.000000001Z"),
            "2\n3\n",
        )
        self.assertEqual(self.said("cat", *both, "--to", "2027-01-15"), "")
        now = self.archive("n", "now", at=time.time_ns() - 60 * SECOND)
        self.assertEqual(self.said("cat", now, "--from", "-1h"), "now\n")
        self.assertEqual(self.said("cat", now, "--from", "-30s"), "")
        self.assertEqual(self.said("cat", now, "--to", "-1h"), "")
        old = self.archive("old", "x", version=1)
        result = self.run_command("cat", old, first, "--from", "2027-01-15")
        self.assertEqual(result.stdout, "0\n1\n2\n")
        self.assertEqual(result.stderr, f"{old} is of version 1, whose records have no times: skipped\n")
        for nonsense in ("yesterday", "", "2027-13-01", "2027-01-15T25:00:00Z", "1h", "2027-01-15T08:00:00+99:00"):
            self.assertIn("is not a time", self.run_command("cat", old, "--from", nonsense, status=2).stderr)

    def test_damage(self) -> None:
        """All before it is written; with --skip-damaged also what is behind it, and what was skipped is reported."""
        path = self.archive("a", "first", "second" * 9, "third")
        flip(path, Path(path).read_bytes().index(b"second") + 5)
        other = self.archive("b", "more", at=BEGIN + 9)
        result = self.run_command("cat", path, other, status=1)
        self.assertEqual(result.stdout, "first\n")
        self.assertRegex(result.stderr, rf"^Error: the archive {path} is damaged at offset \d+: .*\n$")
        result = self.run_command("cat", path, other, "--skip-damaged", status=1)
        self.assertEqual(result.stdout, "first\nthird\nmore\n")
        skipped, last = result.stderr.splitlines()
        self.assertRegex(skipped, rf"^skipped: the archive {path} is damaged at offset \d+: ")
        self.assertEqual(last, "Error: 1 damage was skipped")
        flip(path, 10)
        Path(other).write_bytes(b"no archive at all")
        result = self.run_command("cat", path, other, "--skip-damaged", status=1)
        self.assertEqual((result.stdout, len(result.stderr.splitlines())), ("", 3))
        self.assertIn("is not an archive", self.refused("cat", other))

    def test_gzip_cut(self) -> None:
        path = self.archive("a.gz", *(str(number) * 50 for number in range(9000)), whole="gzip")
        os.truncate(path, os.stat(path).st_size // 2)
        result = self.run_command("cat", path, status=1)
        self.assertGreater(result.stdout.count("\n"), 1000)
        self.assertIn("cannot be expanded", result.stderr)
        self.assertEqual(self.run_command("cat", path, "--skip-damaged", status=1).stdout, result.stdout)

    def test_torn(self) -> None:
        """The records before it are all that the archive has."""
        for version in (1, 2):
            path = self.torn(f"a{version}", "first", "second", version=version)
            result = self.run_command("cat", path)
            self.assertEqual(result.stdout, "first\n")
            self.assertRegex(result.stderr, rf"^{path}: \d+ bytes of a torn tail after its last record\n$")

    def test_output(self) -> None:
        """A file is made when it is whole; links lead to it on, and what is no regular file is written to."""
        source, damaged = self.archive("a", "x", "y"), self.archive("b", "x" * 200, "y" * 200)
        flip(damaged, -200)
        target = self.directory / "out"
        self.refused("cat", damaged, "-o", str(target))
        self.assertFalse(target.exists())
        target.write_bytes(b"before")
        target.chmod(0o640)
        self.refused("cat", damaged, "-o", str(target))
        self.assertEqual(target.read_bytes(), b"before")
        (self.directory / "link").symlink_to(target)
        self.said("cat", source, "-o", str(self.directory / "link"))
        self.assertEqual(target.read_bytes(), b"x\ny\n")
        self.assertEqual(target.stat().st_mode & 0o777, 0o640)
        self.assertTrue((self.directory / "link").is_symlink())
        self.said("cat", source, "-o", "/dev/null")
        self.assertIn("Is a directory", self.refused("cat", source, "-o", f"{self.directory}/none/"))
        self.assertEqual(sorted(os.listdir(self.directory)), ["a", "b", "link", "out"])

    def test_output_is_input(self) -> None:
        """By whatever name, and whichever of them it is."""
        source, other = self.archive("a", "x"), self.archive("b", "y")
        before = Path(source).read_bytes()
        os.link(source, f"{source}.hard")
        os.symlink("a", f"{source}.soft")
        names = [source, os.path.relpath(source), f"{self.directory}/../{self.directory.name}/a"]
        for name in (*names, f"{source}.hard", f"{source}.soft"):
            for args in ((source,), (other, source), (str(self.directory / "[ab]"),)):
                self.assertIn("cannot be the output as well", self.refused("cat", *args, "-o", name))
        self.assertEqual(Path(source).read_bytes(), before)
        with open(source, "ab") as file:
            for verb in (["cat", source], ["grep", "x", source]):
                status, _, said = self.ended(self.start(*verb, stdout=file))
                self.assertEqual((status, "standard output" in said), (1, True), said)
        self.assertEqual(Path(source).read_bytes(), before)

    def test_broken_pipe(self) -> None:
        """A reader that has enough."""
        path = self.archive("a", *("x" * 1000 for _ in range(3000)))
        process = self.start("cat", path)
        assert process.stdout is not None
        self.assertEqual(process.stdout.read(3), b"xxx")
        process.stdout.close()
        process.stdout = None
        self.assertEqual(self.ended(process), (141, "", ""))

    def test_full_disk(self) -> None:
        path = self.archive("a", "x" * 100_000)
        with open("/dev/full", "wb") as full:
            status, _, err = self.ended(self.start("cat", path, stdout=full))
        self.assertEqual((status, err), (1, "Error: cannot write standard output: No space left on device\n"))

    def test_memory(self) -> None:
        """An archive that is larger than the memory for it, and one that says that it expands to more."""
        large = str(self.directory / "large")
        with ArchiveWriter(large, compression="zstd", created=BEGIN) as writer:
            for _ in range(400):
                writer.write({}, bytes(1 << 20), BEGIN)
        whole = self.directory / "whole.gz"
        with open(whole, "wb") as file:
            subprocess.run(["gzip", "-1", "-c", large], stdout=file, check=True)
        for verb, name in (("cat", large), ("cat", str(whole)), ("verify", large), ("grep", large)):
            words = [verb, *(["-v", "x"] if verb == "grep" else []), name]
            script = 'ulimit -v 400000; exec "$0" -m storehouse.cli archive "$@" > /dev/null'
            process = subprocess.run(
                ["/bin/sh", "-c", script, sys.executable, *words],
                env={**os.environ, "PYTHONPATH": str(SAMPLE.parents[2])}, capture_output=True, timeout=PATIENCE, check=False,
            )  # fmt: skip
            self.assertEqual(process.returncode, 0, process.stderr)


class VerifyTests(ArchiveCase):
    """Damage with its place."""

    def test_intact(self) -> None:
        self.archive("a", "x", "y")
        self.archive("b", "x", compression="zstd")
        self.archive("c.gz", "x", version=1, whole="gzip")
        result = self.run_command("verify", str(self.directory / "*"))
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, r"^3 archives, 4 records, \d+ B verified: no damage\n$")
        self.assertEqual(self.run_command("verify", str(self.directory / "*"), "-q").stderr, "")

    def test_damage(self) -> None:
        path = self.archive("a", "first", "second", "third")
        data = Path(path).read_bytes()
        flip(path, data.index(b"second"))
        torn = self.torn("b", "first", "second")
        other = self.directory / "c"
        other.write_bytes(b"no archive")
        header = self.archive("d", "x", at=BEGIN + 5)
        flip(header, 9)
        cut = self.archive("e.gz", *(str(number) for number in range(9000)), whole="gzip", at=BEGIN + 7)
        os.truncate(cut, os.stat(cut).st_size // 2)
        result = self.run_command("verify", str(self.directory / "*"), "--json", status=1)
        found = {os.path.basename(each["archive"]): each for each in lines(result)}
        self.assertEqual(
            {name: each["kind"] for name, each in found.items()},
            {"a": "damage", "b": "torn", "c": "unknown", "d": "damage", "e.gz": "damage"},
        )
        # The frame of the second record.
        self.assertEqual(found["a"]["offset"], data.index(b"n\x00name", data.index(b"first")) - 29)
        self.assertLess(found["b"]["offset"], os.stat(torn).st_size)
        self.assertIn("torn tail", found["b"]["reason"])
        self.assertEqual((found["c"]["offset"], found["d"]["offset"]), (None, 0))
        self.assertIn("expanded", found["e.gz"]["reason"])
        self.assertRegex(
            result.stderr,
            r"^Error: 5 damages found; 5 archives, \d+ records, [\d.]+ KiB verified \(2 not complete\)\n$",
        )
        text = self.run_command("verify", path, torn, "-q", status=1)
        self.assertEqual(text.stderr, "")
        self.assertEqual(
            sorted(text.stdout.splitlines()),
            [
                f"{path}  offset {found['a']['offset']}  {found['a']['reason']}",
                f"{torn}  offset {found['b']['offset']}  {found['b']['reason']}",
            ],
        )

    def test_incomplete(self) -> None:
        """What is being written is no damage."""
        result = self.run_command("verify", self.torn("a", "x", "y", cut=0))
        self.assertIn("1 archive, 2 records", result.stderr)
        self.assertIn("(1 not complete): no damage", result.stderr)


class GrepTests(ArchiveCase):
    """Finding."""

    def test_patterns(self) -> None:
        path = self.archive("a", "one Error", "two", b"\xff three\nerror", "föur")
        for args, expected in (
            (["two"], f"{path}:1:two\n"),
            (["error"], f"{path}:2:\xff three\nerror\n"),
            (["-i", "ERROR", "-c"], f"{path}:2\n"),
            (["^error$", "-c"], f"{path}:1\n"),
            (["-v", "r"], f"{path}:1:two\n"),
            (["f.ur"], f"{path}:3:föur\n"),
            ([r"f\u00f6", "-c"], f"{path}:1\n"),
            ([r"\xff", "-c"], f"{path}:1\n"),
            (["", "-l"], f"{path}\n"),
            (["two", "-q"], ""),
        ):
            pattern, *options = [word for word in args if not word.startswith("-")] + [
                word for word in args if word.startswith("-")
            ]
            result = self.run_command("grep", pattern, path, *options)
            self.assertEqual(result.stdout_bytes, expected.replace("\xff", "\udcff").encode("utf-8", "surrogateescape"))
        result = self.run_command("grep", "four", path, status=1)
        self.assertEqual((result.stdout, result.stderr), ("", ""))
        self.assertIn("not a regular expression", self.run_command("grep", "(", path, status=2).stderr)
        self.run_command("grep", "", path, "-c", "-l", status=2)

    def test_metadata(self) -> None:
        first = self.archive("a", "0", "1", "2")
        second = self.archive("b", "0", "1", at=BEGIN + 9)
        both = (first, second)
        self.assertEqual(self.said("grep", "", *both, "-m", "n=1"), f"{first}:1:1\n{second}:1:1\n")
        self.assertEqual(self.said("grep", "", *both, "-m", "n=1", "-m", "name=b"), f"{second}:1:1\n")
        self.assertEqual(self.said("grep", "", *both, "-m", "n!=0", "-m", "name!=b", "-c"), f"{first}:2\n{second}:0\n")
        self.assertEqual(self.said("grep", "-v", "1", *both, "--metadata", "name=b"), f"{second}:0:0\n")
        self.assertEqual(self.said("grep", "2", *both, "-l"), f"{first}\n")
        self.assertEqual(self.said("grep", "", *both, "--from", "2027-01-15T08:00:02Z"), f"{first}:2:2\n")
        for nonsense in ("n", "=x", "!=x"):
            self.run_command("grep", "", *both, "-m", nonsense, status=2)

    def test_json(self) -> None:
        path = self.archive("a", "x", "y")
        self.assertEqual(
            lines(self.run_command("grep", "y", path, "--json")), lines(self.run_command("cat", path, "--json"))[1:]
        )
        self.assertEqual(lines(self.run_command("grep", "y", path, "--json", "-c")), [{"archive": path, "count": 1}])
        self.assertEqual(lines(self.run_command("grep", "y", path, "--json", "-l")), [{"archive": path}])

    def test_damage(self) -> None:
        path = self.archive("a", "first", "second", "third")
        flip(path, Path(path).read_bytes().index(b"second"))
        result = self.run_command("grep", "ir", path, status=1)
        self.assertEqual(result.stdout, f"{path}:0:first\n")
        self.assertIn("is damaged at offset", result.stderr)
        result = self.run_command("grep", "ir", path, "--skip-damaged", status=1)
        self.assertEqual(result.stdout, f"{path}:0:first\n{path}:2:third\n")

    def test_sample(self) -> None:
        paths = list(map(str, SAMPLE.glob("*.events.gz")))
        expected = [payload for metadata, payload in sample() if metadata["event"] == "compute.instance.exists"]
        result = self.run_command("grep", "", *paths, "-m", "event=compute.instance.exists", "--json")
        self.assertEqual([each["payload"] for each in lines(result)], expected)
        self.assertTrue(expected)


class TimeTests(ArchiveCase):
    """Times as they are written."""

    def test_both_ways(self) -> None:
        for time_ns in (1, BEGIN, BEGIN + 123_456_789, 2**63):
            text = exact_time(time_ns)
            assert text is not None
            self.assertEqual(parse_time(text, 0), time_ns)
        self.assertEqual(exact_time(0), None)

    def test_forms(self) -> None:
        for text, expected in (
            ("1970-01-02", 86400),
            ("1970-01-01T01:00", 3600),
            ("1970-01-01t01:00:00z", 3600),
            ("1970-01-01 00:00:01 -01:30", 5401),
            ("1969-01-01", 0),
            ("2016-12-31T23:59:60Z", 1483228800),
            ("-1.5h", 1_000_000 - 5400),
            ("-1w", 1_000_000 - 604800),
        ):
            self.assertEqual(parse_time(text, 1_000_000), expected * SECOND, text)
