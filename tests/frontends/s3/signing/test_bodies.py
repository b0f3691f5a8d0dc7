"""Tests of bodies: digests, and chunks in all forms."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.core.sigv4 import Scope, signing_key
from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import StorehouseError
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.bodies import LEAST, Chain, body_stream
from storehouse.frontends.s3.signing.payload import (
    SIGNED_CHUNKS,
    SIGNED_CHUNKS_TRAILER,
    UNSIGNED_CHUNKS_TRAILER,
    Payload,
    without_framing,
)
from tests.frontends.s3.signing.signers import REGION, Seen, SigningCase, seen, sign_header
from tests.soak import count, long_loop, rounds

TIMESTAMP = "20130524T000000Z"
SCOPE = Scope("20130524", "us-east-1")
KEY = signing_key(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", SCOPE)
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
CRC = "x-amz-checksum-crc32c"


def signed(text: str, key: bytes = KEY) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def frame(
    chunks: Sequence[bytes],
    seed: str | None = None,
    trailer: Sequence[tuple[str, str]] = (),
    end: bytes = b"\r\n",
    last: bytes = b"\r\n",
    key: bytes = KEY,
    timestamp: str = TIMESTAMP,
    scope: str = str(SCOPE),
) -> bytes:
    """
    A body in chunks; the last, empty one is added.

    @param seed: the signature of the head; C{None} if chunks are not signed.
    """
    body = b""
    about = f"{timestamp}\n{scope}\n"
    for data in [*chunks, b""]:
        head = b"%x" % len(data)
        if seed is not None:
            empty, digest = hashlib.sha256(b"").hexdigest(), hashlib.sha256(data).hexdigest()
            seed = signed(f"AWS4-HMAC-SHA256-PAYLOAD\n{about}{seed}\n{empty}\n{digest}", key)
            head += b";chunk-signature=" + seed.encode()
        body += head + b"\r\n" + data + (b"\r\n" if data else b"")
    for name, value in trailer:
        body += f"{name}:{value}".encode() + end
    if seed is not None and trailer:
        digest = hashlib.sha256("".join(f"{name}:{value}\n" for name, value in trailer).encode()).hexdigest()
        seed = signed(f"AWS4-HMAC-SHA256-TRAILER\n{about}{seed}\n{digest}", key)
        body += b"x-amz-trailer-signature:" + seed.encode() + b"\r\n"
    return body + last


def unsigned(length: int, trailer: str = "") -> Payload:
    return Payload(UNSIGNED_CHUNKS_TRAILER, "", True, False, length, trailer)


def chunk_signed(length: int, trailer: str = "") -> Payload:
    return Payload(SIGNED_CHUNKS_TRAILER if trailer else SIGNED_CHUNKS, "", True, True, length, trailer)


class ChunksTests(SynchronousTestCase):
    """Framing is taken off, and signatures are verified."""

    def read(self, payload: Payload, body: bytes | Sequence[bytes], seed: str = SEED) -> tuple[bytes, dict[str, str]]:
        """What a body comes to, and its trailer."""
        trailers: dict[str, str] = {}
        chain = Chain(KEY, TIMESTAMP, str(SCOPE), seed) if payload.is_signed else None
        stream, length = body_stream(payload, chain, trailers, BytesStream(body), None, InlineDisk())
        self.assertEqual(length, payload.length)
        return self.successResultOf(Deferred.fromCoroutine(read_all(stream))), trailers

    def refused(self, code: str, payload: Payload, body: bytes | Sequence[bytes]) -> S3Error:
        """What is said of a body that is refused."""
        chain = Chain(KEY, TIMESTAMP, str(SCOPE), SEED) if payload.is_signed else None
        stream, _ = body_stream(payload, chain, {}, BytesStream(body), None, InlineDisk())
        error: S3Error = self.failureResultOf(Deferred.fromCoroutine(read_all(stream)), S3Error).value
        self.assertEqual(error.code, code, error)
        return error

    def test_example(self) -> None:
        """The examples of the documentation."""
        data = b"a" * 66560
        chunks = [data[:65536], data[65536:]]
        body = frame(chunks, SEED)
        self.assertEqual(len(body), 66824)
        for signature in (
            b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ):
            self.assertTrue(b";chunk-signature=" + signature in body, signature)
        self.assertEqual(self.read(chunk_signed(66560), body), (data, {}))
        seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
        body = frame(chunks, seed, [(CRC, "sOO8/Q==")])
        for signature in (
            b"chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            b"chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            b"chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
            b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435",
        ):
            self.assertTrue(signature in body, signature)
        self.assertEqual(self.read(chunk_signed(66560, CRC), body, seed), (data, {CRC: "sOO8/Q=="}))

    def test_every_split(self) -> None:
        data = bytes(range(256)) * 33
        chunks = [data[:LEAST], data[LEAST:]]
        near = [*range(120), *range(LEAST, LEAST + 200), *range(len(data) + 80, len(data) + 500)]
        for payload, body in (
            (unsigned(len(data), CRC), frame(chunks, None, [(CRC, "sOO8/Q==")])),
            (chunk_signed(len(data)), frame(chunks, SEED)),
            (chunk_signed(len(data), CRC), frame(chunks, SEED, [(CRC, "sOO8/Q==")])),
        ):
            expected = data, {CRC: "sOO8/Q=="} if payload.trailer else {}
            for at in near:
                pieces = [piece for piece in (body[:at], body[at:]) if piece]
                self.assertEqual(self.read(payload, pieces), expected)
            for size in (1, 2, 3, 7, 100):
                self.assertEqual(
                    self.read(payload, [body[at : at + size] for at in range(0, len(body), size)]), expected
                )

    def test_sizes(self) -> None:
        for sizes in ((), (1,), (LEAST,), (LEAST, 1), (LEAST, LEAST, LEAST - 1), (3 << 20, 1 << 20)):
            chunks = [bytes([number]) * size for number, size in enumerate(sizes)]
            data = b"".join(chunks)
            self.assertEqual(self.read(unsigned(len(data)), frame(chunks))[0], data)
            self.assertEqual(self.read(chunk_signed(len(data)), frame(chunks, SEED))[0], data)

    def test_ends_of_lines(self) -> None:
        """Clients end a trailer in several ways."""
        for end, last in (
            (b"\r\n", b"\r\n"),
            (b"\n", b"\r\n"),
            (b"\n\r\n", b"\r\n"),
            (b"\n\r\n", b"\r\n\r\n"),
            (b"\r\n\r\n", b""),
            (b"\r\n", b""),
        ):
            for seed in (None, SEED):
                payload = unsigned(4, CRC) if seed is None else chunk_signed(4, CRC)
                body = frame([b"data"], seed, [(CRC, "sOO8/Q==")], end, last)
                self.assertEqual(self.read(payload, body), (b"data", {CRC: "sOO8/Q=="}))
        self.assertEqual(self.read(unsigned(4), b"4\r\ndata\r\n0\r\n"), (b"data", {}))
        body = b"4\r\ndata\r\n0\r\nX-Amz-Checksum-CRC32C : sOO8/Q== \r\n\r\n"
        self.assertEqual(self.read(unsigned(4, CRC), body), (b"data", {CRC: "sOO8/Q=="}))

    def test_capital_digits(self) -> None:
        self.assertEqual(self.read(unsigned(10), b"0A\r\n0123456789\r\n000\r\n\r\n")[0], b"0123456789")

    def test_small_chunks(self) -> None:
        error = self.refused("InvalidChunkSizeError", unsigned(5), frame([b"abc", b"de"]))
        self.assertEqual(error.fields, {"Chunk": "2", "BadChunkSize": "3"})
        self.refused("InvalidChunkSizeError", chunk_signed(5), frame([b"abc", b"de"], SEED))
        self.refused("InvalidChunkSizeError", unsigned(LEAST * 2), frame([b"a" * LEAST, b"a" * (LEAST - 1), b"a"]))

    def test_malformed(self) -> None:
        for body in (
            b"",
            b"4",
            b"4\r\n",
            b"4\r\ndat",
            b"4\r\ndata",
            b"4\r\ndata\r\n",
            b"4\r\ndata\r\n0",
            b"4\r\ndata\r\n0\r",
            b"\r\n4\r\ndata\r\n0\r\n\r\n",
            b"4\ndata\n0\n\n",
            b"4 \r\ndata\r\n0\r\n\r\n",
            b"+4\r\ndata\r\n0\r\n\r\n",
            b"-4\r\ndata\r\n0\r\n\r\n",
            b"0x4\r\ndata\r\n0\r\n\r\n",
            b"\r\ndata\r\n0\r\n\r\n",
            b"4;chunk-signature=" + b"0" * 64 + b"\r\ndata\r\n0\r\n\r\n",
            b"4;a=b\r\ndata\r\n0\r\n\r\n",
            b"4\r\ndataX\r\n0\r\n\r\n",
            b"4\r\ndata0\r\n\r\n",
            b"4\r\ndata\n0\r\n\r\n",
            b"5\r\ndata\r\n0\r\n\r\n",
            b"3\r\ndat\r\n0\r\n\r\n",
            b"8\r\ndatadata\r\n0\r\n\r\n",
            b"ffffffffffffffff\r\ndata\r\n0\r\n\r\n",
            b"10000000000000004\r\ndata\r\n0\r\n\r\n",
            b"4" * 1000 + b"\r\ndata\r\n0\r\n\r\n",
            b"data",
            b"a" * 100_000,
        ):
            self.refused("IncompleteBody", unsigned(4), body)
            self.refused("IncompleteBody", unsigned(4), [bytes([each]) for each in body[:2000]])

    def test_malformed_signed(self) -> None:
        body = frame([b"data"], SEED)
        for old, new in ((b";chunk-signature", b";chunk-sig"), (b";", b" ;"), (b"=", b"=00"), (b"4;", b"5;")):
            self.refused("IncompleteBody", chunk_signed(4), body.replace(old, new))
        self.refused("IncompleteBody", chunk_signed(4), frame([b"data"]))
        self.refused("IncompleteBody", chunk_signed(4), body[:-100])

    def test_signatures(self) -> None:
        """No byte of chunks or trailer can be changed, nor can chunks be left out, put in or change places."""
        data = [b"a" * LEAST, b"b" * LEAST, b"c"]
        for trailer in ([], [(CRC, "sOO8/Q==")]):
            payload = chunk_signed(sum(map(len, data)), CRC if trailer else "")
            body = frame(data, SEED, trailer)
            self.read(payload, body)
            for old, new in ((b"\r\naaa", b"\r\nbaa"), (b"bb\r\n", b"ba\r\n"), (b"\r\nc\r\n", b"\r\nd\r\n")):
                self.assertIn(old, body)
                self.refused("SignatureDoesNotMatch", payload, body.replace(old, new))
            at = -1
            while (at := body.find(b"signature=", at + 1)) >= 0:
                changed = bytearray(body)
                changed[at + 10] ^= 1
                if changed[at + 10 : at + 11] in b"0123456789abcdef":
                    self.refused("SignatureDoesNotMatch", payload, bytes(changed))
            heads = [b"%x;chunk" % LEAST, b"1;chunk", b"0;chunk"]
            first, second = body.index(heads[0]), body.rindex(heads[0])
            third, fourth = body.index(heads[1], second), body.rindex(heads[2])
            swapped = body[second:third] + body[first:second] + body[third:]
            self.refused("SignatureDoesNotMatch", payload, swapped)
            without = body[second:]
            short = Payload(payload.form, "", True, True, LEAST + 1, payload.trailer)
            self.refused("SignatureDoesNotMatch", short, without)
            self.refused("IncompleteBody", payload, body[:third] + body[fourth:])
        self.refused("SignatureDoesNotMatch", payload, body.replace(b"sOO8", b"sOO9"))
        self.refused("SignatureDoesNotMatch", payload, body.replace(b"trailer-signature:", b"trailer-signature:0"))
        self.refused("SignatureDoesNotMatch", payload, body[: body.index(b"x-amz-trailer-signature")])

    def test_trailers(self) -> None:
        """What was announced comes, once, and nothing else."""
        for trailer in (
            b"",
            b"x-amz-checksum-crc32:sOO8/Q==\r\n",
            b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n",
            b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-meta-a:b\r\n",
            b"x-amz-checksum-crc32c\r\n",
            b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:" + b"0" * 64 + b"\r\n",
            b"4\r\ndata\r\n0\r\n",
        ):
            self.refused("MalformedTrailerError", unsigned(4, CRC), b"4\r\ndata\r\n0\r\n" + trailer + b"\r\n")
        body = frame([b"data"], None, [(CRC, "sOO8/Q==")])
        self.refused("MalformedTrailerError", unsigned(4), body)
        self.refused("MalformedTrailerError", unsigned(4), b"4\r\ndata\r\n0\r\n:x\r\n\r\n")
        self.refused("MalformedTrailerError", chunk_signed(4), frame([b"data"], SEED, [(CRC, "sOO8/Q==")]))
        self.refused("MalformedTrailerError", unsigned(4, CRC), frame([b"data"], None, [(CRC, "a" * 5000)]))
        self.refused("MalformedTrailerError", unsigned(4, CRC), [b"4\r\ndata\r\n0\r\n", *[b"\r\n"] * 5000])

    def test_bounded(self) -> None:
        """A wrong chunk is found soon after its end, not with all that follows in memory."""
        chunks = [b"a" * (1 << 20)] * 8
        body = frame(chunks, SEED)
        wrong = body.replace(b"\r\na", b"\r\nb", 1)
        pieces = [wrong[at : at + 65536] for at in range(0, len(wrong), 65536)]
        chain = Chain(KEY, TIMESTAMP, str(SCOPE), SEED)
        stream, _ = body_stream(chunk_signed(8 << 20), chain, {}, BytesStream(pieces), None, InlineDisk())
        came = []

        async def read() -> None:
            while piece := await stream.read():
                came.append(len(piece))

        self.failureResultOf(Deferred.fromCoroutine(read()), S3Error)
        self.assertLess(sum(came), 2 << 20)

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(st.integers(LEAST, LEAST * 3), max_size=3), st.integers(0, 100), st.integers(1, 20000), st.booleans()
    )
    def test_anything(self, sizes: list[int], last: int, cut: int, is_signed: bool) -> None:
        chunks = [Random(size).randbytes(size) for size in [*sizes, last] if size]
        data = b"".join(chunks)
        body = frame(chunks, SEED if is_signed else None, [(CRC, "sOO8/Q==")])
        payload = chunk_signed(len(data), CRC) if is_signed else unsigned(len(data), CRC)
        pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
        self.assertEqual(self.read(payload, pieces), (data, {CRC: "sOO8/Q=="}))

    @long_loop
    def test_fuzz(self) -> None:
        """Whatever comes, in whatever pieces: refused as S3 does, or exactly what was signed."""
        for seed in rounds(3):
            random = Random(seed)
            for _ in range(60):
                self._damage(random)
            count("bodies", 60)

    def _damage(self, random: Random) -> None:
        is_signed = random.random() < 0.7
        sizes = [random.choice((LEAST, LEAST + 1, 20000)) for _ in range(random.randrange(3))] + [random.randrange(50)]
        chunks = [random.randbytes(size) for size in sizes if size]
        data = b"".join(chunks)
        trailer = [(CRC, "sOO8/Q==")] if random.random() < 0.5 else []
        body = bytearray(frame(chunks, SEED if is_signed else None, trailer))
        original = bytes(body)
        for _ in range(random.choice((0, 1, 1, 2, 3))):
            at = random.choice(
                (random.randrange(len(body) + 1), random.randrange(120), max(0, len(body) - random.randrange(300)))
            )
            kind = random.randrange(4)
            if kind == 0:
                body[at : at + 1] = random.randbytes(1)
            elif kind == 1:
                del body[at : at + random.randrange(1, 9000)]
            elif kind == 2:
                body[at:at] = random.choice((b"\r\n", b"0\r\n", b"0", b"\n", b";", b"a:b\r\n", original[:9000]))
            else:
                body[at : at + 100] = body[:100]
        payload = (
            chunk_signed(len(data), CRC if trailer else "")
            if is_signed
            else unsigned(len(data), CRC if trailer else "")
        )
        outcomes = []
        for cut in (len(body) + 1, random.randrange(1, 5000)):
            pieces = [bytes(body[at : at + cut]) for at in range(0, len(body), cut)]
            chain = Chain(KEY, TIMESTAMP, str(SCOPE), SEED) if payload.is_signed else None
            stream, _ = body_stream(payload, chain, {}, BytesStream(pieces), None, InlineDisk())
            outcome: list[Any] = []
            Deferred.fromCoroutine(read_all(stream)).addBoth(outcome.append)
            if isinstance(outcome[0], bytes):
                self.assertEqual(len(outcome[0]), len(data))
                if is_signed:
                    self.assertEqual(outcome[0], data)
                outcomes.append(outcome[0])
            else:
                outcome[0].trap(StorehouseError)
                outcomes.append(b"refused")
        self.assertEqual(*outcomes)


class PayloadTests(SigningCase):
    """How a body comes is said by several header fields, which clients do not all send."""

    URL = "http://localhost/box/key"

    def request(self, form: str | None, length: int | None, **fields: str) -> Seen:
        """A request whose header says so; without C{form} nobody has signed it."""
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        if length is not None:
            headers["Content-Length"] = str(length)
        else:
            headers["Transfer-Encoding"] = "chunked"
        made = sign_header(
            self.key, "PUT", self.URL, {**headers, "x-amz-content-sha256": form or ""}, payload=form or ""
        )
        if form is None:
            del made.headers["Authorization"], made.headers["X-Amz-Content-SHA256"]
        return seen(made, length)

    def test_digest(self) -> None:
        digest = hashlib.sha256(b"data").hexdigest()
        for form in (digest, digest.upper()):
            signed = self.granted(self.request(form, 4))
            self.assertEqual(self.payload(signed, b"data"), b"data")
            error = self.payload_refused("XAmzContentSHA256Mismatch", signed, b"dato")
            self.assertEqual(error.fields["ClientComputedContentSHA256"], digest)
            self.assertEqual(error.fields["S3ComputedContentSHA256"], hashlib.sha256(b"dato").hexdigest())
            self.payload_refused("XAmzContentSHA256Mismatch", signed, b"")
        large = b"a" * (3 << 20)
        signed = self.granted(self.request(hashlib.sha256(large).hexdigest(), len(large)))
        self.assertEqual(self.payload(signed, large), large)
        self.payload_refused("XAmzContentSHA256Mismatch", signed, large + b"a")

    def test_unsigned(self) -> None:
        for form in ("UNSIGNED-PAYLOAD", None):
            request = self.request(form, 4)
            signed = self.authenticate(request)
            self.assertEqual(self.payload(signed, b"data"), b"data")
            body = BytesStream(b"data")
            self.assertEqual(signed.stream(body, 4, self.disk), (body, 4))

    def test_unknown(self) -> None:
        for form in (
            "STREAMING",
            "unsigned-payload",
            "0" * 63,
            "g" * 64,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILERS",
        ):
            error = self.refused("InvalidArgument", self.request(form, 4))
            self.assertEqual(error.fields["ArgumentValue"], form)
        for form in ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"):
            self.refused("InvalidRequest", self.request(form, 4))

    def test_signed_chunks(self) -> None:
        """A whole request as clients send it: with and without the content coding, with a length or chunked."""
        for form, trailer in ((SIGNED_CHUNKS, []), (SIGNED_CHUNKS_TRAILER, [(CRC, "sOO8/Q==")])):
            for coding in ({}, {"content_encoding": "aws-chunked"}, {"content_encoding": "gzip, AWS-Chunked"}):
                more = {"x_amz_trailer": CRC} if trailer else {}
                for length in (1000, None):
                    request = self.request(form, length, x_amz_decoded_content_length="4", **coding, **more)
                    signed = self.granted(request)
                    seed = request.requestHeaders.getRawHeaders(b"authorization")[0].decode()[-64:]
                    timestamp = request.requestHeaders.getRawHeaders(b"x-amz-date")[0].decode()
                    scope = Scope(timestamp[:8], REGION)
                    key = signing_key(self.key.secret.encode(), scope)
                    body = frame([b"data"], seed, trailer, key=key, timestamp=timestamp, scope=str(scope))
                    stream, size = signed.stream(BytesStream(body), length, self.disk)
                    self.assertEqual((self.all_of(stream), size), (b"data", 4))
                    self.assertEqual(signed.trailers, dict(trailer))
                    # Once more: the chain begins anew with each request.
                    signed = self.granted(request)
                    self.payload_refused("SignatureDoesNotMatch", signed, frame([b"data"], seed, trailer))

    def test_framing_is_never_data(self) -> None:
        """Whatever combination of fields comes: chunks are taken apart, or refused."""
        framed = b"4\r\ndata\r\n0\r\n\r\n"
        digest = hashlib.sha256(framed).hexdigest()
        wrong = 0
        for form in (None, "UNSIGNED-PAYLOAD", digest, UNSIGNED_CHUNKS_TRAILER, SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER):
            for coding in (None, "aws-chunked", "aws-chunked,gzip", "gzip , AWS-CHUNKED"):
                for decoded in (None, "4", "3", str(len(framed) - 1), "four", "-1", ""):
                    for trailer in (None, CRC):
                        for length in (len(framed), None):
                            fields = {
                                "content_encoding": coding,
                                "x_amz_decoded_content_length": decoded,
                                "x_amz_trailer": trailer,
                            }
                            given = {name: value for name, value in fields.items() if value is not None}
                            request = self.request(form, length, **given)
                            is_plain = not given and form in (None, "UNSIGNED-PAYLOAD", digest)
                            try:
                                signed = self.authenticate(request)
                                came = self.payload(signed, framed, length) if is_plain else self._try(signed, framed)
                            except S3Error:
                                wrong += 1
                                continue
                            self.assertEqual(came, framed if is_plain else b"data", (form, given, length))
        self.assertGreater(wrong, 500)

    def _try(self, signed: Any, body: bytes) -> bytes:
        stream, _ = signed.stream(BytesStream(body), None, self.disk)
        outcome: list[Any] = []
        Deferred.fromCoroutine(read_all(stream)).addBoth(outcome.append)
        if not isinstance(outcome[0], bytes):
            outcome[0].trap(S3Error)
            outcome[0].raiseException()
        return outcome[0]

    def test_framed_without_saying_so(self) -> None:
        """As botocore sends it when it has no key, and some clients with UNSIGNED-PAYLOAD."""
        body = frame([b"data"], None, [(CRC, "sOO8/Q==")])
        for form in (None, "UNSIGNED-PAYLOAD", UNSIGNED_CHUNKS_TRAILER):
            request = self.request(
                form, len(body), content_encoding="aws-chunked", x_amz_decoded_content_length="4", x_amz_trailer=CRC
            )
            signed = self.authenticate(request)
            self.assertEqual(self.payload(signed, body), b"data")
            self.assertEqual(signed.trailers, {CRC: "sOO8/Q=="})

    def test_refused(self) -> None:
        framed = {"content_encoding": "aws-chunked", "x_amz_decoded_content_length": "4"}
        for code, form, length, fields in (
            ("MissingContentLength", UNSIGNED_CHUNKS_TRAILER, 20, {}),
            ("MissingContentLength", None, None, {"content_encoding": "aws-chunked"}),
            ("InvalidArgument", SIGNED_CHUNKS, 20, {"x_amz_decoded_content_length": "0x4"}),
            ("InvalidArgument", SIGNED_CHUNKS, 20, {"x_amz_decoded_content_length": "9" * 30}),
            ("InvalidArgument", None, 20, {**framed, "content_encoding": "aws-chunked, aws-chunked"}),
            ("InvalidRequest", "0" * 64, 20, framed),
            ("InvalidRequest", SIGNED_CHUNKS, 20, {**framed, "x_amz_trailer": CRC}),
            ("InvalidRequest", UNSIGNED_CHUNKS_TRAILER, 20, {**framed, "x_amz_trailer": "a, b"}),
            ("InvalidRequest", "UNSIGNED-PAYLOAD", 20, {"x_amz_trailer": CRC}),
            ("InvalidRequest", "UNSIGNED-PAYLOAD", 20, {"x_amz_decoded_content_length": "4"}),
            ("InvalidRequest", "UNSIGNED-PAYLOAD", None, {"x_amz_decoded_content_length": "4"}),
            ("AccessDenied", None, 20, {**framed, "x_amz_content_sha256": SIGNED_CHUNKS}),
        ):
            if "x_amz_content_sha256" in fields:
                request = self.request(None, length, **framed)
                request.requestHeaders.setRawHeaders(b"x-amz-content-sha256", [SIGNED_CHUNKS.encode()])
            else:
                request = self.request(form, length, **fields)
            self.refused(code, request)
        # No body, no framing: as a copy has it, with what its client got with the source.
        self.authenticate(self.request("UNSIGNED-PAYLOAD", 0, content_encoding="aws-chunked"))
        self.authenticate(self.request("UNSIGNED-PAYLOAD", 4, x_amz_decoded_content_length="4"))

    def test_twice(self) -> None:
        for name in (b"x-amz-content-sha256", b"x-amz-decoded-content-length", b"x-amz-trailer", b"x-amz-date"):
            request = self.request(UNSIGNED_CHUNKS_TRAILER, 20, x_amz_decoded_content_length="4", x_amz_trailer=CRC)
            request.requestHeaders.addRawHeader(name, request.requestHeaders.getRawHeaders(name)[0])
            self.refused("InvalidArgument", request, "more than once")

    def test_kept_coding(self) -> None:
        for coding, kept in (
            ("aws-chunked", ""),
            ("AWS-Chunked , gzip", "gzip"),
            ("gzip,aws-chunked", "gzip"),
            ("gzip, br", "gzip, br"),
            ("", ""),
        ):
            self.assertEqual(without_framing(coding), kept)
