"""The costliest inputs of the S3 door, beside those of the other doors."""

from __future__ import annotations

import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Sequence
from urllib.parse import quote

from storehouse.core.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, ChunkSigner, Signer
from tests.turns.corpus import CORPUS, KIB, MIB, add, pipeline, together
from tests.turns.house import House, head

__all__ = ["CORPUS"]

#: Keys of 1024 bytes, with as many bytes as may be for a character, and with as many as may be when they are written.
_DEAR = "\U0001f600" * 254
_MARKS = '"' * 1020


def _signer(house: House) -> Signer:
    key_id, _, secret = house.key.partition(":")
    return Signer(key_id, secret, "us-east-1")


def _signed(
    house: House, line: str, *fields: str, body: bytes | None = None, payload: str = "", length: int | None = None
) -> tuple[bytes, dict[str, str]]:
    """A head with its signature, and the fields of that."""
    method, _, target = line.partition(" ")
    given = dict(field.split(": ", 1) for field in fields)
    said = payload or (EMPTY_SHA256 if body is None else hashlib.sha256(body).hexdigest())
    added = _signer(house).sign(method, f"http://localhost{target}", given, said, time.time())
    size = length if body is None else len(body)
    return head(line, *fields, *(f"{name}: {value}" for name, value in added.items()), length=size), added


def _do(house: House, line: str, *fields: str, body: bytes | None = None, status: int | None = 200) -> bytes:
    found, answer = house.ask("s3", _signed(house, line, *fields, body=body)[0], body or b"")
    if status not in (None, found):
        raise AssertionError(f"{line[:80]}: {found} instead of {status}: {answer[:500]!r}")
    return answer


def _md5(body: bytes) -> str:
    return "Content-MD5: " + b64encode(hashlib.md5(body).digest()).decode()


def _bucket(house: House, name: str) -> None:
    _do(house, f"PUT /{name}", status=None)


def _keys(marker: str, count: int) -> list[str]:
    return [f"{n:04}{marker}" for n in range(count)]


def _store(house: House, bucket: str, keys: Sequence[str]) -> None:
    """Objects of one byte, on one connection."""
    _bucket(house, bucket)
    heads = [_signed(house, f"PUT /{bucket}/{quote(key)}", body=b"x")[0] + b"x" for key in keys]
    for start in range(0, len(heads), 100):
        pipeline(house, "s3", b"".join(heads[start : start + 100]), len(heads[start : start + 100]))


# -- documents -------------------------------------------------------------------------------------


def _delete_document(keys: Sequence[str], more: str = "") -> bytes:
    each = "".join(f"<Object><Key>{key}</Key>{more}</Object>" for key in keys)
    return f"<Delete>{each}</Delete>".encode()


@add("s3: as many keys deleted as may be")
def _(house: House) -> None:
    _bucket(house, "some")
    for marker in ("\U0001f600" * 254, "&#34;" * 1020, "x"):
        for more in (
            "",
            "<ETag>&quot;5d41402abc4b2a76b9719d911017c592&quot;</ETag><Size>1</Size>"
            "<LastModifiedTime>Mon, 30 Nov 2026 00:00:00 GMT</LastModifiedTime><VersionId>null</VersionId>",
        ):
            body = _delete_document(_keys(marker, 1000), more)
            _do(house, "POST /some?delete=", _md5(body), body=body)


@add("s3: keys deleted that are there", False, lambda house: _store(house, "gone", _keys(_DEAR, 1000)))
def _(house: House) -> None:
    body = _delete_document(_keys(_DEAR, 1000))
    _do(house, "POST /gone?delete=", _md5(body), body=body)


@add("s3: a key that is far too long is deleted")
def _(house: House) -> None:
    _bucket(house, "some")
    policy = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::some/*?x" + "?y*" * 5000}
    text = json.dumps({"Version": "2012-10-17", "Statement": policy}).encode()
    _do(house, "PUT /some?policy=", body=text, status=204)
    body = _delete_document(["x" * (7 * MIB)])
    _do(house, "POST /some?delete=", _md5(body), body=body, status=None)
    _do(house, "DELETE /some?policy=", status=204)


def _documents(size: int) -> dict[str, bytes]:
    """Costly ones, of about so many bytes."""
    return {
        "elements": b"<Delete>" + b"<a/>" * (size // 4) + b"</Delete>",
        "objects": b"<Delete>" + b"<Object><Key>a</Key></Object>" * (size // 29) + b"</Delete>",
        "deep": b"<Delete>" * 16 + b"<a/>" * (size // 8) + b"</Delete>" * 16,
        "deepest": b"<Delete>" * (size // 8),
        "attributes": b"<Delete><a " + b" ".join(b'b%d="c"' % n for n in range(size // 12)) + b"/></Delete>",
        "many attributes": b"<Delete>" + b'<a b="" c="" d="" e=""/>' * (size // 24) + b"</Delete>",
        "namespaces": b"<Delete>" + b'<a xmlns="b"/>' * (size // 14) + b"</Delete>",
        "references": b"<Delete><a>" + b"&#97;" * (size // 5) + b"</a></Delete>",
        "names": b"<Delete>" + b"&lt;" * (size // 4) + b"</Delete>",
        "lines": b"<Delete>" + b"\n" * size + b"</Delete>",
        "returns": b"<Delete>" + b"\r\n" * (size // 2) + b"</Delete>",
        "comments": b"<Delete>" + b"<!---->" * (size // 7) + b"</Delete>",
        "one comment": b"<Delete><!--" + b"- " * (size // 2) + b"--></Delete>",
        "instructions": b"<Delete>" + b"<?a?>" * (size // 5) + b"</Delete>",
        "sections": b"<Delete>" + b"<![CDATA[]]>" * (size // 12) + b"</Delete>",
        "brackets": b"<Delete>" + b"]" * size + b"</Delete>",
        "long name": b"<" + b"D" * size + b"/>",
        "long attribute": b'<Delete a="' + b"&lt;" * (size // 4) + b'"/>',
        "open tag": b"<Delete " + b" " * size,
        "wide": b"<Delete><a>" + "\U0001f600".encode() * (size // 4) + b"</a></Delete>",
        "utf-16": ("<Delete>" + "\u4e00" * (size // 2) + "</Delete>").encode("utf-16"),
        "latin": b'<?xml version="1.0" encoding="iso-8859-1"?><Delete>' + b"\xe9" * size + b"</Delete>",
        "entities": b'<!DOCTYPE a [<!ENTITY a "'
        + b"a" * 1000
        + b'"><!ENTITY b "'
        + b"&a;" * 1000
        + b'">]><Delete>&b;</Delete>',
    }


@add("s3: documents of any form, as long as may be")
def _(house: House) -> None:
    _bucket(house, "some")
    for size in (60 * KIB, 1000 * KIB, 8000 * KIB):
        for body in _documents(size).values():
            _do(house, "POST /some?delete=", _md5(body), body=body, status=None)


@add("s3: documents of every operation, as long as may be")
def _(house: House) -> None:
    _bucket(house, "some")
    _do(house, "PUT /some/a", body=b"x")
    for size in (60 * KIB, 250 * KIB, 1000 * KIB):
        for body in _documents(size).values():
            for line, root in (
                ("POST /some/a?uploadId=x", "CompleteMultipartUpload"),
                ("PUT /some?cors=", "CORSConfiguration"),
                ("PUT /some?acl=", "AccessControlPolicy"),
                ("PUT /some/a?acl=", "AccessControlPolicy"),
                ("PUT /some?tagging=", "Tagging"),
                ("PUT /some/a?tagging=", "Tagging"),
                ("PUT /some?publicAccessBlock=", "PublicAccessBlockConfiguration"),
                ("PUT /some?ownershipControls=", "OwnershipControls"),
                ("PUT /some-other", "CreateBucketConfiguration"),
            ):
                if size > 250 * KIB and root != "CompleteMultipartUpload":
                    continue
                text = body.replace(b"Delete", root.encode())
                _do(house, line, _md5(text), body=text, status=None)


@add("s3: as many tags as may be")
def _(house: House) -> None:
    _bucket(house, "some")
    for count in (50, 4000):
        tags = "".join(f"<Tag><Key>{n}{'é' * 120}</Key><Value>{'é' * 256}</Value></Tag>" for n in range(count))
        body = f"<Tagging><TagSet>{tags}</TagSet></Tagging>".encode()
        for line in ("PUT /some?tagging=", "PUT /some/a?tagging="):
            _do(house, line, _md5(body), body=body, status=None)
    _do(house, "GET /some?tagging=", status=None)
    for value in ("&" * 15000, "a=b&" * 3500, "&".join(f"{n}=" for n in range(3000)), "%41" * 5000, "+" * 15000):
        _do(house, "PUT /some/a", f"x-amz-tagging: {value}", body=b"", status=None)


@add("s3: as many grants as may be")
def _(house: House) -> None:
    _bucket(house, "some")
    owner = "<Owner><ID>x</ID></Owner>"
    for grantee in (
        f'<Grantee xsi:type="CanonicalUser"><ID>{"a" * 64}</ID></Grantee>',
        '<Grantee xsi:type="Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>',
    ):
        grant = f"<Grant>{grantee}<Permission>READ</Permission></Grant>"
        for count in (100, 400):
            body = (
                f'<AccessControlPolicy xmlns:xsi="x">{owner}<AccessControlList>{grant * count}</AccessControlList>'
                "</AccessControlPolicy>"
            ).encode()
            _do(house, "PUT /some?acl=", _md5(body), body=body, status=None)
    for value in ('id="a",' * 2000 + 'id="b"', "," * 15000, " " * 15000, 'uri="x",' * 1500, '"' * 15000):
        _do(house, "PUT /some?acl=", f"x-amz-grant-read: {value}", status=None)
        _do(house, "PUT /some/a", f"x-amz-grant-read: {value}", body=b"", status=None)


# -- rules of other origins ------------------------------------------------------------------------


def _cors(house: House) -> None:
    _bucket(house, "pages")
    headers = "".join(f"<AllowedHeader>{n:x}*</AllowedHeader>" for n in range(1700))
    rule = f"<CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>{headers}</CORSRule>"
    body = f"<CORSConfiguration>{rule}</CORSConfiguration>".encode()
    _do(house, "PUT /pages?cors=", _md5(body), body=body)


@add("s3: preflights", True, _cors)
def _(house: House) -> None:
    for asked in ("y," * 7000, "z1," * 4500 + "x", ",".join(f"{n:x}y" for n in range(2500))):
        for origin in ("http://a.example", "http://" + "a" * 500):
            house.ask(
                "s3",
                head(
                    "OPTIONS /pages/a",
                    f"Origin: {origin}",
                    "Access-Control-Request-Method: GET",
                    f"Access-Control-Request-Headers: {asked}",
                ),
            )


@add("s3: rules of as many origins as may be")
def _(house: House) -> None:
    _bucket(house, "origins")
    origins = "".join(f"<AllowedOrigin>{'a' * 10}*{n}</AllowedOrigin>" for n in range(1300))
    rules = f"<CORSRule>{origins}<AllowedMethod>GET</AllowedMethod></CORSRule>" + (
        "<CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>PUT</AllowedMethod></CORSRule>" * 99
    )
    body = f"<CORSConfiguration>{rules}</CORSConfiguration>".encode()
    _do(house, "PUT /origins?cors=", _md5(body), body=body, status=None)
    for _ in range(20):
        _do(house, "GET /origins?list-type=2", f"Origin: {'a' * 14000}")
    _do(house, "GET /origins?cors=", status=None)


# -- policies --------------------------------------------------------------------------------------


def _policies() -> dict[str, object]:
    """Those that are the costliest of 20 KiB."""
    patterns = [f"*?{chr(97 + n % 26)}" for n in range(2900)]
    wide = "".join(chr(0x4E00 + n) for n in range(6400))
    one = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::rules/*"}
    both = {**one, "Resource": ["arn:aws:s3:::rules/*", "arn:aws:s3:::rules"]}
    return {
        "patterns": {**both, "Condition": {"StringLike": {"aws:UserAgent": patterns}}},
        "patterns for none": {
            **both,
            "Condition": {"StringNotLike": {"aws:UserAgent": [f"{p}\x01" for p in patterns[:1500]]}},
        },
        "tags": {**both, "Condition": {"ForAnyValue:StringLike": {"s3:RequestObjectTagKeys": patterns}}},
        "one pattern": {**one, "Resource": "arn:aws:s3:::rules/" + "*?\U0001f600" * 1600},
        "marks": {**one, "Resource": "arn:aws:s3:::rules/" + "?" * 19000},
        "stars": {**one, "Resource": "arn:aws:s3:::rules/" + "*a" * 9000},
        "characters": {**one, "Resource": "arn:aws:s3:::rules/?" + wide},
        "resources": {**one, "Resource": [f"arn:aws:s3:::rules/*?{n}" for n in range(650)]},
        "variables": {**both, "Condition": {"StringLike": {"aws:UserAgent": ["${aws:Referer}*?"] * 900}}},
        "long variables": {**one, "Resource": "arn:aws:s3:::rules/" + "${s3:prefix}?" * 1000},
        "values": {**both, "Condition": {"StringEquals": {"aws:UserAgent": ["a" * 2] * 3000}}},
        "ignored case": {**both, "Condition": {"StringEqualsIgnoreCase": {"aws:UserAgent": ["a"] * 4000}}},
        "arns": {**both, "Condition": {"ArnLike": {"aws:UserAgent": ["*?:*:*:*:*:*"] * 1200}}},
        "addresses": {**both, "Condition": {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8"] * 1400}}},
        "dates": {**both, "Condition": {"DateEquals": {"aws:UserAgent": ["2020"] * 2500}}},
        "numbers": {**both, "Condition": {"NumericEquals": {"aws:UserAgent": ["1"] * 4500}}},
        "actions": {**both, "Action": ["s3:Get*"] * 1100, "Resource": ["arn:aws:s3:::rules/a"] * 350},
        "wild actions": {**both, "Action": ["s3:*?*?*?*t"] * 1200},
        "principals": {**both, "Principal": {"AWS": ["arn:aws:iam::000000000000:user/a"] * 550}},
    }


def _policy(house: House, name: str) -> None:
    _bucket(house, "rules")
    statement = _policies()[name]
    body = json.dumps({"Version": "2012-10-17", "Statement": statement}, ensure_ascii=False, separators=(",", ":"))
    if len(body.encode()) > 20 * KIB:
        raise AssertionError(f"{name}: {len(body.encode())}")
    _do(house, "PUT /rules?policy=", body=body.encode(), status=None)
    try:
        key = quote(_DEAR)
        long = "a" * 7000
        for line, fields in (
            (f"GET /rules/{key}", ()),
            (f"GET /rules/{'a' * 1024}", ()),
            (f"GET /rules/{'a' * 1024}", (f"User-Agent: {long}", f"Referer: {long[:2000]}")),
            (f"GET /rules/{'a' * 1024}", ("User-Agent: a:a:a:a:a:" + long,)),
            (f"GET /rules?prefix={long}", ("User-Agent: " + "1" * 25,)),
            ("PUT /rules/a", (f"x-amz-tagging: {'&'.join(str(n) for n in range(50))}",)),
        ):
            _do(house, line, *fields, status=None)
        body = _delete_document(_keys("x" * 1000, 1000)[:100])
        _do(house, "POST /rules?delete=", _md5(body), f"User-Agent: {long}", f"Referer: {long[:2000]}", body=body)
    finally:
        _do(house, "DELETE /rules?policy=", status=204)


for _name in _policies():
    add(f"s3: a policy: {_name}", _name == "resources")(lambda house, _name=_name: _policy(house, _name))


@add("s3: policies that are none")
def _(house: House) -> None:
    from tests.turns.corpus import json_texts

    _bucket(house, "rules")
    for text in json_texts(20 * KIB).values():
        for body in (text, b'{"Version":"2012-10-17","Statement":%b}' % text[: 20 * KIB - 60]):
            _do(house, "PUT /rules?policy=", body=body[: 20 * KIB], status=None)


# -- lists -----------------------------------------------------------------------------------------


@add("s3: pages of the longest keys", False, lambda house: _store(house, "long", _keys(_DEAR, 1000)))
def _(house: House) -> None:
    for query in (
        "list-type=2&encoding-type=url",
        "list-type=2&fetch-owner=true",
        "encoding-type=url",
        f"list-type=2&encoding-type=url&delimiter={quote(chr(0x1F600))}",
        f"list-type=2&encoding-type=url&delimiter={quote(chr(0x1F600) * 253)}",
        f"delimiter={quote(chr(0x1F600) * 254)}",
        f"list-type=2&prefix={'0' * 8000}&encoding-type=url",
        f"list-type=2&delimiter={'0' * 8000}&encoding-type=url",
        f"list-type=2&start-after={quote(chr(0x1F600) * 1000)}&encoding-type=url",
    ):
        _do(house, f"GET /long?{query}", status=None)


@add("s3: pages of keys that are longer when written", False, lambda house: _store(house, "marks", _keys(_MARKS, 1000)))
def _(house: House) -> None:
    for query in ("list-type=2", "list-type=2&encoding-type=url", "delimiter=%22&encoding-type=url"):
        _do(house, f"GET /marks?{query}")
    together(house, 8, lambda house: _do(house, "GET /marks?list-type=2&encoding-type=url"))


def _uploads(house: House) -> None:
    _bucket(house, "open")
    heads = [
        _signed(house, f"POST /open/{n:04}{quote(_DEAR)}?uploads=", "x-amz-checksum-algorithm: SHA512", body=b"")[0]
        for n in range(1000)
    ]
    for start in range(0, len(heads), 100):
        pipeline(house, "s3", b"".join(heads[start : start + 100]), 100)


@add("s3: pages of uploads", False, _uploads)
def _(house: House) -> None:
    for query in (
        "encoding-type=url",
        "",
        f"delimiter={quote(chr(0x1F600))}&encoding-type=url",
        f"delimiter={quote(chr(0x1F600))}",
    ):
        _do(house, f"GET /open?uploads=&{query}")


def _parts(house: House) -> None:
    """An upload with as many parts as may be, and an object of as many."""
    _bucket(house, "parts")
    if "0" in house.notes:
        return
    upload = _begun(house, "parts", "a")
    house.notes["0"] = upload
    for start in range(1, 10_001, 200):
        heads = [
            _signed(house, f"PUT /parts/a?partNumber={n}&uploadId={upload}", body=b"x")[0] + b"x"
            for n in range(start, start + 200)
        ]
        pipeline(house, "s3", b"".join(heads), 200)


def _begun(house: House, bucket: str, key: str) -> str:
    answer = _do(house, f"POST /{bucket}/{key}?uploads=", "x-amz-checksum-algorithm: SHA512", body=b"").decode()
    return answer.partition("<UploadId>")[2].partition("<")[0]


def _complete_document(count: int, etag: str = "9dd4e461268c8034f5c8564e155c67a6", more: str = "") -> bytes:
    parts = "".join(
        f"<Part><PartNumber>{n}</PartNumber><ETag>&quot;{etag}&quot;</ETag>{more}</Part>" for n in range(1, count + 1)
    )
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()


@add("s3: an upload of as many parts as may be", False, _parts)
def _(house: House) -> None:
    upload = house.notes["0"]
    for query in ("", "&part-number-marker=9000", "&max-parts=1000"):
        _do(house, f"GET /parts/a?uploadId={upload}{query}")
    long = f"<ChecksumSHA512>{'A' * 88}</ChecksumSHA512><ChecksumSHA1>{'B' * 28}</ChecksumSHA1>"
    for more in ("", long):
        for etag in ("9dd4e461268c8034f5c8564e155c67a6", "x" * 300):
            body = _complete_document(10_000, etag, more)
            # The parts are too small, which is found after the document was read.
            _do(house, f"POST /parts/a?uploadId={upload}", body=body, status=None)
    body = _complete_document(10_000)
    _do(house, "POST /parts/a?uploadId=none", body=body, status=404)


@add("s3: an object of as many parts as may be")
def _(house: House) -> None:
    _bucket(house, "parts")
    if "1" not in house.notes:
        house.notes["1"] = "x"
        _do(house, "PUT /parts/b", body=b"x")
        for offset in range(1, 300):
            _do(house, "PUT /parts/b", f"x-amz-write-offset-bytes: {offset}", body=b"x")
    for most in (1000, 10_000):
        _do(
            house,
            "GET /parts/b?attributes=",
            "x-amz-object-attributes: ETag,Checksum,ObjectParts,StorageClass,ObjectSize",
            f"x-amz-max-parts: {most}",
        )
    _do(house, "GET /parts/b?partNumber=300", status=None)
    _do(house, "GET /parts/b?partNumber=200", status=None)


def _buckets(house: House) -> None:
    if "2" in house.notes:
        return
    house.notes["2"] = "x"
    for start in range(0, 2000, 100):
        heads = [_signed(house, f"PUT /bucket-{n:05}", body=b"")[0] for n in range(start, start + 100)]
        pipeline(house, "s3", b"".join(heads), 100)


@add("s3: thousands of buckets", False, _buckets)
def _(house: House) -> None:
    for query in ("", "?max-buckets=10000", "?prefix=bucket"):
        _do(house, f"GET /{query}")


# -- objects ---------------------------------------------------------------------------------------


@add("s3: an object with as much beside it as may be")
def _(house: House) -> None:
    _bucket(house, "some")
    fields = [f"x-amz-meta-{n}: {'v' * 14}" for n in range(80)]
    _do(
        house, "PUT /some/beside", *fields, "Cache-Control: " + "x" * 5000, "Content-Language: " + "y" * 2000, body=b"x"
    )
    for query in ("", "?response-cache-control=" + "x" * 7000, "?response-content-disposition=" + "%41" * 3000):
        _do(house, f"GET /some/beside{query}", status=None)
    for _ in range(20):
        _do(house, "GET /some/beside", status=None)
    _do(house, "PUT /some/copy", "x-amz-copy-source: /some/beside")


@add("s3: small objects on one connection")
def _(house: House) -> None:
    _bucket(house, "some")
    put = _signed(house, "PUT /some/small", body=b"x")[0] + b"x"
    get = _signed(house, "GET /some/small")[0]
    pipeline(house, "s3", put * 200, 200)
    pipeline(house, "s3", get * 1000, 1000)
    pipeline(house, "s3", (put + get) * 200, 400)
    wrong = get.replace(b"Signature=", b"Signature=0")
    pipeline(house, "s3", wrong * 1000, 1000)
    pipeline(house, "s3", head("GET /some/small") * 1000, 1000)


@add("s3: small objects from many")
def _(house: House) -> None:
    _bucket(house, "some")
    put = _signed(house, "PUT /some/small", body=b"x")[0] + b"x"
    together(house, 40, lambda house: pipeline(house, "s3", put * 50, 50))


@add("s3: heads with as much as may be")
def _(house: House) -> None:
    _bucket(house, "some")
    for fields in (
        [f"x-amz-meta-{n}: {'v' * 100}" for n in range(85)],
        [f"x-amz-meta-{n}: {' v' * 50}" for n in range(85)],
        [f"x-amz-{n}: {'v' * 100}" for n in range(85)],
        [f"x-{n}: {'v' * 100}" for n in range(85)],
        ["x-amz-meta-a: " + " x" * 6500],
        ["x-amz-meta-a: " + "\xe9" * 12000],
        ["Range: bytes=" + "0-0," * 3500 + "1-1"],
        ["If-None-Match: " + '"a",' * 3500 + '"b"'],
        ["Content-Encoding: " + "aws-chunked," * 900],
        ["x-amz-object-attributes: " + "ETag," * 2500],
        ["x-amz-copy-source: " + "%41" * 4500],
        ["x-amz-checksum-crc32: " + "A" * 12000],
        ["x-amz-trailer: " + "a" * 12000],
    ):
        for line in ("GET /some/small", "PUT /some/small"):
            one = _signed(house, line, *[f.encode("utf-8").decode("latin-1") for f in fields])[0]
            house.ask("s3", one)
            house.ask("s3", one.replace(b"Signature=", b"Signature=0"))
    for length in (1, 500, 3000):
        many = ";".join(f"{n:05}" for n in range(length))
        for line in (
            f"AWS4-HMAC-SHA256 Credential=A/20261130/us-east-1/s3/aws4_request, SignedHeaders={many[:13000]}, Signature=0",
            "AWS4-HMAC-SHA256 " + "," * 14000,
            "AWS4-HMAC-SHA256 Credential=" + "/" * 14000,
        ):
            house.ask("s3", head("GET /some/small", f"Authorization: {line}"))


@add("s3: queries with as much as may be")
def _(house: House) -> None:
    for query in (
        "&".join(f"{n:x}" for n in range(2500)),
        "&".join(f"x-amz-{n}=a" for n in range(900)),
        "a=" + "%ff" * 4500,
        "a=" + "%00" * 4500,
        "&" * 12000,
        "=" * 12000,
        "a=" + "+" * 12000,
    ):
        _do(house, f"GET /some?{query}", status=None)
        sign = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20261130%2Fus-east-1%2Fs3%2Faws4_request"
        sign += "&X-Amz-Date=20261130T000000Z&X-Amz-Expires=1000&X-Amz-SignedHeaders=host&X-Amz-Signature=0"
        for one in (f"{sign}&{query}", f"AWSAccessKeyId=a&Signature=b&Expires=9999999999&{query}", query):
            house.ask("s3", head(f"GET /some/small?{one}"))
    for path in (
        "%41" * 4500,
        "%e9" * 4500,
        "a/" * 7000,
        "%00" * 300,
        "some/" + "%2f" * 1024,
        "some/" + "%2e%2e/" * 300,
    ):
        for query in ("", "?acl", "?uploads"):
            house.ask("s3", head(f"GET /{path}{query}"))


# -- bodies ----------------------------------------------------------------------------------------


def _chunked(house: House, form: str, data: bytes, size: int, lead: int = 0, trailer: bytes = b"") -> None:
    is_signed = "AWS4" in form
    pieces: list[bytes] = []
    chunks = [data[at : at + size] for at in range(0, len(data), size)] + [b""]
    # What is sent has always as many bytes.
    widths = [len(f"{len(each):x}") for each in chunks]
    extra = len(";chunk-signature=") + 64 if is_signed else 0
    total = sum(lead + w + extra + 2 + len(c) + (2 if c else 0) for w, c in zip(widths, chunks, strict=True))
    total += len(trailer) + 2
    fields = [f"x-amz-decoded-content-length: {len(data)}", "Content-Encoding: aws-chunked"]
    if trailer:
        fields.append("x-amz-trailer: x-amz-checksum-crc32")
    start, added = _signed(house, "PUT /some/chunked", *fields, payload=form, length=total)
    signer: ChunkSigner = _signer(house).chunks(added)
    for chunk in chunks:
        line = "0" * lead + f"{len(chunk):x}"
        if is_signed:
            line += ";chunk-signature=" + signer.sign(hashlib.sha256(chunk).hexdigest())
        pieces += [line.encode() + b"\r\n", chunk, b"\r\n" if chunk else b""]
    pieces += [trailer, b"\r\n"]
    status, answer = house.ask("s3", start, b"".join(pieces))
    if status >= 500:
        raise AssertionError(f"{status} {answer!r}")


@add("s3: chunks as small as may be", True)
def _(house: House) -> None:
    _bucket(house, "some")
    data = bytes(8 * MIB)
    _chunked(house, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", data, 8 * KIB)
    _chunked(house, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", data, 8 * KIB)
    _chunked(house, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", data, 8 * KIB, 12)


@add("s3: chunks that are wrong")
def _(house: House) -> None:
    _bucket(house, "some")
    _chunked(house, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", bytes(60_000), 1)
    _chunked(house, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", bytes(60_000), 1)
    for trailer in (b"\n" * 4000, b"a:b\r\n" * 800, b":" * 4000, b"x-amz-checksum-crc32:" + b"A" * 4000, b"x" * MIB):
        _chunked(house, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", b"x", 1, 0, trailer)
    for body in (b"\r\n" * MIB, b"0" * MIB, b"ffffffffffffffff\r\n" + bytes(MIB), b";" * MIB):
        one = _signed(
            house,
            "PUT /some/chunked",
            "x-amz-decoded-content-length: 1000000000",
            payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            length=len(body),
        )[0]
        house.ask("s3", one, body)


@add("s3: chunks of HTTP of one byte")
def _(house: House) -> None:
    _bucket(house, "some")
    chunks = b"1\r\nx\r\n" * 60_000 + b"0\r\n\r\n"
    one = _signed(house, "PUT /some/http", "Transfer-Encoding: chunked", payload=UNSIGNED_PAYLOAD)[0]
    house.ask("s3", one, chunks)
    digest = hashlib.sha256(b"x" * 60_000).hexdigest()
    one = _signed(house, "PUT /some/http", "Transfer-Encoding: chunked", payload=digest)[0]
    house.ask("s3", one, chunks)


@add("s3: a large object with every checksum")
def _(house: House) -> None:
    _bucket(house, "some")
    body = bytes(32 * MIB)
    for name, size in (("crc32", 4), ("crc64nvme", 8), ("sha1", 20), ("sha512", 64), ("md5", 16), ("xxhash128", 16)):
        wrong = b64encode(bytes(size)).decode()
        _do(house, "PUT /some/large", f"x-amz-checksum-{name}: {wrong}", _md5(body), body=body, status=None)
    _do(house, "PUT /some/large", body=body)
    together(house, 3, lambda house: _do(house, "GET /some/large"))


# -- forms -----------------------------------------------------------------------------------------


@add("s3: forms")
def _(house: House) -> None:
    _bucket(house, "some")

    def part(name: str, value: str) -> str:
        return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'

    for conditions in (
        [["starts-with", "$key", ""]] * 500,
        [{f"x-{n}": "y"} for n in range(900)],
        [["eq", f"$x-{n}", "y"] for n in range(700)],
        [[[[[[]]]]]] * 1000,
        [["content-length-range", 0, 10**9]] * 400,
    ):
        policy = b64encode(json.dumps({"expiration": "2099-01-01T00:00:00Z", "conditions": conditions}).encode())
        for fields in (
            "".join(part(f"x-{n}", "y") for n in range(900)),
            "".join(part("x-ignore-" + "a" * 500, "y" * 500) for n in range(900)),
            part("x-amz-meta-a", "y" * 19000),
            part("key", "${filename}" * 80),
            part(
                "tagging", "<Tagging><TagSet>" + "<Tag><Key>a</Key><Value>b</Value></Tag>" * 400 + "</TagSet></Tagging>"
            ),
        ):
            body = (
                part("policy", policy.decode())
                + part("AWSAccessKeyId", house.key.partition(":")[0])
                + part("signature", "x")
                + fields
                + part("key", "form")
                + '--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nx\r\n--b--\r\n'
            ).encode()
            house.ask("s3", head("POST /some", "Content-Type: multipart/form-data; boundary=b", length=len(body)), body)
