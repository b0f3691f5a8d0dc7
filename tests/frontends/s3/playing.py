"""The S3 door in memory: a store without files, a network without sockets, and a client that asks over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings, S3Settings
from storehouse.core.jobs import IDisk, InlineDisk
from storehouse.core.streams import IByteStream
from storehouse.core.xmltext import Node, parse
from storehouse.frontends.http.request import DoorRequest
from storehouse.frontends.http.site import DoorSite
from storehouse.frontends.s3.call import Call, Door
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.errors import S3Error
from storehouse.storage.accounts.interfaces import User
from storehouse.testing.accounts import MemoryAccounts
from storehouse.testing.objects import memory_object_store
from tests.frontends.http.wire import Answer, Connection, request, split_answers

__all__ = ["NOW", "AnyAuthenticator", "S3Case", "allow_signed", "make_site"]

#: Seconds since 1970 UTC when tests of this door begin.
NOW = 1_790_000_000.0


@attrs.frozen
class _Signed:
    user: User | None
    key_id: str
    kind: str = "REST-HEADER"
    age: float = 0.0
    algorithm: str = "AWS4-HMAC-SHA256"
    form: str = ""
    trailer: str = ""
    trailers: Mapping[str, str] = attrs.field(factory=dict)

    def stream(self, body: IByteStream, length: int | None, disk: IDisk, batch: int) -> tuple[IByteStream, int | None]:
        return body, length


def make_site(door: S3Door, clock: Clock, lane: bool = True) -> DoorSite:
    """The site of a door, as the service has it; perhaps without the lane."""
    site = DoorSite(door.resource, clock, ConnectionSettings(), door.lane if lane else None, name="s3")
    site.asks = True
    site.begin = door.begin
    site.explain = door.explain
    site.explain_refusal = door.explain_refusal
    return site


class AnyAuthenticator:
    """Believes whom a request names: C{Authorization: Test NAME}; C{root} is an administrator."""

    def authenticate(self, request: DoorRequest, query: Mapping[str, str], host_bucket: str = "") -> _Signed:
        """Without the field nobody makes it."""
        value = (request.requestHeaders.getRawHeaders(b"Authorization") or [b""])[0].decode()
        name = value.removeprefix("Test ")
        if not name:
            return _Signed(None, "")
        return _Signed(User(name, f"SH{name.upper()}", name == "root", False, 0.0, 0.0), f"SH{name.upper()}")


async def allow_signed(call: Call) -> None:
    """Everybody who says who it is may do all."""
    if call.caller.user is None:
        raise S3Error("AccessDenied")


class S3Case(SynchronousTestCase):
    """
    A door to a store in memory.

    @ivar store: the store behind it.
    @cvar settings: of the door.
    @cvar reserved: buckets that other doors make.
    """

    settings = S3Settings()
    reserved: frozenset[str] = frozenset()

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store = memory_object_store(clock=self.clock)
        self.addCleanup(lambda: self.successResultOf(self.store.stop()))
        self.accounts = MemoryAccounts(clock=self.clock.seconds)
        self.door = self.make_door()
        self.site = make_site(self.door, self.clock)

    def make_door(self) -> S3Door:
        """The door; other tests have others."""
        return S3Door(
            Door(self.store, self.accounts, self.settings, self.clock, InlineDisk(), reserved=self.reserved),
            AnyAuthenticator(),
            allow_signed,
        )

    def ask(
        self, line: str, body: bytes | None = None, *fields: str, user: str = "ann", host: str = "localhost"
    ) -> Answer:
        """
        A request over a connection of its own, and its response.

        @param user: who makes it; empty for nobody.
        """
        if user:
            fields = (*fields, f"Authorization: Test {user}")
        connection = Connection(self.site)
        connection.send(request(line, body, *fields, host=host))
        answers = split_answers(connection.received, [line.split()[0]])
        connection.close()
        (answer,) = [each for each in answers if each.status >= 200]
        self.assertRegex(answer.fields["x-amz-request-id"], r"\A[0-9A-F]{16}\Z")
        return answer

    def done(self, line: str, body: bytes | None = None, *fields: str, status: int = 200, **more: Any) -> Answer:
        """The response to a request that is granted."""
        answer = self.ask(line, body, *fields, **more)
        self.assertEqual(answer.status, status, answer)
        return answer

    def read(self, root: str, line: str, body: bytes | None = None, *fields: str, **more: Any) -> Node:
        """The document that a request is granted."""
        answer = self.done(line, body, *fields, **more)
        self.assertEqual(answer.fields["content-type"], "application/xml")
        return parse(answer.body, root)

    def refused(
        self, code: str, line: str, body: bytes | None = None, *fields: str, status: int | None = None, **more: Any
    ) -> Node:
        """What is said of a request that is refused."""
        answer = self.ask(line, body, *fields, **more)
        said = parse(answer.body, "Error")
        self.assertEqual(said.value("Code"), code, said.value("Message"))
        self.assertEqual(said.value("RequestId"), answer.fields["x-amz-request-id"])
        self.assertEqual(answer.status, S3Error(code).status if status is None else status)
        return said
