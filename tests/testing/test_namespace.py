"""The namespace in memory does what a namespace must."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from storehouse.testing.namespace import MemoryNamespace
from tests.conformance.namespace import NamespaceTestsMixin
from tests.conformance.versions import VersionTestsMixin


class MemoryNamespaceTestCase(TestCase):
    """L{MemoryNamespace}."""

    async def make_namespace(self) -> MemoryNamespace:
        return MemoryNamespace()


class MemoryNamespaceTests(NamespaceTestsMixin, MemoryNamespaceTestCase):
    """As every namespace."""

    persistent = False


class MemoryVersionTests(VersionTestsMixin, MemoryNamespaceTestCase):
    """Versions, as in every namespace."""

    persistent = False
