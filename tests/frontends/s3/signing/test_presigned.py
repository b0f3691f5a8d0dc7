"""Tests of signatures in the query."""

from __future__ import annotations

from storehouse.core.sigv4 import EMPTY_SHA256
from storehouse.frontends.s3.signing.authenticator import Authenticator
from storehouse.frontends.s3.signing.presigned import hoist_fields
from tests.frontends.s3.signing.signers import NOW, REGION, SigningCase, presign, seen, sign_header, stamp

URL = "http://localhost:9000/box/some/a%20key%2B"


class PresignedTests(SigningCase):
    """URLs that botocore has signed."""

    def test_signed(self) -> None:
        for method, url in (
            ("GET", URL),
            ("PUT", URL),
            ("GET", URL + "?response-content-type=text%2Fplain&x-id=GetObject"),
        ):
            signed = self.granted(seen(presign(self.key, method, url), 4))
            self.assertEqual((signed.kind, signed.age), ("REST-QUERY-STRING", 0.0))
            self.assertEqual(self.payload(signed, b"data"), b"data")

    def test_signed_fields(self) -> None:
        request = presign(self.key, "PUT", URL, {"Content-Type": "text/plain", "x-amz-acl": "private"})
        self.granted(seen(request))
        changed = seen(request)
        changed.requestHeaders.setRawHeaders(b"x-amz-acl", [b"public-read"])
        self.refused("SignatureDoesNotMatch", changed)
        error = self.refused("AccessDenied", seen(request, extra=[("x-amz-meta-a", "b")]), "not signed")
        self.assertEqual(error.fields["HeadersNotSigned"], "x-amz-meta-a")

    def test_digest(self) -> None:
        """The digest of the body can be signed with the URL."""
        signed = self.granted(seen(presign(self.key, "PUT", URL, {"x-amz-content-sha256": EMPTY_SHA256})))
        self.assertEqual(self.payload(signed, b""), b"")
        self.payload_refused("XAmzContentSHA256Mismatch", signed, b"data")

    def test_changed(self) -> None:
        for name, value in (
            (b"X-Amz-Expires", b"3601"),
            (b"X-Amz-Signature", b"0" * 64),
            (b"X-Amz-Signature", "\u20ac".encode()),
            (b"versionId", b"null"),
        ):
            request = seen(presign(self.key, "GET", URL))
            request.fields[name] = value
            self.refused("SignatureDoesNotMatch", request)
        request = seen(presign(self.key, "GET", URL))
        request.method = b"PUT"
        self.refused("SignatureDoesNotMatch", request)

    def test_time(self) -> None:
        request = seen(presign(self.key, "GET", URL, expires=60))
        self.clock.rightNow = NOW + 59.5
        self.assertEqual(self.granted(request).age, 59.5)
        self.clock.rightNow = NOW + 60
        error = self.refused("AccessDenied", request, "Request has expired")
        self.assertEqual(error.fields["X-Amz-Expires"], "60")
        self.assertEqual(error.fields["Expires"], error.fields["ServerTime"])
        self.clock.rightNow = NOW - 900
        self.granted(request)
        self.clock.rightNow = NOW - 901
        self.refused("AccessDenied", request, "Request is not yet valid")

    def test_malformed(self) -> None:
        wrong = "AuthorizationQueryParametersError"
        key_id = self.key.user.key_id
        day = stamp(NOW)[:8]
        for code, name, value, part in (
            (wrong, "X-Amz-Algorithm", "AWS4-HMAC-SHA1", ""),
            (wrong, "X-Amz-Algorithm", "HMAC", "X-Amz-Algorithm only supports"),
            ("InvalidRequest", "X-Amz-Algorithm", "AWS4-ECDSA-P256-SHA256", "Please use AWS4-HMAC-SHA256"),
            (
                wrong,
                "X-Amz-Credential",
                "a",
                "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed",
            ),
            (wrong, "X-Amz-Credential", f"{key_id}/{day}/us-east-1/s3/aws4_request", "the region 'us-east-1' is wrong"),
            (wrong, "X-Amz-Credential", f"{key_id}/20260920/{REGION}/s3/aws4_request", "Invalid credential date"),
            (wrong, "X-Amz-Date", "2026", "ISO8601 Long Format"),
            (wrong, "X-Amz-Date", f"{day}T250000Z", "ISO8601 Long Format"),
            (wrong, "X-Amz-Expires", "an hour", "X-Amz-Expires should be a number"),
            (wrong, "X-Amz-Expires", "-1", "X-Amz-Expires must be non-negative"),
            (wrong, "X-Amz-Expires", "604801", "less than a week"),
            (wrong, "X-Amz-Expires", "9" * 1000, "X-Amz-Expires should be a number"),
            (wrong, "X-Amz-SignedHeaders", "Host", "SignedHeaders"),
            (wrong, "X-Amz-SignedHeaders", "host;" * 1000 + "host", "SignedHeaders"),
            ("AccessDenied", "X-Amz-SignedHeaders", "range", "not signed"),
            ("AccessDenied", "X-Amz-Expires", "0", "Request has expired"),
            ("InvalidToken", "X-Amz-Security-Token", "abc", ""),
        ):
            request = seen(presign(self.key, "GET", URL))
            request.fields[name.encode()] = value.encode()
            if (name, value) == ("X-Amz-Algorithm", "AWS4-HMAC-SHA1"):
                self.refused("InvalidRequest", request)
            else:
                self.refused(code, request, part)
        for name in ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders"):
            for lacking in (True, False):
                request = seen(presign(self.key, "GET", URL))
                if lacking:
                    del request.fields[name.encode()]
                else:
                    request.fields[name.encode()] = b""
                self.refused(wrong, request, "Query-string authentication version 4 requires")

    def test_both(self) -> None:
        request = seen(sign_header(self.key, "GET", URL))
        request.fields = seen(presign(self.key, "GET", URL)).fields
        self.refused("InvalidArgument", request, "Only one auth mechanism allowed")

    def test_any_region(self) -> None:
        self.authenticator = Authenticator(self.accounts, self.clock.seconds, "any")
        self.granted(seen(presign(self.key, "GET", URL, region="ap-south-1")))

    def test_fields_in_the_query(self) -> None:
        """Some clients put header fields into the query: they count as if they were sent as such, and are signed by it."""
        url = URL + "?x-amz-meta-a=b%20c&X-Amz-Acl=private&x-id=PutObject"
        request = seen(presign(self.key, "PUT", url))
        hoist_fields(request.requestHeaders, request.query)
        self.assertEqual(request.requestHeaders.getRawHeaders(b"x-amz-meta-a"), [b"b c"])
        self.assertEqual(request.requestHeaders.getRawHeaders(b"x-amz-acl"), [b"private"])
        self.assertEqual(
            sorted(name.lower() for name, _ in request.requestHeaders.getAllRawHeaders()),
            [b"host", b"x-amz-acl", b"x-amz-meta-a"],
        )
        self.granted(request)
        request = seen(presign(self.key, "PUT", url), extra=[("x-amz-acl", "public-read")])
        hoist_fields(request.requestHeaders, request.query)
        self.assertEqual(request.requestHeaders.getRawHeaders(b"x-amz-acl"), [b"public-read"])
        error = self.refused("AccessDenied", request, "not signed")
        self.assertEqual(error.fields["HeadersNotSigned"], "x-amz-acl")
        request = seen(sign_header(self.key, "PUT", url))
        hoist_fields(request.requestHeaders, request.query)
        self.assertFalse(request.requestHeaders.hasHeader(b"x-amz-acl"))
