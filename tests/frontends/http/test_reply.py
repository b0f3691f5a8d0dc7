"""Tests of L{storehouse.frontends.http.reply}."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.http.reply import Reply, json_reply, long_json_reply
from tests.turns.breathing import every_breath


class LongJSONReplyTests(SynchronousTestCase):
    """L{long_json_reply}."""

    def make(self, lists: dict[str, list[object]], rest: dict[str, object]) -> Reply:
        clock = Clock()
        with every_breath(clock):
            made: Deferred[Reply] = Deferred.fromCoroutine(long_json_reply(lists, rest))
            clock.advance(0)
            return self.successResultOf(made)

    def test_the_same(self) -> None:
        """What comes of it is what comes of all at once."""
        lists: dict[str, list[object]]
        for lists, rest in (
            ({"a": []}, {}),
            ({"a": [1], "b": [{}]}, {"c": None}),
            ({"a": [{"é": "\n"}] * 1000, "b": list(range(120))}, {"c": [1], "d": "x"}),
        ):
            self.assertEqual(self.make(lists, rest), json_reply({**lists, **rest}))

    def test_in_slices(self) -> None:
        """Items are asked for when it is their turn."""
        clock = Clock()
        asked: list[int] = []

        def items() -> object:
            for number in range(200):
                asked.append(number)
                yield number

        with every_breath(clock):
            made = Deferred.fromCoroutine(long_json_reply({"a": items()}, {}))  # type: ignore[dict-item]
            self.assertLess(len(asked), 100)
            clock.advance(0)
            self.assertEqual(json.loads(self.successResultOf(made).body), {"a": list(range(200))})
