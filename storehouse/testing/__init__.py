"""
For tests of what uses storehouse: stores in memory, and files that fail (docs/library.rst).

The stores do what those on disk do, by the same conformance tests, and are gone with the process. Nothing of storehouse itself
imports this package.
"""

from storehouse.testing.accounts import MemoryAccounts
from storehouse.testing.dataspace import MemoryDataSpace
from storehouse.testing.files import FailingFiles, UnsyncedFiles
from storehouse.testing.namespace import MemoryNamespace
from storehouse.testing.objects import memory_object_store

__all__ = [
    "FailingFiles",
    "MemoryAccounts",
    "MemoryDataSpace",
    "MemoryNamespace",
    "UnsyncedFiles",
    "memory_object_store",
]
