"""Batches of many records."""

from __future__ import annotations

import json
from struct import pack

from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import AppendSettings
from storehouse.core import jsontext
from tests.frontends.append.doors import Door
from tests.frontends.append.test_lane import append, records
from tests.frontends.http.wire import split_answers
from tests.turns.breathing import every_breath

_NDJSON = "Content-Type: application/x-ndjson"


class BatchTests(SynchronousTestCase):
    """All or none of many."""

    def door(self, max_multi: int = 5000) -> Door:
        door = Door(self.mktemp(), True, limits=AppendSettings(max_batch=4 << 20, max_multi=max_multi), buckets=1)
        self.addCleanup(door.close)
        return door

    def post(self, door: Door, body: bytes, *fields: str) -> tuple[int, dict[str, object]]:
        connection = door.play(append("a", body, *fields, path="appendMulti"))
        (answer,) = split_answers(connection.received)
        return answer.status, json.loads(answer.body)

    def raw(self, door: Door) -> bytes:
        return b"".join(door.raw().values())

    def test_many(self) -> None:
        """Batches that are read in slices, and appends that come in between."""
        door = self.door()
        payloads = [b"%d" % number for number in range(5000)]
        lines = [b'{"n":%d}' % number for number in range(2500)]
        with every_breath(door.reactor):
            connections = [
                door.connect(),
                door.connect(),
                door.connect(),
            ]
            connections[0].send(append("a", records(*payloads), path="appendMulti"), False)
            connections[1].send(append("a", b"\n".join(lines), _NDJSON, path="appendMulti"), False)
            connections[2].send(append("a", b"alone") + append("a", b"again"), False)
            for connection in connections:
                connection.settle()
        answers = [split_answers(connection.received) for connection in connections]
        offsets = [
            json.loads(answer.body).get("offsets") or [json.loads(answer.body)["offset"]]
            for row in answers
            for answer in row
        ]
        written = [payloads, lines, [b"alone"], [b"again"]]
        raw = self.raw(door)
        self.assertEqual(len(raw), sum(4 + len(payload) for row in written for payload in row))
        for places, row in zip(offsets, written, strict=True):
            self.assertEqual(len(places), len(row))
            for offset, payload in zip(places, row, strict=True):
                self.assertEqual(raw[offset : offset + 4 + len(payload)], pack("<I", len(payload)) + payload)

    def test_too_many(self) -> None:
        """One more than are allowed: nothing is stored, and the answer names the bound."""
        door = self.door(3000)
        for body, fields in ((records(*[b"x"] * 3001), ()), (b"0\n" * 3001, (_NDJSON,))):
            status, answer = self.post(door, body, *fields)
            self.assertEqual((status, answer["error"]), (413, "TooLarge"))
            self.assertIn("3000 records (append-max-multi)", str(answer["detail"]))
        self.assertEqual(self.raw(door), b"")
        for body, fields in ((records(*[b"x"] * 3000), ()), (b"0\n" * 3000 + b"\n" * 9, (_NDJSON,))):
            self.assertEqual(self.post(door, body, *fields)[0], 200)

    def test_bad_one_late(self) -> None:
        """One that is wrong behind many is named, and nothing is stored."""
        door = self.door()
        for body, fields, named in (
            (records(*[b"x"] * 2000) + b"\0\0\0\0", (), "record 2000, at byte 10000, is empty"),
            (records(*[b"x"] * 2000) + b"\2\0\0\0x", (), "record 2000 claims 2 bytes, but 1 follow"),
            (b"0\r\n\n \n" * 1000 + b"{\n0", (_NDJSON,), "line 3001 is not JSON"),
        ):
            status, answer = self.post(door, body, *fields)
            self.assertEqual((status, answer["error"]), (400, "MalformedBody"))
            self.assertIn(named, str(answer["detail"]))
        self.assertEqual(self.raw(door), b"")

    def test_too_many_arrays(self) -> None:
        """A line that would take long to check is refused, by its number."""
        self.patch(jsontext, "_MOST_NESTED", 1000)
        door = self.door()
        status, answer = self.post(door, b"1\n[" + b"[[1]]," * 11_000 + b"1]", _NDJSON)
        self.assertEqual((status, answer["error"]), (413, "TooLarge"))
        self.assertIn("line 2 is too large: it has more than 1000 arrays", str(answer["detail"]))
        self.assertEqual(self.raw(door), b"")

    def test_strict_json(self) -> None:
        """What only lenient parsers take for JSON is refused; what only they refuse is taken."""
        door = self.door()
        for line in (
            b"NaN",
            b"[Infinity]",
            b"\xef\xbb\xbf1",
            "1".encode("utf-16"),
            b"\xff",
            b'"' + b"x" * 70000 + b"\n",
            b"[" * 99999,
            b"\x0b",
            b"\x0c",
        ):
            status, answer = self.post(door, b"1\n" + line, _NDJSON)
            self.assertEqual((status, answer["error"]), (400, "MalformedBody"), line[:20])
            self.assertIn("line 2 is not JSON", str(answer["detail"]))
        for line in (b"1" * 5000, b'"' + b"x" * 70000 + b'"', b" [1 , 2]\t"):
            self.assertEqual(self.post(door, line, _NDJSON)[0], 200)
            self.assertTrue(self.raw(door).endswith(pack("<I", len(line)) + line))
