"""HighwayHash256: the native module, its twin in Python, and the process that the twin runs in, give the same digests."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core import highwaytwin
from storehouse.core.highwayhash import IS_FAST, TwinProcess
from storehouse.core.native import MISSING, native
from storehouse.errors import Unavailable
from tests.integration.process import PATIENCE

KEY = bytes(range(32))

#: SHA-256 of all digests of 0 to 1,100 bytes 0, 1, ..., 255, 0, ... under L{KEY}, as the C implementation of the algorithm's authors
#: gives them (google/highwayhash, by highwayhash-cffi 0.1.6).
ALL = "333a4bfe1181d42adea96215cb1e67a61f9b60b9188bc1ade3c4ee0234c5842c"

DATA = bytes(at & 255 for at in range(1100))


def digest_of_all(digest: Callable[[bytes, bytes], bytes]) -> str:
    found = hashlib.sha256()
    for size in range(len(DATA) + 1):
        found.update(digest(KEY, DATA[:size]))
    return found.hexdigest()


class TwinTests(SynchronousTestCase):
    """L{highwaytwin}."""

    def test_lengths(self) -> None:
        self.assertEqual(digest_of_all(highwaytwin.highwayhash256), ALL)

    def test_wrong_key(self) -> None:
        self.assertRaises(ValueError, highwaytwin.highwayhash256, b"short", b"")


class NativeTests(SynchronousTestCase):
    """Every implementation that this processor runs."""

    def setUp(self) -> None:
        if native is None:
            if os.environ.get("CI"):
                raise AssertionError(f"the native module was not built: {MISSING}")
            raise SkipTest("the native module was not built")
        self.digest: Any = native.highwayhash256
        self.names: tuple[str, ...] = native.IMPLEMENTATIONS

    def test_used(self) -> None:
        self.assertTrue(IS_FAST)
        self.assertEqual(self.names[-1], "portable")

    def test_lengths(self) -> None:
        for name in self.names:
            self.assertEqual(digest_of_all(lambda key, data, name=name: self.digest(key, data, name)), ALL, name)

    def test_alignments(self) -> None:
        """Where in memory the bytes begin does not matter, nor what kind of buffer they are in."""
        for size in (0, 1, 31, 32, 33, 95, 130):
            expected = highwaytwin.highwayhash256(KEY, DATA[:size])
            for shift in range(33):
                held = bytearray(shift) + DATA[:size]
                for name in self.names:
                    self.assertEqual(self.digest(bytearray(KEY), memoryview(held)[shift:], name), expected)

    @settings(deadline=None, max_examples=60)
    @given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
    def test_like_twin(self, key: bytes, data: bytes) -> None:
        expected = highwaytwin.highwayhash256(key, data)
        self.assertEqual({self.digest(key, data, name) for name in (None, *self.names)}, {expected})

    def test_large(self) -> None:
        """Where the interpreter's lock is released."""
        data = DATA * 60
        self.assertEqual(len({self.digest(KEY, data, name) for name in self.names}), 1)
        self.assertEqual(self.digest(KEY, data), highwaytwin.highwayhash256(KEY, data))

    def test_refused(self) -> None:
        for size in (0, 16, 31, 33, 64):
            self.assertIn(str(size), str(self.assertRaises(ValueError, self.digest, bytes(size), b"x")))
        self.assertRaises(ValueError, self.digest, KEY, b"", "sse9")
        for wrong in ((KEY,), (KEY, "text"), ("k" * 32, b""), (KEY, memoryview(DATA)[::2])):
            self.assertRaises((TypeError, BufferError), self.digest, *wrong)


class ProcessTests(SynchronousTestCase):
    """L{TwinProcess}."""

    def setUp(self) -> None:
        self.twin = TwinProcess()
        self.addCleanup(self.twin.stop)

    @property
    def pid(self) -> int:
        assert self.twin._process is not None
        return self.twin._process.pid

    def test_digest(self) -> None:
        for data in (b"", b"x", DATA):
            self.assertEqual(self.twin.digest(KEY, data), highwaytwin.highwayhash256(KEY, data))
            self.assertEqual(self.twin.digest(KEY, memoryview(data)), highwaytwin.highwayhash256(KEY, data))
        self.assertRaises(ValueError, self.twin.digest, b"short", b"")

    def test_killed(self) -> None:
        """Another one takes its place."""
        expected = self.twin.digest(KEY, b"x")
        before = self.pid
        os.kill(before, signal.SIGKILL)
        self.assertEqual(self.twin.digest(KEY, b"x"), expected)
        self.assertNotEqual(self.pid, before)

    def test_threads(self) -> None:
        found: dict[int, bytes] = {}

        def ask(size: int) -> None:
            found[size] = self.twin.digest(KEY, DATA[:size])

        threads = [threading.Thread(target=ask, args=(size,)) for size in range(40, 48)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, {size: highwaytwin.highwayhash256(KEY, DATA[:size]) for size in range(40, 48)})

    def test_cannot_start(self) -> None:
        self.patch(sys, "executable", "/nowhere/python")
        self.assertIn("nowhere", self.assertRaises(Unavailable, self.twin.digest, KEY, b"x").detail)

    def test_ends(self) -> None:
        """It ends with its input, and does not outlive this process."""
        self.twin.digest(KEY, b"x")
        process = self.twin._process
        assert process is not None and process.stdin is not None
        process.stdin.close()
        self.assertEqual(process.wait(PATIENCE), 0)
