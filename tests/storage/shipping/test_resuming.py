"""A process that is killed, at any moment: the next one goes on, nothing is lost, nothing is there under two names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from storehouse.core.files import Files
from storehouse.storage.shipping.spool import read_note
from storehouse.testing.files import FailingFiles
from tests.crash.small_disk import PLAIN, kind_of_disk, wrapped
from tests.integration.process import CHECKOUT, PATIENCE
from tests.soak import count, long_loop, rounds
from tests.storage.shipping.rig import Killed, ShipperTestCase

DATA = b"some records\n" * 50


class KillTests(ShipperTestCase):
    """Simulated kills, at each call to the file system and each request."""

    def live(self, path: str, files: Files | None, **settings: object) -> bool:
        """
        A process that ships a file.

        @return: whether it was acknowledged.
        """
        shipper = self.make(files, **settings)
        acknowledged: list[object] = []
        shipper.start().addErrback(lambda failure: failure.trap(Killed))
        if shipper._started and os.path.exists(path):
            shipper.ship(path).addCallbacks(acknowledged.append, lambda failure: failure.trap(Killed))
        self.flushLoggedErrors(Killed)
        return bool(acknowledged)

    def go_on(self, **settings: object) -> None:
        """The next process, which nobody kills."""
        self.clock = Clock()
        self.destination.before = self.destination.after = lambda verb, name: None
        shipper = self.started(**settings)
        self.clock.pump([10.0] * 5)
        self.successResultOf(shipper.stop())

    def check(self, path: str, acknowledged: bool, deletes: bool) -> None:
        names = list(self.destination.held)
        if acknowledged:
            self.assertEqual(len(names), 1)
            self.assertGreaterEqual(len(self.shipped), 1)
        self.assertLessEqual(len(names), 1)
        if names:
            self.assertEqual(self.held(), {self.name_of("test_1", ".events.gz", DATA): DATA})
        # It is here, or there; and not here any more only if that was asked.
        self.assertTrue(os.path.exists(path) or (deletes and names))
        if acknowledged and deletes:
            self.assertFalse(os.path.exists(path))
        left = self.in_spool()
        self.assertEqual([name for name in left if not name.startswith("dead/")], [])
        self.assertFalse(acknowledged and left)

    def test_each_call(self) -> None:
        for deletes in (False, True):
            fatal = 0
            while True:
                fatal += 1
                self.setUp()
                path = self.archive()
                files = FailingFiles().fail(error=Killed(), skip=fatal - 1)
                acknowledged = self.live(path, files, delete=deletes)
                if not files.failures:
                    self.assertTrue(acknowledged)
                    break
                self.go_on(delete=deletes)
                self.check(path, acknowledged, deletes)
            self.assertGreater(fatal, 25)

    def test_each_call_twice(self) -> None:
        """The next process is killed as well."""
        for first in range(1, 40, 3):
            second = 0
            while True:
                second += 1
                self.setUp()
                path = self.archive()
                acknowledged = self.live(path, FailingFiles().fail(error=Killed(), skip=first - 1), delete=True)
                files = FailingFiles().fail(error=Killed(), skip=second - 1)
                acknowledged = self.live(path, files, delete=True) or acknowledged
                self.go_on(delete=True)
                self.check(path, acknowledged, True)
                if not files.failures:
                    break

    def test_each_request(self) -> None:
        """Before it, and after the destination has done it."""
        for hook in ("before", "after"):
            for number in range(1, 4):
                self.setUp()
                path = self.archive()

                def kill(verb: str, name: str, hook: str = hook, number: int = number) -> None:
                    if hook == "after" or len(self.destination.calls) == number:
                        raise Killed()

                setattr(self.destination, hook, kill)
                self.assertTrue(self.live(path, None, delete=True))
                self.go_on(delete=True)
                self.check(path, True, True)
                self.assertLessEqual([verb for verb, _ in self.destination.calls].count("put"), 2 - (hook == "after"))

    def test_stopped_at_each_request(self) -> None:
        """A stop is quick, and the next start goes on."""
        for verb in ("stat", "put", "get"):
            self.setUp()
            path = self.archive()
            waiting = self.hang(verb)
            shipper = self.started()
            self.successResultOf(shipper.ship(path))
            self.assertEqual(len(waiting), 1)
            self.successResultOf(shipper.stop())
            self.assertEqual(self.failures, [])
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.go_on()
            self.check(path, True, False)

    def test_stages(self) -> None:
        """What is noted when."""
        stages = []

        def before(verb: str, name: str) -> None:
            (note,) = [name for name in self.in_spool() if name.endswith(".json")]
            with open(os.path.join(self.top, "shipping", note), "rb") as file:
                stages.append((verb, read_note(file.read()).stage))

        self.destination.before = before
        self.successResultOf(self.started().ship(self.archive()))
        self.assertEqual(stages, [("stat", "compressed"), ("put", "compressed"), ("get", "uploaded")])


class LeftoverTests(ShipperTestCase):
    """A shipping directory that is not as it was left."""

    def hung(self, **settings: object) -> str:
        """Ship something that is not uploaded, and stop. @return: the stem of its files."""
        self.hang("stat")
        shipper = self.started(**settings)
        id = self.successResultOf(shipper.ship(self.archive())).id
        self.successResultOf(shipper.stop())
        self.destination.before = lambda verb, name: None
        return os.path.join(self.top, "shipping", "waiting", id)

    def test_packed_is_gone(self) -> None:
        """It is made again."""
        os.unlink(self.hung() + ".packed")
        self.started()
        self.assertEqual(list(self.held().values()), [DATA])

    def test_settings_changed(self) -> None:
        """What was handed over before keeps its name."""
        os.unlink(self.hung() + ".packed")
        self.started(compression="zstd")
        self.assertEqual(list(self.held()), [self.name_of("test_1", ".events.gz", DATA)])

    def test_file_is_gone(self) -> None:
        """Nothing can be shipped; but what is compressed already is."""
        stem = self.hung()
        os.unlink(stem + ".file")
        self.started()
        self.assertEqual(list(self.held().values()), [DATA])
        stem = self.hung(compression="none")
        os.unlink(stem + ".file")
        self.started()
        self.assertTrue(self.failures[-1].dead)

    def test_damaged_note(self) -> None:
        """Its file becomes a dead letter, although somebody else has it as well."""
        stem = self.hung()
        with open(stem + ".json", "r+b") as file:
            file.write(b"?")
        shipper = self.started()
        (shipment,) = shipper.shipments()
        self.assertEqual((shipment.stage, shipment.stream), ("dead", "lost"))
        self.successResultOf(shipper.retry())
        self.assertEqual(list(self.held().values()), [DATA])

    def test_lost_note(self) -> None:
        stem = self.hung()
        os.unlink(stem + ".json")
        os.unlink(os.path.join(self.top, "archives", "test_1.events"))
        shipper = self.started()
        self.assertEqual([shipment.stage for shipment in shipper.shipments()], ["dead"])
        self.successResultOf(shipper.stop())
        self.assertEqual([shipment.stage for shipment in self.started().shipments()], ["dead"])


class ProcessTests(SynchronousTestCase):
    """Real processes."""

    def run_lives(self, *words: str, command: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [CHECKOUT, os.environ.get("PYTHONPATH")])),
        }
        program = [sys.executable, "-m", "tests.storage.shipping.lives", *words]
        return subprocess.run(
            (command or []) + program, env=environment, capture_output=True, text=True, check=False, timeout=100
        )

    @long_loop
    def test_killed(self) -> None:
        """At random moments, one after the other."""
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        directory = tempfile.mkdtemp("-kill", "storehouse-", memory)
        self.addCleanup(shutil.rmtree, directory)
        for number, _ in enumerate(rounds(1)):
            done = self.run_lives("kill", os.path.join(directory, str(number)), "25")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertGreater(int(done.stdout.split()[-1]), 10)
            count("kills", 25)

    def test_small_disk(self) -> None:
        """A disk that is full, and then is not any more."""
        kind = kind_of_disk(os.path.abspath(self.mktemp()))
        if kind == PLAIN:
            raise SkipTest("no file system can be mounted here")
        disk = os.path.join(os.path.abspath(self.mktemp()), "disk")
        os.makedirs(disk)
        command = wrapped(kind, disk, "1m", [sys.executable, "-m", "tests.storage.shipping.lives", "full", disk])
        environment = {**os.environ, "PYTHONPATH": CHECKOUT}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
