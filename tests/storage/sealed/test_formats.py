"""The bytes of docs/formats/sealed.md, with fixed keys and fixed randomness."""

from __future__ import annotations

import base64
from collections.abc import Callable
from unittest import mock

import attrs
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.keys.keyring import Keyring
from storehouse.storage.namespace.interfaces import Entry
from storehouse.storage.sealed.codec import Encryptor
from storehouse.storage.sealed.formats import (
    ACCOUNTS,
    FRAME,
    MAX_NOTED,
    RESUMABLE,
    Description,
    KeyringCipher,
    NameKeys,
    SealedPart,
    nonce_of,
    open_note,
    open_object,
    open_upload,
    rewrapped_object,
    rewrapped_upload,
    seal_note,
    seal_object,
    seal_upload,
    upload_key,
)

WRAPPING = bytes(range(32))


def counted() -> Callable[[int], bytes]:
    """Randomness: ones, then twos, then threes."""
    calls = 0

    def urandom(size: int) -> bytes:
        nonlocal calls
        calls += 1
        return bytes([calls]) * size

    return urandom


def gcm(key: bytes, nonce: bytes, data: bytes, about: bytes) -> bytes:
    """AES in Galois/Counter Mode, by the other of the interfaces that there are for it."""
    cipher = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()
    cipher.authenticate_additional_data(about)
    return cipher.update(data) + cipher.finalize() + cipher.tag


class GoldenTests(SynchronousTestCase):
    """What is written today is what was always written, and what the page says."""

    def setUp(self) -> None:
        self.keyring = Keyring({"0123456789abcdef": WRAPPING}, "0123456789abcdef", bytes(range(32)))

    def test_wrapped_key(self) -> None:
        with mock.patch("os.urandom", counted()):
            header = self.keyring.wrap(b"k" * 32, b"storehouse object key 1\0ab")
        self.assertEqual(
            header.hex(),
            "010123456789abcdef0101010101010101010101011ca88e5e03ee030dbf3f0c73730c39b3a005e4b0fae87db798b06c87f662955abf14f13e2427d188106d89e440a7e6f4",
        )
        self.assertEqual(header[21:], gcm(WRAPPING, b"\1" * 12, b"k" * 32, b"storehouse object key 1\0ab"))

    def test_object(self) -> None:
        with mock.patch("os.urandom", counted()):
            sealed = seal_object(self.keyring, "ab", [SealedPart(9, b"p" * 32)], {"key": ["b/k"]})
        self.assertEqual(
            sealed,
            {
                "sealed": [
                    "AQEjRWeJq83vAwMDAwMDAwMDAwMD70o91wqTUxffXAd/zKtVBhtX9/Hb+T2wg7xHHAUjqFMtRxvXcg5cXZFEar6H0D+X",
                    "AgICAgICAgICAgICB9bJSEpXwf3TzLzBLNeywtLFoZ+bwf0BrfeQiwiLBA8HD25HHR/TnzdeIpnkBTce01fkjIU48k3pHs6Xrpcg51mAdTBxti7Qew0v",
                ]
            },
        )
        description = bytes([0, 0, 0, 1]) + bytes([0] * 7 + [9]) + b"p" * 32 + b'{"key":["b/k"]}'
        self.assertEqual(
            base64.b64decode(sealed["sealed"][1]),
            b"\2" * 12 + gcm(b"\1" * 32, b"\2" * 12, description, b"storehouse object 1\0ab"),
        )
        self.assertEqual(
            open_object(self.keyring, "ab", sealed), Description((SealedPart(9, b"p" * 32),), {"key": ["b/k"]})
        )

    def test_object_with_notes(self) -> None:
        """What came with its parts is behind the metadata, if there is any of it, and not of too many."""
        parts = (SealedPart(9, b"p" * 32, 2, "n\u00fc"), SealedPart(0, b"q" * 32, 10))
        head = b"".join(
            (bytes([0, 0, 0, 2]), bytes([0] * 7 + [9]), b"p" * 32, bytes(8), b"q" * 32),
        )
        for given, rest in (
            (parts, b'[{"key":["b/k"]},[[2,"n\xc3\xbc"],[10,""]]]'),
            ((SealedPart(9, b"p" * 32, 1), SealedPart(0, b"q" * 32, 2)), b'{"key":["b/k"]}'),
        ):
            with mock.patch("os.urandom", counted()):
                sealed = seal_object(self.keyring, "ab", given, {"key": ["b/k"]})
            self.assertEqual(
                base64.b64decode(sealed["sealed"][1]),
                b"\2" * 12 + gcm(b"\1" * 32, b"\2" * 12, head + rest, b"storehouse object 1\0ab"),
            )
        sealed = seal_object(self.keyring, "ab", parts, {"key": ["b/k"]})
        found = open_object(self.keyring, "ab", sealed)
        self.assertEqual((found.parts, found.metadata), (parts, {"key": ["b/k"]}))
        many = [SealedPart(0, b"p" * 32, 0, "note")] * (MAX_NOTED + 1)
        found = open_object(self.keyring, "ab", seal_object(self.keyring, "ab", many, {}))
        self.assertEqual((found.metadata, len(found.parts), found.parts[0].note), ({}, MAX_NOTED + 1, ""))

    def test_upload(self) -> None:
        with mock.patch("os.urandom", counted()):
            key, sealed = seal_upload(self.keyring, "cd", {"a": ["b"]})
        self.assertEqual(
            sealed,
            {
                "sealed": [
                    "AQEjRWeJq83vAwMDAwMDAwMDAwMD70o91wqTUxffXAd/zKtVBhtX9/Hb+T2wg7xHHAUjqFOBIPhXIdQnwbFGp1w+50tp",
                    "AgICAgICAgICAgICfPSoa3AM45/xkcGydNX+LxSkJTQXFfKY5VQD",
                ]
            },
        )
        self.assertEqual(upload_key(self.keyring, "cd", sealed), key)
        self.assertEqual(open_upload(key, "cd", sealed), {"a": ["b"]})

    def test_note(self) -> None:
        with mock.patch("os.urandom", counted()):
            text = seal_note(b"u" * 32, "cd", 3, SealedPart(9, b"p" * 32), "note")
        inside = bytes([0] * 7 + [9]) + b"p" * 32 + b"note"
        self.assertEqual(
            base64.b64decode(text), b"\1" * 12 + gcm(b"u" * 32, b"\1" * 12, inside, b"storehouse part 1\0cd/3")
        )
        self.assertEqual(open_note(b"u" * 32, "cd", 3, text), (SealedPart(9, b"p" * 32), "note"))
        for key, upload_id, number in ((b"v" * 32, "cd", 3), (b"u" * 32, "ce", 3), (b"u" * 32, "cd", 4)):
            with self.assertRaises(ValueError):
                open_note(key, upload_id, number, text)

    def test_frames(self) -> None:
        sealing = Encryptor(b"p" * 32)
        self.assertIsNone(sealing.next_batch(9, 1 << 20, False))
        batch = sealing.next_batch(9, 1 << 20, True)
        assert batch is not None
        self.assertEqual(batch.size, 9)
        (frame,), wrong = batch.code([b"some ", b"", b"text"])
        self.assertIsNone(wrong)
        self.assertEqual(frame.hex(), "67954ed9dff284b55ce7ec83b18886a3c0996d7dadc5f9db83")
        self.assertEqual(frame, gcm(b"p" * 32, bytes([0, 0, 0, 1]) + bytes(8), b"some text", b""))

    def test_several_frames(self) -> None:
        """Only the last is marked, and a full one may be it."""
        data = bytes(2 * FRAME)
        sealing = Encryptor(b"p" * 32)
        first = sealing.next_batch(2 * FRAME, FRAME, False)
        self.assertIsNone(sealing.next_batch(FRAME, FRAME, False))
        last = sealing.next_batch(FRAME, FRAME, True)
        assert first is not None and last is not None
        self.assertEqual((first.size, last.size), (FRAME, FRAME))
        # The one that comes after may be known before the first is worked on.
        frames = first.code([data[:FRAME]])[0] + last.code([data[FRAME:]])[0]
        self.assertTrue(sealing.done)
        self.assertEqual(
            frames,
            [
                gcm(b"p" * 32, bytes(12), data[:FRAME], b""),
                gcm(b"p" * 32, bytes([0, 0, 0, 1] + [0] * 7 + [1]), data[FRAME:], b""),
            ],
        )

    def test_nonces(self) -> None:
        self.assertEqual(nonce_of(0x0102030405060708, False).hex(), "000000000102030405060708")
        self.assertEqual(nonce_of(0, True).hex(), "000000010000000000000000")

    def test_etags(self) -> None:
        """Made of keys, in their order."""
        one, other = SealedPart(9, b"p" * 32), SealedPart(9, b"q" * 32)
        self.assertEqual(one.etag, "c5a944d1496b5ea43d9446773fcd8f377dc5649c19fe634d")
        self.assertEqual(Description((one,), {}).etag, one.etag)
        both = {Description(parts, {}).etag for parts in ((one, other), (other, one))}
        self.assertEqual([tag[-2:] for tag in both], ["-2", "-2"])
        self.assertEqual(len(both), 2)

    def test_entry(self) -> None:
        keys = NameKeys(self.keyring.names_key)
        stored_key = keys.key_of("bucket", b"key")
        self.assertEqual(stored_key, "a878a7d64f93c72a2d743214e9c45b6e6b08fd029c2dff3ed751c560e119daaf")
        entry = Entry("ab", 9, "e", 5, "t", {"a": ["b"]})
        with mock.patch("os.urandom", counted()):
            sealed = keys.seal("bucket", "key", stored_key, entry)
        text = "AQEBAQEBAQEBAQEBSgcCI5USxccjpXP/uEKJTjuaYv4sTgBHMF3ab7f2x1Uiy6Fan0dETdrIHTMlKsXir593FgTPIiNFPjh4+Og1tJkvqUGy9lmunrcyL9bo0zC8"
        self.assertEqual(sealed, Entry("ab", 9, "", 5, "", {"sealed": [text]}))
        self.assertEqual(keys.open("bucket", stored_key, sealed), ("key", entry))

    def test_entry_with_system(self) -> None:
        """It is encrypted with the rest, and nothing of it shows."""
        keys = NameKeys(self.keyring.names_key)
        stored_key = keys.key_of("bucket", b"key")
        entry = Entry("ab", 9, "e", 5, "t", {}, "tag", {"owner": "me"})
        with mock.patch("os.urandom", counted()):
            sealed = keys.seal("bucket", "key", stored_key, entry)
        text = "AQEBAQEBAQEBAQEBSgcCI5USxccjpXP/uEKJTjuaYv4sTgBHMF3ab7f2x1Uiy6Fan0dETdrIHTMlKsXir593FgTPfW5FcAI9uPBKvYW79/dkPwvhl9uL94U5dw2G1Q7MNmuUv681Fga0ylynB5rUA9IdRj3s2Usj"
        self.assertEqual(sealed, Entry("ab", 9, "", 5, "", {"sealed": [text]}))
        self.assertEqual(keys.open("bucket", stored_key, sealed), ("key", entry))

    def test_rewrapped(self) -> None:
        """The key is wrapped by another, and what it encrypts is not touched."""
        sealed = seal_object(self.keyring, "ab", [SealedPart(9, b"p" * 32)], {})
        _, upload = seal_upload(self.keyring, "ab", {})
        self.assertIsNone(rewrapped_object(self.keyring, "ab", sealed))
        self.assertIsNone(rewrapped_upload(self.keyring, "ab", upload))
        both = self.keyring.begun()
        new = rewrapped_object(both, "ab", sealed)
        assert new is not None
        self.assertEqual(new["sealed"][1], sealed["sealed"][1])
        self.assertNotEqual(new["sealed"][0], sealed["sealed"][0])
        self.assertEqual(open_object(both.finished(False), "ab", new), open_object(self.keyring, "ab", sealed))
        self.assertIsNone(rewrapped_object(both, "ab", new))
        for wrong in ("ac", "ab\0"):
            with self.assertRaises(ValueError):
                rewrapped_object(both, wrong, sealed)
        with self.assertRaises(ValueError):
            rewrapped_object(both, "ab", upload)


ID, OTHER = "ab" * 16, "cd" * 16

#: 32 zero bytes, as the secret of accounts, and C{b"a state"}, as that of an upload, encrypted with a keyring of known keys.
GOLDEN_SECRET = bytes.fromhex(
    "000102030405060708090a0b861889afe92ddd38111d60b05d562734156c96cac81473fa52d957307b23e40cacaee9bc8d924e2e9426d4ad508740fe"
)
GOLDEN_STATE = bytes.fromhex("000102030405060708090a0b8438e1de234c28bb2d18d2e5e5ac1decd748ce10e41bff")


class KeyringCipherTests(SynchronousTestCase):
    """L{KeyringCipher}."""

    def setUp(self) -> None:
        self.keyring = Keyring.make()
        self.cipher = KeyringCipher(lambda: self.keyring, RESUMABLE)

    def test_round_trip(self) -> None:
        for data in (b"", b"a secret name", bytes(10_000)):
            stored = self.cipher.encrypt(ID, data)
            self.assertEqual(len(stored), 12 + len(data) + 16)
            self.assertNotIn(b"secret", stored)
            self.assertNotEqual(stored, self.cipher.encrypt(ID, data))
            self.assertEqual(KeyringCipher(lambda: self.keyring, RESUMABLE).decrypt(ID, stored), data)

    def test_golden(self) -> None:
        keyring = attrs.evolve(Keyring.make(), names_key=bytes(range(32)))
        secret = KeyringCipher(lambda: keyring, ACCOUNTS).decrypt(ACCOUNTS.decode(), GOLDEN_SECRET)
        self.assertEqual(secret, bytes(32))
        self.assertEqual(KeyringCipher(lambda: keyring, RESUMABLE).decrypt(ID, GOLDEN_STATE), b"a state")

    def test_changed(self) -> None:
        stored = self.cipher.encrypt(ID, b"data")
        for at in range(len(stored)):
            changed = stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :]
            self.assertRaises(ValueError, self.cipher.decrypt, ID, changed)
            self.assertRaises(ValueError, self.cipher.decrypt, ID, stored[:at])

    def test_about_another(self) -> None:
        stored = self.cipher.encrypt(ID, b"data")
        self.assertRaises(ValueError, self.cipher.decrypt, OTHER, stored)
        self.assertRaises(ValueError, KeyringCipher(lambda: self.keyring, ACCOUNTS).decrypt, ID, stored)

    def test_other_keys(self) -> None:
        """The keys that wrap those of objects do not matter; those of another root do."""
        stored = self.cipher.encrypt(ID, b"data")
        self.keyring = self.keyring.begun().finished(plain=False)
        self.assertEqual(KeyringCipher(lambda: self.keyring, RESUMABLE).decrypt(ID, stored), b"data")
        self.assertRaises(ValueError, KeyringCipher(Keyring.make, RESUMABLE).decrypt, ID, stored)
