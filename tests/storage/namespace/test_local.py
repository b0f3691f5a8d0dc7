"""The local namespace does what a namespace must."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from storehouse.core.jobs import DiskThreads
from storehouse.storage.namespace.interfaces import INamespace
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from tests.conformance.namespace import NamespaceTestsMixin
from tests.conformance.versions import VersionTestsMixin


class LocalNamespaceTestCase(TestCase):
    """L{LocalNamespace}, with threads."""

    durable = True
    namespace: Any = None

    async def make_namespace(self) -> LocalNamespace:
        if self.namespace is None:
            self.disk = DiskThreads(reactor)
            self.disk.start()
            self.addCleanup(self.disk.stop)
            self.directory = os.path.abspath(self.mktemp())
            self.addCleanup(lambda: self.namespace.stop())
        else:
            await self.namespace.stop()
        settings = NamespaceSettings(self.directory, durable=self.durable, checkpoint_records=7)
        namespace = LocalNamespace(settings, reactor, self.disk)
        namespace.start()
        return namespace

    async def tearDown(self) -> None:
        """Whatever was done, tree and index agree, and nothing is left behind."""
        if self.namespace.failed is None and await self.is_running():
            self.assertEqual(await self.namespace.check(), [])
            self.assertEqual(os.listdir(os.path.join(self.directory, "tmp")), [])

    async def is_running(self) -> bool:
        try:
            await self.namespace.list_buckets()
        except Exception:
            return False
        return True


class LocalNamespaceTests(NamespaceTestsMixin, LocalNamespaceTestCase):
    """As every namespace."""

    def test_checked(self) -> None:
        verifyObject(INamespace, self.namespace)


class LocalVersionTests(VersionTestsMixin, LocalNamespaceTestCase):
    """Versions, as in every namespace."""


class RelaxedNamespaceTests(LocalNamespaceTests):
    """L{LocalNamespace} that syncs nothing."""

    durable = False
