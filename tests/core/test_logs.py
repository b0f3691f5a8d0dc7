"""Tests of L{storehouse.core.logs}."""

from __future__ import annotations

import json
import os
import warnings
from typing import Any

from hypothesis import given, settings, strategies
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.logs import JSONLinesObserver, json_line, line_writer

values = strategies.one_of(
    strategies.text(),
    strategies.binary(),
    strategies.integers(),
    strategies.floats(),
    strategies.booleans(),
    strategies.none(),
    strategies.builds(object),
    strategies.lists(strategies.integers()),
)


class Unprintable:
    """Cannot be made a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class JSONLineTests(SynchronousTestCase):
    """One event, one line."""

    def log(self, log: Any) -> dict[str, Any]:
        lines: list[str] = []
        log(Logger(namespace="storehouse.test", observer=JSONLinesObserver(lines.append)))
        (line,) = lines
        self.assertTrue(line.endswith("\n"))
        self.assertEqual(line.count("\n"), 1)
        value = json.loads(line)
        self.assertIsInstance(value, dict)
        return dict(value)

    def test_names(self) -> None:
        got = self.log(
            lambda log: log.info("took {n} from {who}\nand more", n=3, who="ü", raw=b"x", ratio=0.5, thing=object())
        )
        self.assertRegex(got.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertEqual(
            got,
            {
                "level": "info",
                "system": "storehouse.test",
                "message": "took 3 from ü\nand more",
                "n": 3,
                "who": "ü",
                "raw": "x",
                "ratio": 0.5,
            },
        )

    def test_failure(self) -> None:
        def log(log: Logger) -> None:
            try:
                raise ValueError("inside")
            except ValueError:
                log.failure("it broke", failure=Failure())

        got = self.log(log)
        self.assertEqual((got["level"], got["message"]), ("critical", "it broke"))
        self.assertIn("ValueError: inside", got["traceback"])

    def test_taken_names(self) -> None:
        got = self.log(lambda log: log.warn("{system} {message}", system="pump", message="hello"))
        self.assertEqual(
            (got["message"], got["system"], got["system_"], got["message_"]),
            ("pump hello", "storehouse.test", "pump", "hello"),
        )

    def test_unprintable(self) -> None:
        self.assertIn("message", self.log(lambda log: log.info("{x}", x=Unprintable())))

    def test_bare_event(self) -> None:
        got = json.loads(json_line({}))
        self.assertEqual((got["level"], got["system"], got["message"]), ("info", "-", ""))

    def test_lone_surrogates(self) -> None:
        json_line({"log_format": "{x}", "x": "\udc80", "log_level": LogLevel.info}).encode("utf-8")

    @settings(max_examples=200, deadline=None)
    @given(strategies.dictionaries(strategies.text(), values), strategies.text(), strategies.floats())
    def test_any_event(self, fields: dict[str, Any], log_format: str, log_time: float) -> None:
        with warnings.catch_warnings():
            # A format may well ask for bytes as text: that is the event's affair.
            warnings.simplefilter("ignore", BytesWarning)
            line = json_line({**fields, "log_format": log_format, "log_time": log_time})
        line.encode("utf-8")
        self.assertEqual(line.count("\n"), 1)
        self.assertIsInstance(json.loads(line, parse_constant=self.fail), dict)

    def test_reader_gone(self) -> None:
        def write(line: str) -> None:
            raise BrokenPipeError

        JSONLinesObserver(write)({"log_format": "x"})


class FileTests(SynchronousTestCase):
    """L{line_writer}."""

    def test_not_for_everybody(self) -> None:
        path = self.mktemp()
        write: Any = line_writer(path)
        write("a line\n")
        for cell in write.__closure__:
            cell.cell_contents.close()
        self.assertEqual(os.stat(path).st_mode & 0o007, 0)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "a line\n")
