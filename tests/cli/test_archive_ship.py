"""C{storehouse archive ship}: what is shipped, to destinations of a configuration file, and what goes wrong."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from click.testing import Result
from twisted.trial.unittest import SynchronousTestCase

from storehouse.app.local.shipping import identity_of, spool_beside
from storehouse.archive.archive import ArchiveWriter
from storehouse.config.shipping import StoreSettings
from tests.cli.archives import ArchiveCase, lines
from tests.integration.process import PATIENCE, free_port, wait_for


class Bucket(BaseHTTPRequestHandler):
    """The little of S3 that it takes; signatures are not looked at."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, tuple[bytes, str]]
    puts: list[str]
    go_on: threading.Event
    refusing: list[int]

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_PUT(self) -> None:
        """A bucket, or an object."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.refusing:
            self.answer(self.refusing[0], b"<Error><Code>InvalidAccessKeyId</Code></Error>")
            return
        if self.path.count("/") > 1:
            self.puts.append(self.path)
            self.go_on.wait(PATIENCE)
            self.objects[self.path] = body, self.headers.get("x-amz-meta-sha256", "")
        self.answer(200, ETag=f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')

    def do_GET(self) -> None:
        """An object, or what is known of it."""
        if self.path not in self.objects:
            self.answer(404)
            return
        body, sha256 = self.objects[self.path]
        tag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        if self.command == "HEAD":
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", tag)
            self.send_header("x-amz-meta-sha256", sha256)
            self.end_headers()
        else:
            self.answer(200, body, ETag=tag, x_amz_meta_sha256=sha256)

    do_HEAD = do_GET


class _Server(ThreadingHTTPServer):
    """A client that leaves early is nothing to print."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


class ShipTests(ArchiveCase):
    """To a server that speaks S3."""

    def setUp(self) -> None:
        """Write the configuration; the server is started when it is wanted."""
        super().setUp()
        self.port = free_port()
        self.bucket: Any = type(
            "BoundBucket", (Bucket,), {"objects": {}, "puts": [], "go_on": threading.Event(), "refusing": []}
        )
        self.bucket.go_on.set()
        self.config = Path(os.path.abspath(self.mktemp()))
        self.config.write_text(
            f'[destinations.far]\nkind = "s3"\nendpoint = "http://127.0.0.1:{self.port}"\naccess_key = "a"\n'
            'secret_key_env = "TEST_SHIP_SECRET"\ntries = 1\n[destinations.far.shipping]\ncompression = "zstd"\nlevel = 5\n',
            encoding="utf-8",
        )
        os.environ["TEST_SHIP_SECRET"] = "very secret"
        self.addCleanup(os.environ.pop, "TEST_SHIP_SECRET", None)

    def serve(self) -> None:
        """Start the server."""
        server = _Server(("127.0.0.1", self.port), self.bucket)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()

        def stop() -> None:
            self.bucket.go_on.set()
            server.shutdown()
            server.server_close()
            thread.join()

        self.addCleanup(stop)

    def ship(self, *args: str, status: int = 0) -> Result:
        """Run it."""
        return self.run_command("ship", *args, "--to", "far", "--config", str(self.config), status=status)

    def left(self) -> list[str]:
        """What is in the directory."""
        return sorted(os.listdir(self.directory))

    def test_shipped(self) -> None:
        """As the configuration file says, unless the command says it."""
        self.serve()
        path = self.archive("a.events", "x", "y")
        other = self.directory / "lines.json.gz"
        other.write_bytes(gzip.compress(b"not an archive, but closed"))
        (name, gz) = sorted(each["name"] for each in lines(self.ship(path, str(other), "--json")))
        self.assertRegex(name, r"^default/a-[0-9a-f]{16}\.events\.zst$")
        self.assertRegex(gz, r"^default/lines-[0-9a-f]{16}\.json\.gz$")
        self.assertEqual(sorted(self.bucket.objects), [f"/archives/{name}", f"/archives/{gz}"])
        result = self.ship(path, "--stream", "notes", "--compression", "gzip", "--verify", "tag", "--concurrency", "1")
        self.assertRegex(result.stdout, rf"^{path}\tnotes/a-[0-9a-f]{{16}}\.events\.gz\n$")
        self.ship(path, "--delete-local")
        self.assertEqual(self.left(), ["lines.json.gz"])
        self.assertEqual(len(self.bucket.puts), 3)

    def test_what_is_closed(self) -> None:
        """A pattern leaves out what is open; a name is taken seriously."""
        self.serve()
        closed = self.archive("closed", "x")
        with ArchiveWriter(str(self.directory / "open")) as writer:
            writer.write({}, "x")
            killed = self.torn("killed", "x", cut=0)
            marked = self.archive("marked", "x", version=1)
            (self.directory / ".marked.open").touch()
            for path, reason in (
                (writer.filename, "a process has it open"),
                (killed, "it is not complete: its writer was killed"),
                (marked, "its writer has not closed it"),
            ):
                self.assertEqual(self.refused("ship", path), f"{path} is not closed: {reason}")
            result = self.ship(str(self.directory / "*"))
        self.assertEqual(result.stdout.count("\n"), 1)
        self.assertTrue(result.stdout.startswith(f"{closed}\t"))
        self.assertEqual(result.stderr.count("skipped "), 3)
        self.assertIn("1 file shipped", result.stderr)
        self.assertIn("no closed archive", self.refused("ship", f"{killed}*"))

    def test_links(self) -> None:
        """A symbolic link counts as what it points to."""
        self.serve()
        path = self.archive("a", "x")
        (self.directory / "there").mkdir()
        link = self.directory / "there" / "link"
        link.symlink_to("../a")
        self.assertTrue(self.ship(str(link), path).stdout.startswith(f"{path}\t"))
        self.assertEqual(len(self.bucket.objects), 1)

    def test_not_there(self) -> None:
        """It is tried again, then given up; the same command goes on, and nothing is lost."""
        path = self.archive("a", "x")
        result = self.ship(path, "--attempts", "2", "--delete-local", status=1)
        first, second, last = result.stderr.splitlines()
        self.assertIn(f"{path}: attempt 1 failed: ", first)
        self.assertIn(f"{path}: given up: ", second)
        self.assertEqual(
            last,
            "Error: 1 not shipped; run the command again to retry;  0 files shipped, 0 B uploaded, 0 removed here",
        )
        self.assertNotIn("very secret", result.stderr)
        spool, name = self.left()
        self.assertEqual(name, "a")
        self.assertRegex(spool, r"^\.storehouse-ship-[0-9a-f]{12}$")
        self.serve()
        self.assertIn("1 file shipped", self.ship(path, "--delete-local").stderr)
        self.assertEqual(self.left(), [])

    def test_refused(self) -> None:
        """Wrong credentials are not tried again."""
        self.serve()
        self.bucket.refusing.append(403)
        path = self.archive("a", "x")
        result = self.ship(path, status=1)
        self.assertEqual(len(result.stderr.splitlines()), 2)
        self.assertIn("given up", result.stderr)
        self.bucket.refusing.clear()
        self.ship(path)
        self.assertEqual(self.left(), ["a"])

    def test_interrupted(self) -> None:
        """However it ends in mid-upload: the next one goes on, under the same name, and takes nothing twice."""
        self.serve()
        path = self.archive("a", "x")
        words = ["ship", path, "--to", "far", "--config", str(self.config), "--delete-local"]
        names: set[str] = set()
        for number, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
            self.bucket.go_on.clear()
            self.bucket.puts.clear()
            process = self.start(*words)
            wait_for(lambda: bool(self.bucket.puts), "an upload")
            if number == signal.SIGINT:
                said = self.refused(*words)
                self.assertIn("another shipper uses the shipping directory", said)
            process.send_signal(number)
            self.assertEqual(self.ended(process)[:2], (status, ""))
            self.assertIn("a", self.left())
            self.bucket.go_on.set()
            # The server has the whole body: it stores it after all.
            wait_for(lambda: bool(self.bucket.objects), "the object")
            names.update(self.bucket.objects)
            self.bucket.objects.clear()
        result = self.run_command(*words)
        self.assertIn("1 file shipped", result.stderr)
        self.assertEqual(set(self.bucket.objects), names)
        self.assertEqual(len(names), 1)
        self.assertEqual(self.left(), [])

    def test_left_behind(self) -> None:
        """A command was killed when the file had arrived and was removed: the next one clears up."""
        path = self.archive("a", "x")
        self.ship(path, "--attempts", "1", "--delete-local", status=1)
        (spool,) = set(self.left()) - {"a"}
        dead, waiting = (self.directory / spool / name for name in ("dead", "waiting"))
        self.serve()
        self.bucket.go_on.clear()
        process = self.start("ship", path, "--to", "far", "--config", str(self.config), "--delete-local")
        wait_for(lambda: bool(self.bucket.puts), "an upload")
        process.kill()
        self.ended(process)
        self.bucket.go_on.set()
        self.assertEqual((os.listdir(dead), len(os.listdir(waiting)) > 1), ([], True))
        os.unlink(path)
        self.assertIn("No such file", self.ship(path, status=1).stderr)
        self.assertIn("1 file shipped", self.ship(f"{path}*").stderr)
        self.assertEqual(self.left(), [])

    def test_spool(self) -> None:
        """In another place, made as it is needed."""
        self.serve()
        path = self.archive("a", "x")
        spool = self.directory / "spool" / "er"
        self.ship(path, "--spool", str(spool))
        self.assertEqual(os.listdir(spool), [])

    def test_several_directories(self) -> None:
        """Each has a shipping directory of its own for as long as it takes."""
        self.serve()
        for name in ("one", "two"):
            (self.directory / name).mkdir()
            self.archive(f"{name}/a", name)
        self.assertEqual(self.ship(str(self.directory / "*" / "a")).stdout.count("\n"), 2)
        self.assertEqual([os.listdir(self.directory / name) for name in ("one", "two")], [["a"], ["a"]])

    def test_output_gone(self) -> None:
        """All is shipped nevertheless."""
        self.serve()
        path = self.archive("a", "x")
        read, write = os.pipe()
        os.close(read)
        process = self.start("ship", path, "--to", "far", "--config", str(self.config), stdout=write)
        os.close(write)
        self.assertEqual(self.ended(process), (141, "", ""))
        self.assertEqual(len(self.bucket.objects), 1)
        self.assertEqual(self.left(), ["a"])

    def test_tables(self) -> None:
        """The tables of the service, read as the service reads them."""
        self.serve()
        path = self.archive("a.events", "x")
        secret = Path(os.path.abspath(self.mktemp()))
        secret.write_text("very secret\n")
        secret.chmod(0o600)
        table = f'[destinations.far]\nkind = "s3"\nendpoint = "http://127.0.0.1:{self.port}"\naccess_key = "a"\n'
        rest = 'shipping = {compression = "none"}\n[archive.streams.s]\nship = "far"\nkeep_local = false\n'
        self.config.write_text(f'{table}secret_key_file = "{secret}"\nthreshold = "64MiB"\n{rest}')
        self.assertRegex(self.ship(path).stdout, r"\tdefault/a-[0-9a-f]{16}\.events\n$")
        for line, said in (
            ('secret_key = "very secret"', "secret_key must not be in [destinations.far]"),
            ("", "lacks the secret"),
            (f'secret_key_file = "{secret}"\ndelete = true', "unknown setting 'delete'"),
        ):
            self.config.write_text(f"{table}{line}\n{rest}")
            told = " ".join(self.ship(path, status=2).stderr.split())
            self.assertIn(said, told)
            self.assertNotIn("very secret", told)
        secret.chmod(0o644)
        self.config.write_text(f'{table}secret_key_file = "{secret}"\n{rest}')
        self.assertIn("others can read it", self.ship(path, status=2).stderr)

    def test_usage(self) -> None:
        path = self.archive("a", "x")
        for words, said in (
            (["--to", "far"], "give --config FILE"),
            (
                ["--to", "near", "--config", str(self.config)],
                "has no [destinations.near]; it has: far",
            ),
            (["--to", "far", "--config", f"{path}.none"], "cannot be read"),
            (["--level", "10"], "gzip has 1 to 9"),
            (["--root", "/nowhere"], "there are no buckets"),
        ):
            self.assertIn(said, " ".join(self.run_command("ship", path, *words, status=2).stderr.split()))
        self.run_command("ship", "store:a/b", status=2)
        del os.environ["TEST_SHIP_SECRET"]
        self.assertIn("TEST_SHIP_SECRET", self.ship(path, status=2).stderr)
        os.environ["TEST_SHIP_SECRET"] = "very secret"
        self.assertEqual(self.left(), ["a"])


class SpoolTests(SynchronousTestCase):
    """The name of the shipping directory."""

    def test_moved(self) -> None:
        """It is the same after files and root were moved together, and one with the name of before goes on."""
        top, other = os.path.abspath(self.mktemp()), os.path.abspath(self.mktemp())
        settings = StoreSettings(bucket="b")
        names = [
            os.path.relpath(spool_beside(f"{each}/files", settings, f"{each}/root"), each) for each in (top, other)
        ]
        self.assertEqual(names[0], names[1])
        self.assertNotEqual(spool_beside(top, settings, f"{top}/a"), spool_beside(top, settings, f"{top}/b"))
        digest = hashlib.sha256(identity_of(settings, f"{top}/root").encode()).hexdigest()[:12]
        old = f"{top}/files/.storehouse-ship-{digest}"
        os.makedirs(old)
        self.assertEqual(spool_beside(f"{top}/files", settings, f"{top}/root"), old)
