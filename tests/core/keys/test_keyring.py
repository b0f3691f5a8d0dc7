"""The keys of a root: wrapped, kept in a file, opened by one master key and no other."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

import attrs
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.checksummed import encode_checksummed
from storehouse.core.files import Files
from storehouse.core.keys import keyring as keyrings
from storehouse.core.keys.keyring import HEADER_SIZE, Derivation, Keyring, Protector, decode_keyring, encode_keyring
from storehouse.core.keys.masterkey import read_key_file, take_master_key
from storehouse.core.keys.vault import Vault, decode_marker, encode_marker
from storehouse.errors import InvalidSetting, StartFailed, WrongMasterKey
from storehouse.testing.files import FailingFiles
from tests.storage.sealed.keys import LIGHT, MASTER, vault_in


class KeyringTests(SynchronousTestCase):
    """Keys and their file."""

    def test_wrap(self) -> None:
        keyring = Keyring.make()
        header = keyring.wrap(b"k" * 32, b"about")
        self.assertEqual(len(header), HEADER_SIZE)
        self.assertEqual(keyring.unwrap(header, b"about"), b"k" * 32)
        self.assertNotEqual(keyring.wrap(b"k" * 32, b"about"), header)
        for place in range(len(header)):
            changed = header[:place] + bytes([header[place] ^ 1]) + header[place + 1 :]
            with self.assertRaises(ValueError):
                keyring.unwrap(changed, b"about")
        for wrong, about in ((header, b"another"), (header[:-1], b"about"), (header + b"x", b"about"), (b"", b"")):
            with self.assertRaises(ValueError):
                keyring.unwrap(wrong, about)
        with self.assertRaises(ValueError):
            Keyring.make().unwrap(header, b"about")

    def test_rotation(self) -> None:
        """A new key wraps from the moment it is there; the others unwrap until they are dropped."""
        keyring = Keyring.make(True, True)
        old = keyring.wrap(b"k" * 32, b"")
        both = keyring.begun()
        new = both.wrap(b"k" * 32, b"")
        self.assertEqual((keyring.unfinished, both.unfinished), (False, True))
        self.assertEqual((both.is_current(old), both.is_current(new)), (False, True))
        self.assertEqual(both.unwrap(old, b""), both.unwrap(new, b""))
        last = both.finished(plain=False)
        self.assertEqual((last.unfinished, last.plain, last.seal_names), (False, False, True))
        self.assertEqual(last.names_key, keyring.names_key)
        self.assertEqual(last.unwrap(new, b""), b"k" * 32)
        with self.assertRaises(ValueError):
            last.unwrap(old, b"")

    def test_nothing_is_shown(self) -> None:
        keyring = Keyring.make()
        shown = repr(keyring) + repr(Protector.make(MASTER, LIGHT))
        self.assertNotIn(repr(keyring.keys[keyring.current])[2:10], shown)
        self.assertNotIn("names_key", shown)
        self.assertNotIn(" key=", shown)

    def test_file(self) -> None:
        for keyring in (Keyring.make(), Keyring.make(True, True).begun()):
            data = encode_keyring(keyring, Protector.make(MASTER, LIGHT))
            found, protector = decode_keyring(data, MASTER)
            self.assertEqual((found, protector.derivation), (keyring, LIGHT))
            for wrong in (b"", b"a master keY", MASTER + b"\n"):
                with self.assertRaises(WrongMasterKey):
                    decode_keyring(data, wrong)

    def test_file_that_was_changed(self) -> None:
        """A flipped byte is damage; what was changed by someone who knows the checksum is no key's."""
        data = encode_keyring(Keyring.make(plain=False), Protector.make(MASTER, LIGHT))
        for place in range(0, len(data) - 1, 3):
            with self.assertRaises(ValueError):
                decode_keyring(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], MASTER)
        fields = json.loads(data)
        del fields["checksum"]
        for change in (
            {"keys": ["0" * 16]},
            {"sealed": fields["sealed"][:-8] + "AAAAAAA="},
            {"sealed": ""},
            {"derivation": {**fields["derivation"], "salt": "00" * 16}},
            {"derivation": {**fields["derivation"], "iterations": 2}},
        ):
            with self.assertRaises(WrongMasterKey):
                decode_keyring(encode_checksummed({**fields, **change}), MASTER)

    def test_file_that_asks_for_too_much(self) -> None:
        """Who can write the file cannot have a start take all memory."""
        fields = json.loads(encode_keyring(Keyring.make(), Protector.make(MASTER, LIGHT)))
        del fields["checksum"]
        how = fields["derivation"]
        for change in (
            {"memory": 1 << 30},
            {"iterations": 1000},
            {"lanes": 1000},
            {"memory": 1},
            {"iterations": 0},
            {"salt": "00"},
            {"salt": 1},
            {"name": "scrypt"},
            {"memory": "8"},
            {"memory": 64.0},
            {"lanes": True},
            {"memory": (1 << 20) + 1},
            {"iterations": 17},
        ):
            with self.assertRaises(ValueError):
                decode_keyring(encode_checksummed({**fields, "derivation": {**how, **change}}), MASTER)
        for other in ({**fields, "version": 2}, {**fields, "format": "x"}, {"format": "keyring", "version": 1}):
            with self.assertRaises(ValueError):
                decode_keyring(encode_checksummed(other), MASTER)
        without = {name: value for name, value in fields.items() if name != "keys"}
        with self.assertRaises(ValueError):
            decode_keyring(encode_checksummed(without), MASTER)
        with self.assertRaises(ValueError):
            decode_keyring(json.dumps(fields).encode(), MASTER)
        with self.assertRaises(ValueError):
            decode_keyring(b"[" * 100_000, MASTER)

    def test_no_memory(self) -> None:
        """A machine without the memory that the file asks for says so."""

        def refuse(**given: object) -> None:
            raise MemoryError

        self.patch(keyrings, "Argon2id", refuse)
        with self.assertRaises(StartFailed) as caught:
            Derivation(memory=2048).derive(b"password", b"somesaltsomesalt")
        self.assertIn("2 MiB", str(caught.exception))

    def test_derivation(self) -> None:
        """Argon2id: the test vector of RFC 9106 has a secret and data, so this is the reference implementation's."""
        key = Derivation(memory=64, iterations=2, lanes=1).derive(b"password", b"somesaltsomesalt")
        self.assertEqual(len(key), 32)
        self.assertNotEqual(key, Derivation(memory=64, iterations=3, lanes=1).derive(b"password", b"somesaltsomesalt"))


class VaultTests(SynchronousTestCase):
    """The keyring of a root."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())

    def vault(self, master: bytes | None = MASTER, **options: Any) -> Vault:
        return vault_in(self.root, master, **options)

    def started(self, master: bytes | None = MASTER, **options: Any) -> Vault:
        vault = self.vault(master, **options)
        vault.start()
        self.addCleanup(vault.stop)
        return vault

    def state(self) -> dict[str, bytes]:
        found = {}
        for directory, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(directory, name)
                with open(path, "rb") as file:
                    found[path] = file.read()
        return found

    def test_made_and_found(self) -> None:
        made = self.started()
        self.assertEqual(os.stat(made.path).st_mode & 0o777, 0o600)
        before = self.state()
        self.assertEqual(self.started().keyring, made.keyring)
        self.assertEqual(self.state(), before)
        made.stop()
        self.assertFalse(made.is_open)
        with self.assertRaises(StartFailed):
            made.keyring  # noqa: B018

    def test_nothing_without_a_key(self) -> None:
        """Nothing is made, and nothing refused, where nothing is encrypted."""
        self.assertFalse(self.started(None).is_open)
        self.assertEqual(self.state(), {})

    def test_wrong(self) -> None:
        """No key, or another one: refused with a text that says what to do, and nothing is changed."""
        self.started()
        before = self.state()
        for master, words in ((None, ("masterkey", "master-key-file")), (b"another", ("does not open",))):
            with self.assertRaises(WrongMasterKey) as caught:
                self.vault(master).start()
            for word in (*words, "keyring.json"):
                self.assertIn(word, caught.exception.detail)
            self.assertNotIn("another", caught.exception.detail)
        self.assertEqual(self.state(), before)

    def test_lost(self) -> None:
        """A keyring that is lost is not replaced by another one."""
        os.unlink(self.started().path)
        before = self.state()
        for master in (None, MASTER):
            with self.assertRaises(StartFailed) as caught:
                self.vault(master).start()
            self.assertIn("missing", caught.exception.detail)
        self.assertEqual(self.state(), before)

    def test_marker(self) -> None:
        """What is beside the objects, to the byte."""
        data = b'{"format":"sealed","version":1,"keyring":"da49bd4f4a90211b7e2c6bdae4eb03b6","checksum":"85799881"}\n'
        keyring = Keyring({"00" * 8: bytes(32)}, "00" * 8, bytes(range(32)))
        self.assertEqual(encode_marker(keyring.identity), data)
        self.assertEqual(decode_marker(data), keyring.identity)
        self.assertEqual(keyring.begun().finished(False).identity, keyring.identity)
        self.assertIsNone(decode_marker(b""))
        for damaged in (data[:-9], data.replace(b"sealed", b"sealee"), b"{}", b"[", bytes(9)):
            self.assertRaises(ValueError, decode_marker, damaged)

    def test_of_another_root(self) -> None:
        """A keyring of another root is refused, also if the master key is the same; nothing is changed."""
        path = self.started().path
        os.rename(path, f"{path}.kept")
        os.rename(f"{self.root}/objects", f"{self.root}/kept")
        self.started()
        shutil.rmtree(f"{self.root}/objects")
        os.rename(f"{self.root}/kept", f"{self.root}/objects")
        before = self.state()
        for follow in (False, True):
            with self.assertRaises(StartFailed) as caught:
                self.vault(follow=follow).start()
            self.assertIn("belongs to another store", caught.exception.detail)
        self.assertEqual(self.state(), before)
        os.rename(f"{path}.kept", path)
        self.started()

    def test_markers_from_before(self) -> None:
        """One that is empty, or damaged, gets the name of the keyring, unless what is stored contradicts."""
        vault = self.started()
        marker = f"{self.root}/objects/sealed"
        whole = self.state()
        for data in (b"", b'{"format"'):
            with open(marker, "wb") as file:
                file.write(data)
            with self.assertRaises(StartFailed) as caught:
                self.vault(contradicts=lambda keyring: keyring == vault.keyring).start()
            self.assertIn("belongs to another store", caught.exception.detail)
            with open(marker, "rb") as file:
                self.assertEqual(file.read(), data)
            self.started()
            self.assertEqual(self.state(), whole)

    def test_damaged(self) -> None:
        path = self.started().path
        with open(path, "r+b") as file:
            file.write(b"[")
        with self.assertRaises(StartFailed) as caught:
            self.vault().start()
        self.assertNotIsInstance(caught.exception, WrongMasterKey)

    def test_only_when_empty(self) -> None:
        """A start makes a keyring where nothing is stored, says so where it is seen, and nowhere else."""
        with self.assertRaises(StartFailed) as caught:
            self.vault(stored=lambda: "there are objects already").start()
        for words in ("there are objects already", "from a copy", "keys init"):
            self.assertIn(words, caught.exception.detail)
        self.assertEqual(self.state(), {})
        seen: list[Any] = []
        globalLogPublisher.addObserver(seen.append)
        self.addCleanup(globalLogPublisher.removeObserver, seen.append)
        made = self.started()
        self.assertFalse(made.keyring.plain)
        self.assertEqual([(event["log_level"], event["path"]) for event in seen], [(LogLevel.warn, made.path)])
        self.started(stored=lambda: "there are objects already")

    def test_not_by_commands(self) -> None:
        with self.assertRaises(StartFailed) as caught:
            self.vault(follow=True).start()
        self.assertIn("keys init", caught.exception.detail)
        self.assertEqual(self.state(), {})

    def test_objects_from_before(self) -> None:
        """Whether there may be any is decided when it is made."""
        vault = self.vault(stored=lambda: "there are objects already")
        vault.make(plain=True)
        self.assertTrue(vault.keyring.plain)
        self.assertTrue(self.started().keyring.plain)
        with self.assertRaises(InvalidSetting):
            self.vault(None).make(plain=False)

    def test_names(self) -> None:
        """Decided once."""
        self.assertTrue(self.started(seal_names=True).keyring.seal_names)
        with self.assertRaises(InvalidSetting):
            self.vault(seal_names=False).start()
        self.assertTrue(self.started(seal_names=False, follow=True).keyring.seal_names)

    def test_names_not_afterwards(self) -> None:
        self.started(seal_names=False)
        with self.assertRaises(InvalidSetting):
            self.vault(seal_names=True).start()

    def test_cannot_be_written(self) -> None:
        with self.assertRaises(StartFailed) as caught:
            self.vault(files=FailingFiles().fail("sync_data")).start()
        self.assertIn("No space", caught.exception.detail)
        # What was left half-way does no harm.
        self.started()

    def test_order(self) -> None:
        """The file is on disk before it takes its place, and the marker is made after it."""
        calls: list[str] = []

        class Noting(Files):
            def sync_data(self, fd: int) -> None:
                calls.append("sync")
                super().sync_data(fd)

            def rename(self, source: str, target: str) -> None:
                calls.append("rename")
                super().rename(source, target)

            def sync_directory(self, path: str) -> None:
                calls.append(f"sync {os.path.basename(path)}")
                super().sync_directory(path)

        self.started(files=Noting())
        root = os.path.basename(self.root)
        self.assertEqual(calls[:3], ["sync", "rename", f"sync {root}"])
        self.assertEqual(calls[-1], "sync objects")


class MasterKeyTests(SynchronousTestCase):
    """Where the master key comes from."""

    def file(self, data: bytes, mode: int = 0o600) -> str:
        path = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)
        return path

    def test_environment(self) -> None:
        environ = {"masterkey": "kéy", "other": "x"}
        self.assertEqual(take_master_key(environ, ""), "kéy".encode())
        self.assertEqual(environ, {"other": "x"})
        self.assertIsNone(take_master_key(environ, ""))

    def test_file(self) -> None:
        for data, key in (
            (b"key\n", b"key"),
            (b"key\r\n", b"key"),
            (b" k\ney \n\n", b" k\ney \n"),
            (b"\xff\0", b"\xff\0"),
        ):
            self.assertEqual(take_master_key({}, self.file(data)), key)

    def test_credential(self) -> None:
        """systemd's credentials show a bit of the group, and are private all the same."""
        for mode, fine in ((0o400, True), (0o440, True), (0o444, False), (0o460, False)):
            path = self.file(b"key", mode)
            self.patch(os, "environ", {"CREDENTIALS_DIRECTORY": os.path.dirname(path)})
            if fine:
                self.assertEqual(read_key_file(path), b"key")
            else:
                self.assertRaises(InvalidSetting, read_key_file, path)
        self.patch(os, "environ", {"CREDENTIALS_DIRECTORY": "/run/credentials/storehouse.service"})
        self.assertRaises(InvalidSetting, read_key_file, self.file(b"key", 0o440))

    def test_refused(self) -> None:
        key = self.file(b"key\n")
        for environ, path, word in (
            ({"masterkey": "a"}, key, "twice"),
            ({"masterkey": ""}, "", "empty"),
            ({}, self.file(b"\n"), "empty"),
            ({}, self.file(b"x" * 5000), "4096"),
            ({}, self.file(b"key", 0o640), "chmod 600"),
            ({}, self.file(b"key", 0o604), "chmod 600"),
            ({}, "/nowhere/at/all", "No such file"),
            ({}, os.path.dirname(key), "directory"),
        ):
            with self.assertRaises(InvalidSetting) as caught:
                take_master_key(dict(environ), path)
            self.assertIn(word, caught.exception.detail)
        self.assertEqual(read_key_file(key), b"key")

    def test_frozen(self) -> None:
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            Keyring.make().current = "x"  # type: ignore[misc]
