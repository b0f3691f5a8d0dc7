"""Versions of objects: in memory, on disk, and encrypted."""

from __future__ import annotations

from tests.conformance.objectstore_versions import VersionedStoreTestsMixin
from tests.storage.objects.rig import LocalStoreTestCase, MemoryStoreTestCase
from tests.storage.sealed.test_objects import SealedStoreTestCase


class MemoryVersionTests(VersionedStoreTestsMixin, MemoryStoreTestCase):
    """Over memory only."""


class LocalVersionTests(VersionedStoreTestsMixin, LocalStoreTestCase):
    """Over Wormer and a namespace in files."""

    persistent = True


class SealedVersionTests(VersionedStoreTestsMixin, SealedStoreTestCase):
    """The same, encrypted."""

    persistent = True
