"""
Every state that a power cut could leave of a recorded run: rebuilt, opened, and checked against what was promised.

What is run and how it is checked is the business of L{Explorer}'s subclasses, one for each part of storehouse.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Generic, Protocol, TypeVar

from tests.crash.disk import Tree, World, write_tree
from tests.crash.recording import Killed, Recorder, RecordingFiles

__all__ = ["POLICIES", "Broken", "Explorer", "Promises", "Room"]

POLICIES = ("lost", "kept", "files", "writes", "blocks", "last", "names")


class Broken(AssertionError):
    """A promise was not kept."""


class Promises(Protocol):
    """What was promised up to some moment."""

    def clone(self) -> Any:
        """A copy that goes its own way."""

    def take(self, note: Any) -> None:
        """
        A promise was made, or something else happened that matters for one.

        @param note: what L{Recorder.note} was given, anything but C{None}.
        """


class Room(Protocol):
    """One life of a process, on recorded files."""

    @property
    def files(self) -> RecordingFiles: ...

    def start(self) -> None: ...

    def abandon(self) -> None:
        """After a kill: end the threads and close the files, without a trace."""


RoomT = TypeVar("RoomT", bound=Room)
PromisesT = TypeVar("PromisesT", bound=Promises)


class Explorer(Generic[RoomT, PromisesT]):
    """
    Cuts histories. A subclass has L{session}, L{ledger} and L{live_on}.

    @ivar random: for the choices of subclasses too, so that a seed tells all.
    @ivar states: how many states were checked, by how deep they are: 0, a cut of the run; 1, of its recovery; and so
        on.
    @ivar broken: whether a promise was broken.
    """

    def __init__(self, directory: str, seed: int) -> None:
        self.directory = os.path.abspath(directory)
        os.makedirs(self.directory)
        self.seed = seed
        self.random = Random(seed)
        self.states: Counter[int] = Counter()
        self.broken = False
        self._number = 0

    # -- for subclasses ------------------------------------------------------------------------

    def session(self, recorder: Recorder, top: str, **options: Any) -> RoomT:
        """A life, not yet started, in the directory C{top}, that tells C{recorder} what it promises."""
        raise NotImplementedError

    def ledger(self) -> PromisesT:
        """A ledger without promises."""
        raise NotImplementedError

    def live_on(self, recorder: Recorder, top: str, ledger: PromisesT) -> None:
        """
        Open what a cut left in C{top}, check it against C{ledger}, use it, stop it, and check what else is of
        interest. Whatever is wrong is raised.

        The lives that are lived here are themselves cut later on, so C{ledger} is to follow what the cut decided
        (what was not promised, and is there or not), but not what is promised from here on: that goes into a clone,
        by L{follow}.

        @param recorder: new; its history begins here.
        """
        raise NotImplementedError

    # -- cutting -------------------------------------------------------------------------------

    def fresh(self, tree: Tree | None = None) -> tuple[str, Recorder]:
        """A machine with nothing but what C{tree} has, all of it on disk."""
        self._number += 1
        top = os.path.join(self.directory, str(self._number))
        write_tree(tree or {}, top)
        return top, Recorder(World(tree or {}))

    def cut_everywhere(
        self,
        recorder: Recorder,
        samples: int,
        nested: float = 0.0,
        ledger: PromisesT | None = None,
        step: int = 1,
        first: int = 0,
    ) -> None:
        """
        Cut a history before each event, and after the last one.

        @param samples: states a cut point, of those that can be had.
        @param nested: the share of states whose recovery is cut again.
        @param ledger: what was promised before it began.
        @param first: the event at which to begin.
        """
        world = recorder.start.clone()
        ledger = self.ledger() if ledger is None else ledger.clone()
        offset = self.random.randrange(step)
        for number, (_, event) in enumerate([*recorder.events, ("end", None)]):
            if number >= first and (number + offset) % step == 0:
                policies = self.random.sample(POLICIES, samples) if world.pending() else ["kept"]
                for policy in policies:
                    self._check(recorder, number, world.after_cut(self.random, policy), ledger, policy, nested)
            _happen(event, world, ledger)

    def cut_at_random(
        self, recorder: Recorder, times: int, nested: float = 0.0, ledger: PromisesT | None = None, first: int = 0
    ) -> None:
        """Cut a history before some of its events."""
        chosen = Counter(self.random.randrange(first, len(recorder.events) + 1) for _ in range(times))
        world = recorder.start.clone()
        ledger = self.ledger() if ledger is None else ledger.clone()
        for number, (_, event) in enumerate([*recorder.events, ("end", None)]):
            for _ in range(chosen[number]):
                policy = self.random.choice(POLICIES)
                self._check(recorder, number, world.after_cut(self.random, policy), ledger, policy, nested)
            _happen(event, world, ledger)

    def follow(self, recorder: Recorder, ledger: PromisesT, first: int = 0) -> None:
        """Have C{ledger} take all notes of a history, from the event C{first} on."""
        for _, event in recorder.events[first:]:
            if event is not None and not callable(event):
                ledger.take(event)

    def _check(
        self, recorder: Recorder, number: int, tree: Tree, ledger: PromisesT, policy: str, nested: float, depth: int = 0
    ) -> None:
        self.states[depth] += 1
        top, second = self.fresh(tree)
        try:
            ledger = ledger.clone()
            self.live_on(second, top, ledger)
            if self.random.random() < nested:
                self._cut_recovery(second, ledger, nested, depth)
        except Exception as error:
            self.broken = True
            raise Broken(self._story(recorder, number, policy, top, error)) from error
        shutil.rmtree(top)

    def _cut_recovery(self, recorder: Recorder, ledger: PromisesT, nested: float, depth: int) -> None:
        """
        Cut the lives that L{live_on} recorded.

        @param ledger: what was promised before them.
        """
        length = len(recorder.events)
        if not length:
            return
        # Most of it happens at the beginning.
        for number in {self.random.randrange(length), self.random.randrange(min(length, 40))}:
            world = recorder.start.clone()
            promised = ledger.clone()
            for _, event in recorder.events[:number]:
                _happen(event, world, promised)
            policy = self.random.choice(POLICIES)
            self._check(recorder, number, world.after_cut(self.random, policy), promised, policy, nested / 2, depth + 1)

    def _story(self, recorder: Recorder, number: int, policy: str, top: str, error: Exception) -> str:
        lines = [
            f"{error!r}",
            f"seed {self.seed}, cut before event {number} of {len(recorder.events)} ({policy}), state in {top}",
        ]
        lines += [f"  {index}: {recorder.events[index][0]}" for index in range(max(0, number - 60), number)]
        return "\n".join(lines)

    # -- dying ---------------------------------------------------------------------------------

    def run(self, session: RoomT, work: Callable[[RoomT], object], kill_at: int | None = None) -> None:
        """Start a process and let it work; at C{kill_at} it is killed."""
        session.files.kill_at = kill_at
        try:
            session.start()
            work(session)
        except (Exception, Killed):
            # Calls that are made after the end fail in all sorts of ways.
            if not session.files.killed:
                raise
        if session.files.killed:
            session.abandon()


def _happen(event: Any, world: World, ledger: Promises) -> None:
    """An event that was not cut off: a change of the disk, or a promise."""
    if callable(event):
        event(world)
    elif event is not None:
        ledger.take(event)
    world.index += 1
