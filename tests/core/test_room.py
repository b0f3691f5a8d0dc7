"""Tests of L{storehouse.core.room}."""

from __future__ import annotations

import os
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.room import disk_troubles


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
        """What is told of a disk."""
        self.patch(os, "statvfs", lambda path: _State(**state))
        return disk_troubles(["/srv/a", "/srv/b"]).get("disk", "")

    def test_well(self) -> None:
        self.assertEqual(disk_troubles([os.path.abspath("."), os.path.abspath(self.mktemp())]), {})
        self.assertEqual(self.told(), "")
        # A file system that counts neither.
        self.assertEqual(self.told(f_blocks=0, f_bavail=0, f_files=0, f_favail=0), "")

    def test_not_well(self) -> None:
        self.assertEqual(self.told(f_bavail=0), "no room on the disk of /srv/a: 0 bytes are left")
        self.assertEqual(self.told(f_bavail=255), "no room on the disk of /srv/a: 1044480 bytes are left")
        self.assertEqual(self.told(f_favail=0), "no room on the disk of /srv/a: it can have no more files")
        self.assertEqual(self.told(f_flag=os.ST_RDONLY), "the file system of /srv/a is read-only")

        def broken(path: str) -> None:
            raise OSError(5, "Input/output error")

        self.patch(os, "statvfs", broken)
        self.assertEqual(disk_troubles(["/x"]), {"disk": "/x cannot be looked at: Input/output error"})
