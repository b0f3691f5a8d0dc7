"""The operations of a store: refused when it is not open, timed, and waited for at its end."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from inspect import signature
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from prometheus_client.core import HistogramMetricFamily, Metric
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from storehouse.core.jobs import over, started
from storehouse.core.streams import IByteStream
from storehouse.core.turns import cumulated
from storehouse.errors import StorehouseError, Unavailable

__all__ = ["Latency", "Operations", "operation"]

P = ParamSpec("P")
T = TypeVar("T")

_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Latency:
    """
    A histogram of seconds, in plain integers: a metrics library's call costs as much as a small operation.

    @ivar total: the sum of all.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.total += seconds
        self.counts[bisect_left(_BOUNDS, seconds)] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """See L{cumulated}."""
        return cumulated(_BOUNDS, self.counts)


class Operations:
    """
    The operations of one store. Methods are declared as operations by L{operation}.

    @param store: its name in errors: C{"the object store"}.
    @param metric: the name of the histogram.
    @param text: its help text.
    @ivar refusal: the error that all operations fail with; C{None} while the store is open.
    @ivar opening: what operations wait for before they begin, such as recovery; C{None} for nothing.
    """

    def __init__(self, store: str, metric: str, text: str) -> None:
        self.refusal: StorehouseError | None = Unavailable(f"{store} has not been started")
        self.opening: Deferred[None] | None = None
        self._store = store
        self._metric = metric
        self._text = text
        self._latencies: defaultdict[tuple[str, str], Latency] = defaultdict(Latency)
        self._running: set[Deferred[Any]] = set()

    async def opened(self) -> None:
        """Wait for L{opening}."""
        if self.opening is not None:
            await over(self.opening)

    def ended(self, result: T | Failure, name: str, began: float) -> T | Failure:
        """
        A callback for both outcomes: note how an operation went.

        @param began: when it did, by C{perf_counter}.
        """
        outcome = "ok"
        if isinstance(result, Failure):
            outcome = type(result.value).__name__ if isinstance(result.value, StorehouseError) else "failed"
        self._latencies[name, outcome].observe(perf_counter() - began)
        return result

    def track(self, work: Deferred[T]) -> None:
        """Have L{stopped} and L{passed} wait for this, too."""
        if work.called and not work.paused:
            return
        self._running.add(work)

        def ended(result: Any) -> Any:
            self._running.discard(work)
            return result

        work.addBoth(ended)

    async def passed(self) -> None:
        """Wait for the operations that run now. Others may begin meanwhile."""
        for work in tuple(self._running):
            await over(work)

    async def stopped(self) -> None:
        """Refuse operations from now on, and wait for those that run."""
        self.refusal = self.refusal or Unavailable(f"{self._store} is stopped")
        # One by one, since those that run may track more.
        while self._running:
            await over(next(iter(self._running)))

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._metric, self._text, labels=["operation", "outcome"])
        for (operation, outcome), latency in sorted(self._latencies.items()):
            family.add_metric([operation, outcome], latency.buckets(), latency.total)
        yield family


class _HasOperations(Protocol):
    operations: Operations


S = TypeVar("S", bound=_HasOperations)


def operation(
    method: Callable[Concatenate[S, P], Coroutine[Deferred[object], object, T]],
) -> Callable[Concatenate[S, P], Deferred[T]]:
    """
    A coroutine method of a store as one of its operations, which returns a Deferred: refused when the store is not open,
    timed, and waited for at its end.

    Its argument C{stream}, if it has one, is closed when it is over, or refused.
    """
    # Looked up once: to read a signature takes longer than a small operation.
    name = method.__name__
    names = list(signature(method).parameters)[1:]
    position = names.index("stream") if "stream" in names else None

    async def late(store: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        await store.operations.opened()
        return await method(store, *args, **kwargs)

    # Callbacks, not a coroutine around the method: it costs half as much, and the method runs one frame deeper, not two.
    @wraps(method)
    def run(store: S, /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        operations = store.operations
        began = perf_counter()
        work: Deferred[T]
        if operations.refusal is not None:
            work = fail(operations.refusal)
        elif operations.opening is not None and not operations.opening.called:
            work = started(late(store, *args, **kwargs))
        else:
            work = started(method(store, *args, **kwargs))

        if position is not None:
            stream: Any = args[position] if position < len(args) else kwargs.get("stream")
            # It belongs to the operation, also if that is refused: its client would wait for ever.
            work.addBoth(_closing, stream)
        if work.called and not work.paused and not isinstance(work.result, Failure):
            operations.ended(work.result, name, began)
            return work
        work.addBoth(operations.ended, name, began)
        operations.track(work)
        return work

    return run


def _closing(result: Any, stream: IByteStream) -> Any:
    """Close a stream, then return a result."""
    closed = stream.close()
    return result if closed.called else closed.addCallback(lambda _: result)
