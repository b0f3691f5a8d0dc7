"""Tests of Signature Version 2, in which botocore signs URLs and forms unless it is configured otherwise."""

from __future__ import annotations

from functools import cache
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import botocore.session
from botocore.auth import HmacV1Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.presigned import hoist_fields
from tests.frontends.s3.signing.signers import NOW, Seen, SigningCase, at_time, seen

EXPIRES = NOW + 3600


@cache
def session() -> Any:
    """One for all tests: it reads the models of the service, which takes long."""
    return botocore.session.Session()


class VersionTwoTests(SigningCase):
    """Presigned URLs and forms that a client of botocore makes by default."""

    def client(self, style: str = "path") -> Any:
        """A client with the key, otherwise as it is by default."""
        return session().create_client(
            "s3",
            endpoint_url="http://s3.example.com:9000",
            region_name="us-east-1",
            aws_access_key_id=self.key.user.key_id,
            aws_secret_access_key=self.key.secret,
            config=Config(s3={"addressing_style": style}),
        )

    def url(self, operation: str, client: Any = None, **params: Any) -> Seen:
        with patch("botocore.auth.time.time", lambda: NOW):
            url = (client or self.client()).generate_presigned_url(operation, {"Bucket": "box", **params})
        self.assertIn("AWSAccessKeyId=", url)
        method = {"put_object": "PUT", "get_object": "GET", "list_objects_v2": "GET"}[operation]
        return self.taken(AWSRequest(method=method, url=url))

    def taken(self, made: AWSRequest, extra: Any = ()) -> Seen:
        """As the door has it."""
        request = seen(made, extra=extra)
        hoist_fields(request.requestHeaders, request.query)
        return request

    def test_signed(self) -> None:
        for operation, params in (
            ("get_object", {"Key": "a"}),
            ("get_object", {"Key": "a b/\u20ac+~.txt"}),
            ("get_object", {"Key": "a", "ResponseContentType": "text/plain", "VersionId": "null"}),
            ("put_object", {"Key": "a", "ContentType": "image/png", "Metadata": {"b": "c  d"}, "ACL": "private"}),
            ("put_object", {"Key": "a", "ContentMD5": "AAAAAAAAAAAAAAAAAAAAAA=="}),
            ("list_objects_v2", {"Prefix": "a/", "Delimiter": "/", "MaxKeys": 5}),
        ):
            request = self.url(operation, **params)
            signed = self.granted(request)
            self.assertEqual((signed.kind, signed.algorithm, signed.form), ("REST-QUERY-STRING", "AWS", ""))
            self.assertEqual(self.payload(signed, b"data"), b"data")

    def test_fields_in_the_query(self) -> None:
        request = self.url("put_object", Key="a", ContentType="image/png", Metadata={"b": "c"})
        self.assertEqual(request.requestHeaders.getRawHeaders(b"content-type"), [b"image/png"])
        self.assertEqual(request.requestHeaders.getRawHeaders(b"x-amz-meta-b"), [b"c"])

    def test_host(self) -> None:
        """The bucket in the host is signed with the path, so that a URL of one style is none of the other."""
        request = self.url("get_object", self.client("virtual"), Key="box/a")
        self.assertEqual(request.path, b"/box/a")
        self.assertEqual(self.authenticator.authenticate(request, request.query, "box").key_id, self.key.user.key_id)
        self.refused("SignatureDoesNotMatch", request)

    def test_changed(self) -> None:
        def change(**fields: str | None) -> Seen:
            request = self.url("put_object", Key="a", ContentType="image/png", Metadata={"b": "c"})
            for name, value in fields.items():
                key = name.replace("_", "-").encode()
                if value is None:
                    del request.fields[key]
                else:
                    request.fields[key] = value.encode()
            for name in (b"content-type", b"content-md5", b"x-amz-meta-b", b"x-amz-acl", b"x-amz-copy-source"):
                request.requestHeaders.removeHeader(name)
            hoist_fields(request.requestHeaders, request.query)
            return request

        self.granted(change())
        for fields in (
            {"Expires": str(int(EXPIRES) + 1)},
            {"Signature": "AAAA"},
            {"Signature": "\u20ac"},
            {"content_type": "text/html"},
            {"content_type": None},
            {"content_md5": "AAAAAAAAAAAAAAAAAAAAAA=="},
            {"x_amz_meta_b": "d"},
            {"x_amz_acl": "public-read"},
            {"x_amz_copy_source": "/box/secret"},
            {"x_amz_content_sha256": "UNSIGNED-PAYLOAD"},
            {"acl": ""},
            {"tagging": ""},
            {"partNumber": "1", "uploadId": "a"},
        ):
            error = self.refused("SignatureDoesNotMatch", change(**fields))
        self.assertIn("\n/box/a", error.fields["StringToSign"])
        for path, method in ((b"/box/b", b"PUT"), (b"/box/%61", b"PUT"), (b"/box/a", b"DELETE")):
            request = change()
            request.path, request.method = path, method
            self.refused("SignatureDoesNotMatch", request)
        for name, value in (("x-amz-acl", "public-read"), ("Content-MD5", "AAAA")):
            request = change()
            request.requestHeaders.setRawHeaders(name.encode(), [value.encode()])
            self.refused("SignatureDoesNotMatch", request)

    def test_what_is_not_signed(self) -> None:
        """No sub-resource that this version does not sign can be added to a URL."""
        for name in (
            "attributes",
            "publicAccessBlock",
            "ownershipControls",
            "policyStatus",
            "encryption",
            "retention",
            "legal-hold",
            "renameObject",
            "annotation",
            "whatever",
        ):
            request = self.url("get_object", Key="a")
            request.fields[name.encode()] = b""
            self.refused("InvalidRequest", request, name)

    def test_time(self) -> None:
        request = self.url("get_object", Key="a")
        self.clock.rightNow = EXPIRES - 0.5
        self.granted(request)
        self.clock.rightNow = EXPIRES
        self.refused("AccessDenied", request, "Request has expired")
        for value in ("", "soon", "-1", "1e9", "9" * 13):
            request.fields[b"Expires"] = value.encode()
            self.refused("AccessDenied", request, "Invalid date")

    def test_keys(self) -> None:
        request = self.url("get_object", Key="a")
        self.successResultOf(self.accounts.disable_user("ann"))
        self.refused("InvalidAccessKeyId", request)

    def test_token(self) -> None:
        request = self.url("get_object", Key="a")
        request.fields[b"x-amz-security-token"] = b"abc"
        hoist_fields(request.requestHeaders, request.query)
        self.refused("InvalidToken", request)

    def test_chunks(self) -> None:
        """There is no signature that those of chunks could follow."""
        request = self.url("put_object", Key="a")
        request.requestHeaders.setRawHeaders(b"x-amz-content-sha256", [b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"])
        request.requestHeaders.setRawHeaders(b"x-amz-decoded-content-length", [b"4"])
        self.refused("AccessDenied", request)

    def test_header(self) -> None:
        """In the header it is refused."""
        made = AWSRequest(method="GET", url="http://localhost/box/a")
        HmacV1Auth(Credentials(self.key.user.key_id, self.key.secret)).add_auth(made)
        self.refused("InvalidRequest", seen(made), "Please use AWS4-HMAC-SHA256")
        both = self.taken(AWSRequest(method="GET", url="http://localhost/box/a"), [("Authorization", "AWS a:b")])
        both.fields = self.url("get_object", Key="a").fields
        self.refused("InvalidArgument", both, "Only one auth mechanism allowed")

    def test_forms(self) -> None:
        with at_time(NOW):
            made = self.client().generate_presigned_post("box", "user/a")
        self.assertEqual(urlsplit(made["url"]).path, "/box")
        fields = {name.lower(): value for name, value in made["fields"].items()}
        self.assertEqual(set(fields), {"key", "awsaccesskeyid", "policy", "signature"})
        self.clock.rightNow = NOW - 10**9  # the policy expires an hour after it was made, by botocore's own clock
        signed, policy = self.authenticator.authenticate_form(fields, "box")
        self.assertEqual((signed.key_id, signed.kind, signed.algorithm), (self.key.user.key_id, "POST", "AWS"))
        self.assertIsNotNone(policy)
        for code, changes, bucket in (
            ("SignatureDoesNotMatch", {"signature": "AAAA"}, "box"),
            ("SignatureDoesNotMatch", {"policy": fields["policy"] + "="}, "box"),
            ("InvalidAccessKeyId", {"awsaccesskeyid": "NOBODY"}, "box"),
            ("AccessDenied", {"key": "user/b"}, "box"),
            ("AccessDenied", {"acl": "public-read"}, "box"),
            ("AccessDenied", {}, "other"),
            ("InvalidToken", {"x-amz-security-token": "abc"}, "box"),
            ("InvalidArgument", {"awsaccesskeyid": ""}, "box"),
            ("InvalidArgument", {"signature": ""}, "box"),
            ("InvalidArgument", {"policy": ""}, "box"),
        ):
            error = self.assertRaises(S3Error, self.authenticator.authenticate_form, {**fields, **changes}, bucket)
            self.assertEqual(error.code, code, changes)
