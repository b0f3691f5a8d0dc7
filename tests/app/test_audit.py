"""L{storehouse.app.audit} and L{storehouse.app.acting}."""

from __future__ import annotations

import json
import os
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from storehouse.app.acting import acting_doors, managed, permitted, stream_rights
from storehouse.app.audit import Audit, CommandChanges, journal_of
from storehouse.config import Settings
from storehouse.config.settings import ArchiveSettings, ObjectsSettings, SFSPSettings
from storehouse.core.jobs import InlineDisk
from storehouse.errors import Forbidden, NoSpace, Unavailable
from storehouse.events import AccessChanged, AccessDecided, Events
from storehouse.storage.accounts.interfaces import Rights
from storehouse.storage.accounts.journal import ChangeJournal
from storehouse.testing.accounts import MemoryAccounts
from storehouse.testing.objects import memory_object_store

REFUSED = AccessDecided("s3", "ann", "192.0.2.1", "s3:GetObject", "box/a", False, "SHA", "ID")
ALLOWED = attrs.evolve(REFUSED, is_allowed=True)
CHANGED = AccessChanged("objects", "", "", "grant", "ann", "read on the bucket box")


class AppendLog:
    """Keeps what is appended, or fails."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.error: Exception | None = None

    def append(self, prefix: str, id: bytes, payloads: list[bytes]) -> Deferred[Any]:
        """See C{IAppendLog}."""
        if self.error is not None:
            return fail(self.error)
        assert (prefix, id) == ("audit", b"audit")
        self.records += map(json.loads, payloads)
        return succeed(None)


class AuditTests(SynchronousTestCase):
    """L{Audit}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_790_000_000.5)
        self.log = AppendLog()

    def publish(self, *published: object, records_all: bool = False) -> list[str]:
        """The lines of the log about some events."""
        events = Events()
        log: Any = self.log
        Audit(events, self.clock.seconds, records_all, log, "audit")
        with capturedLogs() as captured:
            for each in published:
                events.publish(each)
        return [formatEvent(each) for each in captured]

    def test_refusals(self) -> None:
        (line,) = self.publish(ALLOWED, REFUSED)
        self.assertEqual(line, "audit: ann from 192.0.2.1 was refused s3:GetObject on box/a at s3")
        (record,) = self.log.records
        self.assertEqual(
            record,
            {
                "time": "2026-09-21T14:13:20.500Z",
                "what": "decision",
                "door": "s3",
                "user": "ann",
                "address": "192.0.2.1",
                "action": "s3:GetObject",
                "resource": "box/a",
                "allowed": False,
                "key_id": "SHA",
                "request_id": "ID",
                "left_out": 0,
            },
        )

    def test_all(self) -> None:
        lines = self.publish(ALLOWED, records_all=True)
        self.assertEqual(lines, ["audit: ann from 192.0.2.1 was allowed s3:GetObject on box/a at s3"])
        self.assertTrue(self.log.records[0]["allowed"])

    def test_changes(self) -> None:
        lines = self.publish(CHANGED)
        self.assertEqual(lines, ["audit: the system user from - changed ann at objects: grant read on the bucket box"])
        self.assertEqual((self.log.records[0]["what"], self.log.records[0]["action"]), ("change", "grant"))

    def test_bounded(self) -> None:
        """Refusals come at a bounded rate, and what was left out is counted; changes all come."""
        self.assertEqual(len(self.publish(*[REFUSED] * 1000)), 20)
        events = Events()
        Audit(events, self.clock.seconds)
        many = [attrs.evolve(REFUSED, address=f"192.0.{number // 250}.{number % 250}") for number in range(1000)]
        with capturedLogs() as captured:
            for each in many:
                events.publish(each)
            self.assertEqual(len(captured), 100)
            self.clock.advance(20)
            events.publish(REFUSED)
            self.assertIn("(900 other refusals were not recorded)", formatEvent(captured[-1]))
            for _ in range(200):
                events.publish(CHANGED)
        self.assertEqual(len(captured), 301)

    def test_one_line(self) -> None:
        """What a client names cannot make another line, nor a long one."""
        (line,) = self.publish(attrs.evolve(REFUSED, resource="box/a\nfake\u2028" + "x" * 5000))
        self.assertNotIn("\n", line)
        self.assertLess(len(line), 2300)

    def test_in_order(self) -> None:
        """However long the append log takes."""
        waiting: list[tuple[Deferred[Any], list[bytes]]] = []

        def append(prefix: str, id: bytes, payloads: list[bytes]) -> Deferred[Any]:
            waiting.append((Deferred(), payloads))
            return waiting[-1][0]

        self.log.append = append  # type: ignore[method-assign]
        events = Events()
        log: Any = self.log
        audit = Audit(events, self.clock.seconds, False, log, "audit")
        self.successResultOf(audit.stop())
        for number in range(5):
            events.publish(attrs.evolve(CHANGED, detail=str(number)))
        stopping = audit.stop()
        self.assertEqual([len(payloads) for _, payloads in waiting], [1])
        waiting[0][0].callback(None)
        self.assertEqual([len(payloads) for _, payloads in waiting], [1, 4])
        self.assertNoResult(stopping)
        waiting[1][0].callback(None)
        self.successResultOf(stopping)
        written = [json.loads(data)["detail"] for _, payloads in waiting for data in payloads]
        self.assertEqual(written, list("01234"))

    def test_append_log_fails(self) -> None:
        """Said once; all is in the log."""
        self.log.error = NoSpace("full")
        lines = self.publish(REFUSED, CHANGED, CHANGED)
        self.assertEqual([line for line in lines if "cannot be appended" in line], [
            "the audit cannot be appended to audit: full"
        ])  # fmt: skip
        self.assertEqual(len(lines), 4)


class CommandChangesTests(SynchronousTestCase):
    """L{CommandChanges}."""

    def setUp(self) -> None:
        root = os.path.abspath(self.mktemp())
        os.mkdir(root)
        self.clock = Clock()
        self.journal = ChangeJournal(root, self.clock.seconds)
        self.log = AppendLog()
        self.events = Events()
        log: Any = self.log
        self.audit = Audit(self.events, self.clock.seconds, False, log, "audit")

    def tell(self) -> None:
        """A service starts, and stops."""
        told = CommandChanges(lambda: self.journal, self.audit, self.events, InlineDisk())
        told.start()
        self.successResultOf(told.stop())

    def test_once(self) -> None:
        """What commands changed is in the audit of the next start, once."""
        for number in range(205):
            with self.journal.change("grant", f"user{number}"):
                pass
        for _ in range(2):
            self.tell()
        found = [(each["door"], each["action"], each["resource"]) for each in self.log.records]
        self.assertEqual(found, [("command", "grant", f"user{number}") for number in range(205)])

    def test_nothing(self) -> None:
        """Without changes by commands nothing is read, and nothing created."""
        root = os.path.abspath(self.mktemp())
        os.mkdir(root)
        self.assertIsNone(journal_of(root, self.clock.seconds))
        self.assertEqual(os.listdir(root), [])

    def test_again(self) -> None:
        """What the append log could not take is recorded at the next start."""
        with self.journal.change("grant", "ann"):
            pass
        self.log.error = NoSpace("full")
        self.tell()
        self.assertEqual(self.log.records, [])
        self.log.error = None
        self.tell()
        self.assertEqual([each["resource"] for each in self.log.records], ["ann"])


class Service:
    """What acting doors need of one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stores: dict[str, Any] = {}


class ActingTests(SynchronousTestCase):
    """Doors that act as users."""

    def setUp(self) -> None:
        self.events: list[Any] = []
        self.accounts = MemoryAccounts()
        self.store = memory_object_store()
        self.addCleanup(lambda: self.successResultOf(self.store.stop()))
        self.successResultOf(self.store.create_bucket("sfsp"))
        settings = Settings(sfsp=SFSPSettings(user="ed"), archive=ArchiveSettings(user="ed"))
        self.assertEqual(acting_doors(settings), {"sfsp": "ed", "archive": "ed"})
        self.service: Any = Service(settings)

    def test_not_configured(self) -> None:
        """A door that acts as nobody has everything, as it had before."""
        service: Any = Service(Settings())
        self.assertIs(permitted(service, self.store, "sfsp", self.events.append)("192.0.2.1"), self.store)
        self.assertTrue(stream_rights(service, self.events.append)("put-new", "x", ""))
        self.assertIsNone(managed(service, "objects", self.events.append))
        self.assertEqual(self.events, [])

    def test_store(self) -> None:
        store = permitted(self.service, self.store, "sfsp", self.events.append)("192.0.2.1")
        self.failureResultOf(store.list_keys("sfsp"), Unavailable)
        self.service.stores["accounts"] = self.accounts
        self.failureResultOf(store.list_keys("sfsp"), Forbidden)
        self.successResultOf(self.accounts.add_user("ed"))
        self.assertEqual(self.successResultOf(store.list_keys("sfsp")), [])
        self.successResultOf(self.accounts.revoke("ed", None))
        self.failureResultOf(store.list_keys("sfsp"), Forbidden)
        self.assertEqual(
            self.events,
            [
                AccessDecided("sfsp", "ed", "192.0.2.1", "list", "sfsp/", True),
                AccessDecided("sfsp", "ed", "192.0.2.1", "list", "sfsp/", False),
            ],
        )

    def test_streams(self) -> None:
        self.service.stores["accounts"] = self.accounts
        may = stream_rights(self.service, self.events.append)
        self.assertRaises(Forbidden, may, "read", "logs", "")
        self.successResultOf(self.accounts.add_user("ed"))
        self.successResultOf(self.accounts.revoke("ed", None))
        self.successResultOf(self.accounts.grant("ed", Rights(("put-new",), "archives", "logs/")))
        self.assertTrue(may("put-new", "logs", "192.0.2.1"))
        self.assertFalse(may("read", "logs", ""))
        self.assertFalse(may("put-new", "logs2", ""))
        self.assertIn(AccessDecided("archive", "ed", "192.0.2.1", "put-new", "archives/logs/", True), self.events)

    def test_management(self) -> None:
        """Operations for administrators are refused to others, and audited."""
        service: Any = Service(Settings(objects=ObjectsSettings(user="ed")))
        service.stores["accounts"] = self.accounts
        self.successResultOf(self.accounts.add_user("ed"))
        check_admin = managed(service, "objects", self.events.append)
        assert check_admin is not None
        self.assertRaises(Forbidden, check_admin, "check", "unix uid=1 pid=2")
        self.successResultOf(self.accounts.add_user("root", is_admin=True))
        service.settings = Settings(objects=ObjectsSettings(user="root"))
        check_admin = managed(service, "objects", self.events.append)
        assert check_admin is not None
        check_admin("check", "unix uid=1 pid=2")
        self.assertEqual(
            self.events,
            [
                AccessDecided("objects", "ed", "unix uid=1 pid=2", "check", "", False),
                AccessDecided("objects", "root", "unix uid=1 pid=2", "check", "", True),
            ],
        )
