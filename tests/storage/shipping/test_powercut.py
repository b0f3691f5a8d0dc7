"""Power cuts, at each moment of a file's way: what was acknowledged arrives, under one name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from storehouse.config.shipping import ShipperSettings
from storehouse.core.jobs import InlineDisk
from storehouse.storage.shipping.shipper import Shipper
from tests.crash.disk import World, write_tree
from tests.crash.explorer import POLICIES
from tests.crash.recording import Recorder, RecordingFiles
from tests.storage.shipping.rig import ShipperTestCase

DATA = b"some records\n" * 200


class _SteppedDisk(InlineDisk):
    """Does one thing after the other, when a test says so."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], object]] = []

    def run(self, f: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        self.jobs.append(lambda: super(_SteppedDisk, self).run(f, *args, **kwargs).chainDeferred(result))
        return result


class PowerCutTests(ShipperTestCase):
    """Recorded lives, cut."""

    def record(self, **settings: Any) -> Recorder:
        """A life that ships a file, and tells what was acknowledged and stored."""
        self.machine = os.path.join(self.top, "machine")
        os.makedirs(os.path.join(self.machine, "archives"))
        recorder = Recorder(World({"archives": {}}))
        files = RecordingFiles(self.machine, recorder)
        path = os.path.join(self.machine, "archives", "test_1.events")
        # Its writer did not sync it.
        fd = files.open(path, os.O_WRONLY | os.O_CREAT)
        files.write_at(fd, (DATA,), 0)
        files.close(fd)
        disk = _SteppedDisk()
        self.destination.after = lambda verb, name: recorder.note(f"{verb} {name}", (name, self.destination.held[name]))
        shipper = self.shipper(disk, files, **settings)
        shipper.start()
        while disk.jobs:
            disk.jobs.pop(0)()
        acknowledged: list[object] = []
        shipper.ship(path).addCallback(acknowledged.append)
        noted = False
        while disk.jobs:
            disk.jobs.pop(0)()
            if acknowledged and not noted:
                noted = True
                recorder.note("acknowledged", "acknowledged")
        self.assertEqual(len(self.shipped), 1)
        self.destination.after = lambda verb, name: None
        shutil.rmtree(self.machine)
        return recorder

    def shipper(self, disk: Any, files: Any = None, **settings: Any) -> Shipper:
        directory = os.path.join(self.machine, "shipping")
        return Shipper(
            ShipperSettings(directory=directory, **settings),
            self.destination,
            disk,
            self.clock,
            self.events,
            files,
            Random(1),
            self.clock.seconds,
        )

    def cut_everywhere(self, **settings: Any) -> None:
        recorder = self.record(**settings)
        random = Random(1)
        world = recorder.start.clone()
        held: dict[str, Any] = {}
        acknowledged = False
        for text, event in [*recorder.events, ("end", None)]:
            for policy in POLICIES:
                write_tree(world.after_cut(random, policy), self.machine)
                self.destination.held = dict(held)
                shipper = self.shipper(InlineDisk(), **settings)
                self.successResultOf(shipper.start())
                self.clock.pump([10.0] * 3)
                where = f"{policy}, before {text}: {shipper.shipments()}"
                left = [name for _, _, names in os.walk(os.path.join(self.machine, "shipping")) for name in names]
                if acknowledged:
                    self.assertEqual(self.held(), {self.name_of("test_1", ".events.gz", DATA): DATA}, where)
                    self.assertEqual(left, [], where)
                self.assertLessEqual(len(self.destination.held), 1, where)
                self.successResultOf(shipper.stop())
                shutil.rmtree(self.machine)
            if callable(event):
                event(world)
            elif event == "acknowledged":
                acknowledged = True
            elif event is not None:
                held[event[0]] = event[1]
            world.index += 1
        self.assertTrue(acknowledged and held)

    def test_kept(self) -> None:
        self.cut_everywhere()

    def test_deleted(self) -> None:
        self.cut_everywhere(delete=True)
