"""
The seed's semantics as a model, and random histories played to it and to our door.

The model is the first seed's C{main.go}, function by function.  Where ours is meant to differ (design.md), the model
says what is expected instead.
"""

from __future__ import annotations

import json
import os
import shutil
from struct import pack, unpack_from
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.frontends.append.doors import Door
from tests.frontends.http.wire import Answer, request, split_answers

BUCKETS = 3


class Seed:
    """C{MultiStore}: bucket files as strings of bytes, by prefix."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.stores: dict[str, list[bytearray]] = {}
        #: Offsets of records, which the seed does not know: any four bytes are a length to it.
        self.records: dict[tuple[str, int], list[int]] = {}

    @staticmethod
    def hash(id: bytes) -> int:
        """FNV-1a 32."""
        value = 0x811C9DC5
        for byte in id:
            value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
        return value

    def find(self, prefix: str) -> list[bytearray]:
        """C{MultiStore.find}."""
        return self.stores.setdefault(prefix or "default", [bytearray() for _ in range(BUCKETS)])

    def append(self, prefix: str, id: bytes, data: bytes) -> tuple[int, str]:
        """C{Storage.append}: the offset and the file."""
        number = self.hash(id) % BUCKETS
        file = self.find(prefix)[number]
        offset = len(file)
        file += pack("<I", len(data)) + data
        self.records.setdefault((prefix or "default", number), []).append(offset)
        return offset, os.path.join(self.root, prefix or "default", f"append.{number}.raw")

    def read(self, prefix: str, id: bytes, offset: int) -> bytes | None:
        """C{Storage.read}: C{None} for its errors, which are those of reading beyond the end."""
        file = self.find(prefix)[self.hash(id) % BUCKETS]
        if offset + 4 > len(file):
            return None
        (size,) = unpack_from("<I", file, offset)
        return bytes(file[offset + 4 : offset + 4 + size]) if offset + 4 + size <= len(file) else None

    def expected(self, prefix: str, id: bytes, offset: int) -> bytes | None:
        """
        What ours gives: the seed's answer for offsets that an append returned, and for those of payloads; nothing for
        others.
        """
        known = self.records.get((prefix or "default", self.hash(id) % BUCKETS), [])
        if offset in known:
            return self.read(prefix, id, offset)
        if offset - 4 in known:
            return self.read(prefix, id, offset - 4)
        return None


_prefixes = st.sampled_from(["", "", "default", "events_1", "é"])
_ids = st.sampled_from(["some_identifier", "a", "b", "c", "d-e.f_g", "é", "a b", "%", "&="])
_data = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.sampled_from([b"some text", b"\0\0\0\0", b"\5\0\0\0hello", b"x" * 3000, b"\r\n\r\n"]),
)
_steps = st.one_of(
    st.tuples(st.just("append"), _prefixes, _ids, _data),
    st.tuples(st.just("append"), _prefixes, _ids, _data),
    st.tuples(st.just("empty"), _prefixes, _ids),
    st.tuples(st.just("get"), _prefixes, _ids, st.integers(0, 30), st.sampled_from([0, 0, 0, 4, 4, 1, -1, 10**6])),
    st.tuples(
        st.just("getMulti"),
        _prefixes,
        _ids,
        st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0, 0, 0, 0, 4, 1])), max_size=5),
    ),
    st.tuples(st.just("close"), _prefixes),
)


class ModelTests(SynchronousTestCase):
    """Our door against the seed."""

    fast_lane = True

    @given(steps=st.lists(_steps, max_size=25))
    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    def test_histories(self, steps: list[Any]) -> None:
        root = os.path.abspath(self.mktemp())
        door = Door(root, self.fast_lane, buckets=BUCKETS)
        try:
            seed = Seed(root)
            seed.find("")
            connection = door.connect()
            for step in steps:
                self.play(door, connection, seed, step)
            for (prefix, number), _ in seed.records.items():
                with open(os.path.join(root, prefix, f"append.{number}.raw"), "rb") as file:
                    self.assertEqual(file.read(), bytes(seed.stores[prefix][number]))
        finally:
            door.close()
            shutil.rmtree(root)

    def play(self, door: Door, connection: Any, seed: Seed, step: Any) -> None:
        """One request to both."""
        verb, prefix, *rest = step
        query = self.query(prefix, *rest[:1])
        exists = (prefix or "default") in seed.stores
        if verb == "append":
            answer = self.ask(connection, request(f"POST /append?{query}", rest[1]))
            offset, file = seed.append(prefix, rest[0].encode(), rest[1])
            self.assertEqual((answer.status, json.loads(answer.body)), (200, {"offset": offset, "file": file}))
            if file.isascii():
                self.assertEqual(answer.body.decode(), f'{{"offset":{offset},"file":"{file}"}}')
        elif verb == "empty":
            answer = self.ask(connection, request(f"POST /append?{query}", b""))
            self.assertEqual((answer.status, json.loads(answer.body)["error"]), (400, "EmptyRecord"))
        elif verb == "get":
            offset = self.offset(seed, prefix, rest[0], rest[1]) + rest[2]
            answer = self.ask(connection, request(f"GET /get?{query}&offset={offset}"))
            wanted = seed.expected(prefix, rest[0].encode(), offset) if exists and offset >= 0 else None
            if wanted is None:
                self.assertEqual(answer.status, 404 if offset >= 0 else 400)
            else:
                self.assertEqual((answer.status, answer.body), (200, wanted))
        elif verb == "getMulti":
            offsets = [self.offset(seed, prefix, rest[0], index) + more for index, more in rest[1]]
            answer = self.ask(
                connection, request(f"POST /getMulti?{query}", b"".join(pack("<Q", offset) for offset in offsets))
            )
            self.assertEqual(answer.status, 200)
            self.check_multi(seed, prefix, rest[0].encode(), offsets, answer.body, exists)
        elif verb == "close":
            answer = self.ask(connection, request(f"GET /close?{query}"))
            self.assertEqual((answer.status, answer.body), (200, b'{"success":true}'))

    def check_multi(self, seed: Seed, prefix: str, id: bytes, offsets: list[int], body: bytes, exists: bool) -> None:
        """In the order asked; the first that is not there ends it, with a zero length and a text."""
        for offset in offsets:
            wanted = seed.expected(prefix, id, offset) if exists else None
            if wanted is None:
                self.assertEqual(body[:4], b"\0\0\0\0")
                self.assertTrue(body[4:].decode("utf-8"))
                return
            frame = pack("<I", len(wanted)) + wanted
            self.assertEqual(body[: len(frame)], frame)
            body = body[len(frame) :]
        self.assertEqual(body, b"")

    def ask(self, connection: Any, data: bytes) -> Answer:
        """Over the one connection."""
        before = len(connection.received)
        connection.send(data)
        (answer,) = split_answers(connection.received[before:])
        return answer

    def query(self, prefix: str, id: str | None = None) -> str:
        """As a client would write it."""
        fields = [] if id is None else [f"id={_encoded(id)}"]
        if prefix:
            fields.append(f"storagePrefix={_encoded(prefix)}")
        return "&".join(fields)

    def offset(self, seed: Seed, prefix: str, id: str, index: int) -> int:
        """Of one of the records of the identifier's bucket, if there are any."""
        known = seed.records.get((prefix or "default", seed.hash(id.encode()) % BUCKETS), [0])
        return known[index % len(known)]


class SlowModelTests(ModelTests):
    """The same without the lane."""

    fast_lane = False


class GoldenTests(SynchronousTestCase):
    """The seed's own numbers."""

    def test_bytes(self) -> None:
        door = Door(self.mktemp(), True, buckets=10)
        self.addCleanup(door.close)
        door.play(
            request("POST /append?id=some_identifier", b"some text")
            + request("POST /append?id=some_identifier", b"some other data in same identifier")
        )
        files = {name: data for name, data in door.raw().items() if data}
        self.assertEqual(
            files, {"default/append.3.raw": b"\x09\0\0\0some text\x22\0\0\0some other data in same identifier"}
        )


def _encoded(text: str) -> str:
    return "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in b"-._" else f"%{byte:02X}"
        for byte in text.encode()
    )
