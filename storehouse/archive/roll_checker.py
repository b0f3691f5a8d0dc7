"""When to go on to the next archive."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from zope.interface import implementer

from storehouse.archive.clocks import monotonic_of
from storehouse.archive.interfaces import IQuietRollChecker
from storehouse.archive.plugins import CHECKERS, make
from storehouse.errors import InvalidSetting

__all__ = [
    "AnyRollChecker",
    "NeverRollChecker",
    "RecordCountRollChecker",
    "RollChecker",
    "SizeRollChecker",
    "TimeRollChecker",
    "quiet_size",
]


def _number(name: str, value: Any) -> float:
    """A number greater than zero, also when it comes as text from a configuration file."""
    try:
        number = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = 0.0
    if not 0 < number < inf:
        raise InvalidSetting(f"{name} is a number greater than 0, not {value!r}")
    return number


def quiet_size(checker: Any, archive: Any) -> float:
    """
    The size below which a checker need not be asked about an archive; 0 if it has to be asked each time.

    A C{quiet_size} speaks only for the C{check} of its own class or one further up: who overrides C{check} alone is asked.
    """
    if "check" in getattr(checker, "__dict__", ()):
        return 0
    for kind in type(checker).__mro__:
        if "quiet_size" in vars(kind):
            size: float = checker.quiet_size(archive)
            return size
        if "check" in vars(kind):
            break
    return 0


@implementer(IQuietRollChecker)
class RollChecker:
    """Never says yes. A base for others."""

    def __init__(self) -> None:
        pass

    def start(self, archive: Any) -> None:
        """An archive was opened."""

    def check(self, archive: Any) -> bool:
        """Whether to roll now."""
        return False

    def quiet_size(self, archive: Any) -> float:
        """It need never be asked."""
        return inf


class NeverRollChecker(RollChecker):
    """One archive until the manager is closed."""


class SizeRollChecker(RollChecker):
    """Rolls once an archive has so many MiB or more."""

    def __init__(self, *, roll_size_mb: float = 1) -> None:
        super().__init__()
        self.roll_size_mb = _number("roll_size_mb", roll_size_mb)
        self._most = self.roll_size_mb * (1 << 20)

    def check(self, archive: Any) -> bool:
        """Whether it is large enough."""
        try:
            size: int = archive.size
        except AttributeError:  # an archive class as the first program has it
            size = archive.get_file_handle().tell()
        return size >= self._most

    def quiet_size(self, archive: Any) -> float:
        """Whatever is smaller is too small."""
        return self._most


class RecordCountRollChecker(RollChecker):
    """Rolls once an archive has so many records."""

    def __init__(self, *, roll_records: int) -> None:
        super().__init__()
        number = _number("roll_records", roll_records)
        if number != int(number):
            raise InvalidSetting(f"roll_records is a whole number, 1 or more, not {roll_records!r}")
        self.roll_records = int(number)

    def check(self, archive: Any) -> bool:
        """Whether it has enough."""
        return bool(archive.count >= self.roll_records)


class TimeRollChecker(RollChecker):
    """
    Rolls so many minutes after an archive was opened.

    While nothing is written that takes somebody who calls the manager's C{poll} now and then.
    """

    def __init__(self, *, roll_minutes: float = 60, clock: Any = None) -> None:
        """@param clock: has C{seconds()}; the system's monotonic one if C{None}."""
        super().__init__()
        self.roll_minutes = _number("roll_minutes", roll_minutes)
        self._seconds = monotonic_of(clock)
        self._end = inf

    def start(self, archive: Any) -> None:
        """The time begins now."""
        self._end = self._seconds() + 60 * self.roll_minutes

    def check(self, archive: Any) -> bool:
        """Whether it is over."""
        return self._seconds() >= self._end


class AnyRollChecker(RollChecker):
    """Rolls when any of several checkers would."""

    def __init__(self, *, checkers: Iterable[Any]) -> None:
        """@param checkers: checkers, or what L{make<storehouse.archive.plugins.make>} makes them from."""
        super().__init__()
        self.checkers = [make(CHECKERS, checker) for checker in checkers]
        if not self.checkers:
            raise InvalidSetting("an AnyRollChecker needs one checker or more")

    def start(self, archive: Any) -> None:
        """Tell all."""
        for checker in self.checkers:
            checker.start(archive)

    def check(self, archive: Any) -> bool:
        """Ask one after the other."""
        return any(checker.check(archive) for checker in self.checkers)

    def quiet_size(self, archive: Any) -> float:
        """As long as none needs to be asked."""
        return min(quiet_size(checker, archive) for checker in self.checkers)
