"""Tests of L{storehouse.core.opening}."""

from __future__ import annotations

import errno
import sqlite3

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.opening import has_flipped_bit, is_local
from storehouse.errors import (
    BucketCountMismatch,
    DamagedEntry,
    InvalidSetting,
    NoSpace,
    RootInUse,
    StartFailed,
    StoreUnusable,
    WrongMasterKey,
)


class LocalTests(SynchronousTestCase):
    """What is of this disk, and what is of another store or of the settings."""

    def failed(self, cause: Exception, kind: type[StartFailed] = StartFailed) -> Exception:
        """As a store fails that explains what it failed for."""
        try:
            try:
                raise cause
            except Exception as error:
                raise kind(f"it cannot be opened: {error}") from None
        except StartFailed as error:
            return error

    def test_local(self) -> None:
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL
        for error in (
            NoSpace("x"),
            StoreUnusable("x"),
            DamagedEntry("x", "y", None, "z", "why"),
            OSError(errno.ENOSPC, "x"),
            self.failed(OSError(errno.EDQUOT, "x")),
            self.failed(OSError(errno.EIO, "x")),
            self.failed(full),
        ):
            self.assertTrue(is_local(error), repr(error))

    def test_others(self) -> None:
        for error in (
            StartFailed("another store"),
            WrongMasterKey("x"),
            BucketCountMismatch("x"),
            RootInUse("x"),
            InvalidSetting("x"),
            ZeroDivisionError(),
            OSError(errno.EACCES, "x"),
            self.failed(OSError(errno.ENOTDIR, "x")),
            self.failed(OSError(errno.ENOSPC, "x"), InvalidSetting),
        ):
            self.assertFalse(is_local(error), repr(error))

    def test_flipped(self) -> None:
        wanted = b'{"format":"wormer","version":1}'
        for at in range(len(wanted)):
            for bit in range(8):
                found = bytearray(wanted)
                found[at] ^= 1 << bit
                self.assertTrue(has_flipped_bit(bytes(found), wanted))
        for found in (wanted, wanted.replace(b"1", b"2"), wanted + b"\n", b""):
            self.assertFalse(has_flipped_bit(bytes(found), wanted), found)
