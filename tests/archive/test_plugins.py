"""Checkers and callbacks by name, and what is refused."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.archive.handlers import ArchiveCallback, DeleteFile
from storehouse.archive.plugins import CALLBACKS, CHECKERS, make
from storehouse.errors import InvalidSetting
from tests.archive.test_handlers import Scripted


class PluginTests(SynchronousTestCase):
    """Callbacks and checkers by name."""

    def test_names(self) -> None:
        for kind, name, arguments in (
            (CHECKERS, "never", {}),
            (CHECKERS, "size", {"roll_size_mb": 1}),
            (CHECKERS, "time", {"roll_minutes": "5"}),
            (CHECKERS, "records", {"roll_records": 1}),
            (CHECKERS, "any", {"checkers": ["never", {"class": "size"}]}),
            (CHECKERS, "storehouse.archive.roll_checker:SizeRollChecker", {}),
            (CHECKERS, "storehouse.archive.roll_checker.SizeRollChecker", {"roll_size_mb": 2}),
            (CALLBACKS, "extension", {"new_extension": ".x"}),
            (CALLBACKS, "move", {"destination_folder": "x"}),
            (CALLBACKS, "delete", {}),
            (CALLBACKS, "compress", {"method": "zstd"}),
            (CALLBACKS, "chain", {"callbacks": ["delete", {"class": "compress"}]}),
            (CALLBACKS, f"{Scripted.__module__}:Scripted", {}),
        ):
            made = make(kind, name, arguments)
            self.assertTrue(kind.interface.providedBy(made))
            self.assertEqual(type(make(kind, {"class": name, **arguments})), type(made))
            self.assertIs(make(kind, made), made)

    def refused(self, *arguments: Any) -> str:
        return str(self.assertRaises(InvalidSetting, make, *arguments))

    def test_refused(self) -> None:
        self.assertIn("there is no roll checker 'huge'", self.refused(CHECKERS, "huge"))
        self.assertIn("size, time", self.refused(CHECKERS, "huge"))
        self.assertIn("cannot be loaded", self.refused(CALLBACKS, "no.such:Thing"))
        self.assertIn("cannot be loaded", self.refused(CALLBACKS, "os:thing"))
        self.assertIn("is not a class", self.refused(CALLBACKS, "os:sep"))
        self.assertIn("'roll_mb'", self.refused(CHECKERS, "size", {"roll_mb": 1}))
        self.assertIn("roll_records", self.refused(CHECKERS, "records"))
        self.assertIn("greater than 0", self.refused(CHECKERS, "size", {"roll_size_mb": -1}))
        self.assertIn("'class'", self.refused(CHECKERS, {"roll_size_mb": 1}))
        self.assertIn("is no roll checker", self.refused(CHECKERS, "datetime:datetime.now"))
        self.assertIn("is no archive callback", self.refused(CALLBACKS, object()))
        self.assertIn("itself", self.refused(CALLBACKS, DeleteFile))
        self.assertIn("an instance already", self.refused(CALLBACKS, DeleteFile(), {"a": 1}))
        self.assertIn("cannot be created", self.refused(CALLBACKS, f"{__name__}:Broken"))

    def test_not_called(self) -> None:
        """What implements no interface is not even tried."""
        made = self.mktemp()
        for name in ("os.mkdir", "pathlib.Path", f"{__name__}:make_one"):
            self.assertIn(f"'{name}' is no roll checker", self.refused(CHECKERS, name, {}))
        self.assertIn("IRollChecker", self.refused(CHECKERS, {"class": "os.mkdir", "path": made}))
        self.assertFalse(os.path.exists(made))

    def test_values(self) -> None:
        for kind, name, arguments in (
            (CALLBACKS, "extension", {"files": 3}),
            (CALLBACKS, "delete", {"files": "x"}),
            (CALLBACKS, "move", {"destination_folder": ""}),
            (CALLBACKS, "compress", {"level": True}),
            (CHECKERS, "records", {"roll_records": 1.5}),
            (CHECKERS, "records", {"roll_records": True}),
            (CHECKERS, "size", {"roll_size_mb": True}),
        ):
            (value,) = arguments
            self.assertIn(value, self.refused(kind, name, arguments))


class Broken(ArchiveCallback):
    """One that cannot be made."""

    def __init__(self) -> None:
        raise ZeroDivisionError("on purpose")


def make_one() -> ArchiveCallback:
    """No class."""
    raise AssertionError("it was called")
