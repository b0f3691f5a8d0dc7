"""A store in memory that announces, a spool on disk, and destinations that tests control."""

from __future__ import annotations

import json
import os
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream
from storehouse.errors import RemoteUnavailable
from storehouse.storage.notifications.delivery import Delivery
from storehouse.storage.notifications.interfaces import ITarget
from storehouse.storage.notifications.notices import Notices
from storehouse.storage.notifications.spool import Spool, SpoolFile
from storehouse.storage.notifications.values import CONFIGURATION, encode_rules, make_rule
from storehouse.storage.objects.store import LocalObjectStore
from storehouse.testing.dataspace import MemoryDataSpace
from storehouse.testing.namespace import MemoryNamespace

NOW = 1_790_000_000.0

ALL = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*", "s3:ObjectAcl:Put")


@implementer(ITarget)
class FakeTarget:
    """
    @ivar answers: what becomes of the next ones: an error, or a Deferred; otherwise they are taken.
    @ivar taken: what it has.
    @ivar tried: the numbers that were sent, in order.
    """

    def __init__(self) -> None:
        self.answers: list[Exception | Deferred[None]] = []
        self.taken: list[dict[str, Any]] = []
        self.tried: list[int] = []
        self.is_closed = False

    def send(self, number: int, body: bytes) -> Deferred[None]:
        self.tried.append(number)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            return fail(answer)
        if answer is None:
            self.taken.append(json.loads(body))
            return succeed(None)
        return answer.addCallback(lambda _: self.taken.append(json.loads(body)))

    def close(self) -> Deferred[None]:
        self.is_closed = True
        return succeed(None)

    @property
    def names(self) -> list[str]:
        """What was announced: C{NAME KEY}, without test events."""
        records = [each["Records"][0] for each in self.taken if "Records" in each]
        return [f"{each['eventName']} {each['s3']['object']['key']}" for each in records]


class NoticesCase(SynchronousTestCase):
    """
    A bucket C{box} that announces all to C{hooks}.

    @cvar cipher: of the spool.
    """

    cipher: Any = None
    max_size = 1 << 20

    def setUp(self) -> None:
        self.path = os.path.join(os.path.abspath(self.mktemp()), "events", "spool.db")
        os.makedirs(os.path.dirname(os.path.dirname(self.path)))
        self.clock = Clock()
        self.clock.advance(NOW)
        self.space, self.names = MemoryDataSpace(self.clock), MemoryNamespace()
        self.space.start()
        self.target = FakeTarget()
        self.begin()
        self.addCleanup(self.end)

    def begin(self) -> None:
        """Start all; what is kept is as the last run left it."""
        self.spool = Spool(SpoolFile(self.path, self.cipher), InlineDisk(), self.max_size)
        self.notices = Notices(self.spool, ["hooks", "other"], clock=self.clock.seconds)
        self.notices.start()
        self.store = LocalObjectStore(
            self.space, self.names, InlineDisk(), clock=self.clock.seconds, notices=self.notices
        )
        self.store.start()
        self.delivery = Delivery(
            self.notices,
            {"hooks": self.target, "other": FakeTarget()},
            self.clock,
            3600.0,
            4,
            Random(1),
            self.clock.seconds,
        )
        self.delivery.start()

    def end(self) -> None:
        """Stop all of it, in the order in which a service does."""
        self.successResultOf(self.delivery.stop())
        self.successResultOf(self.store.stop())
        self.successResultOf(self.notices.stop())

    def kill(self) -> None:
        """End without a word, and begin again."""
        self.delivery._is_stopping = True
        self.spool.file.close()
        self.begin()

    def make_bucket(self, *events: str, prefix: str = "", suffix: str = "") -> None:
        """The bucket."""
        self.successResultOf(self.store.create_bucket("box"))
        rule = make_rule(
            "it",
            "Queue",
            "arn:storehouse:sqs:us-east-1::hooks",
            events or ALL,
            [("prefix", prefix), ("suffix", suffix)],
        )
        self.successResultOf(self.store.set_bucket_config("box", CONFIGURATION, encode_rules([rule])))

    def put(self, key: str, data: bytes = b"data", **more: Any) -> Any:
        """Store an object."""
        return self.successResultOf(self.store.put("box", key, BytesStream([data]), len(data), **more))

    def refuse(self, count: int) -> None:
        """Have the destination refuse so many."""
        self.target.answers += [RemoteUnavailable("not now") for _ in range(count)]

    def states(self) -> list[int]:
        """What the spool contains."""
        return [each.state for each in self.spool.file.listed()]
