"""Resumable uploads do what they must, over stores on disk and in memory."""

from __future__ import annotations

from tests.conformance.resumable import PersistentResumableTestsMixin, ResumableTestsMixin
from tests.storage.resumable.rig import (
    LocalUploadsTestCase,
    MemoryUploadsTestCase,
    MixedUploadsTestCase,
    SealedUploadsTestCase,
)


class LocalUploadsTests(ResumableTestsMixin, LocalUploadsTestCase):
    """Over a store on disk."""


class ReopenedTests(PersistentResumableTestsMixin, LocalUploadsTestCase):
    """What is there later."""


class DurableReopenedTests(ReopenedTests):
    """The same, brought to disk."""

    durable = True


class MemoryUploadsTests(ResumableTestsMixin, MemoryUploadsTestCase):
    """Over a store in memory."""


class MixedUploadsTests(ResumableTestsMixin, MixedUploadsTestCase):
    """Over Wormer, with keys in memory."""


class SealedUploadsTests(ResumableTestsMixin, SealedUploadsTestCase):
    """Over Wormer with encryption."""
