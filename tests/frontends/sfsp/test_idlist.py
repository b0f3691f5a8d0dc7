"""Tests of L{storehouse.frontends.sfsp.idlist}."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import IByteStream, StreamClosed, read_all
from storehouse.errors import NoSpace, Unavailable
from storehouse.frontends.sfsp.idlist import SHORT, IdList
from tests.conformance.streams import ByteStreamTests, begun


class IdListConformance(ByteStreamTests, SynchronousTestCase):
    """A short one, and one that is in a file."""

    DATA = bytes(range(200)) * 8

    def make_stream(self) -> IByteStream:
        ids = IdList(InlineDisk(), "/nowhere")
        self.successResultOf(Deferred.fromCoroutine(ids.add(self.DATA)))
        self.successResultOf(Deferred.fromCoroutine(ids.finish()))
        return ids


class LongIdListConformance(IdListConformance):
    DATA = bytes(range(200)) * 800

    def make_stream(self) -> IByteStream:
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        ids = IdList(InlineDisk(), directory)
        self.addCleanup(ids.close)
        self.successResultOf(Deferred.fromCoroutine(ids.add(self.DATA)))
        self.successResultOf(Deferred.fromCoroutine(ids.finish()))
        return ids


class IdListTests(SynchronousTestCase):
    """L{IdList}."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        self.list = IdList(InlineDisk(), self.directory)
        self.addCleanup(self.list.close)

    def add(self, data: bytes) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.list.add(data)))

    def test_any_length(self) -> None:
        """What was added comes out, whether it went through a file, in part or not at all."""
        verifyObject(IByteStream, self.list)
        for sizes in (
            [],
            [8],
            [SHORT],
            [SHORT + 8],
            [65_536],
            [65_537],
            [30_000] * 3,
            [30_000] * 5,
            [300_000, 8],
            [70_000] * 20,
        ):
            self.list = IdList(InlineDisk(), self.directory)
            pieces = [os.urandom(size) for size in sizes]
            for piece in pieces:
                self.add(piece)
            self.successResultOf(Deferred.fromCoroutine(self.list.finish()))
            self.assertEqual(self.list.size, sum(sizes))
            # What nobody reads takes no memory unless it is short.
            self.assertEqual(bool(self.list._held), 0 < self.list.size <= SHORT)
            self.assertEqual(self.successResultOf(Deferred.fromCoroutine(read_all(self.list))), b"".join(pieces))
            self.assertIsNone(self.list._file)
            self.list.close()

    def test_cannot_be_written(self) -> None:
        """A full disk is one thing, another failure another; neither is told with a path."""
        for number, kind in ((errno.ENOSPC, NoSpace), (errno.EDQUOT, NoSpace), (errno.EIO, Unavailable)):

            def refuse(number: int = number, **options: Any) -> Any:
                raise OSError(number, os.strerror(number), "/srv/secret")

            self.patch(tempfile, "TemporaryFile", refuse)
            failed = Deferred.fromCoroutine(IdList(InlineDisk(), self.directory).add(bytes(70_000)))
            self.assertNotIn("secret", str(self.failureResultOf(failed, kind).value))

    def test_closed(self) -> None:
        """At any time, any number of times."""
        self.add(bytes(70_000))
        file = self.list._file
        assert file is not None
        for _ in range(3):
            self.successResultOf(self.list.close())
        self.assertTrue(file.closed)
        self.failureResultOf(begun(self.list.read()), StreamClosed)
