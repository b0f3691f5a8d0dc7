"""Tests of L{storehouse.core.s3}. What is sent, and what is done with responses, the tests of those who use it have."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from storehouse.core.httpclient import Response
from storehouse.core.s3 import S3Requests, code_of, completion, location, read_document, tag_of
from storehouse.core.sigv4 import Signer
from storehouse.core.xmltext import parse
from storehouse.errors import RemoteUnavailable


class RequestsTests(SynchronousTestCase):
    """Where requests go."""

    def made(self, endpoint: str) -> S3Requests:
        client: Any = None
        return S3Requests(endpoint, Signer("id", "secret", "eu-1"), client)

    def test_endpoints(self) -> None:
        """Without the default port of the scheme, which is not signed; with all else."""
        for given, endpoint, is_private in (
            ("http://localhost:80/", "http://localhost", False),
            ("http://localhost:443", "http://localhost:443", False),
            ("https://s3.example:443", "https://s3.example", True),
            ("https://[::1]:9000/base/", "https://[::1]:9000/base", True),
            ("https://[::1]", "https://[::1]", True),
        ):
            made = self.made(given)
            self.assertEqual((made.endpoint, made.is_private), (endpoint, is_private))

    def test_urls(self) -> None:
        """Keys as they are, whatever a path would make of them."""
        made = self.made("http://h/base")
        for bucket, key, query, path in (
            ("", "", None, "/"),
            ("box", "", None, "/box"),
            ("box", "a b", None, "/box/a%20b"),
            ("box", "/a//../é+?#%", None, "/box//a//../%C3%A9%2B%3F%23%25"),
            ("box", "\0", {"uploadId": "a/b+", "acl": ""}, "/box/%00?acl=&uploadId=a%2Fb%2B"),
        ):
            self.assertEqual(made.url(bucket, key, query), f"http://h/base{path}")


class DocumentsTests(SynchronousTestCase):
    """What is written and read."""

    def of(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def test_written(self) -> None:
        root = parse(completion([(1, "a"), (3, "<b>")]), "CompleteMultipartUpload")
        self.assertEqual(
            [(part.value("PartNumber"), part.value("ETag")) for part in root.all("Part")],
            [("1", '"a"'), ("3", '"<b>"')],
        )
        self.assertEqual(location("us-east-1"), b"")
        self.assertEqual(parse(location("eu-1"), "CreateBucketConfiguration").value("LocationConstraint"), "eu-1")

    def test_read(self) -> None:
        """Of any root; references to characters that XML does not have are read as what stands for such."""
        root = self.of(read_document(b"<A><B>x&#x0;&#31;&#x10FFFF;&#xD800;&#9;y&amp;</B></A>"))
        self.assertEqual((root.name, root.text_of("B")), ("A", "x\ufffd\ufffd\U0010ffff\ufffd\ty&"))
        for wrong in (b"", b"<html>", b"\xff", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"):
            self.failureResultOf(Deferred.fromCoroutine(read_document(wrong)), RemoteUnavailable)
        self.failureResultOf(Deferred.fromCoroutine(read_document(b"<A/>", "B")), RemoteUnavailable)

    def test_codes(self) -> None:
        for body, code in (
            (b"<Error><Code>NoSuchKey</Code></Error>", "NoSuchKey"),
            (b'<Error xmlns="x"><Message>m</Message></Error>', ""),
            (b"<Other><Code>NoSuchKey</Code></Other>", ""),
            (b"<html>", ""),
            (b"", ""),
        ):
            self.assertEqual(self.of(code_of(Response(404, Headers(), body))), code)

    def test_tags(self) -> None:
        for value, tag in (('"a"', "a"), ("a", "a"), ('W/"a"', "a"), (None, "")):
            headers = Headers({"ETag": [value]} if value else {})
            self.assertEqual(tag_of(Response(200, headers)), tag)
