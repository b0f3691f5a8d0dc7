"""Tests of L{storehouse.frontends.archive.records}: long lines are the same as short ones."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive.interfaces import Record
from storehouse.errors import MalformedBody, TooLarge
from storehouse.frontends.archive import records
from storehouse.frontends.archive.records import encode_binary, encode_in_steps, encode_lines, parse_binary, parse_lines

MIB = 1 << 20


class LongRecordTests(SynchronousTestCase):
    """What takes long to read, or to write."""

    def read(self, body: bytes) -> list[Any]:
        async def read() -> list[Any]:
            return [each if isinstance(each, tuple) else await each for each in parse_lines(body, 20 * MIB)]

        read_: Deferred[list[Any]] = Deferred.fromCoroutine(read())
        return self.successResultOf(read_)

    def refusal(self, body: bytes) -> str:
        with self.assertRaises((MalformedBody, TooLarge)) as caught:
            for each in parse_lines(body, 20 * MIB):
                if not isinstance(each, tuple):
                    self.failureResultOf(Deferred.fromCoroutine(each)).raiseException()  # type: ignore[arg-type]
        return caught.exception.detail

    def both(self) -> Iterator[None]:
        """The short way and the long."""
        yield
        self.patch(records, "_LONG_LINE", -1)
        yield

    def test_lines(self) -> None:
        """All that a line may be."""
        for _ in self.both():
            for line, record in (
                ({"payload": "\u00e9\n"}, ({}, "\u00e9\n")),
                ({"payload": "", "metadata": {"a": "b"}, "time": [1, {}]}, ({"a": "b"}, "")),
                ({"payload_base64": "AP8="}, ({}, b"\0\xff")),
            ):
                self.assertEqual(self.read(json.dumps(line).encode() + b"\n"), [record])

    def test_bad_lines(self) -> None:
        """What is wrong is named."""
        for _ in self.both():
            for line, text in (
                (b"[]", "line 1 is not a JSON object"),
                (b'{"payload":"a"', "line 1 is not "),
                (b'{"payload":1}', "the payload of line 1 is not text"),
                (b'{"payload":"a","payload_base64":""}', "line 1 must have either payload or payload_base64"),
                (b'{"x":1}', "line 1 has an unknown member 'x'"),
                (b'{"payload_base64":"%%"}', "the payload_base64 of line 1 is not base64"),
                (b'{"payload_base64":1}', "the payload_base64 of line 1 is not "),
                (b'{"payload":"","payload":""}', "'payload' is repeated"),
                (b'{"payload":"","metadata":{"a":1}}', "the metadata of line 1 is not "),
                (b'{"payload":"","metadata":{"a":"","a":""}}', "'a' is repeated"),
                (b'{"payload":"\\ud800"}', "half of a character"),
            ):
                self.assertIn(text, self.refusal(line))

    def test_long(self) -> None:
        """Payloads of megabytes go in and out."""
        for payload in ("x\u00e9\n\U0001f600" * 300_000, bytes(range(256)) * 8000, "", b""):
            record = Record(0, 0, 0, {"a": "b"}, payload)
            lines = self.successResultOf(Deferred.fromCoroutine(encode_in_steps(encode_lines, [record, record])))
            self.assertEqual(lines, encode_lines([record, record]))
            self.assertEqual(self.read(lines), [({"a": "b"}, payload)] * 2)
            binary = self.successResultOf(Deferred.fromCoroutine(encode_in_steps(encode_binary, [record])))
            self.assertEqual(binary, encode_binary([record]))

    def test_padding_within(self) -> None:
        """Base64 that ends in its middle is none, wherever that is."""
        text = b64encode(bytes(3 * MIB // 4 - 1)) + b64encode(bytes(100_000))
        self.assertIn("not base64", self.refusal(b'{"payload_base64":"%b"}' % text))

    def test_metadata(self) -> None:
        """Metadata that would take long are refused, in either form."""
        metadata = json.dumps({"a": "x" * 70_000}).encode()
        self.assertIn("the metadata of line 1 have", self.refusal(b'{"payload":"","metadata":%b}' % metadata))
        body = len(metadata).to_bytes(4, "little") + metadata + bytes(4)
        with self.assertRaises(TooLarge) as caught:
            list(parse_binary(body, MIB))
        self.assertIn("at most 65536 are allowed", caught.exception.detail)
