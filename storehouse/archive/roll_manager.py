"""Writing to one archive after the other, and reading them back."""

from storehouse.archive.jsonlines import WritingJSONRollManager
from storehouse.archive.reading import ReadingRollManager, find_archives
from storehouse.archive.timer import RollTimer
from storehouse.archive.writing import WritingRollManager
from storehouse.errors import NoMoreFiles

__all__ = [
    "NoMoreFiles",
    "ReadingRollManager",
    "RollTimer",
    "WritingJSONRollManager",
    "WritingRollManager",
    "find_archives",
]
