"""C{storehouse keys}: a keyring is made where nothing is stored, or when asked for in words."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from storehouse.app.service import make_service
from storehouse.cli import main
from storehouse.config import load_settings
from storehouse.core.keys import keyring
from storehouse.core.keys.keyring import decode_keyring
from storehouse.errors import StartFailed
from tests.storage.sealed.keys import LIGHT

_OFF = {"append": "off", "sfsp": "off", "https": "off", "s3": "off", "admin": "tcp:0:interface=127.0.0.1"}


class KeysTests(TestCase):
    """Beside a service that was started with a master key, without one, or never."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        light = type(LIGHT)
        self.patch(keyring, "Derivation", lambda *given: light(*given) if given else LIGHT)

    def run_command(self, *words: str, status: int = 0, key: str | None = None) -> Result:
        done = CliRunner().invoke(main, [*words, "--root", self.root], env={"masterkey": key})
        self.assertEqual(done.exit_code, status, done.output)
        return done

    def put(self, name: str, text: str, key: str | None = None) -> None:
        done = CliRunner().invoke(
            main, ["put", "-", f"photos/{name}", "--root", self.root], input=text, env={"masterkey": key}
        )
        self.assertEqual(done.exit_code, 0, done.output)

    async def start(self, key: bytes | None) -> None:
        service = make_service(load_settings({"root": self.root, **_OFF}), reactor, master_key=key)
        service.privilegedStartService()
        try:
            service.startService()
        finally:
            await service.stopService()
            for site in service.sites.values():
                await site.drain(0)
            await deferLater(reactor, 0.01)  # the ports close

    @property
    def path(self) -> Path:
        return Path(self.root, "keyring.json")

    async def test_first_start(self) -> None:
        """Of a service on an empty root; not of a command, and not where something is stored."""
        self.assertIn("keys init", self.run_command("mb", "photos", status=1, key="key").stderr)
        self.assertFalse(self.path.exists())
        await self.start(b"key")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        await self.start(b"key")

    async def test_not_in_a_plain_root(self) -> None:
        await self.start(None)
        with self.assertRaises(StartFailed) as caught:
            await self.start(b"key")
        self.assertIn("keys init", caught.exception.detail)
        self.assertFalse(self.path.exists())
        await self.start(None)

    async def test_not_for_what_is_encrypted(self) -> None:
        """Somebody who removes the keyring and all that tells of it gets no start that takes what he puts there."""
        await self.start(b"key")
        self.run_command("mb", "photos", key="key")
        self.put("a", "secret", key="key")
        self.path.unlink()
        (Path(self.root) / "objects" / "sealed").unlink()
        shutil.rmtree(Path(self.root) / "accounts", ignore_errors=True)
        with self.assertRaises(StartFailed):
            await self.start(b"key")
        self.assertIn("from a copy", self.run_command("keys", "init", status=1, key="key").stderr)
        self.assertFalse(self.path.exists())

    def test_init(self) -> None:
        """In a root with plain objects they stay readable, and what is put from then on is encrypted."""
        self.run_command("mb", "photos")
        self.put("a", "from before")
        done = self.run_command("keys", "init", key="key")
        self.assertIn("1 object from before is not encrypted", done.stderr)
        self.assertTrue(decode_keyring(self.path.read_bytes(), b"key")[0].plain)
        self.put("b", "secret text", key="key")
        self.assertEqual(self.run_command("cat", "photos/a", key="key").output, "from before")
        self.assertEqual(self.run_command("cat", "photos/b", key="key").output, "secret text")
        parts = [path.read_bytes() for path in Path(self.root).rglob("part.*") if path.suffix != ".checksum"]
        self.assertIn(b"from before", parts)
        self.assertFalse(any(b"secret" in part for part in parts))

    def test_init_of_an_empty_root(self) -> None:
        self.run_command("keys", "init", "--seal-names", key="key")
        made, _ = decode_keyring(self.path.read_bytes(), b"key")
        self.assertEqual((made.plain, made.seal_names), (False, True))

    def test_refused(self) -> None:
        """Nothing is changed then."""
        self.assertIn("no master key", self.run_command("keys", "init", status=2).stderr)
        self.assertFalse(os.path.exists(self.root))
        self.run_command("mb", "photos")
        self.assertIn("seal-names", self.run_command("keys", "init", "--seal-names", status=1, key="key").stderr)
        self.assertFalse(self.path.exists())
        self.run_command("keys", "init", key="key")
        before = self.path.read_bytes()
        self.assertIn("already", self.run_command("keys", "init", status=1, key="key").stderr)
        self.assertEqual(self.path.read_bytes(), before)
