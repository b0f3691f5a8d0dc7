"""Roll checkers: they decide when a manager closes its archive and opens the next."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from zope.interface import implementer

from storehouse.archive.clocks import Clock, monotonic_of
from storehouse.archive.interfaces import IArchive, IQuietRollChecker, IRollChecker
from storehouse.archive.plugins import CHECKERS, Checker, make
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


def _number(name: str, value: object) -> float:
    """A number greater than zero, also when it comes as text from a configuration file."""
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        number = 0.0
    if not 0 < number < inf:
        raise InvalidSetting(f"{name} is a number greater than 0, not {value!r}")
    return number


def quiet_size(checker: IRollChecker, archive: IArchive) -> float:
    """
    The size below which a checker need not be asked about an archive; 0 if it has to be asked each time.

    A C{quiet_size} speaks only for the C{check} of its own class or of a base class: a class that overrides C{check} alone is
    asked each time.
    """
    if "check" in getattr(checker, "__dict__", ()):
        return 0
    for kind in type(checker).__mro__:
        if "quiet_size" in vars(kind):
            return float(checker.quiet_size(archive))  # type: ignore[attr-defined]
        if "check" in vars(kind):
            break
    return 0


@implementer(IQuietRollChecker)
class RollChecker:
    """Never rolls. A base class for others."""

    def __init__(self) -> None:
        pass

    def start(self, archive: IArchive) -> None:
        """An archive was opened."""

    def check(self, archive: IArchive) -> bool:
        """Whether to roll now: never."""
        return False

    def quiet_size(self, archive: IArchive) -> float:
        """No size: it need not be asked."""
        return inf


class NeverRollChecker(RollChecker):
    """One archive until the manager is closed."""


class SizeRollChecker(RollChecker):
    """Rolls once an archive has C{roll_size_mb} MiB or more."""

    def __init__(self, *, roll_size_mb: float = 1) -> None:
        super().__init__()
        self.roll_size_mb = _number("roll_size_mb", roll_size_mb)
        self._most = self.roll_size_mb * (1 << 20)

    def check(self, archive: IArchive) -> bool:
        """Whether the archive has reached the size."""
        try:
            size = archive.size
        except AttributeError:  # an archive class as the first program has it
            size = archive.get_file_handle().tell()  # type: ignore[attr-defined]
        return bool(size >= self._most)

    def quiet_size(self, archive: IArchive) -> float:
        """The size at which it rolls."""
        return self._most


class RecordCountRollChecker(RollChecker):
    """Rolls once an archive has C{roll_records} records."""

    def __init__(self, *, roll_records: int) -> None:
        super().__init__()
        number = _number("roll_records", roll_records)
        if number != int(number):
            raise InvalidSetting(f"roll_records is a whole number, 1 or more, not {roll_records!r}")
        self.roll_records = int(number)

    def check(self, archive: IArchive) -> bool:
        """Whether the archive has that many."""
        return bool(archive.count >= self.roll_records)


class TimeRollChecker(RollChecker):
    """
    Rolls C{roll_minutes} minutes after an archive was opened. While nothing is written, that takes a program that calls the
    manager's C{poll} every second or so.
    """

    def __init__(self, *, roll_minutes: float = 60, clock: Clock | None = None) -> None:
        """@param clock: the system's monotonic one if C{None}."""
        super().__init__()
        self.roll_minutes = _number("roll_minutes", roll_minutes)
        self._seconds = monotonic_of(clock)
        self._end = inf

    def start(self, archive: IArchive) -> None:
        """Begin to count the minutes."""
        self._end = self._seconds() + 60 * self.roll_minutes

    def check(self, archive: IArchive) -> bool:
        """Whether the minutes are over."""
        return self._seconds() >= self._end


class AnyRollChecker(RollChecker):
    """Rolls when any of several checkers would."""

    def __init__(self, *, checkers: Iterable[Checker]) -> None:
        """@param checkers: checkers, or what L{make<storehouse.archive.plugins.make>} makes them from."""
        super().__init__()
        self.checkers = [make(CHECKERS, checker) for checker in checkers]
        if not self.checkers:
            raise InvalidSetting("an AnyRollChecker needs one checker or more")

    def start(self, archive: IArchive) -> None:
        """Start all of them."""
        for checker in self.checkers:
            checker.start(archive)

    def check(self, archive: IArchive) -> bool:
        """Whether any of them would roll."""
        return any(checker.check(archive) for checker in self.checkers)

    def quiet_size(self, archive: IArchive) -> float:
        """The smallest size of all."""
        return min(quiet_size(checker, archive) for checker in self.checkers)
