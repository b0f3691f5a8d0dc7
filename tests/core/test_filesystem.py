"""What is done on file systems that lack something, and what they must have."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.files import CANNOT_LINK, Files
from storehouse.core.filesystem import check_names, check_together, disk_troubles
from storehouse.core.root import set_aside
from storehouse.errors import StartFailed


class LayeredFiles(Files):
    """As overlayfs: directories that came from a lower layer cannot be renamed."""

    def __init__(self, *lower: str) -> None:
        self.lower = lower

    def rename(self, source: str, target: str) -> None:
        if os.path.isdir(source) and any(source == each or source.startswith(f"{each}/") for each in self.lower):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)
        super().rename(source, target)


class FilesTests(SynchronousTestCase):
    """See the module."""

    def setUp(self) -> None:
        self.top = os.path.abspath(self.mktemp())
        os.mkdir(self.top)

    def path(self, *names: str) -> str:
        return os.path.join(self.top, *names)

    def write(self, *names: str, text: str = "x") -> str:
        path = self.path(*names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_move(self) -> None:
        """A directory that cannot be renamed is moved piece by piece, what describes it first."""
        self.write("a", "b", "c")
        self.write("a", "data.json")
        os.symlink("nowhere", self.path("a", "link"))
        moved: list[str] = []
        files = LayeredFiles(self.path("a"))
        rename = files.rename

        def noted(source: str, target: str) -> None:
            rename(source, target)
            moved.append(os.path.basename(source))

        self.patch(files, "rename", noted)
        files.move(self.path("a"), self.path("z"), ("data.json",))
        self.assertEqual(moved, ["data.json", "c", "link"])
        self.assertEqual(
            (sorted(os.listdir(self.path("z"))), os.listdir(self.top)), (["b", "data.json", "link"], ["z"])
        )
        self.assertEqual(os.listdir(self.path("z", "b")), ["c"])

    def test_move_elsewhere(self) -> None:
        """What is really of another file system is left alone, and said."""
        self.write("a", "b")

        def refuse(source: str, target: str) -> None:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)

        files = Files()
        self.patch(files, "rename", refuse)
        self.assertEqual(self.assertRaises(OSError, files.move, self.path("a"), self.path("z")).errno, errno.EXDEV)
        self.assertEqual((os.listdir(self.top), os.listdir(self.path("a"))), (["a"], ["b"]))

    def test_name(self) -> None:
        """Without hard links a name is still given once only, and nothing is overwritten."""
        for error in (None, *CANNOT_LINK):
            files = Files()
            if error is not None:

                def refuse(source: str, target: str, error: int = error) -> None:
                    raise OSError(error, os.strerror(error), source)

                self.patch(files, "link", refuse)
            source = self.write("new", text="new")
            there = self.write("there", text="there")
            self.assertRaises(FileExistsError, files.name, source, there)
            files.name(source, self.path(f"free{error}"))
            for path, text in ((there, "there"), (self.path(f"free{error}"), "new")):
                with open(path) as file:
                    self.assertEqual(file.read(), text)

    def test_write_synced(self) -> None:
        """A file system that has no synced write gets a write and a sync."""

        def refuse(*_: Any) -> int:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

        self.patch(os, "pwritev", refuse)
        synced: list[int] = []
        files = Files()
        self.patch(files, "sync_data", synced.append)
        fd = files.open(self.path("a"), os.O_RDWR | os.O_CREAT)
        self.addCleanup(files.close, fd)
        files.write_synced(fd, b"some text", 0)
        self.assertEqual((os.pread(fd, 100, 0), synced), (b"some text", [fd]))

    def test_directories_that_cannot_be_synced(self) -> None:
        def refuse(fd: int) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        self.patch(os, "fsync", refuse)
        error = self.assertRaises(OSError, Files().sync_directory, self.top)
        self.assertIn("cannot sync directories", str(error))

    def test_set_aside(self) -> None:
        """Also a directory that cannot be renamed."""
        self.write("a", "b")
        kept = set_aside(LayeredFiles(self.path("a")), self.path("recovered"), self.path("a"), "/was/a", "why")
        self.assertEqual((os.path.basename(kept), os.listdir(kept)), ("a", ["b"]))

    def test_check_together(self) -> None:
        check_together(self.top, self.top)
        stat = os.stat
        self.patch(os, "stat", lambda path: SimpleNamespace(st_dev=7) if path == "/elsewhere" else stat(path))
        error = self.assertRaises(StartFailed, check_together, self.top, "/elsewhere")
        self.assertIn("/elsewhere and ", str(error))

    def test_check_names(self) -> None:
        check_names(self.top)
        self.assertEqual(os.listdir(self.top), [])
        self.patch(os.path, "lexists", lambda path: True)
        self.assertIn("ignores case", str(self.assertRaises(StartFailed, check_names, self.top)))
        self.assertEqual(os.listdir(self.top), [])

    def test_short_names(self) -> None:
        def refuse(code: int) -> None:
            def open(*args: Any) -> int:
                raise OSError(code, os.strerror(code), args[0])

            self.patch(os, "open", open)

        refuse(errno.ENAMETOOLONG)
        self.assertIn("210 characters", str(self.assertRaises(StartFailed, check_names, self.top)))
        refuse(errno.ENOSPC)
        check_names(self.top)


@attrs.frozen
class _State:
    """As C{os.statvfs} gives it."""

    f_flag: int = 0
    f_frsize: int = 4096
    f_blocks: int = 1 << 20
    f_bavail: int = 1 << 10
    f_files: int = 1000
    f_favail: int = 10


class DiskTroubleTests(SynchronousTestCase):
    """L{disk_troubles}."""

    def told(self, **state: Any) -> str:
        """What is known of a disk."""
        self.patch(os, "statvfs", lambda path: _State(**state))
        return disk_troubles(["/srv/a", "/srv/b"]).get("disk", "")

    def test_well(self) -> None:
        self.assertEqual(disk_troubles([os.path.abspath("."), os.path.abspath(self.mktemp())]), {})
        self.assertEqual(self.told(), "")
        # A file system that counts neither.
        self.assertEqual(self.told(f_blocks=0, f_bavail=0, f_files=0, f_favail=0), "")

    def test_not_well(self) -> None:
        self.assertEqual(self.told(f_bavail=0), "no space on the disk of /srv/a: 0 bytes are left")
        self.assertEqual(self.told(f_bavail=255), "no space on the disk of /srv/a: 1044480 bytes are left")
        self.assertEqual(self.told(f_favail=0), "no space on the disk of /srv/a: no more files can be created")
        self.assertEqual(self.told(f_flag=os.ST_RDONLY), "the file system of /srv/a is read-only")

        def broken(path: str) -> None:
            raise OSError(5, "Input/output error")

        self.patch(os, "statvfs", broken)
        self.assertEqual(disk_troubles(["/x"]), {"disk": "/x cannot be examined: Input/output error"})
