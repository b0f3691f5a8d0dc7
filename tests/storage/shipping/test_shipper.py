"""Files on their way, as they should be and as they should not."""

from __future__ import annotations

import errno
import gzip
import os
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from twisted.logger import globalLogPublisher
from zope.interface.verify import verifyObject

from storehouse.archive.interfaces import IArchiveCallback
from storehouse.core.compression import make_compressor
from storehouse.errors import (
    InvalidName,
    NoSpace,
    NotFound,
    RemoteDamaged,
    RemoteRefused,
    RemoteUnavailable,
    Unavailable,
)
from storehouse.storage.shipping.callback import UploadFile
from storehouse.storage.shipping.interfaces import IShipper
from storehouse.testing.files import FailingFiles
from tests.storage.shipping.rig import ShipperTestCase

DATA = b"some records\n" * 50


class ShipTests(ShipperTestCase):
    """All goes well."""

    def test_interface(self) -> None:
        verifyObject(IShipper, self.make())

    def test_shipped(self) -> None:
        shipper = self.started()
        path = self.archive()
        shipment = self.successResultOf(shipper.ship(path, "notifications"))
        self.assertEqual((shipment.path, shipment.stream), (path, "notifications"))
        name = self.name_of("test_1", ".events.gz", DATA, "notifications")
        self.assertEqual(self.held(), {name: DATA})
        self.assertEqual([verb for verb, _ in self.destination.calls], ["stat", "put", "get"])
        (event,) = self.shipped
        self.assertEqual((event.stream, event.path, event.name, event.deleted), ("notifications", path, name, False))
        self.assertTrue(os.path.exists(path))
        self.assertEqual(self.in_spool(), [])
        self.assertEqual(shipper.counts().shipped, 1)

    def test_changed(self) -> None:
        """What is written to after it was handed over is not shipped."""
        waiting = self.hang("stat")
        shipper = self.started(concurrency=1)
        self.successResultOf(shipper.ship(self.archive("first.events")))
        path = self.archive("second.events")
        self.successResultOf(shipper.ship(path))
        with open(path, "ab") as file:
            file.write(b"one more record")
        self.destination.before = lambda verb, name: None
        waiting[0].callback(None)
        (dead,) = shipper.shipments()
        self.assertEqual((dead.path, dead.stage), (path, "dead"))
        self.assertIn("changed after it was handed over", self.failures[0].error.detail)

    def test_compressions(self) -> None:
        for compression, extension in (("none", ""), ("gzip", ".gz"), ("zstd", ".zst")):
            shipper = self.started(compression=compression)
            self.successResultOf(shipper.ship(self.archive(f"{compression}.events")))
            name = self.name_of(compression, f".events{extension}", DATA)
            self.assertEqual(self.held()[name], DATA)
            self.successResultOf(shipper.stop())
        first = dict(self.destination.held)
        self.destination.held.clear()
        for compression in ("none", "gzip", "zstd"):
            self.successResultOf(self.started(compression=compression).ship(self.archive(f"{compression}.events")))
        self.assertEqual(self.destination.held, first, "a repeat gives the same bytes")

    def test_compressed_already(self) -> None:
        """The first bytes of a file tell, whatever its name is."""
        data = b"some records" * 9
        for method in ("gzip", "zstd"):
            compressor = make_compressor(method)
            packed = compressor.compress(data) + compressor.flush()
            for name in ("a.events.gz", "a.events.done", "a.zst"):
                self.destination.held.clear()
                self.successResultOf(self.started().ship(self.archive(name, packed)))
                ((stored, *_),) = self.destination.held.values()
                self.assertEqual(stored, packed, name)

    def test_compressed_by_name_only(self) -> None:
        self.successResultOf(self.started().ship(self.archive("a.events.gz", b"as if")))
        ((name, (stored, *_)),) = self.destination.held.items()
        self.assertEqual(name, self.name_of("a", ".events.gz.gz", b"as if"))
        self.assertEqual(gzip.decompress(stored), b"as if")

    def test_delete(self) -> None:
        waiting = self.hang("get")
        path = self.archive()
        self.successResultOf(self.started(delete=True).ship(path))
        self.assertTrue(os.path.exists(path), "not before it is verified")
        waiting.pop().callback(None)
        self.assertFalse(os.path.exists(path))
        self.assertTrue(self.shipped[0].deleted)
        self.assertEqual(self.in_spool(), [])

    def test_delete_asked_for_one(self) -> None:
        shipper = self.started()
        first, second = self.archive("1"), self.archive("2")
        self.successResultOf(shipper.ship(first, delete=True))
        self.successResultOf(shipper.ship(second))
        self.assertEqual((os.path.exists(first), os.path.exists(second)), (False, True))

    def test_another_file_is_not_deleted(self) -> None:
        """Another file that has the name by then is kept."""
        waiting = self.hang("put")
        path = self.archive()
        self.successResultOf(self.started().ship(path, delete=True))
        os.unlink(path)
        self.archive(data=b"another")
        waiting.pop().callback(None)
        self.assertEqual(list(self.held().values()), [DATA])
        self.assertTrue(os.path.exists(path))
        self.assertFalse(self.shipped[0].deleted)

    def test_removed_meanwhile(self) -> None:
        """The shipper holds the bytes."""
        waiting = self.hang("stat")
        shipper = self.started()
        path = self.archive()
        self.successResultOf(shipper.ship(path))
        os.unlink(path)
        waiting.pop().callback(None)
        self.assertEqual(list(self.held().values()), [DATA])

    def test_not_taken_twice(self) -> None:
        """Neither under the same name nor under another."""
        waiting = self.hang("stat")
        shipper = self.started()
        path = self.archive()
        first = self.successResultOf(shipper.ship(path))
        self.assertEqual(self.successResultOf(shipper.ship(path)).id, first.id)
        os.rename(path, path + ".moved")
        self.assertEqual(self.successResultOf(shipper.ship(path + ".moved")).id, first.id)
        self.successResultOf(shipper.stop())
        shipper = self.started()
        self.assertEqual(self.successResultOf(shipper.ship(path + ".moved")).id, first.id)
        self.assertEqual(len(shipper.shipments()), 1)
        waiting.pop().callback(None)
        self.assertEqual(list(self.destination.held), [self.name_of("test_1", ".events.gz", DATA)])

    def test_another_file_of_that_name(self) -> None:
        """Is taken, also after a restart."""
        self.hang("stat")
        shipper = self.started()
        path = self.archive()
        self.successResultOf(shipper.ship(path))
        os.unlink(path)
        self.archive(data=b"another")
        self.successResultOf(shipper.stop())
        shipper = self.started()
        self.successResultOf(shipper.ship(path))
        self.assertEqual(len(shipper.shipments()), 2)

    def test_repeat_is_harmless(self) -> None:
        shipper = self.started()
        path = self.archive()
        self.successResultOf(shipper.ship(path))
        self.successResultOf(shipper.ship(path))
        self.assertEqual(len(self.destination.held), 1)
        self.assertEqual([verb for verb, _ in self.destination.calls].count("put"), 1)

    def test_refused(self) -> None:
        shipper = self.make()
        self.failureResultOf(shipper.ship(self.archive()), Unavailable)
        self.successResultOf(shipper.start())
        self.failureResultOf(shipper.ship("no such file"), NotFound)
        self.failureResultOf(shipper.ship(self.top), NotFound)
        self.failureResultOf(shipper.ship(self.archive(), "../up"), InvalidName)
        self.failureResultOf(shipper.retry("0000000000000001"), NotFound)
        self.successResultOf(shipper.stop())
        self.failureResultOf(shipper.ship(self.archive()), Unavailable)
        self.assertEqual(self.in_spool(), [])

    def test_names(self) -> None:
        shipper = self.started(compression="none")
        odd = os.fsdecode(b"test_Sat Nov 21\xff\n.events")
        for name in ("plain", ".hidden", "two.parts.gz", "x" * 248 + ".events", odd):
            self.successResultOf(shipper.ship(self.archive(name)))
        names = sorted(self.destination.held)
        self.assertEqual(len(names), 5)
        self.assertIn(self.name_of("test_Sat Nov 21\ufffd_", ".events", DATA), names)
        self.assertIn(self.name_of(".hidden", "", DATA), names)
        self.assertIn(self.name_of("two", ".parts.gz", DATA), names)

    def test_concurrency(self) -> None:
        waiting = self.hang("put")
        shipper = self.started(concurrency=3)
        for number in range(10):
            self.successResultOf(shipper.ship(self.archive(str(number), b"%d" % number)))
        self.assertEqual(len(waiting), 3)
        counts = shipper.counts()
        self.assertEqual((counts.waiting, counts.shipping), (7, 3))
        while waiting:
            self.assertLessEqual(len(waiting), 3)
            waiting.pop(0).callback(None)
        self.assertEqual(len(self.held()), 10)
        # The oldest first.
        order = [name for verb, name in self.destination.calls if verb == "put"]
        self.assertEqual([name.split("/")[1][0] for name in order], [str(number) for number in range(10)])

    def test_many_at_once(self) -> None:
        """No recursion."""
        waiting = self.hang("stat")
        shipper = self.started(concurrency=1, compression="none")
        for number in range(600):
            self.successResultOf(shipper.ship(self.archive(str(number), b"%d" % number)))
        self.destination.before = lambda verb, name: None
        waiting.pop().callback(None)
        self.assertEqual(len(self.held()), 600)

    def test_callback(self) -> None:
        callback = UploadFile(shipper=self.started(), stream="stream")
        verifyObject(IArchiveCallback, callback)
        self.assertFalse(callback.removes_file)
        self.assertTrue(UploadFile(shipper=self.make(delete=True)).removes_file)
        path = self.archive()
        callback.on_open(path)
        self.assertEqual(self.successResultOf(callback.on_close(path)), path)
        self.assertEqual(list(self.destination.held), [self.name_of("test_1", ".events.gz", DATA, "stream")])
        self.failureResultOf(callback.on_close("no such"), NotFound)


class FailureTests(ShipperTestCase):
    """Something goes wrong."""

    def trouble(self, verb: str, error: Exception, times: int = 10**9) -> None:
        """Requests of a kind fail."""
        left = [times]

        def before(asked: str, name: str) -> None:
            if asked == verb and left[0]:
                left[0] -= 1
                raise error

        self.destination.before = before

    def test_retried(self) -> None:
        """With pauses that grow, and are uneven, up to a bound."""
        for verb in ("stat", "put", "get"):
            self.destination.held.clear()
            self.shipped.clear()
            self.failures.clear()
            self.trouble(verb, RemoteUnavailable("gone"), 6)
            shipper = self.started(pause=1.0, longest_pause=4.0)
            self.successResultOf(shipper.ship(self.archive()))
            pauses = []
            while not self.shipped:
                (call,) = self.clock.getDelayedCalls()
                pauses.append(call.getTime() - self.clock.seconds())
                self.clock.advance(pauses[-1])
            for pause, longest in zip(pauses, (1, 2, 4, 4, 4, 4), strict=True):
                self.assertTrue(longest / 2 <= pause <= longest, pauses)
            self.assertEqual([failure.attempts for failure in self.failures], [1, 2, 3, 4, 5, 6])
            self.assertFalse(any(failure.dead for failure in self.failures))
            self.assertEqual(list(self.held().values()), [DATA])
            self.assertEqual(shipper.counts().failed, 6)
            self.successResultOf(shipper.stop())

    def test_dead_letter(self) -> None:
        """After so many attempts."""
        self.trouble("put", RemoteUnavailable("gone"))
        shipper = self.started(attempts=4, delete=True)
        path = self.archive()
        id = self.successResultOf(shipper.ship(path)).id
        self.clock.pump([1000.0] * 10)
        self.assertEqual([failure.dead for failure in self.failures], [False, False, False, True])
        self.assertEqual(self.in_spool(), [f"dead/{id}.file", f"dead/{id}.json"])
        (shipment,) = shipper.shipments()
        self.assertEqual((shipment.stage, shipment.error), ("dead", "RemoteUnavailable: gone"))
        self.assertTrue(os.path.exists(path))
        counts = shipper.counts()
        self.assertEqual((counts.waiting, counts.dead, counts.oldest), (0, 1, 0.0))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        # It is one after a restart as well, until somebody says otherwise.
        self.successResultOf(shipper.stop())
        shipper = self.started()
        self.assertEqual(shipper.counts().dead, 1)
        self.destination.before = lambda verb, name: None
        self.assertEqual(self.successResultOf(shipper.retry(id)), 1)
        self.assertEqual(list(self.held().values()), [DATA])
        self.assertEqual(self.in_spool(), [])
        self.assertFalse(os.path.exists(path))
        self.assertEqual(self.successResultOf(shipper.retry()), 0)

    def test_shipping_a_dead_letter_again(self) -> None:
        self.trouble("put", RemoteRefused("no"), 1)
        shipper = self.started()
        first = self.successResultOf(shipper.ship(self.archive()))
        self.assertEqual(shipper.counts().dead, 1)
        self.assertEqual(self.successResultOf(shipper.ship(first.path)).id, first.id)
        self.assertEqual(list(self.held().values()), [DATA])

    def test_refused(self) -> None:
        """Wrong credentials are not tried again."""
        self.trouble("stat", RemoteRefused("wrong credentials"))
        shipper = self.started()
        self.successResultOf(shipper.ship(self.archive()))
        self.assertEqual([(failure.dead, failure.attempts) for failure in self.failures], [(True, 1)])
        self.assertEqual(len(self.destination.calls), 1)

    def test_damaged_over_there(self) -> None:
        """What is read back is not what was sent: it is sent again, whatever the destination says of it."""

        def after(verb: str, name: str) -> None:
            if len(self.destination.calls) < 4:
                data, digest = self.destination.held[name]
                self.destination.held[name] = data[:-1] + b"?", digest

        self.destination.after = after
        shipper = self.started(delete=True)
        path = self.archive()
        self.successResultOf(shipper.ship(path))
        self.assertTrue(os.path.exists(path))
        self.assertIsInstance(self.failures[0].error, RemoteDamaged)
        self.clock.advance(10.0)
        self.assertEqual(list(self.held().values()), [DATA])
        self.assertEqual([verb for verb, _ in self.destination.calls], ["stat", "put", "get", "put", "get"])
        self.assertFalse(os.path.exists(path))

    def test_verify_by_tag(self) -> None:
        shipper = self.started(verify="tag")
        self.successResultOf(shipper.ship(self.archive()))
        self.assertEqual([verb for verb, _ in self.destination.calls], ["stat", "put", "stat"])
        self.assertEqual(len(self.shipped), 1)

    def test_vanished_over_there(self) -> None:
        """Uploaded, but not there when it is verified."""
        for verify in ("read", "tag"):
            self.shipped.clear()
            self.destination.held.clear()
            self.destination.calls.clear()

            def before(verb: str, name: str) -> None:
                if len(self.destination.calls) == 3:
                    self.destination.held.clear()

            self.destination.before = before
            shipper = self.started(verify=verify)
            self.successResultOf(shipper.ship(self.archive()))
            self.assertEqual(self.shipped, [])
            self.clock.advance(10.0)
            self.assertEqual(len(self.shipped), 1)
            self.assertEqual(len(self.destination.held), 1)
            self.successResultOf(shipper.stop())

    def test_full_disk(self) -> None:
        """No room for the compressed file, then for the note of that; it goes on when there is."""
        for ending in (".packed", ".json.tmp"):
            self.shipped.clear()
            self.failures.clear()
            self.destination.held.clear()
            files = FailingFiles()
            shipper = self.started(files)
            waiting = self.hang("stat") if ending == ".json.tmp" else []
            if not waiting and ending == ".packed":
                files.fail("write_at", ending=ending)
            self.successResultOf(shipper.ship(self.archive()))
            files.fail("write_at", ending=ending)
            for each in waiting:
                each.callback(None)
            self.destination.before = lambda verb, name: None
            self.assertEqual(self.shipped, [])
            self.clock.advance(5.0)
            self.assertIsInstance(self.failures[-1].error, NoSpace)
            files.mend()
            self.clock.pump([10.0] * 5)
            self.assertEqual(len(self.shipped), 1)
            self.assertEqual(list(self.held().values()), [DATA])
            self.assertEqual(self.in_spool(), [])
            self.successResultOf(shipper.stop())

    def test_no_room_to_take(self) -> None:
        """Then the file is left alone."""
        files = FailingFiles()
        shipper = self.started(files)
        files.fail("write_at", ending=".json.tmp")
        path = self.archive()
        self.failureResultOf(shipper.ship(path), NoSpace)
        self.assertEqual(self.in_spool(), [])
        self.assertEqual(os.stat(path).st_nlink, 1)

    def test_defect(self) -> None:
        """An error that nobody thought of is logged whole, and loses nothing."""
        self.trouble("put", ZeroDivisionError("a defect"), 1)
        shipper = self.started()
        self.successResultOf(shipper.ship(self.archive()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(10.0)
        self.assertEqual(list(self.held().values()), [DATA])
        self.successResultOf(shipper.stop())

    def test_copied(self) -> None:
        """A file that cannot have a second name in the shipping directory."""
        waiting = self.hang("stat")
        path = self.archive()
        shipper = self.started(FailingFiles().fail("link", error=errno.EXDEV), delete=True)
        first = self.successResultOf(shipper.ship(path))
        self.assertEqual(os.stat(path).st_nlink, 1)
        self.assertEqual(self.successResultOf(shipper.ship(path)).id, first.id)
        waiting.pop().callback(None)
        self.assertEqual(list(self.held().values()), [DATA])
        self.assertFalse(os.path.exists(path))


class ToldTests(ShipperTestCase):
    """Metrics and log."""

    def test_metrics(self) -> None:
        waiting = self.hang("put")
        shipper = self.started()
        registry = CollectorRegistry()
        registry.register(shipper)  # type: ignore[arg-type]
        self.successResultOf(shipper.ship(self.archive()))
        self.clock.advance(30.0)
        text = generate_latest(registry).decode()
        for line in ("open 1.0", "waiting 0.0", "dead 0.0", "oldest_seconds 30.0", "shipped_total 0.0"):
            self.assertIn(f"\nstorehouse_shipping_{line}\n", text)
        waiting.pop().callback(None)
        text = generate_latest(registry).decode()
        size = len(next(iter(self.destination.held.values()))[0])
        for line in (
            "open 0.0",
            "oldest_seconds 0.0",
            "shipped_total 1.0",
            "failed_total 0.0",
            f"bytes_total {float(size)}",
        ):
            self.assertIn(f"\nstorehouse_shipping_{line}\n", text)

    def test_log(self) -> None:
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.destination.before = self.gone
        shipper = self.started(attempts=1)
        self.successResultOf(shipper.ship(self.archive()))
        self.destination.before = lambda verb, name: None
        self.successResultOf(shipper.retry())
        formats = [event["log_format"] for event in events if event.get("log_namespace", "").endswith("Shipper")]
        self.assertEqual(formats[0][:6], "{what}")
        self.assertEqual(formats[1][:7], "shipped")

    def gone(self, verb: str, name: str) -> None:
        raise RemoteUnavailable("gone")
