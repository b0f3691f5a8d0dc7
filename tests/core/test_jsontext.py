"""Tests of L{storehouse.core.jsontext}."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import pairwise
from random import Random
from time import thread_time
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core import jsontext
from storehouse.core.jsontext import SHORT, Member, check_json, parse_json, read_members, read_text, take_json
from storehouse.core.turns import LONGEST
from storehouse.errors import TooLarge
from tests.cpu import assert_cpu
from tests.soak import count, long_loop, rounds

GOOD = [
    b"1", b"-0", b"1E+5", b"0.5e-3", b" [1, 2 ,3] ", b"[]", b"{}", b'""', b"true", b"\t\r\n null\n",
    b'{"a":1,"b":[{}],"c":{"d":{"e":[]}}}', b"[[],[[]],[1,[2,{}]]]", b'"\\u00e9\\"\\\\\\/\\b\\f\\n\\r\\t"', '"é"'.encode(), b'"\\ud800"',
    b'[true,false,null,1,"x",{"a":"b"},[1,2],3]', b"1" * 5000, b"-" + b"1" * 5000,
]  # fmt: skip
BAD = [
    b"", b" ", b"[1,]", b'{"a":1,}', b"{,}", b"[,]", b'"a', b'"\\x"', b'"\\u12"', b"NaN", b"Infinity", b"-Infinity", b"-", b"01", b"1.",
    b"1e", b".5", b"+1", b'"\x01"', b'"\n"', b"\xff", b'"\xc3"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf1", "1".encode("utf-16"), "[1]".encode("utf-16-le"),
    b"[1 2]", b'{"a" 1}', b'{"a":}', b'{"a":1 "b":2}', b"]", b"[}", b"{]", b"[1}", b'{"a":1]', b"1 2", b"tru", b"nulll", b"['a']",
    b"{1:2}", b"[\x0b1]", b"1\x00", b'{"a":1,"b"}', b"[1,,2]", b"[1e5, -]", b"[NaN]", b"[[[NaN]]]", b"[" * 100_000,
]  # fmt: skip


class JSONTests(SynchronousTestCase):
    """What is JSON and what is not, the short way and the long."""

    def short(self, data: bytes) -> bool:
        try:
            parse_json(data)
        except ValueError as error:
            self.assertTrue(str(error))
            return False
        return True

    def long(self, data: bytes) -> bool:
        self.patch(jsontext, "SHORT", -1)
        failed: list[object] = []
        Deferred.fromCoroutine(check_json(data)).addErrback(lambda failure: failed.append(failure.trap(ValueError)))
        return not failed

    def test_taken(self) -> None:
        """Texts whose members are used name each once, and hold whole characters."""
        for data in GOOD:
            if data != b'"\\ud800"':
                self.assertEqual(take_json(data), parse_json(data), data)
        self.assertEqual(take_json(b'"\\ud83d\\ude00"'), "\U0001f600")
        self.assertEqual(take_json(b'"\\\\ud800"'), "\\ud800")
        for data in (
            *BAD,
            b'{"a":1,"a":1}',
            b'[{"b":{"a":1,"c":2,"\\u0061":3}}]',
            b'"\\ud800"',
            b'{"\\uDFFF":1}',
            b'["\\ude00\\ud83d"]',
            b'{"a":' * 100_000,
        ):
            self.assertRaises(ValueError, take_json, data)

    def test_good(self) -> None:
        for data in GOOD:
            self.assertTrue(self.short(data), data)
            self.assertTrue(self.long(data), data)

    def test_bad(self) -> None:
        for data in BAD:
            self.assertFalse(self.short(data), data)
            self.assertFalse(self.long(data), data)

    def test_values(self) -> None:
        """Values are those of the standard parser, but for integers that are too long for it."""
        data = b'{"a": [1, -2.5, "x", null, true], "b": {"\\u00e9": 12345678901234567890123}}'
        self.assertEqual(parse_json(data), json.loads(data))
        self.assertEqual(parse_json(b"1" * 5000), float("inf"))

    def test_where(self) -> None:
        """The error of a long text says where it is, and that of one that is not UTF-8."""
        for data, where in (
            (b"[" + b"0," * SHORT + b"x]", SHORT * 2 + 1),
            (b'"' + b"a" * SHORT + b"\xff" + b'"', SHORT + 1),
        ):
            error = self.failureResultOf(Deferred.fromCoroutine(check_json(data)), ValueError)
            self.assertIn(f"at byte {where}", str(error.value))

    def test_long_characters(self) -> None:
        """No character is cut where pieces of a long text end."""
        for shift in range(4):
            for character in ("é", "€", "😀"):
                data = ('"' + "a" * shift + character * ((1 << 20) // 2) + '"').encode()
                self.assertTrue(self.long(data))

    def test_deep(self) -> None:
        """What is nested as deeply as a person could mean is taken, in texts of any length."""
        for depth, filler in ((400, b""), (400, b'"' + b"x" * SHORT + b'",')):
            data = b"[" * depth + filler + b"1" + b"]" * depth
            self.assertTrue(self.successResultOf(Deferred.fromCoroutine(check_json(data))) is None)

    def test_many_plain(self) -> None:
        for item in (b"[1],", b'{"a":1},'):
            self.assertTrue(self.long(b"[" + item * 100_000 + b"0]"))

    def test_many_nested(self) -> None:
        """A long text has a bounded number of the arrays and objects that are slow to check."""
        self.patch(jsontext, "_MOST_NESTED", 201)
        for item in (b"[[1]],", b'{"a":{}},', b"[" + b"1," * 70 + b"1],"):
            few, many = [b" " * SHORT + b"[" + item * count + b"0]" for count in (100, 202)]
            self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(check_json(few))))
            for read in (check_json(many), read_members(b'{"a":' + many + b"}")):
                error = self.failureResultOf(Deferred.fromCoroutine(read), TooLarge)
                self.assertIn("more than 201 arrays and objects", str(error.value))

    def test_members(self) -> None:
        """The values of an object by their names, as texts of JSON."""
        for data, found in (
            (b" {} ", {}),
            (b'{"a":1}', {"a": b"1"}),
            (b'{ "\\u0061" : [1, {"b": 2}] , "b":"x" , "":null} ', {"a": b'[1, {"b": 2}] ', "b": b'"x" ', "": b"null"}),
        ):
            self.assertEqual(self.successResultOf(Deferred.fromCoroutine(read_members(data))), found)
        for data in (
            b"",
            b"[]",
            b"1",
            b"{",
            b"{,}",
            b'{"a"}',
            b'{"a":}',
            b'{"a":1,}',
            b'{"a":1 "b":2}',
            b'{"a":1}x',
            b'{"a":1,"a":2}',
            b"{1:2}",
            b'{"a":NaN}',
            b"{" + b",".join(b'"%d":0' % number for number in range(4097)) + b"}",
        ):
            self.failureResultOf(Deferred.fromCoroutine(read_members(data)), ValueError)

    def test_pieces(self) -> None:
        """However long a text is, and whatever is in it, others are served after each piece of it."""
        marks: list[float] = []

        async def breath() -> None:
            marks.append(thread_time())

        def longest(read: Callable[[bytes], Coroutine[Any, Any, object]], text: bytes) -> float:
            marks[:] = [thread_time()]
            with patch.object(jsontext, "breath", breath):
                self.successResultOf(Deferred.fromCoroutine(read(text)))
            return max(after - before for before, after in pairwise(marks))

        for unit, read in ((b"x", read_members), (b"x", check_json), (b"\\u0041", read_text)):
            text = b'"' + unit * ((16 << 20) // len(unit)) + b'"'
            if read is read_members:
                text = b'{"a":%b}' % text

            assert_cpu(LONGEST / 2, partial(longest, read, text), read.__name__)

    def test_texts(self) -> None:
        """Long ones, whatever is where they are cut."""
        for unit in ("x", "é", "😀", "\\", '"', "\n", "\ud83d", "\ud83d\ude00", "\\ud83d"):
            for shift in range(7):
                for ascii_only in (True, False):
                    text = "a" * shift + unit * (150_000 // len(unit))
                    try:
                        data = json.dumps(text, ensure_ascii=ascii_only).encode()
                    except UnicodeEncodeError:
                        continue
                    if unit == "\ud83d":
                        self.failureResultOf(Deferred.fromCoroutine(read_text(data)), ValueError)
                        continue
                    read = self.successResultOf(Deferred.fromCoroutine(read_text(b" " + data + b"\n")))
                    self.assertEqual(read, json.loads(data))
        for data in (b"1", b"[]", b"null", b'{"a":"b"}'):
            self.failureResultOf(Deferred.fromCoroutine(read_text(data)), ValueError)

    def test_known_members(self) -> None:
        """What a body may not have is refused as soon as that can be told: nothing behind it is looked at."""
        known = {"text": Member(b'"', "text"), "small": Member(b"{", "object", 1000)}
        bad = b"[[1],{}" * 1000 + b"!"
        for data, kind in (
            (b'{"other":' + bad, ValueError),
            (b'{"text":' + bad, ValueError),
            (b'{"small":"x"}', ValueError),
            (b'{"small":{"a":[' + b"[1]," * 100_000 + b"!", TooLarge),
        ):
            error = self.failureResultOf(Deferred.fromCoroutine(read_members(data, known)), kind)
            self.assertNotIn("byte ", str(error.value), data[:20])
        found = self.successResultOf(Deferred.fromCoroutine(read_members(b'{"text": "x", "small": {"a": 1}}', known)))
        self.assertEqual(found, {"text": b'"x"', "small": b'{"a": 1}'})

    @long_loop
    def test_the_same(self) -> None:
        """Both ways agree on texts that are nearly JSON."""
        for seed in rounds(1):
            random = Random(seed)
            for _ in range(1000):
                data = bytearray(random.choice(GOOD[:-2] + BAD[:-1]))
                for _ in range(random.randrange(4)):
                    at = random.randrange(len(data) + 1)
                    data[at : at + random.randrange(2)] = random.choices(
                        b'[]{}",:0123 .-eE\\untrlfase\xc3\xa9\0', k=random.randrange(3)
                    )
                self.assertEqual(self.short(bytes(data)), self.long(bytes(data)), bytes(data))
            count("texts", 1000)
