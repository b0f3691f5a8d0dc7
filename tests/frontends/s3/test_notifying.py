"""Tests of L{storehouse.frontends.s3.notifying}."""

from __future__ import annotations

import os

from twisted.internet.task import Clock

from storehouse.core.jobs import InlineDisk
from storehouse.frontends.s3.call import Door
from storehouse.frontends.s3.door import S3Door
from storehouse.storage.notifications.notices import Notices
from storehouse.storage.notifications.spool import Spool, SpoolFile
from storehouse.testing.objects import memory_object_store
from tests.frontends.s3.playing import NOW, AnyAuthenticator, S3Case, allow_signed

ARN = "arn:storehouse:sqs:us-east-1::hooks"


def rule(
    inner: str = "", kind: str = "Queue", arn: str = ARN, events: str = "<Event>s3:ObjectCreated:*</Event>"
) -> str:
    """One rule of a document."""
    return f"<{kind}Configuration><{kind}>{arn}</{kind}>{events}{inner}</{kind}Configuration>"


def filtered(*rules: tuple[str, str]) -> str:
    """A filter."""
    inner = "".join(f"<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>" for name, value in rules)
    return f"<Filter><S3Key>{inner}</S3Key></Filter>"


class NotifyingTests(S3Case):
    """The configuration of a bucket."""

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.successResultOf(self.store.create_bucket("box"))

    def make_door(self) -> S3Door:
        """With a store that announces."""
        self.clock = Clock()
        self.clock.advance(NOW)
        self.spool = Spool(
            SpoolFile(os.path.join(os.path.abspath(self.mktemp()), "s", "spool.db")), InlineDisk(), 1 << 20
        )
        os.makedirs(os.path.dirname(os.path.dirname(self.spool.file.path)))
        self.notices = Notices(self.spool, ["hooks"], clock=self.clock.seconds)
        self.store = memory_object_store(clock=self.clock, notices=self.notices)
        self.addCleanup(lambda: self.successResultOf(self.notices.stop()))
        return S3Door(
            Door(self.store, self.accounts, self.settings, self.clock, InlineDisk()), AnyAuthenticator(), allow_signed
        )

    def document(self, *rules: str) -> bytes:
        return f"<NotificationConfiguration>{''.join(rules)}</NotificationConfiguration>".encode()

    def configure(self, *rules: str) -> None:
        self.done("PUT /box?notification", self.document(*rules))

    def say(self, code: str, text: str, *rules: str) -> None:
        """Responses to invalid documents, which change nothing."""
        said = self.refused(code, "PUT /box?notification", self.document(*rules))
        self.assertIn(text, said.value("Message"))

    def test_empty(self) -> None:
        found = self.read("NotificationConfiguration", "GET /box?notification")
        self.assertEqual(found.children, [])
        self.refused("NoSuchBucket", "GET /nobox?notification")
        self.refused("NoSuchBucket", "PUT /nobox?notification", self.document(rule()))
        self.configure()
        self.refused("MissingRequestBodyError", "PUT /box?notification", b"")

    def test_kept(self) -> None:
        self.configure(
            rule("<Id>one</Id>" + filtered(("prefix", "a &amp; b/"), ("Suffix", ".jpg"))),
            rule(kind="Topic", arn="arn:storehouse:sns:::hooks", events="<Event>s3:ObjectRemoved:Delete</Event>"),
        )
        queue, topic = self.read("NotificationConfiguration", "GET /box?notification").children
        self.assertEqual((queue.name, queue.value("Id"), queue.value("Queue")), ("QueueConfiguration", "one", ARN))
        self.assertEqual([each.text for each in queue.all("Event")], ["s3:ObjectCreated:*"])
        keys = queue.child("Filter").child("S3Key")  # type: ignore[union-attr]
        assert keys is not None
        self.assertEqual(
            [(each.value("Name"), each.value("Value")) for each in keys.children],
            [("Prefix", "a & b/"), ("Suffix", ".jpg")],
        )
        self.assertEqual((topic.name, topic.value("Topic")), ("TopicConfiguration", "arn:storehouse:sns:::hooks"))
        self.assertTrue(topic.value("Id"))
        self.configure()
        self.assertEqual(self.read("NotificationConfiguration", "GET /box?notification").children, [])

    def test_announced(self) -> None:
        self.configure(rule())
        self.done("PUT /box/a", b"x")
        test, put = self.spool.file.listed()
        self.assertIn(b"s3:TestEvent", test.body)
        for word in (b'"principalId":"ann"', b'"sourceIPAddress":"127.0.0.1"', b'"eventName":"ObjectCreated:Put"'):
            self.assertIn(word, put.body)

    def test_who_asks(self) -> None:
        """Each event names its request, whichever path that took."""
        self.configure(rule())
        for user in ("ann", "bob"):
            for fields in ((), ("x-amz-meta-a: b",), ("Expect: 100-continue",)):
                answer = self.done("PUT /box/a", b"x", *fields, user=user)
                body = self.spool.file.listed()[-1].body.decode()
                self.assertIn(f'"principalId":"{user}"', body)
                self.assertIn(answer.fields["x-amz-request-id"], body)

    def test_refused(self) -> None:
        self.say("InvalidArgument", "Unable to validate", rule(arn="arn:storehouse:sqs:us-east-1::other"))
        self.say("InvalidArgument", "could not be parsed", rule(arn="arn:aws:sqs:us-east-1:1:hooks"))
        self.say("InvalidArgument", "not supported", rule(events="<Event>s3:Nothing</Event>"))
        self.say("InvalidArgument", "needs an event", rule(events=""))
        self.say("InvalidArgument", "ambiguously defined", rule(), rule(filtered(("prefix", "a"))))
        self.say("InvalidArgument", "either prefix or suffix", rule(filtered(("infix", "a"))))
        self.say("InvalidArgument", "more than one prefix", rule(filtered(("prefix", "a"), ("prefix", "b"))))
        self.say("NotImplemented", "never happens", rule(events="<Event>s3:ObjectRestore:*</Event>"))
        self.say("NotImplemented", "EventBridge", "<EventBridgeConfiguration/>")
        for wrong in (
            "<StackConfiguration/>",
            rule("<Other/>"),
            rule("<Id>a</Id><Id>b</Id>"),
            rule("<Filter><Key/></Filter>"),
            rule("<Filter><S3Key><Other/></S3Key></Filter>"),
            "<QueueConfiguration/>",
        ):
            self.refused("MalformedXML", "PUT /box?notification", self.document(wrong))
        self.assertEqual(self.read("NotificationConfiguration", "GET /box?notification").children, [])
        self.assertEqual(self.spool.file.is_open, False)
