"""Tests of L{storehouse.core.fast.names}, and of what becomes of those who go by private names that are missing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from twisted.internet import abstract, tcp
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import http

from storehouse.config.settings import ConnectionSettings
from storehouse.core.connections import Connections
from storehouse.core.fast import names, transports
from storehouse.core.fast.names import lacking
from storehouse.errors import StartFailed
from storehouse.frontends.http import channel
from storehouse.frontends.http.request import Root
from storehouse.frontends.http.site import DoorSite


def without(kind: type, name: str) -> type:
    """A class like another whose releases had never heard of a name."""
    kept = {
        key: value
        for each in reversed(kind.__mro__[:-1])
        for key, value in vars(each).items()
        if key not in (name, "__dict__", "__weakref__", "__slots__") and name not in names._names_in(value)
    }
    return type(kind.__name__, (), kept)


class LackingTests(SynchronousTestCase):
    """What is found."""

    def test_nothing(self) -> None:
        """With the Twisted that is here."""
        self.assertEqual(channel.missing_names() + transports.missing_for_unsent() + transports.missing_for_tls(), [])

    def test_found(self) -> None:
        class Thing:
            held = 1

            def set(self) -> None:
                self.later = 2

        self.assertEqual(lacking(Thing, ["held", "set", "later", "never"]), ["Thing.never"])
        self.assertEqual(lacking(Thing(), ["held", "set", "later", "never"]), ["Thing.never"])


class RefusedTests(SynchronousTestCase):
    """What keeps requests apart and bounds memory."""

    def site(self) -> DoorSite:
        return DoorSite(Root({}), Clock(), ConnectionSettings())

    def test_framing(self) -> None:
        """No door is made without one of the names that are looked for, and the refusal names it."""
        for owner, attribute, wanted in (
            (channel, "HTTPChannel", channel._OF_CHANNEL),
            (http, "Request", channel._OF_REQUEST),
            (http, "_ChunkedTransferDecoder", channel._OF_CHUNKS),
        ):
            whole = getattr(owner, attribute)
            for name in wanted:
                patched = self.patch(owner, attribute, without(whole, name))
                with self.assertRaises(StartFailed) as caught:
                    self.site()
                self.assertIn(f"{attribute}.{name}", str(caught.exception.detail))
                patched.restore()
        self.site()

    def test_bounds(self) -> None:
        for owner, attribute, name in (
            (abstract, "FileDescriptor", "dataBuffer"),
            (abstract, "FileDescriptor", "_tempDataLen"),
            (transports, "TLSMemoryBIOProtocol", "_appSendBuffer"),
        ):
            patched = self.patch(owner, attribute, without(getattr(owner, attribute), name))
            self.assertRaises(StartFailed, Connections, "x", 1, Clock(), lambda *_: None)
            patched.restore()


class PlainWayTests(SynchronousTestCase):
    """What is only slower without its names."""

    def setUp(self) -> None:
        self.patch(names, "_told", set())
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def told(self) -> list[str]:
        return [str(event["names"]) for event in self.events if "names" in event]

    def test_sending(self) -> None:
        self.patch(transports, "missing_for_unsent", lambda: ["FileDescriptor.x"])
        port = tcp.Port(0, Factory(), reactor=Clock())
        for _ in range(2):
            self.assertFalse(transports.make_eager(port))
        self.assertIs(port.transport, tcp.Server)
        self.assertEqual(self.told(), ["FileDescriptor.x"])

    def test_accepting(self) -> None:
        port = tcp.Port(0, Factory(), reactor=Clock())
        self.patch(transports, "lacking", lambda owner, names: ["Port.numberAccepts"])
        transports.accept_few(port)
        self.assertNotIn("doRead", vars(port))
        self.assertEqual(self.told(), ["Port.numberAccepts"])

    def test_tls(self) -> None:
        for name in transports._OF_TWISTED:
            patched = self.patch(transports, "TLSMemoryBIOProtocol", without(TLSMemoryBIOProtocol, name))
            self.assertIn(f"TLSMemoryBIOProtocol.{name}", transports.missing_for_tls())
            patched.restore()
        self.patch(transports, "missing_for_tls", lambda: ["TLSMemoryBIOProtocol.x"])

        class Creator:
            serverConnectionForTLS = None

        self.patch(transports, "TLSMemoryBIOFactory", lambda *_: "plain")
        self.assertEqual(transports.secured_factory(Creator(), Factory(), Clock()), "plain")
        self.assertEqual(self.told(), ["TLSMemoryBIOProtocol.x"])
        self.assertIsNot(transports._LargePiecesFactory, TLSMemoryBIOFactory)

    def test_reactor(self) -> None:
        """Of a process: the plain one runs."""
        program = (
            "from storehouse.core.fast import reactor as fast\n"
            "fast.lacking = lambda *_: ['EPollReactor._poller']\n"
            "fast.install()\n"
            "from twisted.internet import reactor\n"
            "reactor.callLater(0, reactor.stop)\n"
            "reactor.run()\n"
            "print(type(reactor).__name__)\n"
        )
        printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        self.assertEqual(printed, f"{EPollReactor.__name__}\n")
