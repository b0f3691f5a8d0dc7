"""Lists of uploads and their parts: in memory, on disk, and encrypted."""

from __future__ import annotations

from tests.conformance.objectstore_parts import PartsTestsMixin
from tests.storage.objects.rig import LocalStoreTestCase, MemoryStoreTestCase
from tests.storage.sealed.test_objects import SealedStoreTestCase


class MemoryPartsTests(PartsTestsMixin, MemoryStoreTestCase):
    """Over memory only."""


class LocalPartsTests(PartsTestsMixin, LocalStoreTestCase):
    """Over Wormer and a namespace in files."""

    persistent = True


class SealedPartsTests(PartsTestsMixin, SealedStoreTestCase):
    """The same, encrypted."""

    persistent = True
