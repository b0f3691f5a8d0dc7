"""A line on the terminal that says how far long work has come."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable
from time import monotonic
from types import TracebackType

from storehouse.cli.output import human_size

__all__ = ["Progress", "advancing"]

#: Work shorter than this shows nothing. Seconds.
_DELAY = 0.5

#: The time between two drawings. Seconds.
_INTERVAL = 0.1

_BAR = 30


class Progress:
    """
    Bytes, or other things, done, of a total if there is one, on standard error.

    A context manager: leaving it removes the line.

    @param label: a word for the work.
    @param total: how many there are to do; C{None} if unknown.
    @param unit: a word for the things, if they are not bytes.
    @param wanted: false draws nothing, and neither does a standard error that is not a terminal.
    """

    def __init__(
        self,
        label: str,
        total: int | None = None,
        wanted: bool = True,
        clock: Callable[[], float] = monotonic,
        unit: str = "",
    ) -> None:
        self._unit = unit
        self._label = label
        self._total = total
        self._clock = clock
        self._enabled = wanted and sys.stderr is not None and sys.stderr.isatty()
        self._done = 0
        self._began = clock()
        self._next = self._began + _DELAY
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.hide()

    def advance(self, size: int) -> None:
        """So many bytes more are done."""
        self._done += size
        if self._enabled:
            now = self._clock()
            if now >= self._next:
                self._next = now + _INTERVAL
                self._draw(now)

    def show(self, done: int, total: int | None) -> None:
        """So many bytes are done by now, of so many."""
        self._total = total
        self.advance(done - self._done)

    def hide(self) -> None:
        """Remove the line until the next drawing, to make room for others."""
        if self._shown:
            self._shown = False
            self._put("\r\x1b[K")

    def line(self, now: float) -> str:
        """The line at a time of the clock."""
        done = self._human(self._done)
        rate = f"{self._human(self._done / max(now - self._began, 1e-6))}/s"
        if not self._total:
            return f"{self._label}  {done}  {rate}"
        share = min(self._done / self._total, 1.0)
        bar = ("#" * round(share * _BAR)).ljust(_BAR, ".")
        line = f"{self._label}  [{bar}] {share:4.0%}  {done} of {self._human(self._total)}  {rate}"
        if 0 < self._done < self._total:
            line += f"  {_time(max(0.0, now - self._began) / self._done * (self._total - self._done))} left"
        return line

    def _human(self, number: float) -> str:
        return f"{number:.0f} {self._unit}" if self._unit else human_size(number)

    def _draw(self, now: float) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._put(f"\r\x1b[K{self.line(now)[:width]}")
        self._shown = True

    def _put(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            self._enabled = False


def advancing(shown: Progress) -> Callable[[int], None]:
    """Advances a progress line from how many were done before to how many are done now."""
    before = 0

    def progress(count: int) -> None:
        nonlocal before
        shown.advance(max(0, count - before))
        before = max(count, before)

    return progress


def _time(seconds: float) -> str:
    """A time for people: C{"1:05"}, C{"2:01:05"}."""
    minutes, rest = divmod(math.ceil(min(seconds, 1e9)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
