"""C{storehouse rekey}, killed at every step; and the verbs of objects on a root that is encrypted."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from storehouse.app.local.keys import rekey
from storehouse.app.local.waiting import run
from storehouse.app.sealing import make_space, make_vault, make_wormer
from storehouse.cli import main
from storehouse.config import Settings, load_settings
from storehouse.core.files import Files
from storehouse.core.jobs import InlineDisk
from storehouse.core.keys.vault import Vault
from storehouse.core.root import RootLock
from storehouse.core.streams import BytesStream, PushedStream, read_all
from storehouse.errors import Conflict, InvalidSetting, StorehouseError, Unavailable, WrongMasterKey
from storehouse.storage.sealed.rekey import Rekeying, Rewrapped
from tests.conformance.dataspace import content
from tests.integration.process import Storehouse
from tests.storage.sealed.keys import LIGHT, MASTER, vault_in

NEW = b"another master key"


class DyingFiles:
    """Kills the process at a call of L{Files} that changes something, before it or after half of a write."""

    def __init__(self, fatal: int) -> None:
        self.calls = 0
        for name in ("open", "write_at", "sync_data", "sync_directory", "rename", "mkdir", "unlink", "remove_tree"):
            setattr(Files, name, self._counting(getattr(Files, name), name, fatal))

    def _counting(self, method: Any, name: str, fatal: int) -> Any:
        def call(files: Files, *args: Any) -> Any:
            self.calls += 1
            if self.calls == fatal:
                if name == "write_at":
                    fd, pieces, offset = args
                    data = b"".join(pieces)
                    os.pwrite(fd, data[: len(data) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return method(files, *args)

        return call


class RekeyCase(SynchronousTestCase):
    """Has a root with objects, an upload, and copies."""

    plain = False

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        os.makedirs(self.root)
        self.expected: dict[str, bytes] = {}
        if self.plain:
            self.fill(None, ["aa", "ab"])
        vault_in(self.root).make(self.plain)

    def settings(self, root: str = "") -> Settings:
        return load_settings({"root": root or self.root})

    def opened(self, root: str, master: bytes | None) -> tuple[Vault, Any]:
        settings = self.settings(root)
        vault = make_vault(settings, master, follow=True)
        vault.start()
        wormer = make_wormer(settings, InlineDisk(), vault.is_open)
        space: Any = make_space(settings, wormer, vault, InlineDisk()) if vault.is_open else wormer
        space.start()
        return vault, space

    def fill(self, master: bytes | None, ids: list[str]) -> None:
        _, space = self.opened(self.root, master)
        for number, id in enumerate(ids):
            self.expected[id] = content(100 + number)
            run(space.put(id, BytesStream(self.expected[id]), None, {"key": [f"bucket/{id}"]}))
        run(space.stop())

    def fill_all(self) -> None:
        self.fill(MASTER, ["a1", "b2"])
        _, space = self.opened(self.root, MASTER)
        run(space.init_upload("cd", {"key": ["bucket/cd"]}))
        for number in (1, 2):
            run(space.upload_part("cd", number, BytesStream(content(50, number)), 50))
        run(space.stop())

    def check(self, root: str, master: bytes) -> None:
        """All is there, under this master key; an upload goes on."""
        _, space = self.opened(root, master)
        for id, data in self.expected.items():
            reader = run(space.get(id))
            self.assertEqual(reader.metadata, {"key": [f"bucket/{id}"]})
            self.assertEqual(run(read_all(reader)), data)
        run(space.upload_part("cd", 3, BytesStream(b"more"), 4))
        self.assertEqual(run(space.get_upload("cd")).metadata, {"key": ["bucket/cd"]})
        run(space.complete_upload("ef", "cd", run(space.list_parts("cd"))))
        self.assertEqual(run(read_all(run(space.get("ef")))), content(50, 1) + content(50, 2) + b"more")
        run(space.stop())

    def rekey(self, root: str = "", master: bytes | None = MASTER, new: bytes | None = NEW) -> Any:
        self.totals: list[int] = []
        self.looked_at: list[int] = []
        return rekey(self.settings(root), master, new, self.totals.append, self.looked_at.append, LIGHT)


class RekeyTests(RekeyCase):
    """What it does when nothing goes wrong."""

    def test_rekey(self) -> None:
        """Everything is opened by the new master key and nothing by the old one; bytes are not touched."""
        self.fill_all()
        parts = {path: path.read_bytes() for path in Path(self.root).rglob("part.*")}
        before = vault_in(self.root)
        before.start()
        done = self.rekey()
        self.assertEqual((done.objects, done.uploads, done.plain, done.damaged), (2, 1, 0, []))
        self.assertEqual((self.totals, sum(self.looked_at)), ([2], 2))
        self.assertEqual({path: path.read_bytes() for path in Path(self.root).rglob("part.*")}, parts)
        with self.assertRaises(WrongMasterKey):
            self.opened(self.root, MASTER)
        after, space = self.opened(self.root, NEW)
        run(space.stop())
        self.assertFalse(set(after.keyring.keys) & set(before.keyring.keys))
        self.assertEqual(after.keyring.names_key, before.keyring.names_key)
        self.check(self.root, NEW)

    def test_again(self) -> None:
        """What was done is not done again, and nothing fails."""
        self.fill_all()
        self.rekey()
        done = self.rekey()
        self.assertEqual((done.objects, done.uploads), (0, 0))
        done = self.rekey(master=NEW, new=b"a third")
        self.assertEqual((done.objects, done.uploads), (2, 1))
        self.check(self.root, b"a third")

    def test_killed_at_every_step(self) -> None:
        """It is begun again, in the same way or with the new key alone; before that, either key opens all of it."""
        self.fill_all()
        fatal = 0
        while True:
            fatal += 1
            root = os.path.abspath(self.mktemp())
            shutil.copytree(self.root, root)
            pid = os.fork()
            if not pid:
                status = 1
                try:
                    DyingFiles(fatal)
                    rekey(self.settings(root), MASTER, NEW, lambda total: None, lambda count: None, LIGHT)
                    status = 0
                finally:
                    os._exit(status)
            _, status = os.waitpid(pid, 0)
            ended = os.waitstatus_to_exitcode(status)
            self.assertIn(ended, (0, -signal.SIGKILL))
            if not ended:
                break
            try:
                _, space = self.opened(root, MASTER)
                master = MASTER
            except WrongMasterKey:
                _, space = self.opened(root, NEW)
                master = NEW
            run(space.stop())
            if fatal % 2 or master == MASTER:
                self.rekey(root)
            else:
                self.rekey(root, NEW, None)
            self.check(root, NEW)
            vault, space = self.opened(root, NEW)
            run(space.stop())
            self.assertFalse(vault.keyring.unfinished)
            shutil.rmtree(root)
        self.assertGreater(fatal, 30)

    def test_damage(self) -> None:
        """What cannot be read is reported, and the old key is kept for it."""
        self.fill_all()
        path = Path(self.root, "objects/data/a1/a1/data.json")
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        done = self.rekey()
        self.assertEqual([id for id, _ in done.damaged], ["a1"])
        path.write_bytes(whole)
        vault, space = self.opened(self.root, NEW)
        run(space.stop())
        self.assertTrue(vault.keyring.unfinished)
        self.assertEqual(self.rekey(master=NEW, new=None).objects, 1)
        self.check(self.root, NEW)

    def test_refused(self) -> None:
        for master, new, word in (
            (b"wrong", NEW, "does not open"),
            (MASTER, MASTER, "is the same as the old one"),
            (MASTER, None, "newmasterkey"),
            (None, None, "masterkey"),
            (None, NEW, "does not open"),
        ):
            with self.assertRaises(StorehouseError) as caught:
                self.rekey(master=master, new=new)
            self.assertIn(word, caught.exception.detail)
        os.unlink(os.path.join(self.root, "keyring.json"))
        with self.assertRaises(StorehouseError) as caught:
            self.rekey()
        self.assertIn("nothing is encrypted", caught.exception.detail)

    def test_service_runs(self) -> None:
        lock = RootLock(self.root)
        lock.acquire()
        self.addCleanup(lock.release)
        with self.assertRaises(StorehouseError) as caught:
            self.rekey()
        self.assertIn("in use", caught.exception.detail)


class FromBeforeTests(RekeyCase):
    """Of a root that was plain once."""

    plain = True

    def test_plain(self) -> None:
        """Plain objects stay what they are; when there are none any more, there may be none."""
        self.fill_all()
        self.assertEqual(self.rekey().plain, 2)
        vault, space = self.opened(self.root, NEW)
        self.assertTrue(vault.keyring.plain)
        for id in ("aa", "ab"):
            self.assertEqual(run(read_all(run(space.get(id)))), self.expected.pop(id))
            run(space.delete(id))
        run(space.stop())
        self.assertEqual(self.rekey(master=NEW, new=b"a third").plain, 0)
        vault, space = self.opened(self.root, b"a third")
        run(space.stop())
        self.assertFalse(vault.keyring.plain)
        self.check(self.root, b"a third")


class OpenTests(RekeyCase):
    """A store that is open, and goes on working."""

    def setUp(self) -> None:
        super().setUp()
        self.fill_all()
        settings = self.settings()
        self.vault = make_vault(settings, MASTER, follow=True)
        self.vault.start()
        self.wormer = make_wormer(settings, InlineDisk(), True)
        self.space: Any = make_space(settings, self.wormer, self.vault, InlineDisk())
        self.space.start()
        self.is_held = False
        self.rekeying = Rekeying(self.vault, self.wormer, InlineDisk(), lambda: self.is_held)

    def begin(self, new: bytes | None = NEW) -> Deferred[Rewrapped]:
        nothing: Any = lambda number: None  # noqa: E731
        return Deferred.fromCoroutine(self.rekeying.rekey(new, nothing, nothing, LIGHT))

    def put(self, id: str, source: Any) -> Deferred[Any]:
        work: Deferred[Any] = self.space.put(id, source, None, {"key": [f"bucket/{id}"]})
        return work

    def test_all(self) -> None:
        """What is stored meanwhile is opened by the new master key alone, too; the old key waits for what began before."""
        stream = PushedStream(lambda: None, lambda: None)
        arriving = self.put("c3", stream)
        stream.write(b"begun before, ")
        working = self.begin()
        self.assertNoResult(working)
        self.successResultOf(self.put("d4", BytesStream(b"begun behind")))
        self.assertEqual(run(read_all(run(self.space.get("a1")))), self.expected["a1"])
        stream.write(b"ended behind")
        stream.end()
        self.successResultOf(arriving)
        done = self.successResultOf(working)
        self.assertEqual((done.objects, done.uploads, done.plain, done.damaged), (2, 1, 0, []))
        self.assertEqual(run(read_all(run(self.space.get("a1")))), self.expected["a1"])
        self.expected |= {"c3": b"begun before, ended behind", "d4": b"begun behind"}
        run(self.space.stop())
        with self.assertRaises(WrongMasterKey):
            self.opened(self.root, MASTER)
        after, space = self.opened(self.root, NEW)
        run(space.stop())
        self.assertFalse(after.keyring.unfinished)
        self.check(self.root, NEW)

    def test_again(self) -> None:
        """A second time with another master key, and once more after it was ended in the middle."""
        self.successResultOf(self.begin())
        self.patch(self.wormer, "replace_metadata", lambda id, metadata: fail(Unavailable("it is stopped")))
        self.failureResultOf(self.begin(b"a third"), Unavailable)
        run(self.space.stop())
        self.opened(self.root, b"a third")[1].stop()
        self.setUp_again(b"a third")
        self.assertEqual(self.successResultOf(self.begin(None)).objects, 2)
        run(self.space.stop())
        self.check(self.root, b"a third")

    def setUp_again(self, master: bytes) -> None:
        self.vault, self.space = self.opened(self.root, master)
        self.wormer = self.space._inner
        self.rekeying = Rekeying(self.vault, self.wormer, InlineDisk(), lambda: self.is_held)

    def test_refused(self) -> None:
        """Nothing has changed then."""
        self.failureResultOf(self.begin(MASTER), InvalidSetting)
        self.failureResultOf(self.begin(None), InvalidSetting)
        self.is_held = True
        self.assertIn("backup", str(self.failureResultOf(self.begin(), Conflict).value))
        self.is_held = False
        stream = PushedStream(lambda: None, lambda: None)
        arriving = self.put("c3", stream)
        working = self.begin()
        self.failureResultOf(self.begin(), Conflict)
        stream.end()
        self.successResultOf(arriving)
        self.successResultOf(working)
        run(self.space.stop())


class ServiceTests(SynchronousTestCase):
    """A service that runs has the master key, and takes the new one."""

    def test_rekey(self) -> None:
        server = Storehouse(self.mktemp())
        server.environment["masterkey"] = "old"
        self.addCleanup(server.kill)
        server.start()
        root = os.path.join(server.directory, "storehouse-data")

        def run_command(*arguments: str, status: int = 0, **environ: str | None) -> Result:
            given = {"masterkey": None, "newmasterkey": None, **environ}
            ran = CliRunner().invoke(main, [*arguments, "--root", root], input=b"some text", env=given)
            self.assertEqual(ran.exit_code, status, ran.output)
            return ran

        run_command("mb", "bucket")
        run_command("put", "-", "bucket/file")
        self.assertIn("no new master key", run_command("rekey", status=1).output)
        done = run_command("rekey", newmasterkey="new")
        self.assertIn("1 object and 0 uploads rekeyed; the new master key is in use: give it to", done.output)
        self.assertEqual(run_command("cat", "bucket/file").output, "some text")
        server.stop()
        self.assertIn("does not open", run_command("cat", "bucket/file", status=1, masterkey="old").output)
        self.assertEqual(run_command("cat", "bucket/file", masterkey="new").output, "some text")


class CommandTests(SynchronousTestCase):
    """The command line."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        vault_in(self.root).start()
        self.file = os.path.abspath(self.mktemp())
        Path(self.file).write_bytes(content(70_000))

    def run_command(self, *arguments: str, status: int = 0, **environ: str | None) -> Result:
        given = {"masterkey": None, "newmasterkey": None, **environ}
        ran = CliRunner().invoke(main, [*arguments], env=given)
        self.assertEqual(ran.exit_code, status, ran.output)
        return ran

    def test_verbs(self) -> None:
        """They work when the key is there, say what is missing when it is not, and leave nothing plain."""
        key = MASTER.decode()
        self.run_command("mb", "--root", self.root, "bucket", masterkey=key)
        self.run_command("put", "--root", self.root, self.file, "bucket/file", masterkey=key)
        self.assertIn("file", self.run_command("ls", "--root", self.root, "bucket", masterkey=key).output)
        got = self.run_command("cat", "--root", self.root, "bucket/file", masterkey=key)
        self.assertEqual(got.stdout_bytes, content(70_000))
        self.run_command("fsck", "--root", self.root, masterkey=key)
        self.run_command("scrub", "--root", self.root)
        missing = self.run_command("ls", "--root", self.root, "bucket", status=1)
        self.assertIn("masterkey", missing.output)
        wrong = self.run_command("ls", "--root", self.root, "bucket", status=1, masterkey="wrong")
        self.assertIn("does not open", wrong.output)
        for path in Path(self.root).rglob("*"):
            if path.is_file():
                self.assertNotIn(content(70_000)[:100], path.read_bytes())

    def test_rekey(self) -> None:
        key = MASTER.decode()
        self.run_command("mb", "--root", self.root, "bucket", masterkey=key)
        self.run_command("put", "--root", self.root, self.file, "bucket/file", masterkey=key)
        new = os.path.abspath(self.mktemp())
        Path(new).write_text("new\n")
        os.chmod(new, 0o644)
        open_to_all = self.run_command(
            "rekey", "--root", self.root, "--new-master-key-file", new, status=2, masterkey=key
        )
        self.assertIn("chmod 600", open_to_all.output)
        os.chmod(new, 0o600)
        done = self.run_command("rekey", "--root", self.root, "--new-master-key-file", new, masterkey=key)
        self.assertIn("1 object and 0 uploads rekeyed", done.output)
        self.run_command("cat", "--root", self.root, "bucket/file", masterkey="new")
        self.run_command("cat", "--root", self.root, "bucket/file", masterkey=key, status=1)
        done = self.run_command("rekey", "--root", self.root, masterkey="new", newmasterkey="newer")
        self.assertIn("1 object and 0 uploads rekeyed", done.output)
        self.assertIn(
            "twice",
            self.run_command(
                "rekey", "--root", self.root, "--new-master-key-file", new, status=2, masterkey="x", newmasterkey="y"
            ).output,
        )
        self.assertIn("no root", self.run_command("rekey", "--root", "/nowhere/at/all", status=2).output)
        self.assertIn(
            "is the same as the old one",
            self.run_command("rekey", "--root", self.root, status=1, masterkey="newer", newmasterkey="newer").output,
        )

    def test_damage(self) -> None:
        key = MASTER.decode()
        self.run_command("mb", "--root", self.root, "bucket", masterkey=key)
        self.run_command("put", "--root", self.root, self.file, "bucket/file", masterkey=key)
        (path,) = Path(self.root, "objects/data").rglob("data.json")
        path.write_bytes(b"{}")
        failed = self.run_command("rekey", "--root", self.root, status=1, masterkey=key, newmasterkey="new")
        self.assertIn("the old key is kept", failed.output)
        self.assertIn(path.parent.name, failed.output)
