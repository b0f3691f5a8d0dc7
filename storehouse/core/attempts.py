"""How often somebody failed lately."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from storehouse.core.budget import network_of

__all__ = ["Attempts"]


class Attempts:
    """
    A bounded table of peers that failed to sign in lately: each has a bucket that a failure fills by one and time empties.

    Keys are too long to be guessed. This keeps those who try nevertheless from taking the time of others, and their
    failures from filling the log.

    @param clock: tells the time in seconds.
    @param burst: failures that a peer may have at once.
    @param interval: seconds after which it may have one more.
    @param size: peers that are remembered; the one that failed longest ago is forgotten for one more.
    """

    def __init__(self, clock: Callable[[], float], burst: int = 20, interval: float = 15.0, size: int = 4096) -> None:
        self._clock = clock
        self._burst = burst
        self._interval = interval
        self._size = size
        self._peers: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, peer: str) -> int:
        """Whole seconds until a peer may try again; 0 for now."""
        over = self._level(network_of(peer)) + 1 - self._burst
        return math.ceil(over * self._interval) if over > 0 else 0

    def failed(self, peer: str) -> None:
        """A peer has failed."""
        network = network_of(peer)
        level = self._level(network) + 1
        self._peers.pop(network, None)
        while len(self._peers) >= self._size:
            self._peers.popitem(last=False)
        self._peers[network] = (level, self._clock())

    def _level(self, network: str) -> float:
        level, when = self._peers.get(network, (0.0, 0.0))
        return max(0.0, level - max(0.0, self._clock() - when) / self._interval)
