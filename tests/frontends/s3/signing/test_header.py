"""Tests of signatures in the header."""

from __future__ import annotations

import time
from collections.abc import Collection
from email.utils import formatdate
from random import Random
from urllib.parse import quote, unquote_to_bytes

from aws_request_signer import AwsRequestSigner
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from storehouse.core.sigv4 import EMPTY_SHA256
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.authenticator import Authenticator
from storehouse.frontends.s3.signing.presigned import hoist_fields
from tests.frontends.s3.signing.signers import (
    NOW,
    REGION,
    Seen,
    SigningCase,
    presign,
    presign_2,
    seen,
    sign_header,
    stamp,
)
from tests.soak import count, long_loop, rounds

URL = "http://localhost:9000/box/some/key"


class HeaderTests(SigningCase):
    """Requests that botocore and aws-request-signer have signed."""

    def test_signed(self) -> None:
        for method, url, headers, body in (
            ("GET", "http://localhost:9000/", {}, b""),
            ("GET", "http://localhost/box?list-type=2&prefix=a%2Fb%20c%2B&delimiter=%2F&encoding-type=url", {}, b""),
            ("GET", "http://localhost/box?acl", {}, b""),
            ("GET", "http://box.s3.example.com/%E2%82%AC/a%2Bb%20c/~", {"Range": "bytes=0-1"}, b""),
            ("PUT", URL, {"Content-Type": "text/plain", "x-amz-meta-a": "  many   spaces  "}, b"data"),
            ("PUT", URL, {"x-amz-meta-a": "\u20ac".encode().decode("latin-1")}, b"data"),
            ("DELETE", "http://localhost/box/a//b/../c/", {}, b""),
        ):
            request = seen(sign_header(self.key, method, url, headers, body), len(body))
            signed = self.granted(request)
            self.assertEqual((signed.kind, signed.age), ("REST-HEADER", 0.0))
            self.assertEqual(self.payload(signed, body, len(body)), body)
            self.clock.advance(10)
            self.assertEqual(self.granted(request).age, 10.0)
            self.clock.rightNow = NOW

    def test_another_signer(self) -> None:
        signer = AwsRequestSigner(REGION, self.key.user.key_id, self.key.secret, "s3")
        self.clock.rightNow = time.time()
        url = "http://localhost/box/a%20b?partNumber=1&uploadId=x%2Fy"
        headers = {"x-amz-meta-a": "b"}
        headers |= signer.sign_with_headers("PUT", url, headers, EMPTY_SHA256)
        self.granted(seen(AWSRequest(method="PUT", url=url, headers=headers)))

    @settings(max_examples=60, deadline=None)
    @given(
        st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40),
        st.dictionaries(
            st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=10),
            st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
            max_size=5,
        ),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
    )
    def test_anything(self, key: str, query: dict[str, str], value: str) -> None:
        url = f"http://localhost/box/{quote(key, safe='/~')}"
        if query:
            url += "?" + "&".join(f"{quote(name, safe='~')}={quote(text, safe='~')}" for name, text in query.items())
        if "X-Amz-Algorithm" not in query:
            self.granted(seen(sign_header(self.key, "GET", url, {"x-amz-meta-v": value})))

    def test_date(self) -> None:
        """The time may be in the field Date alone."""
        request = seen(self._by_date(formatdate(NOW, usegmt=True)))
        self.granted(request)
        for value in ("yesterday", "", "Tue, 99 Sep 2026 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -2359"):
            request.requestHeaders.setRawHeaders(b"date", [value.encode()])
            self.refused("AccessDenied", request, "valid Date or x-amz-date")

    def _by_date(self, date: str) -> object:
        request = sign_header(self.key, "GET", URL)
        del request.headers["X-Amz-Date"], request.headers["Authorization"]
        request.headers["Date"] = date
        signer = S3SigV4Auth(Credentials(self.key.user.key_id, self.key.secret), "s3", REGION)
        text = signer.string_to_sign(request, signer.canonical_request(request))
        names = signer.signed_headers(signer.headers_to_sign(request))
        scope = signer.credential_scope(request)
        request.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key.user.key_id}/{scope}, SignedHeaders={names}, "
            f"Signature={signer.signature(text, request)}"
        )
        return request

    def test_region(self) -> None:
        request = seen(sign_header(self.key, "GET", URL, region="us-east-1"))
        error = self.refused("AuthorizationHeaderMalformed", request, "the region 'us-east-1' is wrong; expecting")
        self.assertEqual(error.fields["Region"], REGION)
        self.authenticator = Authenticator(self.accounts, self.clock.seconds, "any")
        self.granted(request)
        self.granted(seen(sign_header(self.key, "GET", URL, region="any")))

    def test_changed(self) -> None:
        """Whatever was signed cannot be changed."""

        def changed() -> Seen:
            return seen(
                sign_header(self.key, "GET", URL + "?prefix=a", {"x-amz-meta-a": "b", "Content-Type": "text/plain"})
            )

        for change in (
            lambda request: setattr(request, "method", b"HEAD"),
            lambda request: setattr(request, "path", b"/box/some/kez"),
            lambda request: request.fields.update({b"prefix": b"b"}),
            lambda request: request.fields.update({b"acl": b""}),
            lambda request: request.fields.clear(),
            lambda request: request.requestHeaders.setRawHeaders(b"host", [b"localhost:9001"]),
            lambda request: request.requestHeaders.setRawHeaders(b"x-amz-meta-a", [b"c"]),
            lambda request: request.requestHeaders.removeHeader(b"x-amz-meta-a"),
            lambda request: request.requestHeaders.setRawHeaders(b"x-amz-content-sha256", [b"0" * 64]),
            lambda request: request.requestHeaders.setRawHeaders(b"content-type", [b"text/html"]),
        ):
            request = changed()
            self.granted(request)
            change(request)
            error = self.refused("SignatureDoesNotMatch", request)
            self.assertIn("AWS4-HMAC-SHA256", error.fields["StringToSign"])
            self.assertTrue(error.fields["CanonicalRequest"].startswith(request.method.decode()))
        self.assertEqual(error.status, 403)

    def test_another_secret(self) -> None:
        other = self.successResultOf(self.accounts.add_user("bob"))
        request = seen(sign_header(self.key, "GET", URL))
        value = request.requestHeaders.getRawHeaders(b"authorization")[0]
        request.requestHeaders.setRawHeaders(
            b"authorization", [value.replace(self.key.user.key_id.encode(), other.user.key_id.encode())]
        )
        self.refused("SignatureDoesNotMatch", request)

    def test_keys(self) -> None:
        """A key that was rotated or whose user is disabled is refused, also when it has been used before."""
        request = seen(sign_header(self.key, "GET", URL))
        self.granted(request)
        self.granted(request)
        self.successResultOf(self.accounts.disable_user("ann"))
        error = self.refused("InvalidAccessKeyId", request)
        self.assertEqual(error.fields["AWSAccessKeyId"], self.key.user.key_id)
        self.successResultOf(self.accounts.enable_user("ann"))
        self.granted(request)
        self.successResultOf(self.accounts.rotate_key("ann"))
        self.refused("InvalidAccessKeyId", request)

    def test_many_keys(self) -> None:
        """Signing keys are kept for a while only."""
        for day in range(1100):
            self.clock.rightNow = NOW + day * 86400
            self.granted(seen(sign_header(self.key, "GET", URL, time=self.clock.rightNow)))
        self.assertEqual(len(self.authenticator._keys), 1024)

    def test_skew(self) -> None:
        for away in (900, -900, 0):
            self.granted(seen(sign_header(self.key, "GET", URL, time=NOW + away)))
        for away in (901, -901, 86400):
            error = self.refused("RequestTimeTooSkewed", seen(sign_header(self.key, "GET", URL, time=NOW + away)))
            self.assertEqual(error.fields["MaxAllowedSkewMilliseconds"], "900000")
            self.assertEqual(error.fields["RequestTime"], stamp(NOW + away))

    def test_malformed(self) -> None:
        request = seen(sign_header(self.key, "GET", URL))
        right = request.requestHeaders.getRawHeaders(b"authorization")[0].decode()
        key_id, day = self.key.user.key_id, stamp(NOW)[:8]
        malformed = "AuthorizationHeaderMalformed"
        for code, old, new, part in (
            (malformed, "Signature=", "Sig=", "requires three components"),
            (malformed, ", SignedHeaders", ", Signature=a, SignedHeaders", "requires three components"),
            (malformed, "Credential=", "Credential=a/", "the Credential is mal-formed"),
            (malformed, key_id, "", "non-empty Access Key"),
            (malformed, day, "2026092", "incorrect date format"),
            (malformed, day, "20260920", 'Invalid credential date "20260920"'),
            (malformed, "/s3/", "/sqs/", 'incorrect service "sqs". This endpoint belongs to "s3"'),
            (malformed, "aws4_request", "aws5_request", "incorrect terminal"),
            (malformed, f"/{REGION}/", "//", "region"),
            (malformed, "host;", "Host;", "SignedHeaders"),
            (malformed, "host;", "host;host;", "SignedHeaders"),
            (malformed, "host;", "zzz;host;", "SignedHeaders"),
            (malformed, "SignedHeaders=host;", "SignedHeaders=;", "SignedHeaders"),
            ("AccessDenied", "host;", "", "not signed"),
            ("AccessDenied", ";x-amz-date", "", "not signed"),
            ("InvalidAccessKeyId", key_id, "NOBODY", ""),
            ("InvalidAccessKeyId", key_id, "\u20ac", ""),
            ("InvalidRequest", "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "Please use AWS4-HMAC-SHA256"),
            ("InvalidArgument", "AWS4-HMAC-SHA256", "Bearer", "Unsupported Authorization Type"),
            ("SignatureDoesNotMatch", "Signature=", "Signature=\u20ac", ""),
            ("SignatureDoesNotMatch", "Signature=", "Signature=0", ""),
        ):
            self.assertIn(old, right)
            request.requestHeaders.setRawHeaders(b"authorization", [right.replace(old, new).encode()])
            self.refused(code, request, part)
        request.requestHeaders.setRawHeaders(b"authorization", [f"AWS {key_id}:c2lnbmF0dXJl".encode()])
        self.refused("InvalidRequest", request, "Please use AWS4-HMAC-SHA256")
        request.requestHeaders.setRawHeaders(b"authorization", [right.encode()] * 2)
        self.refused("InvalidArgument", request, "more than once")
        request.requestHeaders.setRawHeaders(b"authorization", [right.replace(", ", ",").encode()])
        self.granted(request)

    def test_unsigned_fields(self) -> None:
        """What changes the meaning of a request cannot be added on the way."""
        request = sign_header(self.key, "PUT", URL, {"x-amz-meta-a": "b"})
        error = self.refused("AccessDenied", seen(request, extra=[("X-Amz-Acl", "public-read"), ("x-amz-tagging", "")]))
        self.assertEqual(error.fields["HeadersNotSigned"], "x-amz-acl, x-amz-tagging")
        self.granted(seen(request, extra=[("X-Amzn-Trace-Id", "a"), ("Cookie", "b")]))

    def test_no_digest(self) -> None:
        request = seen(sign_header(self.key, "PUT", URL))
        request.requestHeaders.removeHeader(b"x-amz-content-sha256")
        self.refused("InvalidRequest", request, "Missing required header for this request: x-amz-content-sha256")

    def test_token(self) -> None:
        self.refused("InvalidToken", seen(sign_header(self.key, "GET", URL, {"x-amz-security-token": "abc"})))

    def test_nobody(self) -> None:
        """A request without a signature is nobody's."""
        request = seen(sign_header(self.key, "GET", URL))
        request.requestHeaders.removeHeader(b"authorization")
        signed = self.authenticate(request)
        self.assertEqual((signed.user, signed.key_id, signed.kind), (None, "", ""))
        self.assertNotIn(self.key.secret, repr(signed))

    @long_loop
    def test_fuzz(self) -> None:
        """Whatever is changed of a signed request: refused as S3 does, or it says the same."""
        for seed in rounds(3):
            random = Random(seed)
            for _ in range(150):
                self._change(random)
            count("requests", 150)

    def _change(self, random: Random) -> None:
        sign = random.choice((sign_header, presign, presign_2))
        url = f"http://localhost:9000/box/{quote(random.choice(('a', 'a b', 'x/y/z', '€+')))}"
        url += random.choice(
            ("", "?acl", "?prefix=a%2Fb&list-type=2", "?partNumber=1&uploadId=x%20y", "?x-amz-acl=private")
        )
        headers = random.choice(({}, {"x-amz-meta-a": "b c"}, {"Content-Type": "text/plain", "Range": "bytes=0-1"}))
        request = seen(sign(self.key, random.choice(("GET", "PUT", "DELETE")), url, headers))
        if sign is presign_2 and "x-amz-acl" in url:
            request.fields.pop(b"x-amz-acl")  # botocore does not sign it, other than as a field
        hoist_fields(request.requestHeaders, request.query)
        names = {name.lower() for name, _ in request.requestHeaders.getAllRawHeaders()} - {b"authorization"}
        unsigned: Collection[bytes] = ()
        if sign is presign_2:
            names, unsigned = names & {b"content-type"}, (b"prefix", b"list-type", b"content-type", b"x-amz-meta-a")
        request.requestHeaders.removeHeader(b"x-amz-acl")
        hoist_fields(request.requestHeaders, request.query)
        before = self._meaning(request, names, unsigned)
        self.granted(request)
        for _ in range(random.randrange(1, 3)):
            self._mutate(request, random)
        hoist_fields(request.requestHeaders, request.query)
        try:
            signed = self.authenticate(request)
        except S3Error as error:
            self.assertNotIn(self.key.secret, repr(error.fields))
        else:
            if signed.user is not None:
                self.assertEqual(self._meaning(request, names, unsigned), before)

    def _meaning(self, request: Seen, names: Collection[bytes], unsigned: Collection[bytes]) -> object:
        """
        What counts of a request: all but how it is written, fields that are not among those signed, and parameters that
        this version does not sign, or only if no field has the same name.
        """
        headers = {name.lower(): values for name, values in request.requestHeaders.getAllRawHeaders()}
        signed = {
            name: [b" ".join(value.split()) for value in values]
            for name, values in headers.items()
            if name in names or name.startswith(b"x-amz-")
        }
        fields = {name: value for name, value in request.fields.items() if name not in unsigned}
        return request.method, unquote_to_bytes(request.path), fields, signed

    def _mutate(self, request: Seen, random: Random) -> None:
        junk = random.choice(
            (b"", b" ", b"%", b"%2F", b"/", b",", b";", b"=", b"\xff", b"0", b"a", b"\xe2\x82\xac", b"A" * 300, b"\t")
        )

        def cut(value: bytes) -> bytes:
            at = random.randrange(len(value) + 1)
            return value[:at] + junk + value[at + random.choice((0, 0, 1, 5)) :]

        kind = random.randrange(4)
        if kind == 0:
            request.path = cut(request.path)
        elif kind == 1 and request.fields:
            name = random.choice(sorted(request.fields))
            value = request.fields.pop(name)
            try:
                pair = (cut(name), value) if random.random() < 0.3 else (name, cut(value))
                pair[0].decode(), pair[1].decode()
            except UnicodeDecodeError:
                pair = name, value  # the door refuses it before
            request.fields[pair[0]] = pair[1]
        elif kind == 2 and list(request.requestHeaders.getAllRawHeaders()):
            name, values = random.choice(sorted(request.requestHeaders.getAllRawHeaders()))
            request.requestHeaders.setRawHeaders(name, [cut(values[0])])
        else:
            name = random.choice(
                (b"x-amz-acl", b"x-amz-date", b"host", b"authorization", b"x-amz-content-sha256", b"range")
            )
            if random.random() < 0.5:
                request.requestHeaders.addRawHeader(name, junk)
            else:
                request.requestHeaders.removeHeader(name)
