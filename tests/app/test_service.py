"""Tests of L{storehouse.app.service}."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import socket
import tempfile
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import attrs
from twisted.application.service import Application, IService
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, capturedLogs, formatEvent
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from storehouse.app import service as service_module
from storehouse.app.service import StorehouseService, make_service
from storehouse.config import load_settings
from storehouse.core.exits import Exits
from storehouse.core.files import Files
from storehouse.core.streams import BytesStream
from storehouse.errors import (
    BucketCountMismatch,
    InvalidSetting,
    NoSpace,
    RootInUse,
    StartFailed,
    StorageFailed,
    StorehouseError,
    StoreUnusable,
)
from storehouse.events import StoreFailed
from storehouse.storage.dataspace.chores import Scrubber
from storehouse.storage.dataspace.scrub import Finding
from tests.integration.process import PATIENCE


class Recorder:
    """Writes down what happens, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []


class FakeLock(Recorder):
    """A root lock."""

    refusal: StorehouseError | None = None

    def acquire(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.events.append("lock")

    def release(self) -> None:
        self.events.append("unlock")


class FakePart:
    """A store, or the disk threads."""

    def __init__(self, name: str, events: list[str], refusal: Exception | None = None) -> None:
        self.name = name
        self.events = events
        self.refusal = refusal
        self.failed: Exception | None = None
        self.stopped: Deferred[None] = succeed(None)

    def start(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.events.append(f"start {self.name}")

    def stop(self) -> Deferred[None]:
        self.events.append(f"stop {self.name}")
        return self.stopped


@implementer(IOpenSSLServerConnectionCreator)
class FakeTLS:
    """Adds no TLS to anything."""

    certificate_file = ""

    def __init__(self) -> None:
        self.refusal: StorehouseError | None = None
        self.checked = 0

    def check(self) -> None:
        self.checked += 1
        if self.refusal is not None:
            raise self.refusal

    def serverConnectionForTLS(self, protocol: Any) -> Any:
        raise NotImplementedError


class FakeSite(Factory):
    """A site whose draining the test decides."""

    def __init__(self, name: str, events: list[str]) -> None:
        self.name = name
        self.events = events
        self.drained: Deferred[None] = Deferred()

    def drain(self, timeout: float) -> Deferred[None]:
        self.events.append(f"drain {self.name} {timeout:g}")
        return self.drained


class Reactor(MemoryReactorClock):
    """Says where it listens, fails where a test wants it to, and can be stopped."""

    refused_port = 0

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        if port == self.refused_port:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        return super().listenTCP(port, factory, backlog, interface)


class FakeExits(Exits):
    """Keeps what would be said."""

    in_background = False

    def __init__(self) -> None:
        super().__init__()
        self.started()
        self.said: list[str] = []
        self.ended = False

    def cannot_start(self, error: StorehouseError) -> None:
        self.said.append(error.detail)

    def gave_up(self) -> None:
        self.ended = True


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__context__ = cause
    return error


class ServiceTests(SynchronousTestCase):
    """Order, and what happens when something fails."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.exits = FakeExits()

    def service(self, refusal: Exception | None = None, **given: Any) -> StorehouseService:
        self.lock = FakeLock()
        self.events = self.lock.events
        disk = FakePart("disk", self.events)
        named = {name.replace("_", "-"): value for name, value in given.items()}
        settings = load_settings({"https": "off", "s3": "off", **named})
        service = StorehouseService(settings, self.reactor, self.lock, disk, self.exits)
        self.tls = FakeTLS()
        if "https" in settings.doors:
            service.tls["https"] = self.tls
        self.store = FakePart("store", self.events, refusal)
        service.stores["store"] = self.store
        self.chore = FakePart("chore", self.events)
        service.chores.append(self.chore)
        for name in service.settings.doors:
            service.sites[name] = FakeSite(name, self.events)
        return service

    def start(self, service: StorehouseService) -> None:
        service.privilegedStartService()
        service.startService()

    def failure(self, service: StorehouseService, kind: type[StorehouseError] = StartFailed) -> str:
        error = self.assertRaises(kind, self.start, service)
        self.assertEqual(self.exits.said, [error.detail])
        self.assertFalse(service.running)
        return str(error.detail)

    def test_start_and_stop(self) -> None:
        service = self.service(shutdown_timeout=7.0)
        self.assertEqual(service.parts(), {"service": "starting", "store": ""})
        self.start(service)
        self.assertEqual(self.events, ["lock", "start disk", "start store", "start chore"])
        self.assertEqual([port for port, *_ in self.reactor.tcpServers], [8001, 7370, 8002])
        self.assertEqual(service.parts(), {"service": "", "store": ""})
        del self.events[:]
        self.store.stopped = Deferred()
        self.chore.stopped = Deferred()
        stopped = service.stopService()
        self.assertEqual(self.events, ["drain append 7", "drain sfsp 7", "drain admin 7"])
        self.assertEqual(service.parts()["service"], "stopping")
        self.assertEqual(service.ports, {})
        service.sites["append"].drained.callback(None)
        service.sites["sfsp"].drained.callback(None)
        self.assertNotIn("stop store", self.events)
        service.sites["admin"].drained.callback(None)
        self.assertEqual(self.events[3:], ["stop chore"])
        self.chore.stopped.callback(None)
        self.assertEqual(self.events[4:], ["stop store"])
        self.assertNoResult(stopped)
        self.store.stopped.callback(None)
        self.assertEqual(self.events[5:], ["stop disk", "unlock"])
        self.successResultOf(stopped)
        self.successResultOf(service.stopService())

    def test_stores_stop_in_the_reverse_order(self) -> None:
        """Each once the one that was made of it has stopped, whatever became of it."""
        service = self.service()
        service.stores["made of it"] = last = FakePart("last", self.events)
        self.start(service)
        self.assertEqual(self.events[2:4], ["start store", "start last"])
        last.stopped = Deferred()
        stopped = service.stopService()
        for site in service.sites.values():
            site.drained.callback(None)
        self.assertEqual(self.events[-2:], ["stop chore", "stop last"])
        last.stopped.errback(RuntimeError("a defect"))
        self.assertEqual(self.events[-3:], ["stop store", "stop disk", "unlock"])
        self.successResultOf(stopped)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_socket(self) -> None:
        """A door on a socket file that only the user can open, in place of one that a dead process left."""
        # The paths of sockets are short, and those of tests need not be.
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        path = os.path.join(directory, "socket")
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
        service = self.service(append="off")
        service.sites["objects"] = FakeSite("objects", self.events)
        service.sockets["objects"] = path
        self.start(service)
        self.assertFalse(os.path.exists(path))
        ((at, site, _, mode, _),) = self.reactor.unixServers
        self.assertEqual((at, site, mode), (path, service.sites["objects"], 0o600))
        self.assertEqual(self.events[:2], ["lock", "start disk"])

    def test_socket_is_something_else(self) -> None:
        """What is no socket file is left alone."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write("mine")
        service = self.service()
        service.sites["objects"] = FakeSite("objects", self.events)
        service.sockets["objects"] = path
        self.assertEqual(
            self.failure(service), f"the objects door cannot listen on {path}: it exists and is not a socket file"
        )
        self.assertEqual(self.events, ["lock", "unlock"])
        self.assertTrue(os.path.exists(path))

    def test_stop_goes_on_after_a_failure(self) -> None:
        service = self.service()
        self.start(service)
        stopped = service.stopService()
        service.sites["append"].drained.errback(RuntimeError("a defect"))
        service.sites["sfsp"].drained.callback(None)
        service.sites["admin"].drained.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.events[-3:], ["stop store", "stop disk", "unlock"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_stop_before_start(self) -> None:
        self.successResultOf(self.service().stopService())

    def test_privileged_ports_come_first(self) -> None:
        service = self.service(append="tcp:801:interface=127.0.0.1")
        service.privilegedStartService()
        self.assertEqual(list(service.ports), ["append"])
        self.assertEqual(self.events, [])
        service.startService()
        self.assertEqual(list(service.ports), ["append", "sfsp", "admin"])

    def test_start_without_privileges(self) -> None:
        service = self.service(append="tcp:8001")
        self.assertRaises(InvalidSetting, service.startService)

    def test_port_in_use(self) -> None:
        self.reactor.refused_port = 8002
        service = self.service()
        text = self.failure(service)
        self.assertEqual(text, "the admin door cannot listen on tcp:8002:interface=127.0.0.1: Address already in use")
        self.assertEqual(self.events, ["lock", "unlock"])
        self.assertEqual(service.ports, {})

    def test_root_in_use(self) -> None:
        service = self.service()
        self.lock.refusal = RootInUse("in use by 7")
        self.assertEqual(self.failure(service, RootInUse), "in use by 7")
        self.assertEqual(self.events, [])

    def test_store_does_not_open(self) -> None:
        self.assertEqual(self.failure(self.service(BucketCountMismatch("10, not 128"))), "10, not 128")
        self.assertEqual(self.events, ["lock", "start disk", "stop disk", "unlock"])

    def test_store_is_damaged(self) -> None:
        """What needs it stays shut, and says so; all else is opened."""
        for refusal in (
            NoSpace("there is no room"),
            StoreUnusable("there is no room"),
            caused_by(StartFailed("there is no room"), OSError(errno.ENOSPC, "")),
            OSError(errno.EIO, "there is no room"),
        ):
            self.setUp()
            service = self.service(refusal)
            made, apart = FakePart("made", self.events), FakePart("apart", self.events)
            service.stores.update({"made of it": made, "apart": apart})
            needing = FakePart("needing", self.events)
            service.chores.insert(0, needing)
            service.opening.needs.update({"made of it": ("store",), "append": ("made of it",), "sfsp": ("apart",)})
            service.opening.chores.append((needing, ("made of it",), ""))
            self.start(service)
            self.assertEqual(self.events, ["lock", "start disk", "start apart", "start chore"])
            self.assertEqual(sorted(service.ports), ["admin", "sfsp"])
            parts = service.parts()
            self.assertEqual({name for name, why in parts.items() if not why}, {"service", "apart"})
            self.assertIn("there is no room", parts["store"])
            self.assertIn("needs the made of it", parts["append door"])
            stopped = service.stopService()
            for site in service.sites.values():
                site.drained.callback(None)
            self.assertEqual(self.events[-4:], ["stop chore", "stop apart", "stop disk", "unlock"])
            self.successResultOf(stopped)

    def test_nothing_left(self) -> None:
        """If no door is left, or nothing may be touched, there is no start."""
        service = self.service(NoSpace("there is no room"))
        service.opening.needs.update(append=("store",), sfsp=("store",))
        self.assertEqual(self.failure(service), "there is no room")
        self.assertEqual(self.events[-2:], ["stop disk", "unlock"])
        self.setUp()
        service = self.service()
        service.stores["keyring"] = FakePart("keyring", self.events, NoSpace("there is no room"))
        self.assertEqual(self.failure(service), "there is no room")

    def test_certificate_cannot_be_made(self) -> None:
        """A chore that is a part of a door keeps that one shut."""
        service = self.service(https="tcp:6445:interface=127.0.0.1")
        chore = FakePart("certificate", self.events, NoSpace("there is no room"))
        service.chores.append(chore)
        service.opening.chores.append((chore, (), "https"))
        self.start(service)
        self.assertNotIn("https", service.ports)
        self.assertIn("there is no room", service.parts()["https"])

    def test_defect_at_start(self) -> None:
        """What is no error of storehouse's stays as it is, and all is undone as well."""
        service = self.service(ZeroDivisionError())
        self.assertRaises(ZeroDivisionError, self.start, service)
        self.assertEqual(self.events[-1], "unlock")
        self.assertEqual(self.exits.said, [])

    def test_anonymous_doors(self) -> None:
        for endpoint, where in [
            ("tcp:9", "all interfaces"),
            ("tcp:9:interface=192.0.2.1", "192.0.2.1"),
            ("tcp6:9", "::"),
        ]:
            for door in ("append", "sfsp", "admin"):
                self.exits.said.clear()
                text = self.failure(self.service(**{door: endpoint}), InvalidSetting)
                for word in (door, where, "--allow-anonymous"):
                    self.assertIn(word, text)
                self.assertEqual(self.events, [])
        self.start(self.service(append="tcp:9", allow_anonymous=True))

    def test_doors_that_ask_for_certificates(self) -> None:
        """They may be reached by others; what they need is looked at before anything is opened."""
        service = self.service(https="tcp:9")
        self.start(service)
        self.assertIn("https", service.ports)
        service = self.service(sfsp="tcp:9")
        # Settings that were read are refused before.
        sfsp = attrs.evolve(service.settings.sfsp, client_ca=self.mktemp())
        service.settings = attrs.evolve(service.settings, sfsp=sfsp)
        text = self.failure(service, InvalidSetting)
        self.assertIn("sfsp cannot be 'tcp:9'", text)

    def test_tls(self) -> None:
        """A door with TLS never listens without; its certificate is looked at before anything is opened."""
        service = self.service(https="tcp:6445:interface=127.0.0.1", append="off", sfsp="off", s3="off", admin="off")
        with capturedLogs() as events:
            self.start(service)
        ((port, factory, _, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (6445, "127.0.0.1"))
        self.assertIsInstance(factory, TLSMemoryBIOFactory)
        self.assertEqual(self.tls.checked, 1)
        said = "\n".join(formatEvent(event) for event in events)
        url = service.url("https")
        self.assertTrue(url.startswith("https://localhost:"), url)
        for text in (f"upload door listens on {url}", f"{url}/upload in a browser", "curl -u KEY-ID:SECRET -T FILE"):
            self.assertIn(text, said)
        for refused in ("tls:443", "stdio:"):
            self.exits.said.clear()
            self.assertIn("https", self.failure(self.service(https=refused), InvalidSetting))
        service = self.service(https="tcp:9")
        self.tls.refusal = InvalidSetting("no key")
        self.exits.said.clear()
        self.assertEqual(self.failure(service, InvalidSetting), "no key")
        self.assertEqual(self.events, [])

    def test_optional(self) -> None:
        """A door that nobody asked for stays shut if another program has its port; one that was asked for is needed."""
        self.reactor.refused_port = 9000
        for is_optional in (True, False):
            service = self.service(s3="tcp:9000:interface=127.0.0.1")
            if is_optional:
                service.optional.add("s3")
                with capturedLogs() as events:
                    self.start(service)
                self.assertEqual(sorted(service.ports), ["admin", "append", "sfsp"])
                said = "\n".join(formatEvent(event) for event in events)
                self.assertIn("Address already in use: it stays shut", said)
                self.assertEqual((service.state, "s3" in service.sites), ("ready", False))
            else:
                self.assertIn("S3 door cannot listen", self.failure(service))

    def test_certificate_file(self) -> None:
        """The log says which certificate to trust, if no authority has signed it."""
        service = self.service(https="unix:" + self.mktemp(), append="off", sfsp="off", s3="off", admin="off")
        self.tls.certificate_file = "/a root/certificate.pem"
        with capturedLogs() as events:
            self.start(service)
        said = "\n".join(formatEvent(event) for event in events)
        self.assertIn("--cacert '/a root/certificate.pem'", said)
        self.assertIn("'https://localhost/upload/'", said)
        self.assertIsInstance(self.reactor.unixServers[0][1], TLSMemoryBIOFactory)

    def test_no_endpoint(self) -> None:
        self.assertIn("'nonsense:1'", self.failure(self.service(append="nonsense:1"), InvalidSetting))

    def test_json_in_background(self) -> None:
        self.exits.in_background = True
        self.assertIn("log-file", self.failure(self.service(log_format="json"), InvalidSetting))

    def test_store_fails(self) -> None:
        service = self.service()
        self.start(service)
        self.store.failed = StorageFailed("fdatasync: Input/output error")
        service.store_failed(StoreFailed("append log", self.store.failed))
        self.assertTrue(self.exits.ended)
        self.assertTrue(self.reactor.hasStopped)
        self.assertEqual(service.parts()["store"], "failed: fdatasync: Input/output error")

    def test_json_logging(self) -> None:
        path = self.mktemp()
        application: Any = Application("storehouse")
        self.service(log_format="json", log_file=path).setServiceParent(application)
        ILogObserver(application)({"log_format": "hello {who}", "who": "you"})
        with open(path, encoding="utf-8") as file:
            self.assertEqual(json.load(file)["message"], "hello you")
        # The file is open as long as the process; here it is closed by its end, which is no fault.
        del application
        gc.collect()
        self.flushWarnings()

    def test_json_file_that_cannot_be(self) -> None:
        service = self.service(log_format="json", log_file=os.path.join(self.mktemp(), "log"))
        self.assertIn(
            "log-file", self.assertRaises(StartFailed, service.setServiceParent, Application("storehouse")).detail
        )

    def test_text_logging(self) -> None:
        application: Any = Application("storehouse")
        self.service().setServiceParent(application)
        self.assertIs(ILogObserver(application, None), None)


class MakeServiceTests(SynchronousTestCase):
    """What is put together."""

    def make(self, **settings: str) -> StorehouseService:
        return make_service(load_settings({"root": self.mktemp(), **settings}), MemoryReactorClock())

    def test_guarded(self) -> None:
        """Every door that speaks HTTP knows its names; those that ask nobody look at origins as well."""
        service = self.make(**{"allowed-host": "log.example", "https-url": "https://Files.example:8443/x"})
        for name in ("append", "objects", "https", "admin"):
            guard = service.sites[name].guard
            self.assertEqual(guard.checks_origins, name != "https")
            self.assertEqual([guard.knows(host) for host in (b"log.example", b"evil.example")], [True, False])
            self.assertEqual(guard.knows(b"files.example"), name == "https")

    def test_few_files(self) -> None:
        """No door can take all connections and uploads from the others."""
        self.patch(service_module, "file_limit", lambda: 1024)
        with capturedLogs() as logs:
            service = self.make(**{"https-max-uploads": "9"})
        settings = service.settings
        found = settings.connections.max_connections, settings.https.max_uploads, settings.s3.max_uploads
        self.assertEqual(found, (256, 9, 64))
        self.assertEqual(service.sites["s3"].limits.max_connections, 256)
        self.assertIn("may open 1024 files", "".join(str(formatEvent(event)) for event in logs))
        self.patch(service_module, "file_limit", lambda: 1 << 20)
        with capturedLogs() as logs:
            self.assertEqual(self.make().settings.connections.max_connections, 4096)
        self.assertNotIn(" may open ", "".join(str(formatEvent(event)) for event in logs))

    def test_opens_nothing(self) -> None:
        service = self.make()
        self.assertTrue(IService.providedBy(service))
        self.assertEqual(list(service.sites), ["append", "objects", "sfsp", "https", "s3", "admin"])
        stores = [
            "keyring",
            "stamps",
            "append_log",
            "data_space",
            "namespace",
            "events",
            "objects",
            "resumable",
            "accounts",
            "uploads",
        ]
        self.assertEqual(list(service.stores), stores)
        self.assertEqual(service.sockets, {"objects": os.path.join(service.settings.root, "objects.sock")})
        self.assertFalse(os.path.exists(service.settings.root))
        self.assertTrue(os.path.isabs(service.settings.root))

    def test_doors_that_are_off(self) -> None:
        service = self.make(append="off")
        stores = ["data_space", "namespace", "events", "objects", "resumable", "accounts", "uploads"]
        self.assertEqual(
            (list(service.sites), list(service.stores)),
            (["objects", "sfsp", "https", "s3", "admin"], ["keyring", "stamps", *stores]),
        )
        service = self.make(sfsp="off")
        self.assertEqual(list(service.sites), ["append", "objects", "https", "s3", "admin"])
        service = self.make(admin="off")
        self.assertEqual(
            (list(service.sites), list(service.stores)),
            (["append", "objects", "sfsp", "https", "s3"], ["keyring", "stamps", "append_log", *stores]),
        )
        self.assertEqual(service.optional, {"s3"})
        self.assertEqual(self.make(s3="tcp:9000:interface=127.0.0.1").optional, set())
        service = self.make(s3="off")
        self.assertEqual(list(service.sites), ["append", "objects", "sfsp", "https", "admin"])
        service = self.make(https="off", s3="off")
        self.assertEqual(list(service.sites), ["append", "objects", "sfsp", "admin"])
        self.assertEqual(list(service.stores), ["keyring", "stamps", "append_log", *stores[:-2]])
        self.assertEqual(service.tls, {})
        service = self.make(https="off")
        stores = ["append_log", "data_space", "namespace", "events", "objects", "resumable", "accounts"]
        self.assertEqual(
            (list(service.sites), list(service.stores)),
            (["append", "objects", "sfsp", "s3", "admin"], ["keyring", "stamps", *stores]),
        )

    def test_tls_of_both(self) -> None:
        """One host has one certificate."""
        self.assertEqual(list(self.make().tls), ["https"])
        self.assertEqual(list(self.make(https="off").tls), [])
        self.assertEqual(list(self.make(**{"https": "off", "s3-tls": "on"}).tls), ["s3"])
        tls = self.make(**{"s3-tls": "on"}).tls
        self.assertEqual(list(tls), ["https", "s3"])
        self.assertIs(tls["https"], tls["s3"])

    def test_paths_are_told_from_here(self) -> None:
        settings = self.make(**{"objects-dir": "somewhere"}).settings
        self.assertEqual(settings.objects_directory, os.path.abspath("somewhere"))
        settings = self.make().settings
        self.assertEqual(settings.objects_directory, os.path.join(settings.root, "objects"))


def fetch(url: str) -> bytes:
    """What a URL answers."""
    with urlopen(url, timeout=PATIENCE) as answer:
        body: bytes = answer.read()
        return body


class ObjectsTests(TestCase):
    """The object store of a service that is put together, on a real disk."""

    def make(self, **settings: str) -> StorehouseService:
        self.root = os.path.abspath(self.mktemp())
        loaded = load_settings(
            {
                "root": self.root,
                "append": "off",
                "sfsp": "off",
                "https": "off",
                "s3": "off",
                "admin": "tcp:0:interface=127.0.0.1",
                **settings,
            }
        )
        return make_service(loaded, reactor)

    async def refused(self, *words: str, **settings: str) -> None:
        service = self.make(**settings)
        service.privilegedStartService()
        error = self.assertRaises(StartFailed, service.startService)
        for word in words:
            self.assertIn(word, error.detail)
        self.assertFalse(service.running)
        for site in service.sites.values():
            await site.drain(0)
        await deferLater(reactor, 0.01)  # the port closes

    async def test_open(self) -> None:
        service = self.make()
        service.privilegedStartService()
        service.startService()
        try:
            store: Any = service.stores["data_space"]
            await store.put("ab", BytesStream(b"some text"), None, {})
            names = ("service", "keyring", "stamps", "data_space", "namespace", "events", "objects", "resumable")
            self.assertEqual(service.parts(), dict.fromkeys(names, ""))
            shown = await deferToThread(fetch, f"http://127.0.0.1:{service.ports['admin'].getHost().port}/metrics")
            for line in (
                b"storehouse_objects_in_bytes_total 9.0",
                b"storehouse_objects_out_bytes_total 0.0",
                b'storehouse_objects_operation_seconds_count{operation="put",outcome="ok"} 1.0',
                b"storehouse_objects_damaged_total 0.0",
                b"storehouse_objects_staged_deletes 0.0",
                b"storehouse_objects_leftovers_removed_total 0.0",
                b"storehouse_objects_scrub_progress",
                b"storehouse_namespace_buckets 0.0",
                b"storehouse_namespace_index_repairs_total 0.0",
                b"storehouse_store_orphans_removed_total 0.0",
                b"storehouse_objects_http_connections 0.0",
            ):
                self.assertIn(b"\n" + line, shown)
        finally:
            await service.stopService()

    async def test_scrub_compares_keys(self) -> None:
        """The scrub of the service finds a key whose object is another one."""
        service = self.make()
        service.privilegedStartService()
        service.startService()
        try:
            store, names, space = (service.stores[name] for name in ("objects", "namespace", "data_space"))
            await store.create_bucket("bucket")
            info = await store.put("bucket", "key", BytesStream(b"12345"), 5)
            await space.delete(info.id)
            await space.put(info.id, BytesStream(b"1234567"), 7, {})
            (scrubber,) = (chore for chore in service.chores if isinstance(chore, Scrubber))
            found: list[Finding] = []
            assert scrubber._compare is not None
            await scrubber._compare(found.append, lambda cost: succeed(True))
            self.assertEqual([(each.id, each.kind) for each in found], [(info.id, "key")])
            self.assertRegex(found[0].reason, r"^bucket/key: .* 7 bytes instead of 5$")
            self.assertEqual((await names.look_up("bucket", "key")).id, info.id)
        finally:
            await service.stopService()

    async def test_settings(self) -> None:
        """The store is as it was set, and the scrubs and the expiry can be turned off."""
        service = self.make(
            **{
                "objects-hash": "crc32c",
                "objects-block-size": "4",
                "objects-scrub-rate": "0",
                "objects-upload-expiry": "0",
            }
        )
        service.privilegedStartService()
        service.startService()
        try:
            store: Any = service.stores["data_space"]
            await store.put("ab", BytesStream(b"some text"), None, {})
            path = os.path.join(self.root, "objects", "data", "ab", "ab", "part.1.checksum")
            with open(path, "rb") as file:
                self.assertIn(b'"hashName":"CRC32C","hashKey":"","hashLength":4,"blockSize":4,', file.read())
        finally:
            await service.stopService()

    async def test_other_version(self) -> None:
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        with open(os.path.join(directory, "format.json"), "w", encoding="utf-8") as file:
            file.write('{"format":"wormer","version":2}\n')
        await self.refused(directory, '"version":2', '"version":1', **{"objects-dir": directory})

    async def test_no_permission(self) -> None:
        self.fails_with(errno.EACCES)
        await self.refused(os.path.join("objects", "data"), "permission denied")

    async def test_read_only(self) -> None:
        self.fails_with(errno.EROFS)
        await self.refused("objects", "its file system is read-only")

    async def test_became_read_only(self) -> None:
        """Also where all directories are there already, and nothing would have to be made."""
        directory = os.path.abspath(self.mktemp())
        for name in ("data", "uploads", "tmp"):
            os.makedirs(os.path.join(directory, name))
        access = os.access
        self.patch(os, "access", lambda path, mode: not path.endswith("/uploads") and access(path, mode))
        await self.refused(f"permission denied for {directory}/uploads", **{"objects-dir": directory})
        os.unlink(f"{directory}/stamp")
        self.patch(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY, f_bavail=1 << 30, f_frsize=4096))
        await self.refused("its file system is read-only", **{"objects-dir": directory})

    def fails_with(self, number: int) -> None:
        """Nothing can be made below the objects directory."""
        mkdir = Files.mkdir

        def refuse(files: Files, path: str) -> None:
            if "objects/" in path:
                raise OSError(number, os.strerror(number), path)
            mkdir(files, path)

        self.patch(Files, "mkdir", refuse)
