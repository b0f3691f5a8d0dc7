"""What is configured of buckets, as files: their bytes, damage in them, and their end."""

from __future__ import annotations

import os
import shutil

from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import DamagedEntry, NoSpace
from storehouse.storage.namespace.values import config_file, decode_config, encode_config, kind_of_file
from storehouse.testing.files import FailingFiles
from tests.conformance.namespace import entry
from tests.storage.namespace.rig import Driven, contents, flip, now

GOLDEN = b'{"bucket":"box","kind":"cors","data":"PMOpAP8=","checksum":"c695a379"}'
DATA = "<é".encode() + b"\0\xff"


class BytesTests(SynchronousTestCase):
    """The files as bytes."""

    def test_golden(self) -> None:
        self.assertEqual(encode_config("box", "cors", DATA), GOLDEN)
        self.assertEqual(decode_config(GOLDEN, "box", "cors"), DATA)
        self.assertEqual(decode_config(GOLDEN, None, "cors"), DATA)

    def test_refused(self) -> None:
        """What is of another bucket or kind, damaged, or another program's."""
        for bucket, kind in (("other", "cors"), ("box", "policy")):
            self.assertRaises(ValueError, decode_config, GOLDEN, bucket, kind)
        for data in (b"", b"{}", b"[]", b'{"bucket":"box","kind":"cors","data":""}'):
            self.assertRaises(ValueError, decode_config, data, "box", "cors")
        for bit in range(len(GOLDEN) * 8):
            wrong = bytearray(GOLDEN)
            wrong[bit // 8] ^= 1 << bit % 8
            self.assertRaises(ValueError, decode_config, bytes(wrong), "box", "cors")

    def test_names(self) -> None:
        self.assertEqual(
            (config_file("public-access"), kind_of_file("bucket.cors.json")), ("bucket.public-access.json", "cors")
        )
        for name in ("bucket.json", "bucket..json", "bucket.A.json", "bucket.a.b.json", "x.cors.json", "bucket.cors"):
            self.assertIsNone(kind_of_file(name))


class FileTests(SynchronousTestCase):
    """A bucket with a configuration."""

    def setUp(self) -> None:
        self.driven = Driven(os.path.join(self.mktemp(), "namespace")).start().create()
        self.addCleanup(lambda: self.driven.stop())
        self.config("cors", DATA)
        self.path = self.driven.path("buckets", "bucket", "bucket.cors.json")

    def config(self, kind: str, data: bytes | None) -> None:
        now(self.driven.namespace.set_bucket_config("bucket", kind, data))

    def found(self, kind: str = "cors") -> bytes | None:
        data: bytes | None = now(self.driven.namespace.bucket_config("bucket", kind))
        return data

    def recovered(self) -> list[str]:
        """The names of all that was set aside."""
        top = os.path.join(os.path.dirname(self.driven.directory), "recovered")
        return [name for _, _, names in os.walk(top) for name in names if name.startswith("bucket.")]

    def test_file(self) -> None:
        self.assertEqual(contents(self.path), encode_config("bucket", "cors", DATA))
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        self.config("cors", None)
        self.assertFalse(os.path.lexists(self.path))

    def test_damaged(self) -> None:
        """Readers and checks report it; it can be replaced, and removed."""
        for replacement in (b"new", None):
            flip(self.path, 20)
            self.assertRaises(DamagedEntry, self.found)
            (problem,) = self.driven.check()
            self.assertEqual((problem.kind, problem.bucket, problem.repairable), ("damaged", "bucket", False))
            self.assertIn(self.path, problem.text)
            self.config("cors", replacement)
            self.assertEqual((self.found(), self.driven.check()), (replacement, []))
            self.config("cors", DATA)

    def test_of_another(self) -> None:
        """A file that was moved here from another bucket, or under another kind, does not count."""
        shutil.copy(self.path, self.driven.path("buckets", "bucket", "bucket.policy.json"))
        self.assertRaises(DamagedEntry, self.found, "policy")
        self.assertEqual(self.found(), DATA)

    def test_names_no_bytes(self) -> None:
        """Even one that is damaged keeps no bytes from being removed; an unknown name does."""
        flip(self.path, 20)
        self.driven.publish("a", entry(1))
        self.assertEqual(now(self.driven.namespace.needed([entry(2).id])).doubt, "")
        shutil.copy(self.path, self.driven.path("buckets", "bucket", "bucket.CORS.json"))
        self.assertNotEqual(now(self.driven.namespace.needed([entry(2).id])).doubt, "")

    def test_bucket_removed(self) -> None:
        """What can be read goes with it; what cannot is set aside, as is what is not ours."""
        self.config("policy", b"damaged")
        flip(self.driven.path("buckets", "bucket", "bucket.policy.json"), 20)
        shutil.copy(self.path, self.driven.path("buckets", "bucket", "bucket.CORS.json"))
        now(self.driven.namespace.delete_bucket("bucket"))
        self.assertEqual(sorted(self.recovered()), ["bucket.CORS.json", "bucket.policy.json"])
        self.assertEqual(os.listdir(self.driven.path("tmp")), [])

    def test_removal_interrupted(self) -> None:
        """A start finishes it, whatever is left of the directory."""
        for left in (("objects", "bucket.json", "bucket.cors.json"), ("bucket.cors.json",)):
            rest = self.driven.path("tmp", "deleted.0123456789abcdef")
            shutil.copytree(self.driven.path("buckets", "bucket"), rest)
            for name in set(os.listdir(rest)) - set(left):
                path = os.path.join(rest, name)
                (os.rmdir if os.path.isdir(path) else os.unlink)(path)
            self.driven.stop()
            self.driven = Driven(self.driven.directory).start()
            self.assertEqual((os.listdir(self.driven.path("tmp")), self.recovered()), ([], []))
            self.assertEqual(self.found(), DATA)

    def test_full_disk(self) -> None:
        """Nothing is changed, and nothing left."""
        self.driven.stop()
        files = FailingFiles()
        self.driven = Driven(self.driven.directory, files).start()
        files.fail("write_at")
        self.assertRaises(NoSpace, self.config, "cors", b"new")
        files.mend()
        self.assertEqual((self.found(), os.listdir(self.driven.path("tmp"))), (DATA, []))
