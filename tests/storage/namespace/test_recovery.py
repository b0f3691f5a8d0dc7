"""What a start finds in the place of what a namespace makes."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import StartFailed, StoreUnusable
from storehouse.storage.namespace.recovery import prepare
from storehouse.storage.namespace.tree import Tree
from storehouse.testing.files import UnsyncedFiles


class PrepareTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)

    def write(self, name: str, data: bytes) -> None:
        with open(os.path.join(self.directory, name), "wb") as file:
            file.write(data)

    def refused(self, kind: type[StartFailed]) -> str:
        files = UnsyncedFiles()
        error = self.assertRaises(kind, prepare, Tree(self.directory, files, False), files)
        self.assertIs(type(error), kind)
        self.assertIn(self.directory, error.detail)
        return error.detail

    def test_format(self) -> None:
        """What is no JSON was damaged, and keeps shut only what needs it; another one is another store."""
        for data, text in ((b"", "is empty"), (b'{"format":', "b'{\"format\":'"), (bytes(5), repr(bytes(5)))):
            self.write("format.json", data)
            self.assertIn(text, self.refused(StoreUnusable))
        self.write("format.json", b'{"format":"namespace","version":2}')
        self.refused(StartFailed)
        self.assertEqual(os.listdir(self.directory), ["format.json"])

    def test_file_for_a_directory(self) -> None:
        """Likewise; it stays what it is."""
        for name in ("buckets", "tmp"):
            self.write(name, b"x")
            self.assertIn(os.path.join(self.directory, name), self.refused(StoreUnusable))
            with open(os.path.join(self.directory, name), "rb") as file:
                self.assertEqual(file.read(), b"x")
            os.unlink(os.path.join(self.directory, name))
