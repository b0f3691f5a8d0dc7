"""Tests of L{storehouse.storage.dataspace.directory}."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.files import Files
from storehouse.errors import StartFailed, StoreUnusable
from storehouse.storage.dataspace.directory import FORMAT, Layout, check_format, names_in


class Recorder(Files):
    """Counts, and fails where a test wants it: C{error} for calls named in C{fail}."""

    def __init__(self, error: int = 0, fail: tuple[str, ...] = ()) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.error = error
        self.fail = fail

    def _called(self, name: str, path: Any) -> None:
        self.calls.append((name, path))
        if name in self.fail:
            raise OSError(self.error, os.strerror(self.error), path)

    def count(self, name: str) -> int:
        return sum(call == name for call, _ in self.calls)

    def open(self, path: str, flags: int) -> int:
        self._called("open", path)
        return super().open(path, flags)

    def mkdir(self, path: str) -> None:
        self._called("mkdir", path)
        super().mkdir(path)

    def sync_directory(self, path: str) -> None:
        self._called("sync_directory", path)
        super().sync_directory(path)

    def sync_all(self) -> None:
        self._called("sync_all", "")

    def unlink(self, path: str) -> None:
        self._called("unlink", path)
        super().unlink(path)


class PathTests(SynchronousTestCase):
    """Where things are."""

    def test_paths(self) -> None:
        layout = Layout("/r")
        self.assertEqual((layout.data, layout.uploads, layout.tmp), ("/r/data", "/r/uploads", "/r/tmp"))
        self.assertEqual(layout.object("0123"), "/r/data/01/0123")
        self.assertEqual(layout.object("ab"), "/r/data/ab/ab")
        self.assertEqual(layout.upload("fe" * 64), f"/r/uploads/fe/{'fe' * 64}")

    def test_new_names(self) -> None:
        """Never twice the same."""
        layout = Layout("/r")
        for make, pattern in (
            (layout.incoming, r"^/r/tmp/put\.[0-9a-f]{24}$"),
            (layout.outgoing, r"^/r/tmp/deleted\.[0-9a-f]{24}$"),
        ):
            names = {make() for _ in range(100)}
            self.assertEqual(len(names), 100)
            for name in names:
                self.assertRegex(name, pattern)

    def test_names_in(self) -> None:
        """Only what is an ID or an index, in order."""
        directory = self.mktemp()
        self.assertEqual(names_in(directory), [])
        os.mkdir(directory)
        for name in ("ff", "0a1", "00", "a", "AB", "gg", ".ab", "ab.tmp", "lost+found", "a" * 128, "b" * 129):
            os.mkdir(os.path.join(directory, name))
        self.assertEqual(names_in(directory), ["00", "0a1", "a" * 128, "ff"])


class PrepareTests(SynchronousTestCase):
    """L{Layout.prepare}."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())

    def prepare(self, files: Files | None = None, durable: bool = True) -> Layout:
        layout = Layout(self.root)
        layout.prepare(files or Files(), durable)
        return layout

    def refused(self, files: Files | None = None) -> str:
        error = self.assertRaises(StartFailed, self.prepare, files)
        self.assertIn(self.root, error.detail)
        return error.detail

    def write(self, name: str, data: bytes) -> None:
        with open(os.path.join(self.root, name), "wb") as file:
            file.write(data)

    def read(self, name: str) -> bytes:
        with open(os.path.join(self.root, name), "rb") as file:
            return file.read()

    def test_fresh(self) -> None:
        """All is made, with the modes of the format, and brought to disk."""
        self.root = os.path.join(self.root, "deep", "objects")
        files = Recorder()
        layout = self.prepare(files)
        self.assertEqual(sorted(os.listdir(self.root)), ["data", "format.json", "tmp", "uploads"])
        self.assertEqual(self.read("format.json"), b'{"format":"wormer","version":1}\n')
        self.assertEqual(layout.indexes, set())
        modes = {name: stat.S_IMODE(os.stat(os.path.join(self.root, name)).st_mode) for name in os.listdir(self.root)}
        self.assertEqual(modes, {"data": 0o700, "format.json": 0o600, "tmp": 0o700, "uploads": 0o700})
        self.assertEqual(stat.S_IMODE(os.stat(self.root).st_mode), 0o700)
        # The names in it are synced after the last of them was made.
        order = [call for call in files.calls if call[0] in ("mkdir", "sync_directory")]
        self.assertLess(
            max(order.index(("mkdir", f"{self.root}/{name}")) for name in ("data", "uploads", "tmp")),
            order.index(("sync_directory", self.root)),
        )
        self.assertEqual(files.count("sync_all"), 0)

    def test_twice(self) -> None:
        """What is there stays; the names of all indexes, and those in them, are brought to disk."""
        self.prepare()
        for path in ("data/ab/ab01", "data/00/00", "uploads/ff/ff", "data/nothing", "data/abc"):
            os.makedirs(os.path.join(self.root, path))
        files = Recorder()
        layout = self.prepare(files)
        self.assertEqual(layout.indexes, {f"{self.root}/{name}" for name in ("data/ab", "data/00", "uploads/ff")})
        for name in ("", "/data", "/uploads", "/data/ab", "/data/00", "/uploads/ff"):
            self.assertIn(("sync_directory", self.root + name), files.calls)
        self.assertTrue(os.path.isdir(os.path.join(self.root, "data/ab/ab01")))

    def test_format_no_file(self) -> None:
        """A directory in its place is damage, which keeps shut only what needs the store."""
        root = os.path.abspath(self.mktemp())
        os.makedirs(os.path.join(root, "format.json"))
        self.assertRaises(StoreUnusable, check_format, root)

    def test_damaged_format(self) -> None:
        """What is no JSON was damaged, and is shown as it is: only what needs the store stays shut."""
        os.mkdir(self.root)
        shown = {b"": "is empty", FORMAT[:20]: repr(FORMAT[:20]), FORMAT[:-1]: "damaged", bytes(9): repr(bytes(9))}
        for data, text in shown.items():
            self.write("format.json", data)
            error = self.assertRaises(StoreUnusable, self.prepare)
            self.assertIn(text, error.detail)
            self.assertEqual(os.listdir(self.root), ["format.json"])

    def test_file_for_a_directory(self) -> None:
        """Likewise; it stays what it is."""
        for name in ("data", "uploads", "tmp"):
            self.prepare()
            os.rmdir(os.path.join(self.root, name))
            self.write(name, b"x")
            error = self.assertRaises(StoreUnusable, self.prepare)
            self.assertIn(os.path.join(self.root, name), error.detail)
            self.assertEqual(self.read(name), b"x")
            os.unlink(os.path.join(self.root, name))

    def test_half_written_format(self) -> None:
        """What a killed start left of its format.json does not matter."""
        os.mkdir(self.root)
        self.write("format.json.new", b'{"format":"worm' + bytes(100))
        self.prepare()
        self.assertEqual(self.read("format.json"), FORMAT)
        self.assertNotIn("format.json.new", os.listdir(self.root))

    def test_other_format(self) -> None:
        """Another version, another format, or nonsense is refused, and shown; nothing is made."""
        for data in (
            FORMAT.replace(b"1", b"2"),
            b'{"format":"other","version":1}\n',
            b"",
            FORMAT[:-1],
            FORMAT + b"\n",
            b"\xff\xfe" * 400,
        ):
            self.root = os.path.abspath(self.mktemp())
            os.mkdir(self.root)
            self.write("format.json", data)
            text = self.refused()
            self.assertIn("format.json", text)
            self.assertIn('{"format":"wormer","version":1}', text)
            self.assertIn(repr(data[:40])[:-1] if data else "is empty", text)
            self.assertLess(len(text), 1000)
            self.assertEqual(os.listdir(self.root), ["format.json"])

    def test_format_is_directory(self) -> None:
        os.makedirs(os.path.join(self.root, "format.json"))
        self.refused()

    def test_foreign(self) -> None:
        """A store as another program left it becomes one of version 1."""
        os.makedirs(os.path.join(self.root, "data", "ab", "ab01"))
        check_format(self.root)
        layout = self.prepare()
        self.assertEqual(self.read("format.json"), FORMAT)
        self.assertEqual(layout.indexes, {f"{self.root}/data/ab"})

    def test_files_in_the_way(self) -> None:
        """A file where a directory belongs is named."""
        with open(self.root, "w"):
            pass
        self.assertIn("is not a directory", self.refused())
        self.root += "/below"
        self.assertIn("is not a directory", self.refused())
        for name in ("data", "uploads", "tmp"):
            self.root = os.path.abspath(self.mktemp())
            os.mkdir(self.root)
            self.write(name, b"")
            self.assertIn(f"{self.root}/{name} is not a directory", self.refused())

    def test_read_only(self) -> None:
        for name in ("open", "mkdir", "sync_directory"):
            self.root = os.path.abspath(self.mktemp())
            self.assertIn("read-only", self.refused(Recorder(errno.EROFS, (name,))))

    def test_no_permission(self) -> None:
        for number in (errno.EACCES, errno.EPERM):
            self.root = os.path.abspath(self.mktemp())
            os.mkdir(self.root)
            text = self.refused(Recorder(number, ("open",)))
            self.assertIn("permission denied", text)
            self.assertIn("format.json", text)

    def test_other_errors(self) -> None:
        """They are reported as the system names them."""
        for number in (errno.ENOSPC, errno.EIO):
            self.root = os.path.abspath(self.mktemp())
            self.assertIn(os.strerror(number), self.refused(Recorder(number, ("mkdir",))))

    def test_relaxed(self) -> None:
        """What was written without syncs is brought to disk by the first start that promises more, once."""
        files = Recorder()
        for _ in range(2):
            self.prepare(files, durable=False)
            self.assertIn("relaxed", os.listdir(self.root))
        self.assertEqual(files.count("sync_all"), 0)
        self.prepare(files)
        self.assertEqual(files.count("sync_all"), 1)
        self.assertNotIn("relaxed", os.listdir(self.root))
        names = [name for name, _ in files.calls]
        self.assertLess(names.index("sync_all"), names.index("unlink"))
        self.prepare(files)
        self.assertEqual(files.count("sync_all"), 1)

    def test_relaxed_and_failed(self) -> None:
        """As long as that fails, it is tried again."""
        self.prepare(durable=False)
        self.refused(Recorder(errno.EIO, ("sync_all",)))
        self.assertIn("relaxed", os.listdir(self.root))
        files = Recorder()
        self.prepare(files)
        self.assertEqual(files.count("sync_all"), 1)


class IndexTests(SynchronousTestCase):
    """L{Layout.make_index}."""

    def setUp(self) -> None:
        self.layout = Layout(os.path.abspath(self.mktemp()))
        self.layout.prepare(Files(), True)

    def test_once(self) -> None:
        """Made and brought to disk by the first who needs it."""
        files = Recorder()
        for id in ("ab01", "ab02", "ab"):
            self.layout.make_index(files, self.layout.object(id), True)
        self.assertEqual(files.calls, [("mkdir", f"{self.layout.data}/ab"), ("sync_directory", self.layout.data)])
        self.layout.make_index(files, self.layout.upload("ab01"), True)
        self.assertEqual(len(files.calls), 4)

    def test_not_durable(self) -> None:
        files = Recorder()
        self.layout.make_index(files, self.layout.object("ab"), False)
        self.assertEqual(files.calls, [("mkdir", f"{self.layout.data}/ab")])

    def test_failed_sync(self) -> None:
        """An index that may not be on disk is not taken for one that is."""
        path = self.layout.object("ab")
        self.assertRaises(OSError, self.layout.make_index, Recorder(errno.EIO, ("sync_directory",)), path, True)
        files = Recorder()
        self.layout.make_index(files, path, True)
        self.assertEqual(files.count("sync_directory"), 1)
