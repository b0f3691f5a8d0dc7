"""Conditions of many who want the same over S3, and C{kill -9} while objects are stored, completed and removed."""

from __future__ import annotations

import signal
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from hashlib import md5
from http.client import HTTPException
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.around import on_disk
from tests.crash.s3 import Client, Prepared, race
from tests.integration.s3clients.case import S3House
from tests.soak import count, long_loop, rounds


class _House(SynchronousTestCase):
    """A service on a real disk, with a bucket."""

    def setUp(self) -> None:
        # The other doors would only take ports.
        self.house = S3House(on_disk(self), "--append", "off", "--sfsp", "off")
        self.addCleanup(self.house.kill)
        self.house.start()
        self.client = self.connect()
        self.assertEqual(self.client.ask("PUT", "/box")[0], 200)

    def connect(self) -> Client:
        """A client."""
        client = Client(self.house)
        self.addCleanup(client.close)
        return client


class RaceTests(_House):
    """One of 8, or of 64, gets it, whatever the condition."""

    def one_wins(self, what: str, writers: list[Prepared], lost: frozenset[int] = frozenset({409, 412})) -> None:
        """
        @param what: what they want, for the count.
        @param lost: what the statuses of all but one are among.
        """
        # A Complete says in its body what became of it, if it took long.
        statuses = Counter(
            412 if b"PreconditionFailed" in body else status for status, body in race(self.house, writers)
        )
        won = sum(number for status, number in statuses.items() if status in (200, 204))
        self.assertEqual((won, set(statuses) - {200, 204} - lost), (1, set()), statuses)
        count(f"{what} of {len(writers)}")

    def prepared(self, method: str, target: str, body: bytes = b"", **fields: str) -> Prepared:
        """A request."""
        return Prepared(self.house, method, target, body, {name.replace("_", "-"): fields[name] for name in fields})

    def put(self, target: str, body: bytes) -> str:
        """Store an object. @return: its etag."""
        self.assertEqual(self.client.ask("PUT", target, body)[0], 200)
        return self.client.answer["ETag"]

    def completed(self, target: str, number: int) -> tuple[str, bytes]:
        """An upload in parts whose parts are there. @return: where to complete it, and by what."""
        upload = self.client.begin(target)
        part = self.client.part(target, upload, 1, b"%d" % number)
        body = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
        return f"{target}?uploadId={upload}", body

    def each_condition(self, key: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Conditions for writes: that there is no object yet, and that the object has not changed."""
        yield "If-None-Match", {"If_None_Match": "*"}
        yield "If-Match", {"If_Match": self.put(key, b"before")}

    @long_loop
    def test_put(self) -> None:
        for seed in rounds(2):
            for size in (8, 64):
                key = f"/box/put/{seed}/{size}"
                bodies = [b"%d" % each for each in range(size)]
                for name, fields in self.each_condition(key):
                    self.one_wins(f"Put {name}", [self.prepared("PUT", key, each, **fields) for each in bodies])
                    self.assertIn(self.client.ask("GET", key)[1], bodies)

    @long_loop
    def test_complete(self) -> None:
        for seed in rounds(1):
            for size in (8, 64):
                key = f"/box/complete/{seed}/{size}"
                for name, fields in self.each_condition(key):
                    places = [self.completed(key, each) for each in range(size)]
                    writers = [self.prepared("POST", where, body, **fields) for where, body in places]
                    self.one_wins(f"Complete {name}", writers)
                    self.assertIn(self.client.ask("GET", key)[1], [b"%d" % each for each in range(size)])

    @long_loop
    def test_copy(self) -> None:
        sources = [f"/box/source/{each}" for each in range(64)]
        for each in sources:
            self.put(each, each.encode())
        for seed in rounds(2):
            for size in (8, 64):
                key = f"/box/copy/{seed}/{size}"
                for name, fields in self.each_condition(key):
                    writers = [self.prepared("PUT", key, **fields, x_amz_copy_source=each) for each in sources[:size]]
                    self.one_wins(f"Copy {name}", writers)
                    self.assertIn(self.client.ask("GET", key)[1].decode(), sources[:size])

    @long_loop
    def test_delete(self) -> None:
        """What is not there any more, when a delete comes, is 404; of many keys in one request, an error in the response."""
        for seed in rounds(2):
            for size in (8, 64):
                key = f"/box/delete/{seed}/{size}"
                etag = self.put(key, b"before")
                deletes = [self.prepared("DELETE", key, If_Match=etag)] * size
                self.one_wins("Delete If-Match", deletes, frozenset({404, 409, 412}))
                self.assertEqual(self.client.ask("GET", key)[0], 404)
                etag = self.put(key, b"before")
                names = f"<Object><Key>{key.removeprefix('/box/')}</Key><ETag>{etag}</ETag></Object>"
                body = f"<Delete>{names}</Delete>".encode()
                digest = {"Content_MD5": b64encode(md5(body).digest()).decode()}
                answers = race(self.house, [self.prepared("POST", "/box?delete", body, **digest)] * size)
                self.assertEqual({status for status, _ in answers}, {200})
                self.assertEqual(sum(b"<Deleted>" in answer for _, answer in answers), 1)
                self.assertEqual(self.client.ask("GET", key)[0], 404)
                count(f"DeleteObjects If-Match of {size}")


class KillTests(_House):
    """What was acknowledged is there after C{kill -9}, and nothing is mixed of two."""

    @long_loop
    def test_complete(self) -> None:
        """
        A Complete that was sent when the process ended can be sent again, however far it came.

        Kills come earlier after one that came too late and later after one that came too early: most are between the time at
        which the object is there and that at which the response is.
        """
        delay = 0.02
        for seed in rounds(3):
            random = Random(seed)
            key, data = f"/box/complete/{seed}", random.randbytes(5 << 20)
            upload = self.client.begin(key)
            parts = [self.client.part(key, upload, 1, data), self.client.part(key, upload, 2, b"the end")]
            body = f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>".encode()
            answers: list[tuple[int, bytes]] = []
            thread = threading.Thread(target=self.try_to, args=(answers, "POST", f"{key}?uploadId={upload}", body))
            thread.start()
            time.sleep(delay * random.uniform(0.7, 1.3))
            self.restart()
            thread.join()
            came, found = self.client.ask("GET", key)
            if came == 200:
                self.assertEqual(found, data + b"the end")
            else:
                self.assertEqual((came, answers), (404, []))
            if answers:
                self.assertEqual(answers[0][0], 200, answers)
            delay *= 0.9 if answers else 1.1 if came == 404 else 1.0
            for _ in range(2):
                status, said = self.client.ask("POST", f"{key}?uploadId={upload}", body)
                self.assertEqual(status, 200, said)
                self.assertNotIn(b"<Error>", said)
            self.assertEqual(self.client.ask("GET", key), (200, data + b"the end"))
            count("kills " + ("after the answer" if answers else "before it" if came == 404 else "in between"))

    def try_to(self, answers: list[tuple[int, bytes]], method: str, target: str, body: bytes) -> None:
        """A request whose response may never come."""
        client = Client(self.house)
        try:
            answers.append(client.ask(method, target, body))
        except (OSError, HTTPException):
            pass
        finally:
            client.close()

    def restart(self) -> None:
        """Kill it, and start it again."""
        self.client.close()
        self.house.restart()
        self.client = self.connect()

    @long_loop
    def test_mixed_load(self) -> None:
        """Each of eight clients has keys of its own: after a kill each key is as last acknowledged, or as asked for since."""
        workers = [_Worker(self.house, number) for number in range(8)]
        for seed in rounds(2):
            random = Random(seed)
            threads = [threading.Thread(target=worker.work, args=(random.getrandbits(32),)) for worker in workers]
            for thread in threads:
                thread.start()
            time.sleep(random.uniform(0.2, 0.8))
            self.house.stop(signal.SIGKILL)
            for thread in threads:
                thread.join()
            self.restart()
            for worker in workers:
                self.assertEqual(worker.strange, [])
                for key, allowed in worker.allowed().items():
                    status, body = self.client.ask("GET", key)
                    found = body if status == 200 else None
                    self.assertIn(status, (200, 404))
                    self.assertIn(found, allowed, f"{key}: {status} {body[:40]!r}")
                    worker.seen(key, found)
            count("kills")


class _Worker:
    """
    Stores, completes, copies and removes until the connection ends.

    @ivar strange: responses that were neither a success nor the end.
    """

    def __init__(self, house: S3House, number: int) -> None:
        self._house = house
        self._number = number
        self._made = 0
        self._acknowledged: dict[str, bytes | None] = {}
        self._asked: dict[str, bytes | None] = {}
        self.strange: list[tuple[int, bytes]] = []

    def allowed(self) -> dict[str, list[bytes | None]]:
        """What each key may be now."""
        keys = {*self._acknowledged, *self._asked}
        return {
            key: [self._acknowledged.get(key), *([self._asked[key]] if key in self._asked else [])]
            for key in sorted(keys)
        }

    def seen(self, key: str, found: bytes | None) -> None:
        """From here on it is that."""
        self._asked.pop(key, None)
        self._acknowledged[key] = found

    def work(self, seed: int) -> None:
        random = Random(seed)
        client = Client(self._house)
        try:
            while True:
                self._step(client, random)
        except (OSError, HTTPException):
            pass
        finally:
            client.close()

    def _step(self, client: Client, random: Random) -> None:
        key = f"/box/{self._number}/{random.randrange(6)}"
        self._made += 1
        # A few bytes, or some that take several reads; each of them says whose it is.
        value = b"%d of %d;" % (self._made, self._number) * random.choice((1, 1, 1, 500, 40_000))
        what = random.random()
        if what < 0.2:
            self._asked[key] = None
            answer = client.ask("DELETE", key)
            value_now: bytes | None = None
        elif what < 0.35:
            upload = client.begin(key)
            part = client.part(key, upload, 1, value)
            self._asked[key] = value_now = value
            body = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
            answer = client.ask("POST", f"{key}?uploadId={upload}", body)
        elif what < 0.5 and (sources := [each for each, held in self._acknowledged.items() if held and each != key]):
            source = random.choice(sources)
            self._asked[key] = value_now = self._acknowledged[source]
            answer = client.ask("PUT", key, x_amz_copy_source=source)
        elif what < 0.55:
            # Changes nothing, so nothing is asked for.
            answer = client.ask("PUT", key, value, If_Match='"none"')
            if answer[0] not in (404, 412):
                self.strange.append(answer)
            return
        else:
            self._asked[key] = value_now = value
            answer = client.ask("PUT", key, value)
        if answer[0] not in (200, 204) or b"<Error>" in answer[1]:
            self.strange.append(answer)
        else:
            self.seen(key, value_now)
