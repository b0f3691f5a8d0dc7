"""
Processes that ship files, and are killed, or have no room.

C{python -m tests.storage.shipping.lives kill DIRECTORY NUMBER} lets so many processes live one after the other, kills all
but the last, and prints how many files were acknowledged.  C{... full DIRECTORY} fills the disk that the directory is.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import deferLater

from storehouse.config.shipping import ShipperSettings
from storehouse.core.jobs import DiskThreads
from storehouse.storage.shipping.shipper import Shipper
from tests.storage.shipping.fake import DirectoryDestination
from tests.storage.shipping.rig import unpacked

__all__: list[str] = []


class _Life:
    """One process. Imported reactors do not outlive a fork, so each has its own."""

    def __init__(self, top: str, number: int, files: int, **settings: Any) -> None:
        self.top = top
        self.number = number
        self.files = files
        self.random = Random(number)
        self.reactor = EPollReactor()
        self.disk = DiskThreads(self.reactor, 3)
        self.destination = DirectoryDestination(os.path.join(top, "there"))
        self.destination.before = self.pause
        self.shipper = Shipper(
            ShipperSettings(directory=os.path.join(top, "shipping"), delete=True, **settings),
            self.destination,
            self.disk,
            self.reactor,
        )
        os.makedirs(os.path.join(top, "archives"), exist_ok=True)

    def pause(self, verb: str, name: str) -> Deferred[None]:
        """A request takes some time."""
        return deferLater(self.reactor, self.random.uniform(0, 0.02), lambda: None)

    def live(self) -> None:
        self.reactor.callWhenRunning(lambda: Deferred.fromCoroutine(self.work()).addErrback(self.broken))
        self.reactor.run(installSignalHandlers=False)

    def broken(self, failure: Any) -> None:
        failure.printTraceback()
        os._exit(1)

    async def work(self) -> None:
        await self.shipper.start()
        acknowledged = os.open(os.path.join(self.top, "acknowledged"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for count in range(self.files):
            name = f"{self.number}-{count}.events"
            path = os.path.join(self.top, "archives", name)
            with open(path, "wb") as file:
                file.write(_content(name))
            await self.shipper.ship(path)
            os.write(acknowledged, f"{name}\n".encode())
        while self.shipper.counts().waiting + self.shipper.counts().shipping:
            await deferLater(self.reactor, 0.01, lambda: None)
        await self.shipper.stop()
        self.disk.stop()
        self.reactor.stop()


def _content(name: str) -> bytes:
    return Random(name).randbytes(Random(name).randrange(50_000)) + name.encode()


def _kill(top: str, lives: int) -> None:
    os.makedirs(top)
    random = Random(lives)
    for number in range(lives):
        last = number == lives - 1
        child = os.fork()
        if not child:
            try:
                _Life(top, number, 0 if last else 6).live()
            finally:
                os._exit(0 if last else 3)
        if not last:
            time.sleep(random.uniform(0.005, 0.15))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if last:
            assert status == 0, status
    _check(top)


def _check(top: str) -> None:
    with open(os.path.join(top, "acknowledged"), encoding="ascii") as file:
        acknowledged = set(file.read().split())
    there: dict[str, bytes] = {}
    for name, (data, _) in DirectoryDestination(os.path.join(top, "there")).held.items():
        archive = name.removeprefix("default/").rpartition("-")[0] + ".events"
        assert archive not in there, f"{archive} is there under two names"
        there[archive] = unpacked(name, data)
        assert there[archive] == _content(archive), archive
    assert acknowledged <= set(there), acknowledged - set(there)
    here = set(os.listdir(os.path.join(top, "archives")))
    # What was shipped is not here any more; what was not acknowledged may be here, and perhaps only half.
    assert not here & acknowledged, here & acknowledged
    waiting = os.listdir(os.path.join(top, "shipping", "waiting"))
    assert not waiting, waiting
    print("acknowledged", len(acknowledged))


def _full(top: str) -> None:
    """One MiB has room for a file and its note, not for the file, another that fills the disk, and what is uploaded."""
    size = 400_000
    with open(os.path.join(top, "filler"), "wb") as file:
        file.write(b"f" * 400_000)
    there = os.path.join(os.path.dirname(top), "there")
    life = _Life(top, 1, 0, pause=0.02, longest_pause=0.05, attempts=1000)
    life.destination.directory = there
    os.makedirs(there, exist_ok=True)
    path = os.path.join(top, "archives", "full.events")
    data = Random(1).randbytes(size)
    with open(path, "wb") as file:
        file.write(data)

    async def work() -> None:
        await life.shipper.start()
        await life.shipper.ship(path)
        while life.shipper.counts().failed < 3:
            await deferLater(life.reactor, 0.01, lambda: None)
        (shipment,) = life.shipper.shipments()
        assert "NoSpace" in shipment.error, shipment
        assert os.path.exists(path)
        os.unlink(os.path.join(top, "filler"))
        while not life.shipper.counts().shipped:
            await deferLater(life.reactor, 0.01, lambda: None)
        assert not os.path.exists(path)
        ((name, (packed, _)),) = life.destination.held.items()
        assert unpacked(name, packed) == data
        await life.shipper.stop()
        life.disk.stop()
        life.reactor.stop()

    life.work = work  # type: ignore[method-assign]
    life.live()


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        _kill(sys.argv[2], int(sys.argv[3]))
    else:
        _full(sys.argv[2])
