"""Tests of the disk threads of L{storehouse.core.jobs}."""

from __future__ import annotations

import threading

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from storehouse.core.jobs import DiskThreads, IDisk, InlineDisk


class InlineDiskTests(SynchronousTestCase):
    """Everything at once."""

    def test_interface(self) -> None:
        verifyObject(IDisk, InlineDisk())

    def test_result(self) -> None:
        self.assertEqual(self.successResultOf(InlineDisk().run(divmod, 7, 2)), (3, 1))

    def test_error(self) -> None:
        self.failureResultOf(InlineDisk().run(divmod, 7, 0), ZeroDivisionError)


class DiskThreadsTests(TestCase):
    """Threads of our own."""

    def setUp(self) -> None:
        self.disk = DiskThreads(reactor, 2)
        self.disk.start()
        self.addCleanup(self.disk.stop)

    def test_interface(self) -> None:
        verifyObject(IDisk, self.disk)

    async def test_result(self) -> None:
        """The call is made in another thread, its result given in this one."""
        other = await self.disk.run(threading.get_ident)
        self.assertNotEqual(other, threading.get_ident())

    async def test_error(self) -> None:
        await self.assertFailure(self.disk.run(divmod, 7, 0), ZeroDivisionError)

    async def test_many(self) -> None:
        """More calls than threads wait for their turn."""
        self.assertEqual(
            await gatherResults([self.disk.run(divmod, n, 7) for n in range(50)]), [divmod(n, 7) for n in range(50)]
        )
