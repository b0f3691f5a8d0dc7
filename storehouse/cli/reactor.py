"""
A reactor for one command: it runs until one coroutine is over.

It is one of its own, not the reactor of the process, so that a command can be run within a program that has one.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from storehouse.cli.errors import CommandError, reason_of
from storehouse.errors import StorehouseError

__all__ = ["run"]

T = TypeVar("T")

#: Seconds that the coroutine may take to clean up after Ctrl-C.
_CLEANUP = 2.0


def run(work: Callable[[IReactorTime], Coroutine[Deferred[object], object, T]]) -> T:
    """
    Run a coroutine function with a reactor, to its end.

    @raise CommandError: if it fails with an error that is for the user.
    @raise BrokenPipeError: if the reader of standard output has left.
    @raise KeyboardInterrupt: after Ctrl-C, once it was cancelled.
    """
    reactor = _make_reactor()
    outcome: list[Any] = []
    interrupted: list[bool] = []
    working: list[Deferred[T]] = []

    def ended(result: Any) -> None:
        outcome.append(result)
        _stop(reactor)

    def begin() -> None:
        working.append(Deferred.fromCoroutine(work(reactor)))
        working[0].addBoth(ended)

    def interrupt() -> None:
        if interrupted:  # once more: somebody is in a hurry
            _stop(reactor)
            return
        interrupted.append(True)
        reactor.callLater(_CLEANUP, _stop, reactor)
        if working:
            working[0].cancel()

    reactor.callWhenRunning(begin)
    # Other threads get no signals.
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, lambda *args: reactor.callFromThread(interrupt)) if is_main else None
    try:
        reactor.run(installSignalHandlers=False)
    finally:
        if is_main:
            signal.signal(signal.SIGINT, before)
    result = outcome[0] if outcome else Failure(CancelledError())
    if not isinstance(result, Failure):
        return result  # type: ignore[no-any-return]
    if interrupted:
        raise KeyboardInterrupt
    error = result.value
    if isinstance(error, StorehouseError):
        raise CommandError(error.detail) from None
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        raise CommandError(f"{error.filename}: {reason_of(error)}" if error.filename else reason_of(error)) from None
    result.raiseException()


def _make_reactor() -> Any:
    try:
        from twisted.internet.epollreactor import EPollReactor
    except ImportError:
        from twisted.internet.selectreactor import SelectReactor

        return SelectReactor()
    return EPollReactor()


def _stop(reactor: Any) -> None:
    if reactor.running:
        reactor.stop()
