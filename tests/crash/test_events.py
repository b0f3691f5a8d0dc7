"""C{kill -9} while objects change and an endpoint often fails: each event arrives, in order for each key."""

from __future__ import annotations

import os
import signal
import threading
from base64 import b64encode
from collections import defaultdict
from hashlib import md5
from http.client import HTTPException
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.around import on_disk
from tests.crash.s3 import Client
from tests.integration.process import wait_for
from tests.integration.receiver import Receiver, write_secret
from tests.integration.s3clients.case import S3House
from tests.soak import count, long_loop, rounds

CONFIGURATION = (
    b"<NotificationConfiguration><QueueConfiguration><Queue>arn:storehouse:sqs:us-east-1::hooks</Queue>"
    b"<Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event><Event>s3:ObjectTagging:*</Event>"
    b"</QueueConfiguration></NotificationConfiguration>"
)

TAGS = b"<Tagging><TagSet><Tag><Key>a</Key><Value>%d</Value></Tag></TagSet></Tagging>"


class KillTests(SynchronousTestCase):
    """At least once, whenever a process ends."""

    def setUp(self) -> None:
        self.moods = Random(5)
        self.is_kind = False
        self.receiver = Receiver(self.mood)
        self.addCleanup(self.receiver.stop)
        directory = on_disk(self)
        write_secret(f"{directory}/secrets")
        self.house = S3House(
            os.path.join(directory, "house"),
            *("--append", "off", "--sfsp", "off", "--notify", f"hooks={self.receiver.url}"),
            *("--notify-secrets", f"{directory}/secrets"),
            settings={"notify-timeout": 2},
        )
        self.addCleanup(self.house.kill)
        self.house.start()
        self.acknowledged: set[str] = set()
        self.strange: list[object] = []

    def mood(self) -> str:
        return "take" if self.is_kind else self.moods.choices(("take", "refuse", "hang", "half"), (90, 6, 1, 3))[0]

    def work(self, number: int, seed: int) -> None:
        """Change keys until the connection ends."""
        random, client = Random(seed), Client(self.house)
        try:
            while True:
                key = f"/box/{number}/{random.randrange(4)}"
                what = random.random()
                if what < 0.2:
                    answer = client.ask("DELETE", key)
                elif what < 0.35:
                    answer = client.ask("PUT", key, x_amz_copy_source="/box/source")
                elif what < 0.45:
                    tags = TAGS % random.randrange(1000)
                    digest = b64encode(md5(tags).digest()).decode()
                    answer = client.ask("PUT", f"{key}?tagging", tags, Content_MD5=digest)
                elif what < 0.6:
                    upload = client.begin(key)
                    part = client.part(key, upload, 1, random.randbytes(10))
                    body = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
                    answer = client.ask("POST", f"{key}?uploadId={upload}", body)
                else:
                    answer = client.ask("PUT", key, random.randbytes(10))
                if answer[0] in (200, 204):
                    if what >= 0.2:  # what was not there is not announced
                        self.acknowledged.add(client.answer["x-amz-request-id"])
                elif answer[0] != 404:
                    self.strange.append(answer)
        except (OSError, HTTPException):
            pass
        finally:
            client.close()

    def listed(self) -> str:
        return self.house.command_line("events", "ls", "--json", "--root", str(self.house.root))

    @long_loop
    def test_mixed_load(self) -> None:
        client = Client(self.house)
        self.assertEqual(client.ask("PUT", "/box")[0], 200)
        self.assertEqual(client.ask("PUT", "/box/source", b"source")[0], 200)
        self.assertEqual(client.ask("PUT", "/box?notification", CONFIGURATION)[0], 200)
        client.close()
        for seed in rounds(3):
            random = Random(seed)
            threads = [threading.Thread(target=self.work, args=(number, random.getrandbits(32))) for number in range(4)]
            for thread in threads:
                thread.start()
            enough = len(self.acknowledged) + random.randrange(20, 120)
            wait_for(lambda enough=enough: len(self.acknowledged) >= enough, "changes")  # type: ignore[misc]
            self.house.stop(signal.SIGKILL)
            for thread in threads:
                thread.join()
            self.house.restart()
            count("kills")
        self.assertEqual(self.strange, [])
        self.is_kind = True
        wait_for(lambda: not self.listed(), "the spool to be empty")
        self.check()

    def check(self) -> None:
        """Compare the delivered events with the acknowledged changes and with the objects."""
        self.assertEqual(self.receiver.wrong, [])
        bodies: dict[str, Any] = {}
        by_key: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for id, document in self.receiver.arrived:
            self.assertEqual(bodies.setdefault(id, document), document)
            for record in document.get("Records", ()):
                by_key[record["s3"]["object"]["key"]].append(record)
        told = {each["responseElements"]["x-amz-request-id"] for each in self.receiver.records}
        self.assertEqual(self.acknowledged - told, set())
        client = Client(self.house)
        for key, records in by_key.items():
            sequence = [each["s3"]["object"]["sequencer"] for each in records]
            self.assertEqual(sequence, sorted(sequence), key)
            last = [each for each in records if not each["eventName"].startswith("ObjectTagging")][-1]
            status, _ = client.ask("HEAD", f"/box/{key}")
            self.assertEqual(status, 404 if "Removed" in last["eventName"] else 200, key)
            if status == 200:
                self.assertEqual(client.answer["ETag"], f'"{last["s3"]["object"]["eTag"]}"')
        # What is there was announced.
        self.assertEqual(client.ask("GET", "/box?list-type=2")[1].count(b"<Key>"), 1 + self.there(by_key))
        client.close()
        count("events that arrived twice", len(self.receiver.arrived) - len(bodies))

    def there(self, by_key: dict[str, list[dict[str, Any]]]) -> int:
        """How many keys have an object, as the events say."""
        last = [
            [each["eventName"] for each in records if "Tagging" not in each["eventName"]][-1]
            for records in by_key.values()
        ]
        return sum("Created" in each for each in last)
