"""Tests of L{storehouse.app.tap} and of the plugin."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

from twisted.application.reactors import IReactorInstaller
from twisted.application.service import IService, IServiceMaker
from twisted.internet import reactor
from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

import storehouse
from storehouse.app import tap
from storehouse.config import options
from storehouse.core.exits import Exits


class TapTests(SynchronousTestCase):
    """From the command line to a service."""

    def setUp(self) -> None:
        self.patch(Exits, "install", lambda exits: self.addCleanup(exits.started))
        self.patch(reactor, "callWhenRunning", lambda call: None)
        self.addCleanup(os.umask, os.umask(0o022))
        self.addCleanup(gc.unfreeze)

    def parse(self, *arguments: str) -> tap.Options:
        parsed = tap.Options()
        parsed.parseOptions(list(arguments))
        return parsed

    def test_nothing_given(self) -> None:
        self.assertEqual(self.parse().given, {})

    def test_given(self) -> None:
        got = self.parse("--root", "/x", "--append-sync=os", "--append-buckets", "10", "--access-log").given
        self.assertEqual(got, {"root": "/x", "append-sync": "os", "append-buckets": "10", "access-log": True})

    def test_help(self) -> None:
        text = self.parse().getUsage(100)
        for option in options():
            (self.assertIn if option.on_command_line else self.assertNotIn)(
                f"--{option.name}=", text.replace(f"--{option.name} ", f"--{option.name}=")
            )
        for word in ("Examples:", "curl", "[default: tcp:8001:interface=127.0.0.1]", "--config"):
            self.assertIn(word, text)
        self.assertIn("twistd", str(self.parse()))

    def test_version(self) -> None:
        printed: list[str] = []
        self.patch(
            sys,
            "stdout",
            type("Stdout", (), {"write": staticmethod(printed.append), "flush": staticmethod(lambda: None)}),
        )
        self.assertRaises(SystemExit, self.parse, "--version")
        self.assertEqual("".join(printed), f"storehouse {storehouse.__version__}\n")

    def test_unknown_option(self) -> None:
        for words, said in (
            (["--nonsense"], "--nonsense is not an option"),
            (["--buckets", "10"], "--buckets is now --append-buckets"),
            (["--idle-timeout=3"], "set idle-timeout in the configuration file"),
            (["--append-snyc=os"], "did you mean --append-sync?"),
            (["--root"], "requires argument"),
        ):
            self.assertIn(said, str(self.assertRaises(usage.UsageError, self.parse, *words)))

    def test_make_service(self) -> None:
        root = self.mktemp()
        service: Any = tap.makeService(self.parse("--root", root, "--admin", "off"))
        self.assertTrue(IService.providedBy(service))
        self.assertEqual(service.settings.root, os.path.abspath(root))
        self.assertFalse(os.path.exists(root))
        # What others make, such as SQLite, is for the user of the process alone.
        self.assertEqual(os.umask(0o077), 0o077)

    def test_garbage(self) -> None:
        """What is imported is never looked through for garbage; what comes later is."""
        gc.unfreeze()
        tap.makeService(self.parse("--root", self.mktemp()))
        self.assertTrue(gc.isenabled())
        self.assertGreater(gc.get_freeze_count(), 0)

    def test_bad_setting(self) -> None:
        error = self.assertRaises(SystemExit, tap.makeService, self.parse("--append-buckets", "0"))
        self.assertEqual(
            error.code, "storehouse: append-buckets cannot be '0': it must be at least 1 and at most 65535"
        )

    def test_config(self) -> None:
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write('append-buckets = 10\nadmin = "off"\n')
        service: Any = tap.makeService(self.parse("--config", path, "--append-buckets", "11"))
        self.assertEqual((service.settings.append.buckets, service.settings.admin), (11, "off"))
        error = self.assertRaises(SystemExit, tap.makeService, self.parse("--config", self.mktemp()))
        self.assertIn("cannot be read", str(error.code))

    def test_application(self) -> None:
        application = tap.make_application(["--root", self.mktemp()])
        self.assertEqual([service.name for service in IService(application)], ["storehouse"])
        for arguments in (
            ["--nonsense"],
            ["--append-buckets", "x"],
            ["--log-format", "json", "--log-file", os.path.join(self.mktemp(), "x")],
        ):
            error = self.assertRaises(SystemExit, tap.make_application, arguments)
            self.assertTrue(str(error.code).startswith("storehouse: "))


class PluginTests(SynchronousTestCase):
    """What twistd finds."""

    def test_service_maker(self) -> None:
        (maker,) = (maker for maker in getPlugins(IServiceMaker) if maker.tapname == "storehouse")
        self.assertIs(maker.options, tap.Options)
        self.assertIs(maker.makeService, tap.makeService)

    def test_reactor(self) -> None:
        (installer,) = (installer for installer in getPlugins(IReactorInstaller) if installer.shortName == "storehouse")
        self.assertEqual(installer.moduleName, "storehouse.core.fast.reactor")
