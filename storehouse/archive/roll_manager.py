"""Writing to one archive after the other, and reading them back."""

from storehouse.errors import NoMoreFiles
from storehouse.storage.archive.jsonlines import WritingJSONRollManager
from storehouse.storage.archive.reading import ReadingRollManager, find_archives
from storehouse.storage.archive.timer import RollTimer
from storehouse.storage.archive.writing import WritingRollManager

__all__ = [
    "NoMoreFiles",
    "ReadingRollManager",
    "RollTimer",
    "WritingJSONRollManager",
    "WritingRollManager",
    "find_archives",
]
