"""The parts of the benchmarks that decide what is believed; no load is made here."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench import append, dataspace, objects, sfsp, upload
from bench.appendlog import PEER, Client, Program, bucket_of, frame
from bench.harness import BenchError, Spread, format_table, free_port, running, workspace
from bench.scenarios import Appends, Batches, Gets, MultiGets, Scenario
from bench.wrk import Outcome, parse_outcome, request_bytes


class MemoryClient(Client):
    """An append log in memory, with one file for each bucket."""

    def __init__(self) -> None:
        super().__init__(port=1)
        self.files: dict[int, bytearray] = {}

    def append(self, identifier: str, record: bytes) -> int:
        """Append to the bucket's bytes."""
        file = self.files.setdefault(bucket_of(identifier), bytearray())
        offset = len(file)
        file += frame([record])
        return offset

    def get(self, identifier: str, offset: int) -> bytes:
        """Read from them."""
        file = self.files[bucket_of(identifier)]
        length = int.from_bytes(file[offset : offset + 4], "little")
        return bytes(file[offset + 4 : offset + 4 + length])

    def request(self, method: str, target: str, body: bytes | None = None) -> bytes:
        """C{/getMulti} only."""
        offsets = memoryview(body or b"").cast("Q")
        return frame(self.get("bench-0", offset) for offset in offsets)


def outcome(requests: int) -> Outcome:
    """What wrk would say of so many answered requests."""
    return Outcome(requests, 1.0, 1.0, 1.0)


class WrkTests(SynchronousTestCase):
    """What is sent by wrk and read from it."""

    line = 'RESULT {"requests": 10, "duration": 2000000, "p50": 5, "p99": 9, "connect": 0, "read": 0, "write": 0, "timeout": 0, "status": %d}\n'

    def test_outcome(self) -> None:
        """Durations are seconds, latencies microseconds."""
        self.assertEqual(parse_outcome("noise\n" + self.line % 0), Outcome(10, 2.0, 5.0, 9.0))

    def test_bad_answers(self) -> None:
        """One bad answer spoils the figure, and so does no result."""
        self.assertRaises(BenchError, parse_outcome, self.line % 1)
        self.assertRaises(BenchError, parse_outcome, "unable to connect")

    def test_request(self) -> None:
        """Requests are what goes over the wire."""
        expected = b"POST /a HTTP/1.1\r\nHost: 127.0.0.1:9\r\nContent-Length: 2\r\n\r\nhi"
        self.assertEqual(request_bytes("POST", "/a", 9, b"hi"), expected)


class ScenarioTests(SynchronousTestCase):
    """Checks accept what is right and refuse what is not."""

    def test_bucket(self) -> None:
        """FNV-1a, by its published test vectors."""
        self.assertEqual(
            [bucket_of(""), bucket_of("a"), bucket_of("foobar")], [0x811C9DC5 % 128, 0xE40C292C % 128, 0xBF9CF968 % 128]
        )

    def appended(self, scenario: Appends, requests: int, record: bytes | None = None) -> MemoryClient:
        """A log to which so many requests came, as if by wrk."""
        client = MemoryClient()
        scenario.prepare(client)
        for number in range(requests * scenario.records):
            client.append(
                scenario.identifiers[number % len(scenario.identifiers)], scenario.record if record is None else record
            )
        return client

    def test_all_there(self) -> None:
        """All that was acknowledged is stored, and a little more may be."""
        for scenario in (Appends(2, 100, 1), Appends(2, 100, 10), Batches(2, 100, 5)):
            for unfinished in (0, 2):
                scenario.check(self.appended(scenario, 20 + unfinished), outcome(20))

    def test_lost(self) -> None:
        """One record less than acknowledged is noticed."""
        scenario = Appends(2, 100, 10)
        self.assertRaises(BenchError, scenario.check, self.appended(scenario, 19), outcome(20))

    def test_doubled(self) -> None:
        """So are records that were stored more than once."""
        scenario = Appends(2, 100, 10)
        self.assertRaises(BenchError, scenario.check, self.appended(scenario, 40), outcome(20))

    def test_wrong(self) -> None:
        """So are other records of the same length."""
        scenario = Appends(2, 100, 1)
        self.assertRaises(BenchError, scenario.check, self.appended(scenario, 20, bytes(100)), outcome(20))

    def test_reads(self) -> None:
        """Reading scenarios find what they stored, and notice when it is gone."""
        scenarios: list[Scenario] = [Gets(1), MultiGets(1, 100)]
        for scenario in scenarios:
            client = MemoryClient()
            scenario.prepare(client)
            scenario.check(client, outcome(1))
            client.files = {bucket: bytearray(len(file)) for bucket, file in client.files.items()}
            self.assertRaises(BenchError, scenario.check, client, outcome(1))


class HarnessTests(SynchronousTestCase):
    """Processes, places and tables."""

    def test_server(self) -> None:
        """A server is started, measured and stopped."""
        port = free_port()
        directory = Path(self.mktemp())
        with workspace(directory, 0) as place:
            with running("files", [sys.executable, "-m", "http.server", str(port)], port, place / "log") as server:
                self.assertGreater(server.peak_rss(), 2**20)
                self.assertGreaterEqual(server.cpu_seconds(), 0)
            self.assertIsNotNone(server.process.returncode)
        self.assertFalse(directory.exists())

    def test_no_server(self) -> None:
        """A server that ends at once is reported with its output."""
        with workspace(Path(self.mktemp()), 0) as place:
            starting = running(
                "broken", [sys.executable, "-c", "raise SystemExit('no luck')"], free_port(), place / "log"
            )
            error = self.assertRaises(BenchError, starting.__enter__)
        self.assertIn("no luck", str(error))

    def test_no_space(self) -> None:
        """A place that is too small is refused."""
        self.assertRaises(BenchError, workspace(Path(self.mktemp()), 2**80).__enter__)

    def test_table(self) -> None:
        """Names to the left, figures to the right."""
        table = format_table("title", ["name", "n"], [["a", "1"], ["bcdef", "10"]])
        self.assertEqual(table, "title\nname    n\n-----  --\na       1\nbcdef  10")

    def test_spread(self) -> None:
        """Median and range."""
        spread = Spread((3.0, 1.0, 2.5))
        self.assertEqual((spread.median, spread.range(".1f")), (2.5, "1.0-3.0"))


class CommandTests(SynchronousTestCase):
    """What the two commands run."""

    def refused(self, main: Callable[[Sequence[str]], int], *arguments: str) -> str:
        """The message with which a command refuses its arguments."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            error = self.assertRaises(SystemExit, main, arguments)
        self.assertEqual(error.code, 2)
        return said.getvalue()

    def test_cases(self) -> None:
        """Every case has a name of its own, begins with the peer and has a program of ours."""
        self.assertEqual(len({case.name for case in append.CASES}), len(append.CASES))
        for case in append.CASES:
            programs = [program for program, _ in case.rows]
            self.assertEqual(programs[0], PEER)
            self.assertFalse(any(program.is_peer for program in programs[1:]))
            self.assertGreater(len(programs), 1)

    def test_command(self) -> None:
        """The reactor is an option of twistd, the rest are ours."""
        command = Program("x", "disk", "storehouse").command(Path("/peer"), Path("/root"), 9)
        self.assertLess(command.index("--reactor=storehouse"), command.index("storehouse"))
        self.assertEqual(command[-2:], ["--append-sync", "disk"])

    def test_refused(self) -> None:
        """Mistakes are explained."""
        self.patch(os, "environ", {})
        self.assertIn("STOREHOUSE_BENCH_PEER", self.refused(append.main))
        self.assertIn("getmulti-100", self.refused(append.main, "--only", "nonsense"))
        self.assertIn("--rounds", self.refused(upload.main, "--rounds", "0"))
        self.assertIn("--rounds", self.refused(dataspace.main, "--rounds", "0"))
        self.assertIn("small-put", self.refused(dataspace.main, "--only", "nonsense"))

    def test_nginx(self) -> None:
        """All that nginx writes is in the directory."""
        text = upload.nginx_configuration(Path("/there"), Path("/there/root"), 9)
        self.assertIn("worker_processes 1;", text)
        self.assertEqual(text.count(" /there/"), 8)


class SpaceTests(SynchronousTestCase):
    """What is measured of the object layer, with little to do."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        self.body = os.path.join(self.directory, "body")
        upload.make_body(Path(self.body), 3 << 20)

    def check(self, what: str, **task: object) -> None:
        """It takes some time, and some memory."""
        outcome = dataspace.run(what, directory=self.directory, **task)
        self.assertGreater(outcome.seconds, 0)
        self.assertGreater(outcome.peak, 1 << 20)

    def test_large(self) -> None:
        """Both sides of the tables of one object."""
        task = {"source": self.body, "hash": "BLAKE3"}
        for side in ("bare", "our"):
            self.check(f"{side}_put", **task)
            self.check(f"{side}_get", **task, compare=True)
            self.check(f"{side}_ranges", **task, count=3, seed=1)

    def test_small(self) -> None:
        """Both sides of the tables of small objects."""
        self.check("bare_small_puts", count=10, flight=3, durable=True, first=100)
        self.check("our_small_puts", count=10, flight=3, durable=True, first=0)
        for side in ("bare", "our"):
            self.check(f"{side}_small_gets", count=5, flight=2, objects=10, seed=1)
        self.directory += "-many"
        self.check("our_many_puts", count=3, size=1 << 20)

    def test_failure(self) -> None:
        """A failure is reported."""
        task = {"directory": self.directory, "source": self.body, "hash": "BLAKE3", "compare": False}
        error = self.assertRaises(BenchError, dataspace.run, "our_get", **task)
        self.assertIn("NoSuchObject", str(error))

    def test_objects(self) -> None:
        """Small objects through the object store, and keys of a large bucket."""
        found = objects.run("small_objects", directory=self.directory, count=5, flight=2, durable=True, seed=1)
        self.assertGreater(min(found.values()), 0)
        directory = os.path.join(self.directory, "keys")
        objects.run("make_keys", directory=directory, keys=600)
        for what in ("start_clean", "start_killed"):
            self.assertGreater(objects.run(what, directory=directory, seed=1)["ms"], 0)
        self.assertGreater(min(objects.run("read", directory=directory, keys=600, seed=1).values()), 0)

    def test_sfsp(self) -> None:
        """A large and some small chunks, by the client that measures, and the same objects without a socket."""
        directory = Path(self.directory)
        with open(self.body, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = os.path.getsize(self.body)
        with sfsp.storehouse(directory / "ours", "os") as ours, sfsp.bare(directory / "bare") as bare:
            for kind, port in (("sfsp", ours.port), ("bare", bare.port)):
                self.assertGreater(sfsp.load("send_large", kind=kind, port=port, path=self.body), 0)
                self.assertGreater(sfsp.load("receive_large", kind=kind, port=port, size=size, sha256=sha256), 0)
            task = {"port": ours.port, "size": 1000, "count": 20, "connections": 3, "depth": 2, "name": "small"}
            for what in ("send", "receive"):
                self.assertGreater(sfsp.load(f"{what}_small", **task), 0)
            error = self.assertRaises(BenchError, sfsp.load, "receive_small", **{**task, "name": "other"})
            self.assertIn("answered", str(error))
        task = {"directory": self.directory, "count": 5, "flight": 2, "durable": False, "size": 1000, "seed": 1}
        self.assertGreater(min(objects.run("chunks", **task).values()), 0)
