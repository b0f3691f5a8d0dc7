"""Events of a real service: boto3 configures them, every door causes them, and an HTTP endpoint, the append log and a stream get them."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any
from urllib.request import Request, urlopen

import boto3
import requests
from botocore.exceptions import ClientError
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.process import wait_for
from tests.integration.receiver import SECRET, Receiver, write_secret
from tests.integration.s3clients.case import REGION, S3House

TABLES = """
[archive.streams.events]
[archive.streams.shipped]
ship = "own"
roll = [{checker = "records", roll_records = 1}]
[destinations.own]
kind = "store"
bucket = "archives"
"""

CREATED = {"QueueArn": "arn:storehouse:sqs:us-east-1::hooks", "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}


class EventsCase(SynchronousTestCase):
    """A service with destinations, and an endpoint."""

    doors: tuple[str, ...] = ("--sfsp", "off")
    https = False
    settings: Mapping[str, int] = {}

    def setUp(self) -> None:
        self.receiver = Receiver(lambda: self.moods.pop(0) if self.moods else "take")
        self.addCleanup(self.receiver.stop)
        self.moods: list[str] = []
        self.directory = os.path.abspath(self.mktemp())
        write_secret(f"{self.directory}/secrets")
        os.makedirs(f"{self.directory}/house")
        with open(f"{self.directory}/house/tables.toml", "w", encoding="utf-8") as file:
            file.write(TABLES)
        destinations = f"hooks={self.receiver.url},log=append:events/s3,stream=archive:events,gone=http://127.0.0.1:9/"
        with open(os.open(f"{self.directory}/secrets/gone", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("x")
        self.house = S3House(
            f"{self.directory}/house",
            *self.doors,
            *("--notify", destinations, "--notify-secrets", f"{self.directory}/secrets", "--config", "tables.toml"),
            settings={"notify-timeout": 2, **self.settings},
            https=self.https,
        )
        self.addCleanup(self.house.kill)
        self.house.start()
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.house.endpoint,
            aws_access_key_id=self.house.key_id,
            aws_secret_access_key=self.house.secret,
            region_name=REGION,
        )

    def configure(self, bucket: str, *queues: dict[str, Any]) -> None:
        self.client.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"QueueConfigurations": list(queues)}
        )

    def arrives(self, *names: str) -> None:
        """Wait for these events, which are all, in any order; then forget them."""
        wait_for(lambda: len(self.receiver.names) >= len(names), f"{names}, not {self.receiver.names}")
        self.assertEqual(sorted(self.receiver.names), sorted(names))
        self.receiver.arrived.clear()

    def events(self, *words: str) -> str:
        return self.house.command_line("events", *words, "--root", str(self.house.root))

    def refused(self, call: Callable[..., object], *given: Any) -> tuple[str, str]:
        error = self.assertRaises(ClientError, call, *given).response["Error"]
        return error["Code"], error["Message"]


class BotoTests(EventsCase):
    """Over S3."""

    def test_configured(self) -> None:
        client = self.client
        client.create_bucket(Bucket="box")
        self.assertNotIn("QueueConfigurations", client.get_bucket_notification_configuration(Bucket="box"))
        rules = [{"Name": "Prefix", "Value": "in/"}, {"Name": "Suffix", "Value": ".jpg"}]
        queue = {**CREATED, "Id": "mine", "Filter": {"Key": {"FilterRules": rules}}}
        topic = {"Id": "t", "TopicArn": "arn:storehouse:sns:us-east-1::log", "Events": ["s3:ObjectTagging:Put"]}
        function = {
            "Id": "f",
            "LambdaFunctionArn": "arn:storehouse:lambda:us-east-1::stream",
            "Events": ["s3:ObjectTagging:Delete"],
        }
        given = {
            "QueueConfigurations": [queue],
            "TopicConfigurations": [topic],
            "LambdaFunctionConfigurations": [function],
        }
        client.put_bucket_notification_configuration(Bucket="box", NotificationConfiguration=given)
        found = client.get_bucket_notification_configuration(Bucket="box")
        self.assertEqual({name: found[name] for name in given}, given)
        wait_for(lambda: len(self.receiver.arrived) == 1, "the test event")
        self.assertEqual(self.receiver.arrived[0][1]["Event"], "s3:TestEvent")
        for wrong, code, text in (
            ({**CREATED, "QueueArn": "arn:aws:sqs:us-east-1:1:hooks"}, "InvalidArgument", "could not be parsed"),
            ({**CREATED, "QueueArn": "arn:storehouse:sqs:::other"}, "InvalidArgument", "Unable to validate"),
            ({**CREATED, "Events": ["s3:Replication:*"]}, "NotImplemented", "never happens"),
        ):
            said = self.refused(self.configure, "box", wrong)
            self.assertEqual((said[0], text in said[1]), (code, True), said)
        self.assertEqual(
            self.refused(self.configure, "box", CREATED, {**CREATED, "Events": ["s3:ObjectCreated:Put"]})[0],
            "InvalidArgument",
        )
        client.put_object(Bucket="box", Key="in/a b.jpg", Body=b"x", Tagging="k=v")
        client.put_object(Bucket="box", Key="in/a.png", Body=b"x")
        client.delete_object_tagging(Bucket="box", Key="in/a b.jpg")
        tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
        client.put_object_tagging(Bucket="box", Key="in/a b.jpg", Tagging=tags)
        self.arrives("ObjectCreated:Put box/in/a+b.jpg")

        server = f"http://127.0.0.1:{self.house.append_port}"

        def has_all() -> bool:
            try:
                said = self.house.command_line("scan", "s3", "--prefix", "events", "--server", server)
            except AssertionError:
                return False  # nothing was appended yet
            return "s3:TestEvent" in said and "ObjectTagging:Put" in said

        wait_for(has_all, "the append log")
        self.assertEqual(self.receiver.wrong, [])
        self.configure("box")
        client.put_object(Bucket="box", Key="in/a.jpg", Body=b"x")
        self.assertEqual(self.receiver.names, [])

    def test_operations(self) -> None:
        client = self.client
        client.create_bucket(Bucket="box")
        self.configure("box", CREATED)
        client.put_object(Bucket="box", Key="a", Body=b"x")
        client.copy_object(Bucket="box", Key="b", CopySource="box/a")
        upload = client.create_multipart_upload(Bucket="box", Key="c")["UploadId"]
        part = client.upload_part(Bucket="box", Key="c", UploadId=upload, PartNumber=1, Body=b"x")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        client.complete_multipart_upload(Bucket="box", Key="c", UploadId=upload, MultipartUpload=parts)
        form = client.generate_presigned_post("box", "d")
        self.assertEqual(requests.post(form["url"], form["fields"], files={"file": b"x"}, timeout=60).status_code, 204)
        client.delete_objects(Bucket="box", Delete={"Objects": [{"Key": "a"}, {"Key": "none"}]})
        self.arrives(
            "ObjectCreated:Put box/a",
            "ObjectCreated:Copy box/b",
            "ObjectCreated:CompleteMultipartUpload box/c",
            "ObjectCreated:Post box/d",
            "ObjectRemoved:Delete box/a",
        )

    def test_stubborn(self) -> None:
        """An endpoint that refuses, hangs and disconnects gets all events, in order for each key; an absent one delays no others."""
        client = self.client
        client.create_bucket(Bucket="box")
        client.create_bucket(Bucket="away")
        self.configure("box", CREATED)
        gone = {**CREATED, "QueueArn": "arn:storehouse:sqs:us-east-1::gone", "Id": "g"}
        self.configure("away", gone)
        self.moods += ["refuse", "half", "refuse", "hang", "refuse"]
        for number in range(3):
            client.put_object(Bucket="box", Key="a", Body=b"%d" % number)
            client.put_object(Bucket="box", Key="b", Body=b"%d" % number)
            client.put_object(Bucket="away", Key="a", Body=b"x")
        wait_for(lambda: len({id for id, _ in self.receiver.arrived}) >= 7, "six events and a test")
        for key in ("a", "b"):
            sequence = [
                each["s3"]["object"]["sequencer"]
                for each in self.receiver.records
                if each["s3"]["object"]["key"] == key
            ]
            self.assertEqual((len(set(sequence)), sequence), (3, sorted(sequence)))
        self.assertEqual(self.events("ls", "--to", "gone", "--json").count("\n"), 4)
        self.assertNotIn(SECRET.decode(), self.house.output)


class DeadTests(EventsCase):
    """An endpoint that is away for too long."""

    settings = {"notify-keep": 1}

    def test_dead(self) -> None:
        self.client.create_bucket(Bucket="away")
        self.configure("away", {**CREATED, "QueueArn": "arn:storehouse:sqs:us-east-1::gone"})
        for number in range(3):
            self.client.put_object(Bucket="away", Key="a", Body=b"%d" % number)
        wait_for(lambda: self.events("ls", "--dead", "--json").count("\n") == 4, "dead letters")
        dead = [json.loads(line) for line in self.events("ls", "--to", "gone", "--json").splitlines()]
        self.assertEqual({each["state"] for each in dead}, {"dead"})
        self.assertTrue(all("127.0.0.1:9" in each["error"] for each in dead))
        wait_for(lambda: b'events_dead{destination="gone"} 4' in self.metrics(), "the metric of dead letters")
        self.events("drop", dead[0]["event"])
        self.events("retry", dead[1]["event"])
        self.assertEqual(self.events("ls", "--json").count("\n"), 3)
        self.events("drop", "--to", "gone", "--waiting")
        self.assertEqual(self.events("ls", "--json"), "")

    def metrics(self) -> bytes:
        return self.house.ask(self.house.admin_port, "GET", "/metrics")[1]


class DoorsTests(EventsCase):
    """What other doors do is announced as well."""

    doors = ()
    https = True

    def test_doors(self) -> None:
        for bucket in ("uploads", "sfsp", "archives", "box"):
            try:
                self.client.create_bucket(Bucket=bucket)
            except self.client.exceptions.BucketAlreadyOwnedByYou:
                pass  # a door has made it
            self.configure(bucket, CREATED)
        root = str(self.house.root)
        path = f"{self.directory}/file"
        with open(path, "wb") as file:
            file.write(b"some bytes")
        self.house.command_line("put", path, "box/a", "--root", root)
        self.arrives("ObjectCreated:Put box/a")
        self.house.command_line(
            *("sfsp", "put", path, "--name", "n", "--server", f"sfsp://127.0.0.1:{self.house.sfsp_port}")
        )
        self.arrives("ObjectCreated:Put sfsp/n/00000000000000000000")
        base = f"https://localhost:{self.house.https_port}"
        auth, verify = (self.house.key_id, self.house.secret), str(self.house.certificate)
        self.assertLess(requests.put(f"{base}/upload/b", b"x", auth=auth, verify=verify, timeout=60).status_code, 300)
        wait_for(lambda: bool(self.receiver.names), "an upload")
        self.assertEqual(self.receiver.records[0]["userIdentity"], {"principalId": "tester"})
        self.arrives("ObjectCreated:Put uploads/b")
        fields = {
            "Tus-Resumable": "1.0.0",
            "Upload-Length": "1",
            "Upload-Metadata": f"filename {base64.b64encode(b'c').decode()}",
            "Content-Type": "application/offset+octet-stream",
        }
        begun = requests.post(f"{base}/tus/", b"x", headers=fields, auth=auth, verify=verify, timeout=60)
        self.assertEqual(begun.status_code, 201, begun.text)
        wait_for(lambda: bool(self.receiver.names), "a resumable upload")
        self.assertEqual([each.partition(" ")[2] for each in self.receiver.names], ["uploads/c"])
        self.receiver.arrived.clear()
        stored = f"http://127.0.0.1:{self.house.archive_port}/archive/shipped"
        for record in (b"one", b"two"):
            with urlopen(Request(stored, record, {"Content-Type": "text/plain"}), timeout=60) as answer:
                self.assertEqual(answer.status, 200)
        wait_for(lambda: bool(self.receiver.names), "an archive")
        self.assertTrue(self.receiver.names[0].startswith("ObjectCreated:Put archives/shipped/"))

    def test_without_a_destination(self) -> None:
        """Events for one that is not configured any more stay in the spool, which the log and the metrics say."""
        self.client.create_bucket(Bucket="box")
        self.moods += ["refuse"] * 100
        self.configure("box", CREATED)
        self.client.put_object(Bucket="box", Key="a", Body=b"x")
        self.house.stop(signal.SIGTERM)
        command = list(self.house.command)
        at = command.index("--notify")
        self.house.command = command[:at] + command[at + 2 :]
        self.house.start()
        wait_for(lambda: "which is no destination of this service" in self.house.output, "the log")
        metrics = self.house.ask(self.house.admin_port, "GET", "/metrics")[1]
        self.assertIn(b'storehouse_events_waiting{destination="hooks"} 2.0', metrics)
        self.client.put_object(Bucket="box", Key="b", Body=b"x")
        self.house.stop(signal.SIGTERM)
        self.moods.clear()
        self.house.command = command
        self.house.start()
        self.arrives("ObjectCreated:Put box/a", "ObjectCreated:Put box/b")

    def test_without_a_service(self) -> None:
        """What a command does meanwhile is announced by the next service."""
        self.client.create_bucket(Bucket="box")
        self.configure("box", CREATED)
        wait_for(lambda: len(self.receiver.arrived) == 1, "the test event")
        self.house.stop(signal.SIGTERM)
        path = f"{self.directory}/file"
        with open(path, "wb") as file:
            file.write(b"some bytes")
        root = str(self.house.root)
        self.house.command_line("put", path, "box/a", "--root", root)
        self.house.command_line("rm", "box/a", "--root", root)
        self.assertEqual(self.events("ls", "--json").count("\n"), 2)
        self.assertEqual(self.receiver.names, [])
        self.house.start()
        self.arrives("ObjectCreated:Put box/a", "ObjectRemoved:Delete box/a")
