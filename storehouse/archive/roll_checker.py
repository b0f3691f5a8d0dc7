"""When to go on to the next archive."""

from storehouse.storage.archive.checkers import (
    AnyRollChecker,
    NeverRollChecker,
    RecordCountRollChecker,
    RollChecker,
    SizeRollChecker,
    TimeRollChecker,
)

__all__ = [
    "AnyRollChecker",
    "NeverRollChecker",
    "RecordCountRollChecker",
    "RollChecker",
    "SizeRollChecker",
    "TimeRollChecker",
]
