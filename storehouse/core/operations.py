"""The operations of a store: refused when it is not open, timed, and waited for at its end."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from inspect import signature
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from prometheus_client.core import HistogramMetricFamily, Metric
from twisted.internet.defer import Deferred

from storehouse.core.jobs import over
from storehouse.core.latency import Latency
from storehouse.core.streams import IByteStream
from storehouse.errors import StorehouseError, Unavailable

__all__ = ["Operations", "operation"]

P = ParamSpec("P")
T = TypeVar("T")


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

    async def observed(self, name: str, work: Coroutine[Any, Any, T], stream: IByteStream | None) -> T:
        """
        See L{operation}, by which this is called.

        @param stream: what C{work} was given to read from: closed when it is over, or refused.
        """
        began = time.perf_counter()
        outcome = "ok"
        try:
            try:
                if self.refusal is not None:
                    raise self.refusal
                if self.opening is not None and not self.opening.called:
                    await over(self.opening)
            except BaseException:
                # Python warns of a coroutine that is dropped before it began.
                work.close()
                raise
            return await work
        except BaseException as error:
            outcome = type(error).__name__ if isinstance(error, StorehouseError) else "failed"
            raise
        finally:
            # A stream belongs to the operation that it is given to, also if that is refused: its client would wait for ever.
            if stream is not None:
                await stream.close()
            self._latencies[name, outcome].observe(time.perf_counter() - began)

    def track(self, work: Deferred[Any]) -> None:
        """Have L{stopped} and L{passed} wait for this, too."""
        if work.called:
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


def operation(method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[S, P], Deferred[T]]:
    """
    A coroutine method of a store as one of its operations, which returns a Deferred: refused when the store is not open,
    timed, and waited for at its end.

    Its argument C{stream}, if it has one, is closed when it is over, or refused.
    """
    # Looked up once: to read a signature takes longer than a small operation.
    name = method.__name__
    names = list(signature(method).parameters)[1:]
    position = names.index("stream") if "stream" in names else None

    @wraps(method)
    def run(store: S, /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        stream: Any = None
        if position is not None:
            stream = args[position] if position < len(args) else kwargs.get("stream")
        result = Deferred.fromCoroutine(store.operations.observed(name, method(store, *args, **kwargs), stream))
        store.operations.track(result)
        return result

    return run
