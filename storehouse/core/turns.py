"""
The reactor's turns: how long each takes, and how long work in one may take.

A turn is what the reactor does between two returns of its selector: events, results of threads, timed calls. While it
lasts nobody else is served, so none may use its thread's CPU for more than 50 ms, whatever comes in.

L{Turns} measures them, and keeps what it can short by itself: of many connections that are ready at once those that
come after L{SLICE} seconds wait for the next turn. Long work gives way by L{breath}.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from itertools import accumulate
from math import inf
from time import monotonic, thread_time
from typing import Any, Protocol

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall

__all__ = ["LONGEST", "SLICE", "Reactor", "Turns", "breath", "cumulated", "is_spent"]

#: Seconds after which work that can wait does, within a turn.
SLICE = 0.01

#: Seconds of CPU that no turn should take longer than.
LONGEST = 0.05

#: Seconds that the longest turn of late is kept for, at least; twice that at most.
_WINDOW = 60.0

#: Of the histogram, in seconds. What is shorter than the first, nearly all, is only counted.
_BOUNDS = (0.01, 0.025, LONGEST, 0.1, 0.25, 1.0, 5.0)

#: Events of connections that are looked for at a time, at most. Fewer would cut a burst of small requests into several turns,
#: and so into several groups of appends with a sync each; how long a turn lasts is bound by L{SLICE} and not by this.
_EVENTS = 1024


class Reactor(Protocol):
    """What rooms need of the reactor: the time, and the way back from other threads. A L{Clock} with threads will do."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, function: Callable[..., object], /, *args: object) -> IDelayedCall: ...

    def callFromThread(self, function: Callable[..., object], /, *args: object) -> object: ...


class _Ready:
    """Nothing to wait for."""

    def __await__(self) -> Generator[Any, Any, None]:
        return iter(())  # type: ignore[return-value]


class _Pace:
    """
    There is one reactor's thread in a process, and one of these.

    @ivar until: when, by C{time.monotonic}, the slice of this turn is used up; infinite while no reactor is measured,
        as in commands, in tests without a reactor, and at start.
    @ivar waiting: what continues in later turns, in the order in which it began to wait.
    @ivar turns: whose reactor it is.
    """

    def __init__(self) -> None:
        self.until = inf
        self.waiting: deque[Deferred[None]] = deque()
        self.turns: Turns | None = None


_pace = _Pace()
_ready = _Ready()


def is_spent() -> bool:
    """Whether this turn has lasted so long that what can wait should. Takes about 0.2 µs."""
    return monotonic() >= _pace.until


def breath() -> Awaitable[None]:
    """
    C{await breath()} in a loop that may be long: others are served meanwhile once this turn has used up its L{SLICE}.

    It costs some 0.3 µs when there is no need to wait, so that it can be called about each 10 to 100 µs of work.
    All who wait go on one after the other, in turns of a slice each, however many they are: what they read before may
    have changed. For the reactor's thread only. Without a reactor that is measured it never waits.

    @return: what can be awaited in a coroutine that a Deferred runs. It can be cancelled.
    """
    if monotonic() < _pace.until or _pace.turns is None:
        return _ready
    return _pace.turns._wait()


class Turns:
    """
    Measures the turns of a reactor, from L{start} to L{stop}. It costs about a microsecond a turn.

    With the epoll reactors it stands in front of their C{_poller}, a private name of Twisted; where there is none of
    its kind, as with other reactors, in front of C{doIteration}, and then it measures only.

    @ivar count: how many turns there were.
    @ivar longest: the CPU seconds of the longest since L{start}.
    """

    def __init__(self, reactor: object) -> None:
        self.count = 0
        self.longest = 0.0
        self._reactor: Any = reactor
        self._recent = self._before = 0.0
        self._window_ends = 0.0
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._spent_long = 0.0
        self._began: float | None = None
        self._resuming: Any = None
        self._undo: Any = None

    # To measure

    def start(self) -> None:
        """Begin. The turn that runs now is not measured."""
        if self._undo is not None:
            return
        self._began = None
        self._window_ends = monotonic() + _WINDOW
        poller = getattr(self._reactor, "_poller", None)
        epoll = getattr(select, "epoll", None)
        if isinstance(poller, _Poller) or (epoll is not None and isinstance(poller, epoll)):
            mine = self._reactor._poller = _Poller(poller, self)
            self._undo = lambda: _take_out(self._reactor, mine)
        elif hasattr(self._reactor, "doIteration"):
            wait = self._reactor.doIteration

            def measured(delay: float | None) -> None:
                self.ended()
                self.begin()
                wait(delay)

            self._reactor.doIteration = measured
            self._undo = lambda: setattr(self._reactor, "doIteration", wait)
        else:  # none that runs
            return
        if _pace.turns is None:
            _pace.turns = self

    def stop(self) -> Deferred[None]:
        """End. What waits for its turn continues now. The Deferred has fired already."""
        if self._undo is not None:
            self._undo()
            self._undo = None
        if _pace.turns is self:
            _pace.turns = None
            _pace.until = inf
            if self._resuming is not None:
                self._resuming.cancel()
                self._resuming = None
            while _pace.waiting:
                self._go_on()
        return succeed(None)

    def ended(self) -> None:
        """The turn is over: the selector is asked next."""
        # Read once a turn, for it is half of what measuring costs: asking the selector counts as part of the next.
        now = thread_time()
        began, self._began = self._began, now
        if began is None:
            return
        taken = now - began
        self.count += 1
        if taken > self._recent:
            self._recent = taken
            if taken > self.longest:
                self.longest = taken
        if taken > _BOUNDS[0]:
            self._spent_long += taken
            for at, bound in enumerate(_BOUNDS):
                if taken <= bound:
                    self._counts[at] += 1
                    return
            self._counts[-1] += 1

    def begin(self) -> None:
        now = monotonic()
        if now >= self._window_ends:
            self._window_ends = now + _WINDOW
            self._before, self._recent = self._recent, 0.0
        if _pace.turns is self:
            _pace.until = now + SLICE

    @property
    def recent(self) -> float:
        """The CPU seconds of the longest turn of the last one to two minutes."""
        return max(self._recent, self._before)

    def forget(self) -> None:
        """Measure the longest anew."""
        self.longest = self._recent = self._before = 0.0

    # To wait

    def _wait(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        _pace.waiting.append(waiting)
        if self._resuming is None:
            self._resuming = self._reactor.callLater(0, self._resume)
        return waiting

    def _resume(self) -> None:
        """A slice of time for what waits, whatever else the turn has brought: at least one continues."""
        self._resuming = None
        _pace.until = monotonic() + SLICE
        while _pace.waiting:
            self._go_on()
            if is_spent():
                break
        if _pace.waiting and self._resuming is None:
            self._resuming = self._reactor.callLater(0, self._resume)

    def _go_on(self) -> None:
        waiting = _pace.waiting.popleft()
        if not waiting.called:  # by being cancelled
            waiting.callback(None)

    # To tell

    def collect(self) -> Iterable[Metric]:
        """Metric families, for a C{prometheus_client} registry."""
        name = "storehouse_reactor_turn"
        yield GaugeMetricFamily(
            f"{name}_longest_seconds", "CPU time of the reactor's longest turn since the start.", value=self.longest
        )
        yield GaugeMetricFamily(
            f"{name}_recent_longest_seconds",
            "CPU time of the reactor's longest turn in the last minute or two.",
            value=self.recent,
        )
        short = self.count - sum(self._counts[1:])
        yield HistogramMetricFamily(
            f"{name}_seconds",
            "CPU times of the reactor's turns; the sum is that of turns over 10 ms.",
            buckets=cumulated(_BOUNDS, [short, *self._counts[1:]]),
            sum_value=self._spent_long,
        )


class _Poller:
    """
    An epoll object that notes when it waits and when it has events, and hands these out as far as the turn has time for them.

    Twisted's epoll reactor uses C{poll}, C{register}, C{modify},
    C{unregister} and C{close} of it.
    """

    def __init__(self, poller: Any, turns: Turns) -> None:
        self.poller = poller
        self.turns = turns
        self.register = poller.register
        self.modify = poller.modify
        self.unregister = poller.unregister
        self.close = poller.close
        self.fileno = poller.fileno
        self._poll = poller.poll
        self._late: dict[int, int] = {}

    def poll(self, timeout: float = -1, maxevents: int = -1) -> Iterable[tuple[int, int]]:
        """As C{select.epoll} has it."""
        self.turns.ended()
        try:
            events = self._poll(timeout, _EVENTS if maxevents < 0 or maxevents > _EVENTS else maxevents)
        finally:
            self.turns.begin()
        return events if len(events) < 3 else self._some(events)

    def _some(self, events: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """
        Those that this turn has time for. The kernel tells of the rest again: the next turn begins with them, in the order in
        which they have waited, so that none waits for ever.
        """
        if self._late:
            late, self._late = self._late, {}
            last = len(late)
            events.sort(key=lambda event: late.get(event[0], last))
        until = _pace.until
        for number, event in enumerate(events, 1):
            yield event
            if monotonic() >= until and number < len(events):
                self._late = {fd: rank for rank, (fd, _) in enumerate(events[number:])}
                return


def _take_out(reactor: Any, mine: _Poller) -> None:
    """Others may have put theirs in front of ours meanwhile."""
    outer: Any = reactor
    name = "_poller"
    while isinstance(found := getattr(outer, name, None), _Poller):
        if found is mine:
            setattr(outer, name, mine.poller)
            if isinstance(outer, _Poller):
                outer._poll = mine.poller.poll
            return
        outer, name = found, "poller"


def cumulated(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """
    The buckets of a histogram as Prometheus has them: how many values were at most each bound.

    @param counts: how many values were at most each bound and more than the one before; the last, more than all bounds.
    """
    names = [*map(str, bounds), "+Inf"]
    return [(name, float(count)) for name, count in zip(names, accumulate(counts), strict=True)]
