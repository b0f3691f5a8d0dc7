"""The disk threads: where work goes that may have to wait for a disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import Interface, implementer

__all__ = ["DiskThreads", "IDisk", "InlineDisk"]

P = ParamSpec("P")
T = TypeVar("T")


class IDisk(Interface):
    """
    Runs blocking disk calls.

    Only calls that spend their time in the kernel or in C code without the GIL: a thread busy in Python
    stalls the reactor.
    """

    def run(f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Call C{f(*args)} where it may block. @return: fires with its result in the reactor's thread."""


@implementer(IDisk)
class DiskThreads:
    """
    A thread pool of our own, so that name look-ups and other guests of the reactor's pool do not wait for
    disks, nor disks for them.
    """

    def __init__(self, reactor: Any, size: int = 8) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=size, name="storehouse-disk")

    def start(self) -> None:
        """Begin to take work."""
        self._pool.start()

    def stop(self) -> None:
        """Finish what was taken, then end the threads."""
        self._pool.stop()

    def run(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """See L{IDisk.run}."""
        return deferToThreadPool(self._reactor, self._pool, f, *args, **kwargs)


@implementer(IDisk)
class InlineDisk:
    """Runs everything at once in the caller's thread: for tests and for tools without a reactor."""

    def run(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """See L{IDisk.run}."""
        result: Deferred[T] = Deferred()
        try:
            value = f(*args, **kwargs)
        except Exception:
            result.errback()
        else:
            result.callback(value)
        return result
