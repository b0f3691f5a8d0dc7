"""Tests of L{storehouse.core.opening}."""

from __future__ import annotations

import errno
import os
import sqlite3

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.opening import Opening, check_directories, has_flipped_bit, is_json, is_local, shown
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


class FoundTests(SynchronousTestCase):
    """What is found in the place of what a store makes."""

    def test_shown(self) -> None:
        self.assertEqual(shown(b""), "is empty")
        self.assertEqual(shown(b'{"a'), "holds b'{\"a'")
        self.assertLess(len(shown(bytes(1000))), 500)

    def test_is_json(self) -> None:
        for text, is_one in (
            (b"{}", True),
            (b"null", True),
            (b"", False),
            (b"{", False),
            (b"\xff", False),
            (b"[" * 9999, False),
        ):
            self.assertEqual(is_json(text), is_one, text[:9])

    def test_directories(self) -> None:
        top = self.mktemp()
        os.mkdir(top)
        check_directories(top, f"{top}/nothing")
        os.symlink("nothing", f"{top}/link")
        check_directories(f"{top}/link")
        with open(f"{top}/file", "wb"):
            pass
        error = self.assertRaises(StoreUnusable, check_directories, top, f"{top}/file")
        self.assertIn(f"{top}/file", str(error))


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


class ChoresTests(SynchronousTestCase):
    """L{Opening.start_chores}."""

    def test_of_a_door_that_is_shut(self) -> None:
        """A chore begins unless something that it, or its door, needs stays shut."""
        opening = Opening()
        started: list[str] = []

        class Chore:
            def __init__(self, name: str) -> None:
                self.name = name

            def start(self) -> None:
                started.append(self.name)

            def stop(self) -> None:
                """Nothing to do."""

        all_of = {name: Chore(name) for name in ("free", "of the door", "of the store", "of another door")}
        opening.needs.update({"https": ("resumable",), "append": ("append_log",)})
        opening.chores += [
            (all_of["of the door"], ("accounts",), "https"),
            (all_of["of the store"], ("resumable",), ""),
            (all_of["of another door"], (), "append"),
        ]
        opening.shut["resumable"] = "it is damaged"
        chores = list(all_of.values())
        opening.start_chores(chores, [])
        self.assertEqual(started, ["free", "of another door"])
        self.assertEqual([chore.name for chore in chores], started)
