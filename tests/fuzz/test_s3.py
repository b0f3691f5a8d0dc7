"""
Requests to the S3 door that are put together from all that it knows, right and wrong: each gets a response of S3's kind, and none
fails in a way that is not meant.
"""

from __future__ import annotations

from random import Random

from storehouse.core.jobs import InlineDisk
from storehouse.core.xmltext import parse
from storehouse.errors import AlreadyExists
from storehouse.frontends.s3.access.authorize import authorize
from storehouse.frontends.s3.call import Door
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.route import _PARAMETERS, _PLAIN, _SUB
from tests.frontends.s3.playing import AnyAuthenticator, S3Case
from tests.soak import count, long_loop, rounds

PATHS = {
    "service": ["/"],
    "bucket": ["/box", "/box", "/box/", "/other", "/none"],
    "object": ["/box/a", "/box/up", "/box/b", "/other/x", "/none/a", "/box/%00", "/box/%EF%BF%BF"],
}

VALUES = (
    "", "0", "1", "-1", "2", "x", "null", "true", "url", "%00", "%C3%A4", "a/b", "/", "10000", "99999999999999999999",
    "%22", "1.5", "%20", "*", "%F0%9F%98%80", "text%2Fxml", "%0d%0ax",
)  # fmt: skip

NAMES = (
    "Content-MD5", "Content-Type", "Content-Encoding", "Cache-Control", "Expires", "If-Match", "If-None-Match",
    "If-Modified-Since", "If-Unmodified-Since", "Range", "If-Range", "Origin", "Access-Control-Request-Method",
    "x-amz-content-sha256", "x-amz-acl", "x-amz-grant-read", "x-amz-grant-full-control", "x-amz-copy-source",
    "x-amz-copy-source-range", "x-amz-copy-source-if-match", "x-amz-copy-source-if-modified-since",
    "x-amz-metadata-directive", "x-amz-tagging-directive", "x-amz-tagging", "x-amz-checksum-crc32",
    "x-amz-checksum-sha256", "x-amz-checksum-algorithm", "x-amz-sdk-checksum-algorithm", "x-amz-checksum-type",
    "x-amz-trailer", "x-amz-decoded-content-length", "x-amz-meta-a", "x-amz-storage-class",
    "x-amz-website-redirect-location", "x-amz-write-offset-bytes", "x-amz-rename-source", "x-amz-rename-source-if-match",
    "x-amz-object-attributes", "x-amz-max-parts", "x-amz-part-number-marker", "x-amz-expected-bucket-owner",
    "x-amz-object-ownership", "x-amz-checksum-mode", "x-amz-mp-object-size", "x-amz-client-token",
    "x-amz-server-side-encryption",
)  # fmt: skip

FIELDS = (
    "", "x", "*", '"x"', '"', 'W/"a"', "bytes=0-1", "bytes=-1", "bytes=9-", "bytes=0-1,2-3", "public-read", "id=abc",
    'id="abc", uri="http://acs.amazonaws.com/groups/global/AllUsers"', "/box/a", "box/a", "box/a?versionId=null",
    "/box/%ff", "box", "REPLACE", "COPY", "a=b&c=d", "a", "=", "AAAAAA==", "5dQUAqvEsnaXGdmRcBfFkg==",
    "UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "aws-chunked",
    "gzip", "5", "0", "-1", "99999999999999999999", "CRC32", "SHA256", "COMPOSITE", "FULL_OBJECT",
    "x-amz-checksum-crc32", "Mon, 30 Nov 2026 23:00:00 GMT", "http://example.com", "GET",
    "ETag,ObjectSize,Checksum,ObjectParts", "\xe4", "\xff", "multipart/form-data; boundary=b", "ENABLED", "AES256",
    "BucketOwnerEnforced", "ObjectWriter", "x" * 3000,
)  # fmt: skip

_GROUP = (
    b'<AccessControlPolicy><Owner><ID>x</ID></Owner><AccessControlList><Grant><Grantee xsi:type="Group" '
    b'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI>'
    b"</Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>"
)

_CORS = (
    b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>"
    b"</CORSConfiguration>"
)

_POLICY = (
    b'{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",'
    b'"Resource":"arn:aws:s3:::box/*"}]}'
)

BODIES = (
    None, b"", b"hello", b"<a/>", b"5\r\nhello\r\n0\r\n\r\n", b"\xff\xfe", b"[", b"{}", b'{"Statement":{}}', _POLICY,
    b"<Delete><Object><Key>a</Key></Object></Delete>", b"<Delete/>", b"<Tagging><TagSet><Tag/></TagSet></Tagging>",
    b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>", _CORS, b"<CORSConfiguration/>",
    b"<AccessControlPolicy/>", _GROUP, b"<CompleteMultipartUpload/>",
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
    b"<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>",
    b"<PublicAccessBlockConfiguration><BlockPublicAcls>false</BlockPublicAcls></PublicAccessBlockConfiguration>",
    b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\na\r\n--b\r\nContent-Disposition: form-data; '
    b'name="file"; filename="x"\r\n\r\nhello\r\n--b--\r\n',
    b"<CreateBucketConfiguration><LocationConstraint>x</LocationConstraint></CreateBucketConfiguration>",
    b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY y 'z'>]><x>&y;</x>",
)  # fmt: skip


class AnyRequestTests(S3Case):
    """A door with two buckets, an object and an upload, which are made again when a request has removed them."""

    def make_door(self) -> S3Door:
        shared = Door(self.store, self.accounts, self.settings, self.clock, InlineDisk())
        return S3Door(shared, AnyAuthenticator(), authorize)

    def restore(self) -> None:
        """What requests are about is there."""
        for name in ("box", "other"):
            self.store.create_bucket(name, owner="ann").addErrback(lambda failure: failure.trap(AlreadyExists))
        self.ask("PUT /box/a", b"hello")
        if not self.successResultOf(self.store.list_uploads("box")):
            self.upload = self.successResultOf(self.store.begin_upload("box", "up"))

    @long_loop
    def test_all(self) -> None:
        for seed in rounds(3):
            dice = Random(seed)
            for number in range(500):
                if number % 50 == 0:
                    self.restore()
                self.try_one(dice, f"request {number} of seed {seed}")
            count("requests", 500)

    def try_one(self, dice: Random, which: str) -> None:
        query = []
        if dice.random() < 0.7:
            name = dice.choice(list(_SUB))
            level = dice.choice(list(_SUB[name]))
            method = dice.choice(list(_SUB[name][level]))
            value = {"list-type": "=2", "uploadId": f"={self.upload}"}.get(name, "")
            query.append(name + (value if dice.random() < 0.8 else "=" + dice.choice(VALUES)))
            if name == "uploadId" and method == "PUT":
                query.append("partNumber=" + dice.choice(VALUES))
        else:
            method, level = dice.choice([*_PLAIN, ("OPTIONS", "object")])
        for name in dice.sample(sorted(_PARAMETERS), dice.choice([0, 0, 1, 1, 2])):
            if name not in "&".join(query):
                query.append(f"{name}={dice.choice(VALUES)}")
        line = f"{method} {dice.choice(PATHS[level])}" + (f"?{'&'.join(query)}" if query else "")
        fields = [f"{name}: {dice.choice(FIELDS)}" for name in dice.sample(NAMES, dice.choice([0, 0, 1, 1, 2, 3]))]
        body = dice.choice(BODIES) if method in ("PUT", "POST") or dice.random() < 0.1 else None
        user = dice.choice(["ann", "ann", "ann", "root", "root", "bob", ""])
        answer = self.ask(line, body, *fields, user=user)
        about = f"{which}: {user} {line} {fields} {body!r}: {answer}"
        self.assertNotEqual(answer.status, 500, about)
        self.assertEqual(self.flushLoggedErrors(), [], about)
        if answer.status >= 400 and method != "HEAD":
            said = parse(answer.body, "Error")
            self.assertEqual(said.value("RequestId"), answer.fields["x-amz-request-id"], about)
