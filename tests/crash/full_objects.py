"""
Fills a disk with objects until there is no room, in all ways there are, and sees that this hurts nothing.

C{python -m tests.crash.full_objects DIRECTORY WAY}, where C{WAY} is C{disk} for a small disk, and C{limit} for one where
files may not be large, but many.
"""

from __future__ import annotations

import itertools
import os
import sys
from random import Random
from typing import Any

from storehouse.core.files import Files
from storehouse.errors import NoSpace
from tests.crash.disk import World
from tests.crash.objects import Contents, ObjectSession, verify
from tests.crash.recording import Recorder

__all__: list[str] = []


class _RealFiles(Files):
    killed = False


class _Filler:
    """One way after the other."""

    def __init__(self, directory: str, limit: bool) -> None:
        self.directory = directory
        self.limit = limit
        self.contents = Contents(1)
        self.random = Random(1)
        self.refused = 0
        self.numbers = itertools.count()
        self.session = self.open()

    def open(self) -> ObjectSession:
        session = ObjectSession(self.directory, Recorder(World()), 4096, "HighwayHash256", files=_RealFiles())
        session.tolerated = (NoSpace,)
        session.start()
        return session

    def reopen(self) -> None:
        view = self.session.view
        self.session.stop()
        self.session = self.open()
        self.session.view = view
        self.check()

    def check(self) -> None:
        """Everything is there, nothing else, and all of it can be read."""
        verify(self.session, self.session.view.clone(), self.random)

    def ask(self, method: str, *args: Any) -> bool:
        """@return: whether there was room."""
        before = len(self.session.failures)
        getattr(self.session, method)(*args)
        if len(self.session.failures) == before:
            return True
        self.refused += 1
        text = str(self.session.failures[-1])
        assert "no space" in text, text
        left = os.listdir(self.session.root + "/tmp")
        assert not left, left
        return False

    def id(self, start: str = "ff") -> str:
        return f"{start}{next(self.numbers):06x}"

    def until_full(self, size: int) -> None:
        """Put objects of a size until there is no room for one more."""
        sized = True
        while self.ask("put", self.id(), self.contents(size), sized):
            sized = not sized
            assert len(self.session.view.objects) < 5000

    def fill(self) -> None:
        sizes = (300_000,) if self.limit else (100_000, 10_000, 700, 0)
        for size in sizes:
            self.until_full(size)
        # A copy is a single small file; after the last there is room for none.
        while not self.limit and self.ask("copy", self.id(), "aa01"):
            pass
        self.check()
        # Nothing else that needs room has any.
        large = self.contents(300_000)
        assert not self.ask("part", "aaf1", 1, large)
        assert not self.ask("part", "aaf1", 2, large, False)
        assert not self.ask("part", "aaf1", 9, large)
        if not self.limit:
            assert not self.ask("copy", self.id(), "aa01", 10, 50_000)
            assert not self.ask("part_copy", "aaf1", 1, "aa01", 10, 50_000)
            assert not self.ask("copy", self.id(), "aa01")
            assert not self.ask("init", self.id("ee"))
            assert not self.ask("complete", self.id(), "aaf1", 1)
            assert not self.ask("complete", self.id(), "aaf1")
        self.check()
        # A client that never says how much it will send.
        assert not self.ask("put", self.id(), large, False)

    def work(self) -> None:
        assert self.ask("put", "aa01", self.contents(60_000))
        assert self.ask("put", "aa02", self.contents(5))
        assert self.ask("init", "aaf1")
        for number in (1, 2):
            assert self.ask("part", "aaf1", number, self.contents(9000))
        self.fill()
        self.reopen()
        # A delete needs no room, and makes some.
        for id in [id for id in self.session.view.objects if id.startswith("ff")]:
            assert self.ask("delete", id)
        self.check()
        assert self.ask("put", "bb01", self.contents(60_000))
        assert self.ask("part", "aaf1", 1, self.contents(20_000))
        assert self.ask("copy", "bb02", "aa01", 10, 20_000)
        assert self.ask("init", "aaf2")
        assert self.ask("part_copy", "aaf2", 4, "aa01", 0, 5000)
        assert self.ask("abort", "aaf2")
        self.fill()
        for id in [id for id in self.session.view.objects if id.startswith("ff")][:3]:
            assert self.ask("delete", id)
        assert self.ask("complete", "bb03", "aaf1")
        self.check()
        self.reopen()
        self.session.stop()
        print("refused", self.refused)


if __name__ == "__main__":
    _Filler(sys.argv[1], sys.argv[2] == "limit").work()
