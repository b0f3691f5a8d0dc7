"""Tests of L{storehouse.frontends.s3.errors}."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

import storehouse
from storehouse.errors import DamagedEntry, DeleteMarkerFound, InvalidRange, Overloaded, StorehouseError, StoreUnusable
from storehouse.frontends.http.reply import REASONS, MethodNotAllowed
from storehouse.frontends.s3.errors import CODES, S3Error, error_reply, s3_error

#: Those that no request can end with in another way than as a failure of ours.
OURS = {"StorehouseError", "RemoteRefused", "InvalidAnswer", "UnknownArchiveFormat", "StartFailed"}


def subclasses(kind: type[StorehouseError]) -> Iterator[type[StorehouseError]]:
    """All of them, at any depth."""
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


class ErrorTests(SynchronousTestCase):
    """Every failure has a code and a status of S3."""

    def test_codes(self) -> None:
        for code, (status, message) in CODES.items():
            self.assertIn(status, REASONS)
            self.assertEqual((S3Error(code).detail, S3Error(code).status), (message, status))
        self.assertRaises(KeyError, S3Error, "NoSuchThing")

    def test_every_class(self) -> None:
        """None of the tree lacks an answer, and none is answered as another kind of failure would be."""
        for module in pkgutil.walk_packages(storehouse.__path__, "storehouse."):
            if not module.name.endswith("__main__") and ".clients" not in module.name:
                importlib.import_module(module.name)
        for kind in set(subclasses(StorehouseError)):
            if not kind.__module__.startswith("storehouse.") or issubclass(kind, S3Error):
                continue
            error = kind.__new__(kind)
            Exception.__init__(error, "why")
            error.__dict__.update(size=7, allowed=(b"GET",), version="null", created=7, is_current=True)
            said = s3_error(error)
            is_ours = any(each.__name__ in OURS for each in kind.__mro__[:-3]) and said.code == "InternalError"
            self.assertTrue(is_ours or said.code != "InternalError" or "Damaged" in str(kind.__mro__), kind)

    def test_markers(self) -> None:
        """A deleted key is missing; a marker cannot be read by its ID."""
        for is_current, code, status in ((True, "NoSuchKey", 404), (False, "MethodNotAllowed", 405)):
            reply = error_reply(DeleteMarkerFound("box", "a", "00ff", 10**18, is_current))
            self.assertEqual(reply.status, status)
            self.assertIn(f"<Code>{code}</Code>".encode(), reply.body)
            headers = dict(reply.headers)
            self.assertEqual((headers[b"x-amz-delete-marker"], headers[b"x-amz-version-id"]), (b"true", b"00ff"))
            self.assertEqual(headers.get(b"Last-Modified"), None if is_current else b"Sun, 09 Sep 2001 01:46:40 GMT")

    def test_reply(self) -> None:
        reply = error_reply(S3Error("InvalidArgument", "a < b", ArgumentName="x", ArgumentValue=3), "/box/a&b", "ID")
        self.assertEqual((reply.status, reply.content_type), (400, b"application/xml"))
        self.assertEqual(
            reply.body,
            b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InvalidArgument</Code><Message>a &lt; b</Message>'
            b"<ArgumentName>x</ArgumentName><ArgumentValue>3</ArgumentValue><Resource>/box/a&amp;b</Resource>"
            b"<RequestId>ID</RequestId></Error>",
        )
        reply = error_reply(S3Error("NotModified", headers=((b"ETag", b'"x"'),)))
        self.assertEqual((reply.status, reply.body, reply.headers), (304, b"", ((b"ETag", b'"x"'),)))

    def test_unexpected(self) -> None:
        """What is no error of ours shows nothing of its inside, nor does one that is no client's business."""
        for error in (ZeroDivisionError("secret"), StoreUnusable("secret")):
            reply = error_reply(error)
            self.assertEqual(reply.status, 500)
            self.assertIn(b"<Code>InternalError</Code>", reply.body)
            self.assertNotIn(b"secret", reply.body)

    def test_damaged(self) -> None:
        """The response says so, but not where the file is."""
        said = s3_error(DamagedEntry("box", "a", None, "/srv/secret", "its checksum fails"))
        self.assertEqual((said.code, said.status), ("InternalError", 500))
        self.assertIn("damaged", said.detail)
        self.assertNotIn("/srv", said.detail)

    def test_headers(self) -> None:
        self.assertEqual(
            s3_error(Overloaded("full")).headers, ((b"x-amz-retry-after", b"1000"), (b"Retry-After", b"1"))
        )
        said = s3_error(InvalidRange(5, None, 3))
        self.assertEqual((said.status, said.headers, said.fields),
                         (416, ((b"Content-Range", b"bytes */3"),), {"ActualObjectSize": "3"}))  # fmt: skip
        said = s3_error(MethodNotAllowed(b"PATCH", (b"GET", b"PUT")))
        self.assertEqual((said.code, said.headers), ("MethodNotAllowed", ((b"Allow", b"GET, PUT"),)))
