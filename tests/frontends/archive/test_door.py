"""Tests of L{storehouse.frontends.archive}: streams on a real disk, a network in memory."""

from __future__ import annotations

import json
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive.interfaces import Record
from storehouse.config.settings import ArchiveSettings, ConnectionSettings
from storehouse.core.budget import ByteBudget, Hold
from storehouse.errors import BadRequest, MalformedBody, TooLarge
from storehouse.frontends.archive.door import ArchiveDoor
from storehouse.frontends.archive.records import (
    encode_binary,
    encode_lines,
    format_time,
    parse_binary,
    parse_lines,
    parse_time,
)
from storehouse.frontends.http.site import DoorSite
from tests.frontends.http.wire import Answer, Connection, request, split_answers
from tests.storage.streams.rig import Room, outcome

_NDJSON = "Content-Type: application/x-ndjson"
_BINARY = "application/x-storehouse-records"


def _binary(*records: tuple[bytes, bytes]) -> bytes:
    return b"".join(
        struct.pack("<I", len(metadata)) + metadata + struct.pack("<I", len(payload)) + payload
        for metadata, payload in records
    )


class DoorTests(SynchronousTestCase):
    """A door with a stream C{a}."""

    def setUp(self) -> None:
        self.room = Room(self.mktemp())
        self.stream = self.room.start()
        self.addCleanup(self.room.stop)
        limits = ArchiveSettings(max_record=1000, max_batch=20_000)
        door = ArchiveDoor(self.room.streams, limits)
        self.site = DoorSite(door.resource, self.room.reactor, ConnectionSettings(), name="archive")

    def ask(self, line: str, body: bytes | None = None, *fields: str, status: int = 200) -> Answer:
        """A request over a connection of its own, and its answer."""
        connection = Connection(self.site, settle=lambda: self.room.reactor.advance(0))
        connection.send(request(line, body, *fields))
        (answer,) = split_answers(connection.received, [line.split()[0]])
        connection.close()
        self.assertEqual(answer.status, status, answer)
        return answer

    def test_no_length(self) -> None:
        """A request that has lost its body is no empty record."""
        self.refused("POST /archive/a", None, status=411, error="LengthRequired")
        for field in ("Content-Range: bytes 4-7/8", "Content-Encoding: gzip"):
            self.refused("POST /archive/a", b"x", field, status=400, error="BadRequest")
        self.ask("POST /archive/a", b"")
        self.assertEqual(len(self.lines()), 1)

    def refused(self, line: str, body: bytes | None, *fields: str, status: int, error: str) -> str:
        """What a refusal says."""
        said = json.loads(self.ask(line, body, *fields, status=status).body)
        self.assertEqual(said["error"], error)
        return str(said["detail"])

    def lines(self, query: str = "") -> list[Any]:
        """All records, without their times."""
        answer = self.ask(f"GET /archive/a{query}")
        self.assertEqual(answer.fields["content-type"], "application/x-ndjson")
        found = [json.loads(line) for line in answer.body.splitlines()]
        for line in found:
            line.pop("time")
        return found

    def test_single(self) -> None:
        said = json.loads(
            self.ask("POST /archive/a", b"some text", "X-Meta-Name: v\xc3\xa4lue", "Content-Type: text/plain").body
        )
        self.assertEqual(said, {"records": 1, "stream": "a", "sync": "record"})
        self.ask("POST /archive/a", b'{"a":1}', "Content-Type: application/json; charset=utf-8")
        self.ask("POST /archive/a", b"\xff", "Content-Type: text/plain")
        self.ask("POST /archive/a", b"text", "Content-Type: application/octet-stream")
        self.ask("POST /archive/a", b"", "Content-Type: text/plain")
        self.assertEqual(
            self.lines(),
            [
                {"metadata": {"name": "välue"}, "payload": "some text"},
                {"metadata": {}, "payload": '{"a":1}'},
                {"metadata": {}, "payload_base64": "/w=="},
                {"metadata": {}, "payload_base64": "dGV4dA=="},
                {"metadata": {}, "payload": ""},
            ],
        )

    def test_batches(self) -> None:
        """Both forms, in and out."""
        lines = b'{"metadata":{"a":"b"},"payload":"x"}\n\n{"payload_base64":"AP8="}\r\n'
        self.assertEqual(json.loads(self.ask("POST /archive/a", lines, _NDJSON).body)["records"], 2)
        binary = _binary((b'{"c":"d"}', b"\0\1"), (b"", b""))
        self.ask("POST /archive/a", binary, f"Content-Type: {_BINARY}")
        answer = self.ask("GET /archive/a", None, f"Accept: text/html, {_BINARY}")
        self.assertEqual(answer.fields["content-type"], _BINARY)
        self.assertEqual(
            answer.body, _binary((b'{"a":"b"}', b"x"), (b"{}", b"\0\xff"), (b'{"c":"d"}', b"\0\1"), (b"{}", b""))
        )
        # What was given can be posted as it is.
        given = self.ask("GET /archive/a").body
        self.ask("POST /archive/a", given, _NDJSON)
        self.assertEqual(self.lines()[4:], self.lines()[:4])
        many = b'{"payload":"x"}\n' * 1000
        self.ask("POST /archive/a", many, _NDJSON)
        self.assertEqual(len(self.lines()), 1008)

    def test_strict_json(self) -> None:
        """Lines and metadata are RFC 8259's JSON, of which nothing would be dropped."""
        for line in (
            b'{"payload":"x","metadata":{"a":NaN}}',
            b'\xef\xbb\xbf{"payload":"x"}',
            '{"payload":"x"}'.encode("utf-16-le"),
            '{"payload":"x"}'.encode("utf-32"),
            b'{"payload":"\\ud800"}',
            b'{"payload":"\xed\xa0\x80"}',
            b'{"payload":"x","payload":"y"}',
            b'{"payload":"x","metadata":{"a":"1","a":"2"}}',
            b'{"payload":"x","metadata":' + b"[" * 900,
            b'{"payload":"x","time":' + b"1" * 900 + b"x}",
            b"\x0c",
        ):
            self.refused("POST /archive/a", b'{"payload":"1"}\n' + line, _NDJSON, status=400, error="MalformedBody")
        for metadata in (b'{"a":"1","a":"2"}', b"\xef\xbb\xbf{}", b'{"a":"\\udc00"}', '{"a":"1"}'.encode("utf-16")):
            body = _binary((metadata, b"x"))
            self.refused("POST /archive/a", body, f"Content-Type: {_BINARY}", status=400, error="MalformedBody")
        self.ask("POST /archive/a", b'{"payload":"\\ud83d\\ude00","time":' + b"1" * 900 + b"}\n\r\n \t\n", _NDJSON)
        self.assertEqual([line["payload"] for line in self.lines()], ["\U0001f600"])

    def test_refused(self) -> None:
        """Nothing of what is refused is written."""
        self.refused("POST /archive/b", b"x", status=404, error="NoSuchStream")
        self.refused("GET /archive/b", None, status=404, error="NoSuchStream")
        self.refused("GET /archive/b/archives", None, status=404, error="NoSuchStream")
        self.refused("GET /archive/%ff", None, status=404, error="NoSuchStream")
        self.ask("POST /archive", b"x", status=400)
        self.ask("POST /archive/a/archives", b"x", status=404)
        self.ask("GET /archive/a/nothing", status=404)
        self.ask("DELETE /archive/a", status=405)
        self.ask("POST /archive/a?from=1", b"x", status=400)
        self.ask("GET /archive/a?since=1", status=400)
        self.ask("GET /archive/a?from=yesterday", status=400)
        self.ask("GET /archive/a?from=2026-01-01T00:00:00-24:00", status=400)
        self.ask(
            "POST /archive/a", '{"payload":"x"}'.encode("utf-16"), "Content-Type: application/x-ndjson", status=400
        )
        self.refused("POST /archive/a", b"x" * 1001, status=413, error="TooLarge")
        self.refused("POST /archive/a", b"x" * 20_001, _NDJSON, status=413, error="TooLarge")
        self.refused(
            "POST /archive/a",
            b'{"payload":"1"}\n{"payload":"%b"}' % (b"x" * 1000),
            _NDJSON,
            status=413,
            error="TooLarge",
        )
        for body in (
            b"",
            b"\n",
            b'{"payload":"1"}\n{',
            b'{"payload":"1"}\n[]',
            b'{"payload":1}',
            b"{}",
            b'{"payload":"1","payload_base64":"AA=="}',
            b'{"payload_base64":"A"}',
            b'{"payload":"1","more":1}',
            b'{"payload":"1","metadata":{"a":1}}',
            b'{"payload":"1"}\n{"payload":"\\ud800"}',
        ):
            self.ask("POST /archive/a", body, _NDJSON, status=400)
        for body in (b"\1", _binary((b"{}", b"x"))[:-1], _binary((b"[]", b"x")), _binary((b"{", b"x"))):
            self.ask("POST /archive/a", body, f"Content-Type: {_BINARY}", status=400)
        self.ask("POST /archive/a", b"\xff\xff\xff\xff", f"Content-Type: {_BINARY}", status=413)
        self.ask("POST /archive/a", b'{"payload":"1"}', _NDJSON, "X-Meta-A: b", status=400)
        self.ask("POST /archive/a", b"x", "X-Meta-A: \xff", status=400)
        self.ask("POST /archive/a", b"x", "X-Meta-A: 1", "X-Meta-a: 2", status=400)
        self.assertEqual(self.lines(), [])

    def test_many_records(self) -> None:
        """They are bounded by their number, too, and counted as what they cost; empty lines count, since each is looked at."""
        limits = ArchiveSettings(max_batch=2_000_000, max_records=100)
        door = ArchiveDoor(self.room.streams, limits)
        self.site = DoorSite(door.resource, self.room.reactor, ConnectionSettings(), name="archive")
        held: list[int] = []
        grow = Hold.grow
        self.patch(Hold, "grow", lambda hold, size: held.append(size) or grow(hold, size))
        binary = "Content-Type: application/x-storehouse-records"
        for form, record in ((binary, bytes(8)), (_NDJSON, b'{"payload":""}\n')):
            del held[:]
            self.ask("POST /archive/a", record * 100, form)
            self.assertGreaterEqual(sum(held), 100 * (400 + len(record)))
            for body in (record * 101, record * 100_000):
                self.assertIn(
                    "more than 100", self.refused("POST /archive/a", body, form, status=413, error="TooLarge")
                )
        self.refused("POST /archive/a", b"\n" * 101, _NDJSON, status=413, error="TooLarge")
        many = json.dumps({f"{number}": "" for number in range(4097)}).encode()
        for form, body in (
            (_NDJSON, b'{"payload":"","metadata":%b}' % many),
            (binary, len(many).to_bytes(4, "little") + many + bytes(4)),
        ):
            self.assertIn("4097 names", self.refused("POST /archive/a", body, form, status=413, error="TooLarge"))
        self.assertEqual(sum(archive.records for archive in self.stream.archives()), 200)

    def test_range(self) -> None:
        for number in range(12):
            self.room.reactor.advance(1)
            self.ask("POST /archive/a", b"%d" % number, "Content-Type: text/plain")
        times = [json.loads(line)["time"] for line in self.ask("GET /archive/a").body.splitlines()]
        self.assertEqual(
            [line["payload"] for line in self.lines(f"?from={times[3]}&to={times[7]}")], ["3", "4", "5", "6"]
        )
        nanoseconds = parse_time("from", times[10], 0.0)
        self.assertEqual([line["payload"] for line in self.lines(f"?from={nanoseconds}")], ["10", "11"])

    def test_times(self) -> None:
        """A number of seconds is one, and what is no time is said to be none."""
        self.ask("POST /archive/a", b"x", "Content-Type: text/plain")
        now = int(self.room.reactor.seconds())
        for text, count in (
            (f"{now - 1}", 1),
            (f"{now + 1}", 0),
            (f"{now * 1000 - 1}", 1),
            (f"{now * 10**9 + 1}", 0),
            ("2026-01-31", 1),
            ("2026-12-31T00:00:00", 0),
        ):
            self.assertEqual(len(self.lines(f"?from={text}")), count, text)
        for text in ("1700000000x", "99999999999999999999", "-", "1e9"):
            self.assertIn("from", self.refused(f"GET /archive/a?from={text}", None, status=400, error="BadRequest"))

    def test_lists(self) -> None:
        for number in range(7):
            self.ask("POST /archive/a", b"%d" % number)
        (stream,) = json.loads(self.ask("GET /archive").body)["streams"]
        self.assertEqual((stream["name"], stream["archives"], stream["records"]), ("a", 2, 7))
        first, second = json.loads(self.ask("GET /archive/a/archives").body)["archives"]
        self.assertEqual(
            (first["state"], first["records"], second["state"], second["records"]), ("finished", 5, "open", 2)
        )
        self.assertIn(b"POST", self.ask("GET /").body)
        self.assertEqual(self.ask("HEAD /archive/a").body, b"")

    def test_damage(self) -> None:
        """The response says where it is, and what is whole behind it follows; the binary form, which cannot say it, has no end."""
        for number in range(20):
            self.room.reactor.advance(1)
            self.ask("POST /archive/a", b"%d" % number, "Content-Type: text/plain")
        path = self.stream.archives()[2].path
        with open(path, "r+b") as file:
            file.seek(60)
            file.write(b"\xff\xff")
        lines = list(map(json.loads, self.ask("GET /archive/a").body.splitlines()))
        self.assertEqual(
            [each["payload"] for each in lines if "payload" in each], [str(n) for n in range(20) if n != 10]
        )
        (damaged,) = (each["damaged"] for each in lines if "damaged" in each)
        self.assertEqual((damaged["archive"], damaged["offset"]), (path, 36))
        first = json.loads(self.ask("GET /archive/a/archives").body)["archives"][2]["first"]
        lines = list(map(json.loads, self.ask(f"GET /archive/a?from={first}").body.splitlines()))
        self.assertEqual(["damaged" in each for each in lines], [True, *[False] * 9])
        self.refused("POST /archive/a", json.dumps(lines[0]).encode(), _NDJSON, status=400, error="MalformedBody")
        connection = Connection(self.site)
        connection.send(request("GET /archive/a", None, "Accept: application/x-storehouse-records"))
        self.assertTrue(connection.is_closed)
        self.assertIn(b"\x02\0\0\x0019", connection.received)
        self.assertFalse(connection.received.endswith(b"0\r\n\r\n"))

    def test_slow_reader(self) -> None:
        """For a client that does not read, nothing is read; its leaving ends the request."""
        for _ in range(40):
            self.ask("POST /archive/a", (b'{"payload":"%b"}\n' % (b"x" * 900)) * 20, _NDJSON)
        before = self.stream.counters.records_out
        connection = Connection(self.site, window=1000)
        connection.send(request("GET /archive/a"))
        self.assertLess(self.stream.counters.records_out - before, 400)
        self.assertLess(self.site.budget.used, 400_000)
        connection.close()
        self.assertEqual(self.site.budget.used, 0)

    def test_many_that_do_not_read(self) -> None:
        """What all of them hold is bounded, and those who read are served."""
        self.site = DoorSite(
            ArchiveDoor(self.room.streams, ArchiveSettings()).resource,
            self.room.reactor,
            ConnectionSettings(),
            name="archive",
            budget=ByteBudget(32 << 20, self.room.reactor, 60.0),
        )
        self.site.startFactory()
        budget = self.site.budget
        for size, count, most in ((900, 500, 32 << 20), (3 << 20, 3, 32 << 20)):
            for _ in range(count):
                outcome(self.stream.append([({}, b"x" * size)]))
            readers = [Connection(self.site, 1000, self.turn) for _ in range(60)]
            for connection in readers:
                connection.send(request("GET /archive/a", None, f"Accept: {_BINARY}"))
            self.assertLess(budget.used, most)
            good = Connection(self.site, settle=self.turn)
            good.send(request("GET /archive/a", None, f"Accept: {_BINARY}"))
            for _ in range(50):
                if good.received.endswith(b"0\r\n\r\n"):
                    break
                self.room.reactor.advance(1)
                good.settle()
            (answer,) = split_answers(good.received)
            self.assertGreater(len(answer.body), size * count)
            self.assertLess(budget.peak, most)
            for connection in (*readers, good):
                connection.close()
            self.assertEqual((budget.used, budget.waiting), (0, 0))
        self.site.connections.stop()

    def turn(self) -> None:
        """Let happen what can."""
        for _ in range(20):
            self.room.reactor.advance(0)


records = st.lists(
    st.builds(
        Record,
        st.just(0),
        st.just(0),
        st.integers(0, 2**63),
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]))
        ),
        st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.binary()),
    )
)


class RecordTests(SynchronousTestCase):
    """Both forms, and times."""

    @settings(deadline=None)
    @given(records)
    def test_round_trip(self, given_records: list[Record]) -> None:
        pairs = [(record.metadata, record.payload) for record in given_records]
        self.assertEqual(list(parse_lines(encode_lines(given_records), 1 << 20)), pairs)
        as_bytes = [(m, p.encode() if isinstance(p, str) else p) for m, p in pairs]
        self.assertEqual(list(parse_binary(encode_binary(given_records), 1 << 20)), as_bytes)

    @given(st.binary(max_size=60))
    def test_any_bytes(self, data: bytes) -> None:
        for parse in (parse_lines, parse_binary):
            try:
                list(parse(data, 50))
            except (MalformedBody, TooLarge):
                pass

    @given(st.integers(0, 2**63))
    def test_times(self, time: int) -> None:
        self.assertEqual(parse_time("from", format_time(time), 0.0), time)

    def test_format_times(self) -> None:
        for text in (
            "2026-01-31T12:00:00Z",
            "2026-01-31t14:00:00.0+02:00",
            "2026-01-31T14:00:00 02:00",
            "2026-01-31T10:30:00-01:30",
        ):
            self.assertEqual(parse_time("from", text, 0.0), 1769860800 * 10**9)
        for text in ("", "now", "2026-02-30T12:00:00Z", "-1", "9" * 20, "٣"):
            self.assertRaises(BadRequest, parse_time, "from", text, 0.0)
