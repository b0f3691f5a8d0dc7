"""A service on an encrypted root: what it is made of, what it refuses, and what is left of the master key."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from storehouse.app import tap
from storehouse.app.sealing import hash_of, make_vault
from storehouse.app.service import StorehouseService, make_service
from storehouse.config import load_settings
from storehouse.core.exits import Exits
from storehouse.core.highwayhash import IS_FAST
from storehouse.core.keys import keyring
from storehouse.core.keys.masterkey import VARIABLE
from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import InvalidSetting, StartFailed, WrongMasterKey
from storehouse.storage.dataspace.wormer import WormerDataSpace
from storehouse.storage.namespace.local import LocalNamespace
from storehouse.storage.sealed.dataspace import SealedDataSpace
from storehouse.storage.sealed.namespace import SealedNamespace
from tests.storage.sealed.keys import LIGHT

_OFF = {"append": "off", "sfsp": "off", "https": "off", "s3": "off", "admin": "tcp:0:interface=127.0.0.1"}


class HashTests(SynchronousTestCase):
    """L{hash_of}."""

    def test_auto(self) -> None:
        self.assertEqual(hash_of(load_settings({}), False), "HighwayHash256" if IS_FAST else "BLAKE3")
        self.assertEqual(hash_of(load_settings({}), True), "CRC32C")

    def test_set(self) -> None:
        for name in ("HighwayHash256", "BLAKE3", "CRC32C"):
            for sealed in (False, True):
                self.assertEqual(hash_of(load_settings({"objects-hash": name}), sealed), name)


class ServiceTests(TestCase):
    """With and without a master key."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.patch(keyring, "Derivation", lambda *given: keyring_derivation(*given))

    def make(self, master: bytes | None, **settings: str) -> StorehouseService:
        given = {"root": self.root, **_OFF, **{name.replace("_", "-"): value for name, value in settings.items()}}
        return make_service(load_settings(given), reactor, master_key=master)

    async def with_service(self, service: StorehouseService, use: Any) -> None:
        service.privilegedStartService()
        service.startService()
        try:
            await use(service.stores["objects"])
        finally:
            await service.stopService()

    async def test_round_trip(self) -> None:
        """What is put is there after a restart, and nowhere on disk."""

        async def put(store: Any) -> None:
            await store.create_bucket("bucket")
            await store.put("bucket", "secret-name", BytesStream(b"secret bytes"), None, "text/secret")

        async def get(store: Any) -> None:
            reader = await store.get("bucket", "secret-name")
            self.assertEqual((await read_all(reader), reader.info.content_type), (b"secret bytes", "text/secret"))
            self.assertEqual(await store.list_keys("bucket"), ["secret-name"])

        await self.with_service(self.make(b"key", seal_names="on"), put)
        for path in Path(self.root).rglob("*"):
            if path.is_file():
                self.assertNotIn(b"secret", path.read_bytes() + os.fsencode(path.relative_to(self.root)))
        await self.with_service(self.make(b"key", seal_names="on"), get)

    async def test_keyring_of_another_root(self) -> None:
        """Also where the marker does not say which keyring there was: it is seen by the objects."""

        async def put(store: Any) -> None:
            await store.create_bucket("bucket")
            await store.put("bucket", "key", BytesStream(b"bytes"), None)

        await self.with_service(self.make(b"key"), put)
        marker, path = Path(self.root, "objects", "sealed"), Path(self.root, "keyring.json")
        whole, own = marker.read_bytes(), path.read_bytes()
        other = make_vault(load_settings({"root": f"{self.root}-2"}), b"key")
        os.makedirs(f"{self.root}-2")
        other.start()
        settings = load_settings({"root": self.root})
        for data in (whole, b""):
            marker.write_bytes(data)
            path.write_bytes(Path(other.path).read_bytes())
            with self.assertRaises(StartFailed) as caught:
                make_vault(settings, b"key").start()
            self.assertIn("belongs to another store", caught.exception.detail)
            self.assertEqual(marker.read_bytes(), data)
            path.write_bytes(own)
            make_vault(settings, b"key").start()
            self.assertEqual(marker.read_bytes(), whole)

    async def test_refused(self) -> None:
        """Before anything is touched."""
        vault = make_vault(load_settings({"root": self.root}), b"key")
        os.makedirs(self.root)
        vault.start()
        before = sorted(str(path) for path in Path(self.root).rglob("*"))
        for master, settings, error in (
            (None, {}, WrongMasterKey),
            (b"wrong", {}, WrongMasterKey),
            (b"key", {"seal_names": "on"}, InvalidSetting),
        ):
            service = self.make(master, **settings)
            service.privilegedStartService()
            with self.assertRaises(error):
                service.startService()
            self.assertFalse(service.running)
            for site in service.sites.values():
                await site.drain(0)
            await deferLater(reactor, 0.01)  # the ports close
            after = {str(path) for path in Path(self.root).rglob("*")} - {
                os.path.join(self.root, name) for name in ("lock", "reserve")
            }
            self.assertEqual({path for path in after if not path.endswith(".sock")}, set(before))
        with self.assertRaises(InvalidSetting):
            self.make(None, seal_names="on")


def keyring_derivation(*given: Any) -> Any:
    """What is quickly derived: only the default is another."""
    return type(LIGHT)(*given) if given else LIGHT


class MakeTests(SynchronousTestCase):
    """Which classes there are."""

    def test_classes(self) -> None:
        for master, names, classes in (
            (None, "off", (WormerDataSpace, LocalNamespace)),
            (b"key", "off", (SealedDataSpace, LocalNamespace)),
            (b"key", "on", (SealedDataSpace, SealedNamespace)),
        ):
            settings = load_settings({"root": self.mktemp(), "seal-names": names})
            service = make_service(settings, MemoryReactorClock(), master_key=master)
            stores = service.stores
            self.assertEqual((type(stores["data_space"]), type(stores["namespace"])), classes)
            self.assertEqual(next(iter(stores)), "keyring")


class TapTests(SynchronousTestCase):
    """The environment of the process."""

    def setUp(self) -> None:
        self.patch(Exits, "install", lambda exits: self.addCleanup(exits.started))
        self.patch(reactor, "callWhenRunning", lambda call: None)
        self.addCleanup(os.environ.pop, VARIABLE, None)
        self.addCleanup(gc.unfreeze)

    def make(self, *arguments: str) -> Any:
        options = tap.Options()
        options.parseOptions(["--root", self.mktemp(), *arguments])
        return tap.makeService(options)

    def test_taken(self) -> None:
        """Children do not inherit the master key."""
        os.environ[VARIABLE] = "key"
        service = self.make()
        self.assertNotIn(VARIABLE, os.environ)
        self.assertIsInstance(service.stores["data_space"], SealedDataSpace)

    def test_file(self) -> None:
        path = os.path.abspath(self.mktemp())
        Path(path).write_bytes(b"key\n")
        os.chmod(path, 0o644)
        with self.assertRaises(SystemExit) as caught:
            self.make("--master-key-file", path)
        self.assertIn("chmod 600", str(caught.exception))
        os.chmod(path, 0o600)
        self.assertIsInstance(self.make("--master-key-file", path).stores["data_space"], SealedDataSpace)
        os.environ[VARIABLE] = "key"
        with self.assertRaises(SystemExit):
            self.make("--master-key-file", path)
