"""C{storehouse archive} on objects, by both ways: on the files of a root, and through the service that runs on it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from storehouse.cli import main
from tests.cli.archives import BEGIN, SAMPLE, SECOND, ArchiveCase, lines, sample
from tests.integration.process import Storehouse


class StoreCase(ArchiveCase):
    """
    Has a root with the bucket C{archives}.

    @ivar root: its path.
    """

    root: str

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.root = os.path.abspath(self.mktemp())
        self.other("mb", "archives")

    def other(self, *args: str, status: int = 0) -> Result:
        """Run another verb than those of archives."""
        result = CliRunner().invoke(main, [*args, "--root", self.root], prog_name="storehouse")
        self.assertEqual(result.exit_code, status, f"{args} {result.stderr}")
        return result

    def run_command(self, verb: str, *args: str, status: int = 0) -> Result:
        """On this root."""
        return super().run_command(verb, *args, "--root", self.root, status=status)

    def put(self, path: str, key: str) -> str:
        """Store a file. @return: what it is called."""
        self.other("put", path, f"archives/{key}")
        return f"store:archives/{key}"

    def damage(self, key: str, at: int) -> None:
        """Flip a bit of an object."""
        id = json.loads(self.other("stat", "--json", f"archives/{key}").stdout)["id"]
        with open(os.path.join(self.root, "objects", "data", id[:2], id, "part.1"), "r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))


class ObjectTests:
    """What holds by both ways."""

    def test_sample(self: Any) -> None:
        """Everything, in order, whatever the keys."""
        for number, path in enumerate(sorted(SAMPLE.glob("*.events.gz"))):
            self.put(str(path), f"notes/{number % 2}/{path.name}")
        found = lines(self.run_command("cat", "store:archives/notes/**", "--json"))
        self.assertEqual([(each["metadata"], each["payload"]) for each in found], sample())
        self.assertTrue(found[0]["archive"].startswith("store:archives/notes/0/"))
        self.assertIn("413 records", self.run_command("verify", "store:archives/*/*/*").stderr)
        result = self.run_command(
            "grep", "", "store:archives/notes/**", "-m", "event=compute.instance.exists", "-c", "--json"
        )
        self.assertEqual(
            sum(each["count"] for each in lines(result)),
            sum(metadata["event"] == "compute.instance.exists" for metadata, _ in sample()),
        )

    def test_mixed(self: Any) -> None:
        """Files and objects in one order."""
        first = self.archive("z", "1")
        third = self.archive("a", "3", at=BEGIN + 2 * SECOND)
        self.put(self.archive("y", "2", at=BEGIN + SECOND, whole="zstd"), "x.zst")
        self.put(self.archive("b", "4", "5", at=BEGIN + 3 * SECOND), "x.b")
        self.assertEqual(self.said("cat", third, "store:archives/*", first), "1\n2\n3\n4\n5\n")
        listed = lines(self.run_command("ls", "store:archives/x.?", "--json"))
        self.assertEqual([(each["state"], each["records"]) for each in listed], [("complete", 2)])

    def test_ranges(self: Any) -> None:
        """A record of a large archive takes little of it."""
        path = self.archive("a", *(f"{number:05} {'x' * 1000}" for number in range(20_000)))
        name = self.put(path, "large")
        self.assertEqual(self.said("cat", name, "--record", "12345")[:6], "12345 ")
        moment = "2027-01-15T12:00:00Z"
        self.assertEqual(self.said("cat", name, "--from", moment, "--to", "2027-01-15T12:00:02Z")[:6], "14400 ")
        self.assertEqual(self.said("cat", name), self.said("cat", path))

    def test_keys(self: Any) -> None:
        """Patterns and odd keys."""
        path = self.archive("a", "x")
        for key in ("n/a", "n/b/c", "n/b/d/e", "[x]*", "n", "ä b"):
            self.put(path, key)
        for pattern, expected in (
            ("*", ["[x]*", "n", "ä b"]),
            ("n/*", ["n/a"]),
            ("n/**", ["n/a", "n/b/c", "n/b/d/e"]),
            ("**/c", ["n/b/c"]),
            ("n/*/?", ["n/b/c"]),
            ("[x]*", ["[x]*"]),
            ("[[]x]*", ["[x]*"]),
            ("ä b", ["ä b"]),
        ):
            found = lines(self.run_command("ls", f"store:archives/{pattern}", "--json"))
            keys = sorted(each["archive"].removeprefix("store:archives/") for each in found)
            self.assertEqual(keys, expected, pattern)
        self.assertIn("no object matches archives/z*", self.refused("cat", "store:archives/z*"))
        self.assertIn("archives/z", self.refused("cat", "store:archives/z"))
        self.assertIn("nowhere", self.refused("cat", "store:nowhere/z*"))
        self.run_command("cat", "store:archives", status=2)

    def test_damage(self: Any) -> None:
        """Of the store: what is before it comes, and it is told with its place."""
        path = self.archive("a", *(f"{number:05} {'x' * 1000}" for number in range(3000)))
        name = self.put(path, "a")
        self.damage("a", (1 << 20) + 5000)
        result = self.run_command("cat", name, status=1)
        self.assertLess(900, result.stdout.count("\n"))
        self.assertIn("damaged at offset 1048576: the object cannot be read", result.stderr)
        self.assertTrue(self.said("cat", path).startswith(result.stdout))
        # A block of the store is lost, and not what is behind it.
        count = self.run_command("cat", name, "--skip-damaged", status=1).stdout.count("\n")
        self.assertTrue(1950 < count < 2000, count)
        (found,) = lines(self.run_command("verify", name, "--json", status=1))
        self.assertEqual((found["archive"], found["kind"], found["offset"]), (name, "damage", 1 << 20))
        self.assertEqual(self.said("cat", name, "--record", "2999")[:6], "02999 ")

    def test_torn(self: Any) -> None:
        name = self.put(self.torn("t", "first", "second"), "t")
        result = self.run_command("cat", name)
        self.assertEqual(result.stdout, "first\n")
        self.assertIn("torn tail", result.stderr)

    def test_convert(self: Any) -> None:
        name = self.put(self.archive("a.gz", "x", "y", whole="gzip"), "a.gz")
        target = str(self.directory / "b")
        self.said("convert", name, target)
        self.assertEqual(self.said("cat", target), "x\ny\n")

    def test_no_archive(self: Any) -> None:
        (self.directory / "n").write_bytes(b"hello, world")
        name = self.put(str(self.directory / "n"), "n")
        self.assertIn(f"{name} is not an archive", self.refused("cat", name))

    def test_ship(self: Any) -> None:
        """What was shipped is read by the name that was printed; a repeat sends nothing."""
        sent = [self.archive(f"{name}.events", name, "more") for name in "ab"]
        content = self.said("cat", *sent)
        result = self.run_command("ship", str(self.directory / "*"), "--stream", "notes", "--verify", "read")
        self.assertRegex(result.stderr, r"^2 files shipped, \d+ B uploaded\n$")
        names = dict(line.split("\t") for line in result.stdout.splitlines())
        self.assertEqual(sorted(names), sent)
        for path, name in names.items():
            stem = os.path.basename(path).removesuffix(".events")
            self.assertRegex(name, rf"^notes/{stem}-[0-9a-f]{{16}}\.events\.gz$")
        self.assertEqual(self.said("cat", "store:archives/notes/*"), content)
        self.assertEqual(sorted(os.listdir(self.directory)), ["a.events", "b.events"])
        result = self.run_command("ship", *sent, "--stream", "notes", "--delete-local", "--json")
        self.assertEqual(result.stderr, "2 files shipped, 0 B uploaded, 2 removed here\n")
        self.assertEqual({each["path"]: each["name"] for each in lines(result)}, names)
        self.assertEqual([each["deleted"] for each in lines(result)], [True, True])
        self.assertEqual(os.listdir(self.directory), [])
        info = json.loads(self.other("stat", "--json", f"archives/{names[sent[0]]}").stdout)
        self.assertEqual(list(info["metadata"]), ["sha256"])

    def test_ship_to_a_new_bucket(self: Any) -> None:
        path = self.archive("a", "x")
        self.said("ship", path, "--bucket", "elsewhere", "--compression", "none", "--verify", "tag")
        (found,) = lines(self.run_command("ls", "store:elsewhere/default/*", "--json"))
        self.assertEqual((found["records"], found["size"]), (1, os.stat(path).st_size))
        said = self.run_command("ship", path, "--bucket", "No Bucket", status=1).stderr
        self.assertIn("'No Bucket' is not a name of a bucket", said)
        self.assertTrue(Path(path).exists())


class RootTests(ObjectTests, StoreCase):
    """Without a service."""

    def test_no_root(self) -> None:
        """None is made by accident."""
        path = self.archive("a", "x")
        missing = self.mktemp()
        for verb, name in (("ls", "store:archives/a"), ("ship", path)):
            result = ArchiveCase.run_command(self, verb, name, "--root", missing, status=2)
            self.assertIn("there are no buckets", result.stderr)
        self.assertFalse(os.path.exists(missing))
        self.assertEqual(os.listdir(self.directory), ["a"])


class ServiceTests(ObjectTests, StoreCase):
    """Through the socket of a service, which is a process of its own."""

    def setUp(self) -> None:
        """Start it."""
        server = Storehouse(self.mktemp())
        self.addCleanup(server.kill)
        server.start()
        self.root = os.path.join(server.directory, "storehouse-data")
        ArchiveCase.setUp(self)
        self.other("mb", "archives")
