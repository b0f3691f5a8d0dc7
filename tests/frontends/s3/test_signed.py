"""The door with signatures: what botocore and others sign, over connections in memory."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

from storehouse.core.jobs import InlineDisk
from storehouse.core.sigv4 import Scope, signing_key
from storehouse.core.streams import BytesStream
from storehouse.core.xmltext import document, element, text
from storehouse.frontends.s3.call import Door
from storehouse.frontends.s3.checksums import encoded
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.signing.authenticator import Authenticator
from tests.frontends.s3.playing import NOW, S3Case, allow_signed
from tests.frontends.s3.signing.signers import presign, sign_header
from tests.frontends.s3.signing.test_bodies import frame

REGION = "us-east-1"


class SignedTests(S3Case):
    """Requests with signatures, through the whole door."""

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.key = self.successResultOf(self.accounts.add_user("ann"))
        self.successResultOf(self.store.create_bucket("box"))
        self.successResultOf(self.store.put("box", "a", BytesStream(b"data"), 4))

    def make_door(self) -> S3Door:
        return S3Door(
            Door(self.store, self.accounts, self.settings, self.clock, InlineDisk()),
            Authenticator(self.accounts, self.clock.seconds, REGION),
            allow_signed,
        )

    def send(self, made: Any, body: bytes | None = None) -> tuple[str, list[str]]:
        """The line and the fields of a request that was signed."""
        url = urlsplit(made.url)
        line = f"{made.method} {url.path}" + (f"?{url.query}" if url.query else "")
        fields = [f"{name}: {value}" for name, value in made.headers.items() if name.lower() != "content-length"]
        return line, fields

    def delete(self, **more: Any) -> Any:
        body = document("Delete", element("Object", text("Key", "a")))
        return body, sign_header(
            self.key, "POST", "http://localhost/box?delete", body=body, time=NOW, region=REGION, **more
        )

    def test_header(self) -> None:
        body, made = self.delete(headers={"x-amz-checksum-crc32": "AAAAAA=="})
        line, fields = self.send(made)
        self.refused("BadDigest", line, body, *fields, user="")
        self.refused("XAmzContentSHA256Mismatch", line, body.replace(b"a", b"b", 1), *fields, user="")
        right = encoded(crc32(body).to_bytes(4, "big"))
        body, made = self.delete(headers={"x-amz-checksum-crc32": right})
        line, fields = self.send(made)
        said = self.refused("SignatureDoesNotMatch", line + "=&b=", body, *fields, user="")
        self.assertTrue(said.value("CanonicalRequest").startswith("POST\n/box\nb=&delete=\n"))
        self.read("DeleteResult", line, body, *fields, user="")

    def test_chunks(self) -> None:
        """A document in signed chunks with a trailer: refused unless all is right."""
        crc = "x-amz-checksum-crc32"
        form = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
        body, _ = self.delete()
        headers = {
            "x-amz-content-sha256": form,
            "x-amz-decoded-content-length": str(len(body)),
            "content-encoding": "aws-chunked",
            "x-amz-trailer": crc,
        }
        _, made = self.delete(headers=headers, payload=form)
        line, fields = self.send(made)
        timestamp = made.context["timestamp"]
        scope = Scope(timestamp[:8], REGION)
        key = signing_key(self.key.secret.encode(), scope)
        seed = made.headers["Authorization"][-64:]
        value = encoded(crc32(body).to_bytes(4, "big"))
        for trailer, code in ((value, ""), ("AAAAAA==", "BadDigest"), ("AAAA", "InvalidRequest")):
            framed = frame([body], seed, [(crc, trailer)], key=key, timestamp=timestamp, scope=str(scope))
            if code:
                self.refused(code, line, framed, *fields, user="")
            else:
                self.refused("SignatureDoesNotMatch", line, framed.replace(b"Key>a", b"Key>b"), *fields, user="")
                self.refused(
                    "SignatureDoesNotMatch", line, framed.replace(value.encode(), b"AAAAAA=="), *fields, user=""
                )
                self.refused("IncompleteBody", line, framed[:-150], *fields, user="")
                self.refused("IncompleteBody", line, body, *fields, user="")
                self.assertEqual(self.successResultOf(self.store.head("box", "a")).size, 4)
                self.read("DeleteResult", line, framed, *fields, user="")

    def test_presigned(self) -> None:
        """Header fields in the query say which operation it is, too."""
        made = presign(self.key, "GET", "http://localhost/box/a?tagging", time=NOW, region=REGION)
        line, fields = self.send(made)
        self.read("Tagging", line, None, *fields, user="")
        self.clock.advance(3600)
        self.refused("AccessDenied", line, None, *fields, user="")
        self.clock.advance(-3600)
        url = "http://localhost/box/b?x-amz-copy-source=%2Fbox%2Fa&x-amz-metadata-directive=REPLACE&x-amz-meta-a=b"
        made = presign(self.key, "PUT", url, time=NOW, region=REGION)
        line, fields = self.send(made)
        self.read("CopyObjectResult", line, None, *fields, user="")
        self.assertEqual(self.successResultOf(self.store.head("box", "b")).metadata, {"a": ["b"]})
        self.refused("SignatureDoesNotMatch", line.replace("meta-a=b", "meta-a=c"), None, *fields, user="")

    def test_odd_fields_in_the_query(self) -> None:
        """What cannot be the name of a header field is none."""
        for name in ("x-amz-a%20b", "x-amz-", "x-amz-a%0D%0Ab", "x-amz-%E2%82%AC", "x-amz-a%3B"):
            self.refused("AuthorizationQueryParametersError", f"GET /box/a?{name}=c&X-Amz-Signature=d", user="")
        line = "GET /box/a?x-amz-a=b%0D%0AHost:c&X-Amz-Signature=d"
        self.refused("AuthorizationQueryParametersError", line, user="")

    def test_nobody(self) -> None:
        self.refused("AccessDenied", "GET /box/a?tagging", user="")
        self.refused("InvalidArgument", "GET /box/a?tagging", None, "Authorization: Basic YTpi", user="")
        said = self.refused("InvalidRequest", "GET /box/a?tagging", None, "Authorization: AWS a:b", user="")
        self.assertIn("AWS4-HMAC-SHA256", said.value("Message"))

    def test_secrets_are_not_shown(self) -> None:
        """What is said of a wrong signature has no secret, nor a right signature."""
        body, made = self.delete()
        line, fields = self.send(made)
        right = made.headers["Authorization"][-64:]
        wrong = [field.replace(right, hashlib.sha256(b"").hexdigest()) for field in fields]
        answer = self.ask(line, body, *wrong, user="")
        self.assertEqual(answer.status, 403)
        for secret in (right, self.key.secret):
            self.assertNotIn(secret.encode(), answer.body)
