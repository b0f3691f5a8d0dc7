"""Tests of L{storehouse.storage.notifications.records}."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from storehouse.storage.notifications.records import Circumstances, event_of, test_event
from storehouse.storage.notifications.values import Change, make_rule

RULE = make_rule("mine", "Queue", "arn:storehouse:sqs:us-east-1::hooks", ("s3:ObjectCreated:*",), ())
ABOUT = Circumstances(1_790_000_000.5, "ann", "192.0.2.1", "0123456789ABCDEF")


class RecordTests(SynchronousTestCase):
    """What is sent."""

    def test_created(self) -> None:
        change = Change("ObjectCreated:Put", "box", "a b/\u00e4+c", "id", 5, "5d41402abc4b2a76b9719d911017c592", "v1")
        self.assertEqual(
            json.loads(event_of(change, RULE, 0x1234, ABOUT, "owner", "eu-west-1")),
            {
                "Records": [
                    {
                        "eventVersion": "2.1",
                        "eventSource": "aws:s3",
                        "awsRegion": "eu-west-1",
                        "eventTime": "2026-09-21T14:13:20.500Z",
                        "eventName": "ObjectCreated:Put",
                        "userIdentity": {"principalId": "ann"},
                        "requestParameters": {"sourceIPAddress": "192.0.2.1"},
                        "responseElements": {"x-amz-request-id": "0123456789ABCDEF", "x-amz-id-2": ""},
                        "s3": {
                            "s3SchemaVersion": "1.0",
                            "configurationId": "mine",
                            "bucket": {
                                "name": "box",
                                "ownerIdentity": {"principalId": "owner"},
                                "arn": "arn:aws:s3:::box",
                            },
                            "object": {
                                "key": "a+b/%C3%A4%2Bc",
                                "size": 5,
                                "eTag": "5d41402abc4b2a76b9719d911017c592",
                                "versionId": "v1",
                                "sequencer": "0000000000001234",
                            },
                        },
                    }
                ]
            },
        )

    def object_of(self, change: Change) -> tuple[str, dict[str, object]]:
        record = json.loads(event_of(change, RULE, 7, ABOUT, "", "us-east-1"))["Records"][0]
        return record["eventVersion"], record["s3"]["object"]

    def test_others(self) -> None:
        sequencer = "0000000000000007"
        self.assertEqual(
            self.object_of(Change("ObjectRemoved:Delete", "box", "a", "id", 5, "abc")),
            ("2.1", {"key": "a", "sequencer": sequencer}),
        )
        self.assertEqual(
            self.object_of(Change("ObjectTagging:Put", "box", "a", "id", 5, "0" * 48)),
            ("2.3", {"key": "a", "eTag": "0" * 48 + "-1", "sequencer": sequencer}),
        )

    def test_test(self) -> None:
        self.assertEqual(
            json.loads(test_event("box", ABOUT)),
            {
                "Service": "Amazon S3",
                "Event": "s3:TestEvent",
                "Time": "2026-09-21T14:13:20.500Z",
                "Bucket": "box",
                "RequestId": "0123456789ABCDEF",
                "HostId": "",
            },
        )
