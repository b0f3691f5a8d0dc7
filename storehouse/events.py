"""
What happened, and who asked to be told.

An event is a frozen value, named in the past tense, and published after what it tells is true and durable.
Listeners are called in the reactor's thread, in the order in which they asked; one that fails is logged and
keeps nobody else from being told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from twisted.logger import Logger

__all__ = ["Events", "ObjectDeleted", "ObjectReplaced", "ObjectStored", "StoreFailed"]

E = TypeVar("E")


@attrs.frozen
class StoreFailed:
    """
    A store can acknowledge nothing any more: what it holds is safe only if the process ends.

    @ivar store: its name.
    @ivar error: why.
    """

    store: str
    error: Exception


@attrs.frozen
class ObjectStored:
    """
    A key that had no object has one.

    @ivar bucket: the name of the bucket.
    @ivar key: the key.
    @ivar info: what is known of the object, as an object store tells it.
    """

    bucket: str
    key: str
    info: Any


@attrs.frozen
class ObjectReplaced:
    """
    A key has another object than before.

    @ivar info: of the new object.
    @ivar before: of the one before.
    """

    bucket: str
    key: str
    info: Any
    before: Any


@attrs.frozen
class ObjectDeleted:
    """
    A key has no object any more.

    @ivar before: of the object that it had.
    """

    bucket: str
    key: str
    before: Any


class Events:
    """Who asked to be told of what, in one process."""

    _log = Logger()

    def __init__(self) -> None:
        self._listeners: dict[type[Any], list[Callable[[Any], object]]] = {}

    def subscribe(self, kind: type[E], listener: Callable[[E], object]) -> Callable[[], None]:
        """
        Have C{listener(event)} called for every event of exactly that class.

        @return: call it to be told no more.
        """
        listeners = self._listeners.setdefault(kind, [])
        listeners.append(listener)

        def unsubscribe() -> None:
            if listener in listeners:
                listeners.remove(listener)

        return unsubscribe

    def publish(self, event: object) -> None:
        """Tell everybody who asked. Never raises."""
        for listener in list(self._listeners.get(type(event), ())):
            try:
                listener(event)
            except Exception:
                self._log.failure("a listener failed on {event}", event=event)
