"""What is kept for doors beside each object: in memory, on disk, and encrypted."""

from __future__ import annotations

from tests.conformance.objectstore_system import SystemTestsMixin
from tests.storage.objects.rig import LocalStoreTestCase, MemoryStoreTestCase
from tests.storage.sealed.test_objects import SealedStoreTestCase


class MemorySystemTests(SystemTestsMixin, MemoryStoreTestCase):
    """Over memory only."""


class LocalSystemTests(SystemTestsMixin, LocalStoreTestCase):
    """Over Wormer and a namespace in files."""

    persistent = True


class SealedSystemTests(SystemTestsMixin, SealedStoreTestCase):
    """The same, encrypted."""

    persistent = True
