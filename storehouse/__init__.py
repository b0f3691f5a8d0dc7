"""
Storehouse: one Twisted process that takes in bytes, keeps them safely and gives them back fast.

What programs use of its libraries can be imported from here: the archive library, which needs no reactor, and the client of
SFSP. Each name is loaded when it is first asked for, so that C{import storehouse} alone loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storehouse.archive.archive import ArchiveReader, ArchiveWriter, recover_archive
    from storehouse.archive.finding import find_archives
    from storehouse.archive.roll_manager import (
        ReadingRollManager,
        RollTimer,
        WritingJSONRollManager,
        WritingRollManager,
    )
    from storehouse.clients.sfsp import SFSPClient

__all__ = [
    "ArchiveReader",
    "ArchiveWriter",
    "ReadingRollManager",
    "RollTimer",
    "SFSPClient",
    "WritingJSONRollManager",
    "WritingRollManager",
    "__version__",
    "find_archives",
    "recover_archive",
]

__version__ = "0.1.0"

_MODULES = {
    "storehouse.archive.archive": ("ArchiveReader", "ArchiveWriter", "recover_archive"),
    "storehouse.archive.finding": ("find_archives",),
    "storehouse.archive.roll_manager": (
        "ReadingRollManager",
        "RollTimer",
        "WritingJSONRollManager",
        "WritingRollManager",
    ),
    "storehouse.clients.sfsp": ("SFSPClient",),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            found: object = getattr(import_module(module), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
