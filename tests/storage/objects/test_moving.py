"""Objects that get another key, or more bytes: in memory, on disk, and encrypted."""

from __future__ import annotations

from tests.conformance.objectstore_moving import AppendTestsMixin, RenamingTestsMixin
from tests.storage.objects.rig import LocalStoreTestCase, MemoryStoreTestCase
from tests.storage.sealed.test_objects import SealedStoreTestCase


class MemoryRenamingTests(RenamingTestsMixin, MemoryStoreTestCase):
    """Over memory only."""


class LocalRenamingTests(RenamingTestsMixin, LocalStoreTestCase):
    """Over Wormer and a namespace in files."""

    persistent = True


class SealedRenamingTests(RenamingTestsMixin, SealedStoreTestCase):
    """The same, encrypted."""

    persistent = True


class MemoryAppendTests(AppendTestsMixin, MemoryStoreTestCase):
    """Over memory only."""


class LocalAppendTests(AppendTestsMixin, LocalStoreTestCase):
    """Over Wormer and a namespace in files."""

    persistent = True


class SealedAppendTests(AppendTestsMixin, SealedStoreTestCase):
    """The same, encrypted."""

    persistent = True
