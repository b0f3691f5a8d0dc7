"""Tests of L{storehouse.frontends.objects}: an object store on a real disk, a network in memory."""

from __future__ import annotations

import json
import os
import time
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings
from storehouse.core.budget import ByteBudget
from storehouse.core.jobs import InlineDisk
from storehouse.errors import StorageFailed
from storehouse.frontends.http.request import parse_query
from storehouse.frontends.http.site import DoorSite
from storehouse.frontends.objects.door import ObjectsDoor
from storehouse.storage.dataspace.holds import Holds
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.storage.objects.store import LocalObjectStore
from storehouse.testing.accounts import MemoryAccounts
from tests.frontends.http.wire import Answer, Connection, request, split_answers

#: Keys that some path, shell or file system would like to change.
KEYS = [
    "a",
    "a/b",
    "a/",
    "/",
    "//",
    "/a",
    "a//b",
    "..",
    "../..",
    "a/../b",
    ".",
    "./a",
    "%",
    "%2F",
    "%zz",
    "a+b c",
    "?query=1",
    "#part",
    "nul\0nul",
    "line\r\nline",
    "default.json",
    "käse",
    "\U0001f600",
    "\uffff",
    "\\",
    '"',
    "x" * 1024,
    "ä" * 512,
]


#: What the usage of a bucket says that has neither versions nor markers.
NO_VERSIONS = {"versions": 0, "versions_bytes": 0, "markers": 0}


class DoorCase(SynchronousTestCase):
    """A door with a bucket C{box}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = os.path.abspath(self.mktemp())
        disk = InlineDisk()
        settings = WormerSettings(os.path.join(self.directory, "objects"), block_size=1000, durable=False)
        space = WormerDataSpace(settings, disk)
        names = LocalNamespace(
            NamespaceSettings(os.path.join(self.directory, "namespace"), durable=False), self.clock, disk
        )
        self.accounts = MemoryAccounts()
        self.store = LocalObjectStore(space, names, disk)
        for part in (space, names, self.store):
            part.start()
        for part in (space, names, self.store):
            self.addCleanup(lambda part=part: self.successResultOf(part.stop()))
        self.site = DoorSite(
            ObjectsDoor(self.store, Holds(space.holding, self.clock), lambda: succeed(self.accounts)).resource,
            self.clock,
            ConnectionSettings(),
            name="objects",
        )
        self.ask("PUT /buckets/box")

    def ask(self, line: str, body: bytes | None = None, *fields: str, status: int = 200) -> Answer:
        """A request over a connection of its own, and its answer."""
        connection = Connection(self.site)
        connection.send(request(line, body, *fields))
        (answer,) = split_answers(connection.received, [line.split()[0]])
        connection.close()
        self.assertEqual(answer.status, status, answer)
        return answer

    def told(self, line: str, body: bytes | None = None, *fields: str, status: int = 200) -> Any:
        """What an answer says in JSON."""
        return json.loads(self.ask(line, body, *fields, status=status).body)

    def test_no_length(self) -> None:
        """A request that has lost its body leaves what is stored alone."""
        self.ask("PUT /objects/box/a", b"precious")
        self.refused("PUT /objects/box/a", None, status=411, error="LengthRequired")
        for field in ("Content-Range: bytes 4-7/8", "Content-Encoding: gzip"):
            self.refused("PUT /objects/box/a", b"ious", field, status=400, error="BadRequest")
        self.assertEqual(self.ask("GET /objects/box/a").body, b"precious")
        self.ask("PUT /objects/box/b", b"x", "Content-Encoding: identity")

    def refused(self, line: str, body: bytes | None, *fields: str, status: int, error: str) -> str:
        """What a refusal says."""
        said = self.told(line, body, *fields, status=status)
        self.assertEqual(said["error"], error)
        return str(said["detail"])

    def damage(self, key: str, at: int) -> None:
        """Flip a byte."""
        id = self.told(f"GET /info/box/{key}")["id"]
        path = os.path.join(self.directory, "objects", "data", id[:2], id, "part.1")
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))


class BucketTests(DoorCase):
    """C{/buckets}."""

    def test_buckets(self) -> None:
        made = self.told("PUT /buckets/other", b'{"metadata":{"a":"b"}}')
        self.assertEqual((made["name"], made["metadata"]), ("other", {"a": ["b"]}))
        self.assertEqual(self.told("GET /buckets/other"), made)
        for path in ("/buckets", "/buckets/"):
            self.assertEqual([bucket["name"] for bucket in self.told(f"GET {path}")["buckets"]], ["box", "other"])
        self.assertEqual(self.told("DELETE /buckets/other"), {"success": True})
        self.refused("GET /buckets/other", None, status=404, error="NoSuchBucket")
        self.refused("PUT /buckets/box", None, status=409, error="AlreadyExists")
        self.refused("PUT /buckets/Box", None, status=400, error="InvalidName")
        self.ask("PUT /objects/box/a", b"1")
        self.refused("DELETE /buckets/box", None, status=409, error="BucketNotEmpty")
        self.assertEqual(self.told("GET /buckets/box/usage"), {**NO_VERSIONS, "objects": 1, "bytes": 1})

    def test_versions(self) -> None:
        """Listed a page at a time; all else sees the current ones, and nothing where a marker is."""
        self.successResultOf(self.store.set_versioning("box", "enabled"))
        self.assertEqual(self.told("GET /buckets/box")["versioning"], "enabled")
        for data in (b"1", b"22"):
            self.ask("PUT /objects/box/a", data)
        self.ask("DELETE /objects/box/a")
        self.ask("PUT /objects/box/b/c", b"333")
        self.refused("GET /objects/box/a", None, status=404, error="NoSuchKey")
        self.refused("DELETE /objects/box/a", None, status=404, error="NoSuchKey")
        first = self.told("GET /buckets/box/versions?limit=2&delimiter=/")
        self.assertEqual([(each["marker"], each["size"]) for each in first["versions"]], [(True, 0), (False, 2)])
        query = f"key_marker={first['next_key_marker']}&version_marker={first['next_version_marker']}&delimiter=/"
        rest = self.told(f"GET /buckets/box/versions?{query}")
        self.assertEqual(([each["size"] for each in rest["versions"]], rest["prefixes"]), ([1], ["b/"]))
        self.assertEqual((rest["next_key_marker"], rest["damaged"]), (None, []))
        expected = {"objects": 1, "bytes": 3, "versions": 2, "versions_bytes": 3, "markers": 1}
        self.assertEqual(self.told("GET /buckets/box/usage"), expected)
        self.refused("GET /buckets/box/versions?version_marker=ab", None, status=400, error="InvalidName")
        self.refused("GET /buckets/box/versions?limit=100000", None, status=400, error="BadRequest")

    def test_set_metadata(self) -> None:
        """Of a bucket that is there."""
        told = self.told("PUT /buckets/box/metadata", b'{"metadata":{"public":"read"}}')
        self.assertEqual((told["name"], told["metadata"]), ("box", {"public": ["read"]}))
        self.assertEqual(self.told("GET /buckets/box"), told)
        for body in (b"", b"{}", b'{"metadata":1}', b'{"public":["read"]}', b'{"metadata":{"a":[1]}}'):
            self.ask("PUT /buckets/box/metadata", body, status=400)
        self.ask("PUT /buckets/box/metadata?x=1", b'{"metadata":{}}', status=400)
        self.ask("PUT /buckets/box/metadata/more", b'{"metadata":{}}', status=405)
        self.refused("PUT /buckets/none/metadata", b'{"metadata":{}}', status=404, error="NoSuchBucket")
        self.assertEqual(self.told("GET /buckets/box"), told)
        self.assertEqual(self.told("PUT /buckets/box/metadata", b'{"metadata":{}}')["metadata"], {})

    def test_wrong(self) -> None:
        """Paths and bodies that make no sense."""
        self.ask("GET /buckets/box/more", status=404)
        self.ask("GET /nothing", status=404)
        self.ask("PUT /buckets/box/objects", b"", status=405)
        self.ask("DELETE /buckets", status=405)
        self.ask("GET /buckets/%zz", status=400)
        self.ask("GET /buckets/%ff", status=400)
        self.ask("GET /buckets?x=1", status=400)
        for body in (b"{", b"[]", b'{"x":1}', b'{"metadata":1}', b'{"metadata":{"a":1}}', b'{"metadata":{"a":[1]}}'):
            self.ask("PUT /buckets/new", body, status=400)
        self.assertIn(b"/buckets", self.ask("GET /").body)

    def test_listing(self) -> None:
        """By pages, with a delimiter."""
        for key in ("a/1", "a/2", "b", "c"):
            self.ask(f"PUT /objects/box/{key}", b"x")
        page = self.told("GET /buckets/box/objects?delimiter=/&limit=2")
        self.assertEqual((page["prefixes"], [info["key"] for info in page["objects"]]), (["a/"], ["b"]))
        page = self.told(f"GET /buckets/box/objects?delimiter=%2F&limit=2&after={page['next_after']}")
        self.assertEqual(([info["key"] for info in page["objects"]], page["next_after"]), (["c"], None))
        page = self.told("GET /buckets/box/objects?prefix=a/")
        self.assertEqual([info["key"] for info in page["objects"]], ["a/1", "a/2"])
        for query in ("limit=x", "limit=10001", "max=1", "prefix=%ff"):
            self.ask(f"GET /buckets/box/objects?{query}", status=400)


class ReaderTests(DoorCase):
    """Clients that do not read: what they hold is bounded, and those who read are served."""

    def test_many(self) -> None:
        self.ask("PUT /objects/box/a", bytes(3_000_000))
        for number in range(30):
            self.ask(f"PUT /objects/box/{number}", b"", "Storehouse-Metadata: " + json.dumps({"m": "x" * 1000}))
        budget = self.site.budget = ByteBudget(4 << 20, self.clock, 60.0)
        self.site.startFactory()
        self.addCleanup(self.site.connections.stop)
        for line in ("GET /objects/box/a", "GET /buckets/box/objects"):
            readers = [Connection(self.site, window=1000) for _ in range(40)]
            for connection in readers:
                connection.send(request(line))
            self.assertLess(budget.used, 4 << 20)
            good = Connection(self.site)
            good.send(request(line, None, "Connection: close"))
            for _ in range(30):
                self.clock.advance(1)
                for connection in (*readers, good):
                    connection.settle()
            self.assertEqual([answer.status for answer in split_answers(good.received)], [200])
            self.assertLess(budget.peak, 5 << 20)
            for connection in readers:
                connection.close()
            self.assertEqual((budget.used, budget.waiting), (0, 0))

    def test_slow_command(self) -> None:
        """A body of JSON has to come soon, and is counted."""
        connection = Connection(self.site)
        self.site.startFactory()
        self.addCleanup(self.site.connections.stop)
        connection.send(b"POST /copy HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n" + bytes(1000))
        self.assertEqual(self.site.budget.used, 1000)
        for _ in range(22):
            self.clock.advance(1)
            connection.send(bytes(5000))
        self.assertEqual(split_answers(connection.received)[0].status, 408)
        self.assertEqual(self.site.budget.used, 0)


class ObjectTests(DoorCase):
    """C{/objects}, C{/info} and C{/copy}."""

    def test_every_key(self) -> None:
        """In the path as one component, and with its slashes where that is another way to write it."""
        for key in KEYS:
            path = quote(key, safe="")
            self.assertEqual(self.told(f"PUT /objects/box/{path}", key.encode())["key"], key)
        for key in KEYS:
            for safe in ("", "/"):
                self.assertEqual(self.ask(f"GET /objects/box/{quote(key, safe=safe)}").body, key.encode())
            self.assertEqual(self.told(f"GET /info/box/{quote(key, safe='')}")["key"], key)
        listed = [info["key"] for info in self.told("GET /buckets/box/objects")["objects"]]
        self.assertEqual(listed, sorted(KEYS, key=str.encode))
        self.assertEqual(self.ask("GET /objects/box/..").body, b"..")
        for key in KEYS:
            self.ask(f"DELETE /objects/box/{quote(key, safe='')}")
        self.assertEqual(self.told("GET /buckets/box/usage"), {**NO_VERSIONS, "objects": 0, "bytes": 0})

    def test_no_keys(self) -> None:
        for path in ("/objects", "/objects/box", "/objects/box/", "/objects/box/%ff", "/objects/box/%4",
                     "/objects/box/%ed%a0%80", f"/objects/box/{'x' * 1025}"):  # fmt: skip
            self.ask(f"PUT {path}", b"x", status=400)
        self.refused("GET /objects/box/none", None, status=404, error="NoSuchKey")
        self.refused("GET /objects/none/a", None, status=404, error="NoSuchBucket")

    def test_description(self) -> None:
        fields = ("Content-Type: text/plain", 'Storehouse-Metadata: {"a":"b","\\u00e4":["c","d"]}')
        info = self.told("PUT /objects/box/a?md5=1", b"hello", *fields)
        self.assertEqual(info["etag"], "5d41402abc4b2a76b9719d911017c592")
        self.assertEqual((info["content_type"], info["metadata"]), ("text/plain", {"a": ["b"], "ä": ["c", "d"]}))
        self.assertEqual(self.told("GET /info/box/a"), info)
        for method, body in (("GET", b"hello"), ("HEAD", b"")):
            answer = self.ask(f"{method} /objects/box/a")
            self.assertEqual(
                (answer.fields["content-type"], answer.fields["content-length"], answer.fields["etag"], answer.body),
                ("text/plain", "5", f'"{info["etag"]}"', body),
            )
            self.assertIn("last-modified", answer.fields)
        for field in (
            'Storehouse-Metadata: {"a":"b","a":"c"}',
            "Storehouse-Metadata: x",
            "Storehouse-Metadata: []",
            "Content-Type: \xe4",
        ):
            self.ask("PUT /objects/box/b", b"x", field, status=400)
        self.ask("PUT /objects/box/b?md5=2", b"x", status=400)
        self.ask("GET /objects/box/b", status=404)

    def test_content_type_of_the_name(self) -> None:
        """What comes without a media type has that of its name; what says that it has none has none."""
        for key, fields, kind in (
            ("a/P.JPG", (), "image/jpeg"),
            ("p.html", (), ""),
            ("p.jpg", ("Content-Type:",), ""),
            ("p.jpg", ("Content-Type: a/b",), "a/b"),
        ):
            self.assertEqual(self.told(f"PUT /objects/box/{key}", b"x", *fields)["content_type"], kind)

    def test_content_type_cannot_break_out(self) -> None:
        """What came by another way is not put into a head as it is."""
        body = json.dumps(
            {"bucket": "box", "key": "b", "source_bucket": "box", "source_key": "a", "content_type": "a\r\nX: y"}
        )
        self.ask("PUT /objects/box/a", b"x")
        self.told("POST /copy", body.encode())
        self.assertEqual(self.ask("GET /objects/box/b").fields["content-type"], "application/octet-stream")

    def test_ranges(self) -> None:
        data = bytes(range(256)) * 20
        etag = self.told("PUT /objects/box/a", data)["etag"]
        for text, offset, end in (
            ("0-0", 0, 1),
            ("0-", 0, 5120),
            ("999-1000", 999, 1001),
            ("5000-9999", 5000, 5120),
            ("-7", 5113, 5120),
            ("-99999", 0, 5120),
        ):
            answer = self.ask("GET /objects/box/a", None, f"Range: bytes={text}", status=206)
            self.assertEqual(answer.body, data[offset:end])
            self.assertEqual(answer.fields["content-range"], f"bytes {offset}-{end - 1}/5120")
        for text in ("5120-", "9999-99999", "-0"):
            answer = self.ask("GET /objects/box/a", None, f"Range: bytes={text}", status=416)
            self.assertEqual(answer.fields["content-range"], "bytes */5120")
        for text in ("bytes=1-2,4-5", "bytes=-", "bytes=5-1", "lines=1-2", "bytes=a-b"):
            self.assertEqual(self.ask("GET /objects/box/a", None, f"Range: {text}").body, data)
        asked = "Range: bytes=1-2"
        self.ask("GET /objects/box/a", None, asked, f'If-Range: "{etag}"', status=206)
        self.ask("GET /objects/box/a", None, asked, 'If-Range: "other"', status=200)
        self.ask("GET /objects/box/a", None, 'If-Match: "other"', status=412)
        self.ask("PUT /objects/box/empty", b"")
        self.ask("GET /objects/box/empty", None, "Range: bytes=0-", status=416)
        self.assertEqual(self.ask("GET /objects/box/empty").body, b"")

    def test_conditions_of_reading(self) -> None:
        """All that HTTP has: what the client has already is not sent."""
        etag = self.told("PUT /objects/box/a", b"1")["etag"]
        for method in ("GET", "HEAD"):
            for field in (f'If-None-Match: "{etag}"', f'If-None-Match: "x", W/"{etag}"', "If-None-Match: *"):
                answer = self.ask(f"{method} /objects/box/a", None, field, status=304)
                self.assertEqual((answer.fields["etag"], answer.body), (f'"{etag}"', b""))
            self.ask(f"{method} /objects/box/a", None, 'If-None-Match: "x"', f'If-Match: "{etag}"')
            self.ask(f"{method} /objects/box/a", None, 'If-Match: "x"', status=412)

    def test_conditions(self) -> None:
        etag = self.told("PUT /objects/box/a", b"1", "If-None-Match: *")["etag"]
        self.refused("PUT /objects/box/a", b"2", "If-None-Match: *", status=412, error="PreconditionFailed")
        self.refused("PUT /objects/box/a", b"2", 'If-Match: "x"', status=412, error="PreconditionFailed")
        self.refused("PUT /objects/box/b", b"2", "If-Match: *", status=412, error="NoKeyToMatch")
        self.ask("PUT /objects/box/a", b"2", f'If-Match: "{etag}"')
        self.ask("PUT /objects/box/a", b"3", "If-Match: *")
        self.refused("DELETE /objects/box/a", None, f'If-Match: "{etag}"', status=412, error="PreconditionFailed")
        for field in ('If-None-Match: "x"', 'If-Match: "a", "b"', 'If-Match: W/"a"'):
            self.ask("PUT /objects/box/a", b"4", field, status=400)
        self.assertEqual(self.ask("GET /objects/box/a").body, b"3")

    def test_copy(self) -> None:
        self.ask("PUT /objects/box/a", b"1", "Content-Type: text/plain", 'Storehouse-Metadata: {"a":"b"}')
        names = {"bucket": "box", "key": "nul\0", "source_bucket": "box", "source_key": "a"}

        def copy(status: int = 200, **more: object) -> Any:
            return self.told("POST /copy", json.dumps({**names, **more}).encode(), status=status)

        info = copy()
        self.assertEqual((info["content_type"], info["metadata"]), ("text/plain", {"a": ["b"]}))
        self.assertEqual(self.ask("GET /objects/box/nul%00").body, b"1")
        info = copy(content_type="", metadata={"c": "d"}, condition=None)
        self.assertEqual((info["content_type"], info["metadata"]), ("", {"c": ["d"]}))
        self.assertEqual(copy(412, condition={"absent": True})["error"], "PreconditionFailed")
        self.assertEqual(copy(412, source_condition={"etag": "x"})["error"], "PreconditionFailed")
        self.assertEqual(copy(404, source_key="none")["error"], "NoSuchKey")
        for wrong in ({"condition": {"x": 1}}, {"condition": {"absent": 1}}, {"key": 1}, {"key": None}, {"more": 1}):
            copy(400, **wrong)
        self.ask("POST /copy/more", b"{}", status=404)
        for body in (
            b"\xff",
            b"NaN",
            b"\xef\xbb\xbf{}",
            "{}".encode("utf-16"),
            b'{"key":"a","key":"b"}',
            b'{"key":"\\ud800"}',
            b'{"metadata":' + b"[" * 100_000,
        ):
            self.assertEqual(self.told("POST /copy", body, status=400)["error"], "MalformedBody", body[:40])

    def test_body_that_does_not_come_whole(self) -> None:
        """Nothing is stored."""
        connection = Connection(self.site)
        connection.send(b"PUT /objects/box/a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
        connection.close()
        self.ask("GET /objects/box/a", status=404)
        self.assertEqual(self.successResultOf(self.store.check()), [])

    def test_chunked(self) -> None:
        connection = Connection(self.site)
        connection.send(
            b"PUT /objects/box/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )
        self.assertEqual(split_answers(connection.received)[0].status, 200)
        self.assertEqual(self.ask("GET /objects/box/a").body, b"hello")

    def test_slow_reader(self) -> None:
        """No more than a little is held for it, and it gets all."""
        data = os.urandom(3_000_000)
        self.ask("PUT /objects/box/a", data)
        connection = Connection(self.site, window=1000)
        connection.send(request("GET /objects/box/a"))
        while len(connection.transport.waiting):
            connection.transport.take(100_000)
        self.assertLess(connection.transport.most_waiting, 600_000)
        self.assertEqual(split_answers(connection.received)[0].body, data)
        connection.send(request("GET /buckets"))
        connection.transport.take(100_000)
        self.assertEqual(len(split_answers(connection.received)), 2)

    def test_reader_that_leaves(self) -> None:
        """Its object is closed: deleted bytes are gone."""
        info = self.told("PUT /objects/box/a", os.urandom(3_000_000))
        connection = Connection(self.site, window=1000)
        connection.send(request("GET /objects/box/a"))
        connection.close()
        self.ask("DELETE /objects/box/a")
        self.assertFalse(os.path.exists(os.path.join(self.directory, "objects", "data", info["id"][:2], info["id"])))
        self.assertEqual(os.listdir(os.path.join(self.directory, "objects", "tmp")), [])

    def test_damage(self) -> None:
        """All before the damaged block arrives, then the connection ends; asked for what is missing, it says why."""
        data = os.urandom(3_500)
        self.ask("PUT /objects/box/a", data)
        self.damage("a", 1_500)
        for window in (None, 100):
            connection = Connection(self.site, window)
            connection.send(request("GET /objects/box/a") + request("GET /buckets"))
            if window is not None:
                self.assertFalse(connection.is_closed)
                connection.transport.take(100_000)
                connection.settle()
            head, _, body = connection.received.partition(b"\r\n\r\n")
            self.assertIn(b"Content-Length: 3500", head)
            self.assertEqual(body, data[:1000])
            self.assertTrue(connection.is_closed)
        detail = self.refused("GET /objects/box/a", None, "Range: bytes=1000-1000", status=500, error="DamagedObject")
        self.assertIn("block 1", detail)
        self.assertEqual(self.ask("GET /objects/box/a", None, "Range: bytes=2000-", status=206).body, data[2000:])
        self.ask("HEAD /objects/box/a")


class UpkeepTests(DoorCase):
    """C{/check} and C{/reindex}."""

    def lines(self, line: str) -> list[Any]:
        """What is said, line by line."""
        return [json.loads(text) for text in self.ask(line, b"").body.splitlines()]

    def test_nothing_wrong(self) -> None:
        for number in range(250):
            self.ask(f"PUT /objects/box/{number}", b"x")
        lines = self.lines("POST /check")
        self.assertEqual(lines[-1], {"done": 0})
        self.assertTrue(any("progress" in line for line in lines))
        self.assertEqual(self.lines("POST /reindex")[-1], {"done": 250})

    def test_problems(self) -> None:
        id = self.told("PUT /objects/box/a", b"x")["id"]
        space: Any = self.store._pair.space
        self.successResultOf(space.copy("ab", id))
        lines = self.lines("POST /check")
        self.assertEqual((lines[-1], lines[-2]["problem"]["kind"]), ({"done": 1}, "orphan"))
        self.assertEqual(self.lines("POST /check?repair=1")[-1], {"done": 1})
        self.assertEqual(self.lines("POST /check")[-1], {"done": 0})

    def test_failure(self) -> None:
        """A failure is the last line."""

        def fail(progress: Any) -> Any:
            raise StorageFailed("no disk")

        self.patch(self.store, "reindex", fail)
        self.assertEqual(self.lines("POST /reindex")[-1], {"error": "StorageFailed", "detail": "no disk"})

    def test_wrong(self) -> None:
        self.ask("GET /check", status=405)
        self.ask("POST /check?repair=yes", b"", status=400)
        self.ask("POST /reindex?x=1", b"", status=400)

    def test_hold(self) -> None:
        """What is removed is kept as long as that is asked for."""
        id = self.told("PUT /objects/box/a", b"x")["id"]
        held = self.told("POST /hold", b"")
        self.assertEqual(held["seconds"], 60)
        self.ask("DELETE /objects/box/a")
        kept = os.path.join(self.directory, "objects", "tmp", f"kept.{id}")
        self.clock.advance(40)
        self.assertEqual(self.told(f"POST /hold/{held['hold']}", b""), held)
        self.clock.advance(40)
        self.assertTrue(os.path.isdir(kept))
        self.ask(f"DELETE /hold/{held['hold']}")
        self.assertFalse(os.path.exists(kept))
        for line in (f"POST /hold/{held['hold']}", "POST /hold/x/y", "DELETE /hold/none"):
            self.ask(line, b"" if line.startswith("POST") else None, status=404)
        self.ask("DELETE /hold", status=405)
        self.ask("POST /hold?x=1", b"", status=400)


class RekeyTests(DoorCase):
    """C{POST /rekey}."""

    def test_refused(self) -> None:
        """Where nothing is encrypted."""
        self.refused("POST /rekey", b"{}", status=409, error="Conflict")


class UserTests(DoorCase):
    """C{/users}, for commands."""

    def test_keys(self) -> None:
        made = self.told("POST /users", b'{"name":"ann","is_admin":true}')
        self.assertEqual((made["user"]["name"], made["user"]["is_admin"]), ("ann", True))
        self.assertEqual(self.accounts.user_of_key(made["user"]["key_id"], made["secret"]).name, "ann")
        new = self.told("POST /users/ann/rotate")
        self.assertNotEqual(new["secret"], made["secret"])
        self.assertEqual(self.told("GET /users"), {"users": [new["user"]], "url": None})
        self.assertTrue(self.told("POST /users/ann/disable")["is_disabled"])
        self.assertFalse(self.told("POST /users/ann/enable")["is_disabled"])

    def test_rights(self) -> None:
        """Granted and revoked, and further keys; each is an audit event."""
        self.ask("POST /users", b'{"name":"ann"}')
        granted = self.told("POST /users/ann/grant", b'{"permissions":["read"],"bucket":"b","prefix":"p"}')
        self.assertIn({"permissions": ["read"], "bucket": "b", "prefix": "p"}, granted["rights"])
        self.told("POST /users/ann/revoke", b'{"permissions":["read"],"bucket":"b","prefix":"p"}')
        self.assertEqual(self.told("POST /users/ann/revoke", b'{"all":true}')["rights"], [])
        limits = [{"permissions": ["put-new"], "bucket": "*", "prefix": ""}]
        key = self.told("POST /users/ann/keys", json.dumps({"limits": limits, "note": "n"}).encode())
        self.assertEqual(key["user"]["keys"][0]["limits"], limits)
        self.assertEqual(self.accounts.user_of_key(key["key_id"], key["secret"]).name, "ann")
        self.assertEqual(
            self.told("POST /users/ann/remove-key", json.dumps({"key_id": key["key_id"]}).encode())["keys"], []
        )

    def test_links(self) -> None:
        """Made by whom the path names; lists have the URL that they begin with."""
        self.ask("POST /users", b'{"name":"ann"}')
        self.successResultOf(self.accounts.write_url("https://box:7000"))
        self.assertEqual(self.told("GET /users")["url"], "https://box:7000")
        token = self.told("POST /users/ann/sign-in", b'{"lifetime":60.0}')["token"]
        self.assertEqual(self.successResultOf(self.accounts.sign_in_by_token(token)).user.name, "ann")
        wanted = {"method": "GET", "path": "/download/a", "expires": time.time() + 60, "once": True}
        query = self.told("POST /users/ann/links", json.dumps(wanted).encode())["query"]
        grant = self.accounts.grant_of("GET", "/download/a", parse_query(query.encode()))
        self.assertEqual((grant.user, grant.once), ("ann", True))
        rights = {"permissions": ["read", "list"], "bucket": "uploads", "prefix": "a/"}
        wanted = {**rights, "expires": time.time() + 60}
        query = self.told("POST /users/ann/links", json.dumps(wanted).encode())["query"]
        grant = self.accounts.grant_of("", "", parse_query(query.encode()))
        assert grant.rights is not None
        self.assertEqual((grant.user, grant.rights.prefix), ("ann", "a/"))
        for more in ({"path": "/a"}, {"method": "GET"}, {"is_prefix": True}, {"bucket": "*"}):
            self.ask("POST /users/ann/links", json.dumps({**wanted, **more}).encode(), status=400)

    def test_refused(self) -> None:
        self.ask("POST /users", b'{"name":"ann"}')
        for line, body, status, error in (
            ("POST /users", b'{"name":"ann"}', 409, "AlreadyExists"),
            ("POST /users", b'{"name":"A"}', 400, "InvalidName"),
            ("POST /users", b"{}", 400, "BadRequest"),
            ("POST /users", b'{"name":1}', 400, "MalformedBody"),
            ("POST /users/bob/grant", b'{"permissions":["read"],"bucket":"b"}', 404, "NoSuchUser"),
            ("POST /users/ann/grant", b'{"permissions":["read"]}', 400, "BadRequest"),
            ("POST /users/ann/grant", b'{"permissions":["x"],"bucket":"b"}', 400, "BadRequest"),
            ("POST /users/ann/revoke", b'{"permissions":["read"],"bucket":"b"}', 400, "BadRequest"),
            ("POST /users/ann/revoke", b"{}", 400, "BadRequest"),
            ("POST /users/ann/keys", b'{"limits":[1]}', 400, "BadRequest"),
            ("POST /users/ann/remove-key", b'{"key_id":"SH"}', 404, "NoSuchAccessKey"),
            ("POST /users/bob/rotate", None, 404, "NoSuchUser"),
            ("POST /users/bob/links", b'{"method":"GET","path":"/download/a","expires":1.0}', 404, "NoSuchUser"),
            ("POST /users/ann/links", b'{"method":"GET","path":"/download/a","expires":1.0}', 400, "BadRequest"),
            ("POST /users/ann/sign-in", b"{}", 400, "BadRequest"),
            ("POST /users/ann", None, 404, "NoSuchResource"),
            ("POST /users/ann/promote", None, 404, "NoSuchResource"),
            ("GET /users/ann", None, 404, "NoSuchResource"),
        ):
            self.refused(line, body, status=status, error=error)
