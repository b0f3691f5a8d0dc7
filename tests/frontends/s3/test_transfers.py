"""Tests of L{storehouse.frontends.s3.transfers}."""

from __future__ import annotations

from contextlib import ExitStack

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.errors import TooManyUploads
from storehouse.frontends.s3.access.caller import Caller
from storehouse.frontends.s3.call import Door
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.signing.bodies import BATCH
from storehouse.frontends.s3.transfers import Transfers
from storehouse.storage.accounts.interfaces import User
from tests.frontends.http.wire import Connection
from tests.frontends.s3.playing import AnyAuthenticator, S3Case, allow_signed

#: Bytes that are not small.
LARGE = 100_000


def caller(name: str, address: str, key: str = "") -> Caller:
    """The caller of a request."""
    return Caller(User(name, "SH", False, False, 0.0, 0.0), key or f"SH{name}", address)


class TransfersTests(SynchronousTestCase):
    """The shares."""

    def test_shares(self) -> None:
        """The last ones are for others: other addresses, and other users or keys there."""
        transfers = Transfers(16)
        with ExitStack() as stack:
            for number in range(14):
                stack.enter_context(transfers.one(caller("ann", f"192.0.2.{number}")))
            for again in (
                caller("ann", "198.51.100.1"),
                caller("bob", "192.0.2.1"),
                caller("cy", "203.0.113.1", "SHann"),
            ):
                with self.assertRaises(TooManyUploads):
                    stack.enter_context(transfers.one(again))
            # A form does not count for the user who signed it.
            stack.enter_context(transfers.one(caller("ann", "198.51.100.1"), True))
            stack.enter_context(transfers.one(caller("bob", "203.0.113.1")))
            with self.assertRaisesRegex(TooManyUploads, "16 uploads"):
                stack.enter_context(transfers.one(caller("cy", "203.0.113.9")))
            found = {sample.name: sample.value for family in transfers.collect() for sample in family.samples}
            self.assertEqual(found["storehouse_s3_transfers"], 16)
            self.assertEqual(found["storehouse_s3_transfers_refused_total"], 4)
        with transfers.one(caller("cy", "203.0.113.9")):
            pass

    def test_memory(self) -> None:
        """The more there are, the less each of them keeps."""
        transfers = Transfers(1024, 8 << 20)
        self.assertEqual(transfers.batch, BATCH)
        with ExitStack() as stack:
            for number in range(64):
                stack.enter_context(transfers.one(caller("ann", f"192.0.2.{number}")))
            self.assertEqual(transfers.batch, (8 << 20) // 128)
        self.assertEqual(transfers.batch, BATCH)


class DoorTests(S3Case):
    """What counts."""

    def make_door(self) -> S3Door:
        shared = Door(self.store, self.accounts, self.settings, self.clock, InlineDisk(), transfers=Transfers(2))
        return S3Door(shared, AnyAuthenticator(), allow_signed)

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.done("PUT /box", b"")
        self.done("PUT /box/a", b"data")

    def begin(self, line: str, *fields: str) -> Connection:
        """A request of whose body not all has come."""
        connection = Connection(self.site)
        head = [f"{line} HTTP/1.1", "Host: localhost", "Authorization: Test ann", *fields, "", ""]
        connection.send("\r\n".join(head).encode() + b"x")
        return connection

    def test_uploads(self) -> None:
        """One too many is refused before its body is asked for; small ones are not counted."""
        upload = self.successResultOf(self.store.begin_upload("box", "b"))
        open_ones = [
            self.begin("PUT /box/big", f"Content-Length: {LARGE}"),
            self.begin(f"PUT /box/b?partNumber=1&uploadId={upload}", "Transfer-Encoding: chunked"),
        ]
        refused = self.begin("PUT /box/more", f"Content-Length: {LARGE}", "Expect: 100-continue")
        self.assertTrue(refused.received.startswith(b"HTTP/1.1 503 "), refused.received)
        for said in (b"<Code>SlowDown</Code>", b"s3-max-uploads", b"x-amz-retry-after: 1000"):
            self.assertIn(said.lower(), refused.received.lower())
        self.done("PUT /box/small", b"x" * 65536)
        self.done("GET /box/a")
        self.refused("SlowDown", "PUT /box/copy", b"", "x-amz-copy-source: box/a")
        for connection in open_ones:
            connection.close()
        self.done("PUT /box/more", b"x" * LARGE)
        self.done("PUT /box/copy", b"", "x-amz-copy-source: box/a")

    def test_client_leaves(self) -> None:
        """A copy continues when its client has left, and counts until it ends."""
        going: list[Deferred[object]] = []
        copy = self.store.copy

        def slow(*args: object, **kwargs: object) -> Deferred[object]:
            going.append(Deferred())
            going[-1].addCallback(lambda _: copy(*args, **kwargs))  # type: ignore[arg-type]
            return going[-1]

        self.patch(self.store, "copy", slow)
        for _ in range(2):
            self.begin("PUT /box/c", "x-amz-copy-source: box/a", "Content-Length: 0").close()
        self.refused("SlowDown", "PUT /box/d", b"", "x-amz-copy-source: box/a")
        for each in going:
            each.callback(None)
        self.patch(self.store, "copy", copy)
        self.done("PUT /box/d", b"", "x-amz-copy-source: box/a")
