"""The namespace in memory does what a namespace must."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from storehouse.testing.namespace import MemoryNamespace
from tests.conformance.namespace import NamespaceTestsMixin


class MemoryNamespaceTests(NamespaceTestsMixin, TestCase):
    """L{MemoryNamespace}."""

    persistent = False

    async def make_namespace(self) -> MemoryNamespace:
        return MemoryNamespace()
