"""Tests of L{storehouse.app.notifying}."""

from __future__ import annotations

import os
from typing import Any, cast

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.app.notifying import make_targets
from storehouse.config import Settings, load_settings
from storehouse.config.tables import Stream, Tables
from storehouse.core.turns import Reactor
from storehouse.errors import InvalidSetting
from storehouse.storage.notifications.targets import HTTPTarget, LogTarget, StreamTarget


class TargetTests(SynchronousTestCase):
    """Destinations, as the settings have them."""

    def setUp(self) -> None:
        self.secrets = os.path.abspath(self.mktemp())
        os.makedirs(self.secrets)

    def settings(self, destinations: str) -> Settings:
        return load_settings({"notify": destinations, "notify-secrets": self.secrets})

    def targets(self, settings: Settings, log: Any = None) -> dict[str, Any]:
        return make_targets(settings, cast(Reactor, Clock()), log, lambda: cast(Any, None))

    def write(self, path: str, mode: int = 0o600) -> None:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("very secret")
        os.chmod(path, mode)

    def refused(self, settings: Settings, text: str) -> None:
        detail = self.assertRaises(InvalidSetting, self.targets, settings).detail
        self.assertIn(text, detail)
        self.assertNotIn("very secret", detail)

    def test_kinds(self) -> None:
        self.write(f"{self.secrets}/hooks")
        settings = self.settings("hooks=https://127.0.0.1/a,log=append:events/s3,all=archive:events")
        settings = attrs.evolve(settings, tables=Tables((Stream(name="events"),)))
        found = self.targets(settings, log=object())
        self.assertEqual(
            {name: type(each) for name, each in found.items()},
            {"hooks": HTTPTarget, "log": LogTarget, "all": StreamTarget},
        )

    def test_refused(self) -> None:
        self.refused(self.settings("hooks=https://127.0.0.1/a"), "no secret")
        self.write(f"{self.secrets}/hooks", 0o644)
        self.refused(self.settings("hooks=https://127.0.0.1/a"), "can be read by others")
        self.refused(self.settings("log=append:events/s3"), "the append log is off")
        self.refused(self.settings("all=archive:events"), "no [archive.streams.events]")

    def test_credential(self) -> None:
        """A credential of systemd."""
        self.write(f"{self.secrets}/notify-hooks")
        self.patch(os, "environ", {**os.environ, "CREDENTIALS_DIRECTORY": self.secrets})
        settings = load_settings({"notify": "hooks=https://127.0.0.1/a"})
        self.assertIsInstance(self.targets(settings)["hooks"], HTTPTarget)
