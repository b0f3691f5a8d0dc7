"""The journal, the index, names, files, metrics and who waits for whom, each for itself."""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.storage.namespace.index import Index, IndexUnusable
from storehouse.storage.namespace.journal import read_journal
from storehouse.storage.namespace.local import Gate, Lane
from storehouse.storage.namespace.values import (
    decode_entry,
    decode_key,
    decode_row,
    encode_entry,
    encode_key,
    format_time,
    parse_time,
)
from tests.conformance.namespace import ODD_KEYS, entry
from tests.storage.namespace.rig import Driven, contents, flip, now


class JournalTests(SynchronousTestCase):
    """A journal that was not written whole."""

    def setUp(self) -> None:
        driven = Driven(self.mktemp()).start().create()
        for n in range(4):
            driven.publish(f"k{n}", entry(n))
        now(driven.namespace.intend("bucket", "x", ["00ff"]))
        self.driven = driven.killed(os.path.abspath(self.mktemp()))
        self.whole = contents(self.driven.path("journal"))

    def write(self, data: bytes) -> None:
        with open(self.driven.path("journal"), "wb") as file:
            file.write(data)

    def test_torn(self) -> None:
        """At any byte: the last line counts for nothing, and is no damage."""
        header = self.whole.index(b"\n") + 1
        for end in range(header, len(self.whole)):
            self.write(self.whole[:end])
            found = read_journal(self.driven.path("journal"))
            self.assertEqual((found.damage, found.clean), (None, False))
            self.assertEqual(len(found.intents), self.whole[:end].count(b"\n") - 1)
        for end in range(header):
            self.write(self.whole[:end])
            self.assertIsNotNone(read_journal(self.driven.path("journal")).damage)

    def test_damaged(self) -> None:
        """A flipped bit anywhere but in the last line; the start makes the index anew, and goes on."""
        path = self.driven.path("journal")
        for byte in range(0, self.whole[:-1].rindex(b"\n") + 1, 7):
            self.write(self.whole)
            flip(path, byte)
            self.assertIsNotNone(read_journal(path).damage, byte)
        self.driven.start()
        self.assertEqual(self.driven.keys(), [f"k{n}" for n in range(4)])
        self.assertEqual(self.driven.check(), [])
        self.driven.stop()

    def test_unsettled(self) -> None:
        self.driven.start()
        self.assertEqual(self.driven.namespace.unsettled, ["00ff"])
        self.driven.namespace.settle(["00ff"])
        self.driven.stop()
        self.assertTrue(read_journal(self.driven.path("journal")).clean)


class IndexTests(SynchronousTestCase):
    """An index that cannot be used."""

    def test_other_version(self) -> None:
        driven = Driven(self.mktemp()).start().create()
        driven.publish("a", entry(1))
        driven.namespace.upkeep.index._writer.execute("UPDATE meta SET value = '9' WHERE name = 'version'")
        driven.stop()
        self.assertRaises(IndexUnusable, Index(driven.path("index")).open)
        driven.start()
        self.assertEqual((driven.keys(), driven.check()), (["a"], []))
        driven.stop()

    def test_no_database(self) -> None:
        for data in (b"", b"x" * 8192):
            driven = Driven(self.mktemp()).start().create()
            driven.publish("a", entry(1))
            driven.stop()
            with open(driven.path("index", "keys.db"), "wb") as file:
                file.write(data)
            driven.start()
            self.assertEqual((driven.keys(), driven.check()), (["a"], []))
            driven.stop()


_HEAD = b'{"default":true,"size":10,"createdAt":"2023-11-14T22:13:20.000000007Z","contentType":"text/plain","metadata":'
GOLDEN = (
    _HEAD
    + b'{"a":["b"]},"etag":"etag7","tag":"t","system":{"cache-control":"no-cache","tagging":"a=%C3%A9"},"key":"key",'
    b'"id":"00000000000000000000000000000007","checksum":"7948a6a2"}'
)
GOLDEN_TAGGED = (
    _HEAD
    + b'{"a":["b"]},"etag":"etag7","tag":"t","key":"key","id":"00000000000000000000000000000007","checksum":"bafd1759"}'
)
GOLDEN_FIRST = _HEAD + b'{},"etag":"etag7","key":"key","id":"00000000000000000000000000000007","checksum":"ac559cf4"}'


class EntriesTests(SynchronousTestCase):
    """Files as bytes."""

    def test_round_trip(self) -> None:
        for key in ODD_KEYS:
            one = entry(7, 2**62, metadata={"é\0": ["\n", ""], "checksum": [',"checksum":"00000000"}']})
            text = encode_entry(one, key)
            self.assertEqual(decode_row(text), (key, one))
            self.assertEqual(decode_entry(text, one.id), one)
            self.assertRaises(ValueError, decode_entry, text, "00")

    def test_golden(self) -> None:
        """What is written, and what was written before there was C{system}, or a tag."""
        kept = {"metadata": {"a": ["b"]}, "tag": "t"}
        new = entry(7, system={"cache-control": "no-cache", "tagging": "a=%C3%A9"}, **kept)
        self.assertEqual(encode_entry(new, "key"), GOLDEN)
        self.assertEqual(decode_row(GOLDEN), ("key", new))
        self.assertEqual(encode_entry(entry(7, **kept), "key"), GOLDEN_TAGGED)
        self.assertEqual(decode_row(GOLDEN_TAGGED), ("key", entry(7, **kept)))
        self.assertEqual(decode_row(GOLDEN_FIRST), ("key", entry(7)))

    def test_every_bit(self) -> None:
        text = encode_entry(entry(7), "key")
        for bit in range(len(text) * 8):
            wrong = bytearray(text)
            wrong[bit // 8] ^= 1 << bit % 8
            self.assertRaises(ValueError, decode_entry, bytes(wrong), entry(7).id)

    def test_times(self) -> None:
        for text, when in (
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.5Z", 500_000_000),
            ("1970-01-01T01:00:00.000000001+01:00", 1),
            ("2026-11-21T09:32:23.000000001Z", 1795253543_000000001),
            ("0001-01-01T00:00:00.000000000Z", -62135596800_000000000),
            ("1969-12-31T23:59:59.999999999Z", -1),
        ):
            self.assertEqual(parse_time(text), when)
            self.assertEqual(parse_time(format_time(when)), when)
        for text, when in (
            ("0001-01-01T00:00:00Z", -62135596800_000000000),
            ("0001-01-01T00:00:00+14:00", -62135596800_000000000),
            ("9999-12-31T23:59:59.999999999Z", 253402300799_000000000),
            ("1970-01-01T00:00:00", 0),
            ("1970-01-01 05:30:00+0530", 0),
            ("2016-12-31T23:59:60Z", 1483228799_000000000),
        ):
            self.assertEqual(parse_time(text), when, text)
        for text in ("", "now", "1970-01-01", "1970-13-01T00:00:00Z", "1970-01-01T25:00:00Z"):
            self.assertRaises(ValueError, parse_time, text)


class NamesTests(SynchronousTestCase):
    """Keys as paths."""

    def test_keys(self) -> None:
        paths = [encode_key(key.encode()) for key in ODD_KEYS]
        self.assertEqual([decode_key(path) for path in paths], ODD_KEYS)
        for path in paths:
            for piece in path.split("/"):
                self.assertLessEqual(len(piece), 203)
                self.assertNotIn(piece, ("", ".", ".."))

    def test_foreign(self) -> None:
        for path in ("a b", "%2f", "a%2", "%41", ".a", "é", "%FF", "a+", "x" * 201):
            self.assertIsNone(decode_key(path), path)


class MetricsTests(SynchronousTestCase):
    """What is reported can be read by others."""

    def test_parse(self) -> None:
        driven = Driven(self.mktemp()).start().create()
        driven.publish("a", entry(1, 30))
        driven.look_up("a")
        driven.list()
        registry = CollectorRegistry()
        registry.register(driven.namespace)
        text = generate_latest(registry).decode()
        values = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        self.assertEqual(values["storehouse_namespace_keys", "bucket"], 1)
        self.assertEqual(values["storehouse_namespace_bytes", "bucket"], 30)
        self.assertEqual(values["storehouse_namespace_failed",], 0)
        for operation in ("publish", "look_up", "list"):
            self.assertEqual(values["storehouse_namespace_operation_seconds_count", operation], 1)
        driven.stop()


class WaitingTests(SynchronousTestCase):
    """L{Gate} and L{Lane}."""

    def test_gate(self) -> None:
        gate = Gate()
        told: list[str] = []

        def begin(name: str, work: Any) -> Deferred[Any]:
            return Deferred.fromCoroutine(work).addCallback(lambda _: told.append(name))

        begin("first", gate.enter())
        begin("closer", gate.close())
        begin("other closer", gate.close())
        begin("late", gate.enter())
        self.assertEqual(told, ["first"])
        gate.leave()
        self.assertEqual(told, ["first", "closer"])
        gate.open()
        self.assertEqual(told, ["first", "closer", "other closer"])
        gate.open()
        self.assertEqual(told[3:], ["late"])

    def test_given_up(self) -> None:
        """An exclusive waiter that gives up lets the others in."""
        gate = Gate()
        now(Deferred.fromCoroutine(gate.enter()))
        closing = Deferred.fromCoroutine(gate.close())
        waiting = Deferred.fromCoroutine(gate.enter())
        closing.addErrback(lambda failure: None)
        closing.cancel()
        now(waiting)
        self.assertEqual(gate.inside, 2)

    def test_lane(self) -> None:
        lane = Lane(InlineDisk())
        self.assertEqual(now(lane.run(max, 1, 2)), 2)
        self.assertRaises(ZeroDivisionError, now, lane.run(lambda: 1 / 0))
        self.assertEqual(now(lane.run(max, 3, 2)), 3)
