"""Tests of signatures: two other signers come to the same."""

from __future__ import annotations

import hashlib
from unittest.mock import patch

from aws_request_signer import AwsRequestSigner
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.sigv4 import (
    EMPTY_SHA256,
    ChunkSigner,
    Scope,
    Signer,
    canonical_path,
    canonical_query,
    canonical_value,
    chunk_to_sign,
    sign,
    signing_key,
)
from tests.frontends.s3.signing.signers import NOW, at_time

KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


class CanonicalTests(SynchronousTestCase):
    """What is signed."""

    def test_paths(self) -> None:
        for path, canonical in (
            (b"/", b"/"),
            (b"/box/a-b_c.d~e", b"/box/a-b_c.d~e"),
            (b"/box/a%20b", b"/box/a%20b"),
            (b"/box/a+b(c)", b"/box/a%2Bb%28c%29"),
            (b"/box/a%2bb%28c%29", b"/box/a%2Bb%28c%29"),
            (b"/box/%61", b"/box/a"),
            (b"/box/%7E", b"/box/~"),
            (b"/box//a/../b/./", b"/box//a/../b/./"),
            (b"/box/%e2%82%ac", b"/box/%E2%82%AC"),
            (b"/box/%25", b"/box/%25"),
        ):
            self.assertEqual(canonical_path(path), canonical)

    def test_queries(self) -> None:
        self.assertEqual(canonical_query([]), b"")
        self.assertEqual(
            canonical_query([(b"b", b""), (b"a", b"/ +~"), (b"B", b"\xe2\x82\xac")]), b"B=%E2%82%AC&a=%2F%20%2B~&b="
        )

    def test_values(self) -> None:
        self.assertEqual(canonical_value([b"  a   b "]), b"a b")
        self.assertEqual(canonical_value([b"a", b" b"]), b"a,b")
        self.assertEqual(canonical_value([b""]), b"")

    def test_key(self) -> None:
        """The example of the documentation."""
        key = signing_key(SECRET.encode(), Scope("20150830", "us-east-1", "iam"))
        self.assertEqual(key.hex(), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9")


class SignerTests(SynchronousTestCase):
    """Requests that are made here."""

    URLS = (
        "http://localhost:9000/box/some/key",
        "https://example.com/box?list-type=2&prefix=a%2Fb%20c%2B&start-after=",
        "https://example.com/box/%E2%82%AC/a%2Bb%20~",
        "http://[::1]:9000/box?uploads=",
    )

    def compare(self, url: str, headers: dict[str, str], token: str = "") -> None:
        """botocore signs all of that, and more: what we sign must be what it computes of the same."""
        signer = Signer(KEY_ID, SECRET, "eu-central-1", token=token)
        signed = signer.sign("PUT", url, headers, EMPTY_SHA256, NOW)
        theirs = AWSRequest(method="PUT", url=url, headers=dict(headers))
        with at_time(NOW):
            S3SigV4Auth(Credentials(KEY_ID, SECRET, token or None), "s3", "eu-central-1").add_auth(theirs)
        self.assertEqual(signed["Authorization"], theirs.headers["Authorization"])
        self.assertEqual(signed["x-amz-date"], theirs.headers["X-Amz-Date"])
        self.assertEqual(signed.get("x-amz-security-token"), theirs.headers.get("X-Amz-Security-Token"))

    def test_botocore(self) -> None:
        for url in self.URLS:
            for headers in ({}, {"Content-Type": "text/plain", "x-amz-meta-a": " many   spaces "}):
                for token in ("", "a token"):
                    self.compare(url, headers, token)

    @settings(max_examples=50, deadline=None)
    @given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30))
    def test_values(self, value: str) -> None:
        self.compare(self.URLS[0], {"x-amz-meta-a": value})

    def test_another(self) -> None:
        for url in self.URLS[:3]:
            headers = {"content-md5": "AAAA"}
            theirs = AwsRequestSigner("us-east-1", KEY_ID, SECRET, "s3").sign_with_headers(
                "GET", url, headers, EMPTY_SHA256
            )
            # It takes the time by itself.
            with patch("storehouse.core.sigv4.datetime") as clock:
                clock.fromtimestamp.return_value.strftime.return_value = theirs["x-amz-date"]
                ours = Signer(KEY_ID, SECRET, "us-east-1").sign("GET", url, headers, EMPTY_SHA256, 0)
            self.assertEqual(ours, theirs)

    def test_secrets(self) -> None:
        signer = Signer(KEY_ID, SECRET, "us-east-1", token="token")
        self.assertNotIn(SECRET, repr(signer))
        self.assertNotIn("'token'", repr(signer))


class ChunkTests(SynchronousTestCase):
    """Chunks of bodies."""

    def test_example(self) -> None:
        """That of the API reference of S3, from a request whose signature is the seed."""
        signer = Signer("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
        seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
        head = {"x-amz-date": "20130524T000000Z", "Authorization": f"{SECRET}, Signature={seed}"}
        chunks = signer.chunks(head)
        found = [chunks.sign(hashlib.sha256(data).hexdigest()) for data in (b"a" * 65536, b"a" * 1024, b"")]
        self.assertEqual(
            found,
            [
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
                "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
                "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
            ],
        )

    def test_trailer(self) -> None:
        """What follows the chunks is signed over the last of them."""
        chunks = ChunkSigner(b"key", "time", "scope", "seed")
        last = chunks.sign(EMPTY_SHA256)
        lines = b"x-amz-checksum-crc32c:AAAAAA==\n"
        text = chunk_to_sign("TRAILER", "time", "scope", last, hashlib.sha256(lines).hexdigest())
        self.assertEqual(chunks.sign_trailer(lines), sign(b"key", text))
