"""Tests of L{storehouse.frontends.http.reply}."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import storehouse
from storehouse.errors import (
    DamagedArchive,
    DamagedEntry,
    DamagedObject,
    DamagedRecord,
    DeleteMarkerFound,
    InvalidRange,
    OffsetMismatch,
    StorehouseError,
)
from storehouse.frontends.http.reply import (
    REASONS,
    MethodNotAllowed,
    Reply,
    encode_reply,
    error_reply,
    json_reply,
    long_json_reply,
    status_of,
)
from storehouse.frontends.http.request import Leaf
from tests.frontends.http.wire import Connection, make_site, request, split_answers
from tests.turns.breathing import every_breath


class LongJSONReplyTests(SynchronousTestCase):
    """L{long_json_reply}."""

    def make(self, lists: dict[str, list[object]], rest: dict[str, object]) -> Reply:
        clock = Clock()
        with every_breath(clock):
            made: Deferred[Reply] = Deferred.fromCoroutine(long_json_reply(lists, rest))
            clock.advance(0)
            return self.successResultOf(made)

    def test_the_same(self) -> None:
        """What comes of it is what comes of all at once."""
        lists: dict[str, list[object]]
        for lists, rest in (
            ({"a": []}, {}),
            ({"a": [1], "b": [{}]}, {"c": None}),
            ({"a": [{"é": "\n"}] * 1000, "b": list(range(120))}, {"c": [1], "d": "x"}),
        ):
            self.assertEqual(self.make(lists, rest), json_reply({**lists, **rest}))

    def test_in_slices(self) -> None:
        """Items are asked for when it is their turn."""
        clock = Clock()
        asked: list[int] = []

        def items() -> object:
            for number in range(200):
                asked.append(number)
                yield number

        with every_breath(clock):
            made = Deferred.fromCoroutine(long_json_reply({"a": items()}, {}))  # type: ignore[dict-item]
            self.assertLess(len(asked), 100)
            clock.advance(0)
            self.assertEqual(json.loads(self.successResultOf(made).body), {"a": list(range(200))})


_OTHERS = ("storehouse.clients.", "storehouse.frontends.s3.")


def _all_errors() -> Iterator[type[StorehouseError]]:
    for module in pkgutil.walk_packages(storehouse.__path__, "storehouse."):
        if not module.name.endswith("__main__") and ".fastreactor" not in module.name:
            importlib.import_module(module.name)
    todo = [StorehouseError]
    while todo:
        kind = todo.pop()
        # What clients raise never gets to a door, and the S3 door has a table of its own.
        if kind.__module__.startswith("storehouse.") and not kind.__module__.startswith(_OTHERS):
            yield kind
        todo += kind.__subclasses__()


#: What each class is answered with; a new one is to be added here, on purpose.
_EXPECTED = {
    "NotSignedIn": 401,
    "SignInRefused": 401,
    "TokenExpired": 401,
    "TokenInvalid": 401,
    "Forbidden": 403,
    "ForgedRequest": 403,
    "LinkTampered": 403,
    "LinkExpired": 403,
    "LinkUsed": 403,
    "LinkOutOfScope": 403,
    "OffsetMismatch": 409,
    "UploadBusy": 409,
    "ChecksumMismatch": 400,
    "UnknownAlgorithm": 400,
    "UploadGone": 410,
    "UnsupportedType": 415,
    "UnsupportedVersion": 412,
    "VersionNotSpoken": 505,
    "MethodUnknown": 501,
    "Misdirected": 421,
    "NoSuchAccessKey": 404,
    "NoSuchUser": 404,
    "TooManyUploads": 503,
    "WrongMasterKey": 500,
    "AlreadyExists": 409,
    "AmbiguousFraming": 400,
    "BadRequest": 400,
    "BodyTooLarge": 413,
    "BucketCountMismatch": 409,
    "BucketNotEmpty": 409,
    "ClientGone": 400,
    "Conflict": 409,
    "Damaged": 500,
    "DamagedArchive": 500,
    "DamagedEntry": 500,
    "DamagedObject": 500,
    "DamagedRecord": 500,
    "EmptyRecord": 400,
    "EndOfArchive": 404,
    "HeadTooLarge": 431,
    "InvalidName": 400,
    "InvalidPart": 400,
    "InvalidPartOrder": 400,
    "InvalidAnswer": 502,
    "InvalidRange": 416,
    "InvalidRecord": 400,
    "InvalidRequest": 400,
    "InvalidSetting": 500,
    "LengthRequired": 411,
    "MalformedBody": 400,
    "MethodNotAllowed": 405,
    "NoMoreFiles": 404,
    "NoSpace": 507,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoKeyToMatch": 412,
    "NoSuchObject": 404,
    "NoSuchChunk": 404,
    "NoSuchPrefix": 404,
    "NoSuchRecord": 404,
    "NoSuchResource": 404,
    "NoSuchStream": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "DeleteMarkerFound": 404,
    "InvalidBucketState": 409,
    "NotFound": 404,
    "NotSupported": 400,
    "PreconditionFailed": 412,
    "RemoteDamaged": 502,
    "RemoteRefused": 502,
    "RemoteUnavailable": 502,
    "Overloaded": 503,
    "RequestTimeout": 408,
    "RootInUse": 500,
    "ShareUsedUp": 429,
    "SizeMismatch": 400,
    "StartFailed": 500,
    "StoreUnusable": 500,
    "StorageFailed": 503,
    "StorehouseError": 500,
    "TargetTooLong": 414,
    "TooLarge": 413,
    "TooManyConnections": 503,
    "Unavailable": 503,
    "UnknownArchiveFormat": 500,
    "NotXML": 500,
    "_Unreached": 502,
}


class _Broken(Leaf):
    async def handle_GET(self, request: object) -> Reply:
        raise ValueError("secret/path/inside")


class _HalfBroken(Leaf):
    async def handle_GET(self, request: object) -> Reply:
        request.begin(200, b"text/plain")  # type: ignore[attr-defined]
        await request.send(b"the beginning")  # type: ignore[attr-defined]
        raise ValueError("secret/path/inside")


class ErrorTests(SynchronousTestCase):
    """The error table."""

    def test_every_class_has_its_status(self) -> None:
        found = {kind.__name__: status_of(kind) for kind in _all_errors()}
        self.assertEqual(found, _EXPECTED)

    def test_replies(self) -> None:
        for kind in _all_errors():
            if kind is MethodNotAllowed:
                error: StorehouseError = MethodNotAllowed(b"PUT", (b"GET", b"HEAD"))
            elif issubclass(kind, DamagedRecord):
                error = kind("/log/append.0.raw", 17, "its checksum fails")
            elif issubclass(kind, DamagedArchive):
                error = kind("/archives/a.events", 17, "its checksum fails")
            elif issubclass(kind, DamagedObject):
                error = kind("abcd", "its checksum is wrong", 1, 0)
            elif issubclass(kind, DamagedEntry):
                error = kind("bucket", "key", "00ff", "/buckets/bucket", "its checksum fails")
            elif issubclass(kind, InvalidRange):
                error = kind(10, None, 5)
            elif issubclass(kind, OffsetMismatch):
                error = kind(5, 7)
            elif issubclass(kind, DeleteMarkerFound):
                error = kind("bucket", "key", "00ff", 5, True)
            else:
                error = kind("what was wrong")
            reply = error_reply(error)
            self.assertIn(reply.status, REASONS)
            told = json.loads(reply.body)
            self.assertEqual(sorted(told), ["detail", "error"])
            self.assertEqual(told["error"], "NoSuchKey" if kind is DeleteMarkerFound else kind.__name__)
            self.assertTrue(told["detail"])
        self.assertEqual(error_reply(MethodNotAllowed(b"PUT", (b"GET", b"HEAD"))).headers, ((b"Allow", b"GET, HEAD"),))

    def test_text_cannot_break_out(self) -> None:
        """Whatever a detail holds, it stays within the JSON and the head stays whole."""
        reply = error_reply(StorehouseError('a"\r\nX: y\r\n\r\n\udcff\u2028é'))
        data = encode_reply(reply, b"now")
        (answer,) = split_answers(data)
        self.assertEqual(json.loads(answer.body)["detail"], 'a"\r\nX: y\r\n\r\n\udcff\u2028é')

    def test_unexpected(self) -> None:
        """A defect is logged whole, and answered without its inside; the connection goes on."""
        connection = Connection(make_site(Clock(), broken=_Broken()))
        connection.send(request("GET /broken") + request("GET /echo"))
        first, second = split_answers(connection.received)
        self.assertEqual(first.status, 500)
        self.assertEqual(json.loads(first.body)["error"], "InternalError")
        self.assertNotIn(b"secret", connection.received)
        self.assertEqual((second.status, second.body), (200, b"hello"))
        (logged,) = self.flushLoggedErrors(ValueError)
        self.assertIn("secret", str(logged.value))

    def test_unexpected_in_the_midst(self) -> None:
        """An answer that fails after its beginning must not look complete."""
        connection = Connection(make_site(Clock(), broken=_HalfBroken()))
        connection.send(request("GET /broken") + request("GET /echo"))
        self.assertEqual(connection.transport.closed, "aborted")
        self.assertIn(b"the beginning", connection.received)
        self.assertNotIn(b"\r\n0\r\n", connection.received)
        self.assertNotIn(b"hello", connection.received)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
