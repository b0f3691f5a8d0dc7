"""The S3 door and boto3, unmodified and on its defaults: what programs in Python do most, over real sockets."""

from __future__ import annotations

import io
import os
import ssl
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen

import boto3
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.integration.process import PATIENCE
from tests.integration.s3clients.case import REGION, S3Case
from tests.soak import SOAK, count, long_loop, rounds

#: Clients that want the same.
WRITERS = 64 if SOAK else 16


class BotoTests(S3Case):
    """Over plain HTTP."""

    def setUp(self) -> None:
        super().setUp()
        self.client = self.connect(self.house.key_id, self.house.secret)

    def connect(self, key_id: str, secret: str, signatures: str | None = None) -> Any:
        """A client of a user."""
        return boto3.client(
            "s3",
            endpoint_url=self.house.endpoint,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            region_name=REGION,
            verify=str(self.house.certificate) if self.secure else None,
            config=Config(max_pool_connections=WRITERS, retries={"max_attempts": 1}, signature_version=signatures),
        )

    def code(self, call: Callable[..., object], **given: Any) -> str:
        """How a call ends: the code of its error, or nothing."""
        try:
            call(**given)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    def refused(self, code: str, call: Callable[..., object], **given: Any) -> None:
        self.assertEqual(self.code(call, **given), code)

    def test_temporary_keys(self) -> None:
        """Those of AWS's service for them, at the same endpoint."""
        self.client.create_bucket(Bucket="box")
        sts = boto3.client(
            "sts",
            endpoint_url=self.house.endpoint,
            aws_access_key_id=self.house.key_id,
            aws_secret_access_key=self.house.secret,
            region_name=REGION,
            verify=str(self.house.certificate) if self.secure else None,
        )
        found = sts.get_session_token(DurationSeconds=900)["Credentials"]
        session = boto3.Session(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])
        verify = str(self.house.certificate) if self.secure else None
        client = session.client("s3", endpoint_url=self.house.endpoint, region_name=REGION, verify=verify)
        client.put_object(Bucket="box", Key="a", Body=b"data")
        url = client.generate_presigned_url("get_object", {"Bucket": "box", "Key": "a"})
        self.assertEqual(requests.get(url, verify=verify or True, timeout=PATIENCE).content, b"data")

    def test_buckets(self) -> None:
        """Each user has buckets of its own; an administrator sees all."""
        client, other = self.client, self.connect(*self.house.add_user("other"))
        client.create_bucket(Bucket="box")
        self.refused("BucketAlreadyOwnedByYou", client.create_bucket, Bucket="box")
        self.refused("BucketAlreadyExists", other.create_bucket, Bucket="box")
        other.create_bucket(Bucket="mine")
        for call, given in ((other.list_objects_v2, {}), (other.put_object, {"Key": "a"}), (other.delete_bucket, {})):
            self.refused("AccessDenied", call, Bucket="box", **given)
        pages = client.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 1})
        found = [each["Name"] for page in pages for each in page["Buckets"]]
        self.assertEqual({"box", "mine"} - set(found), set())
        self.assertNotIn("box", [each["Name"] for each in other.list_buckets()["Buckets"]])
        self.assertEqual(client.head_bucket(Bucket="box")["BucketRegion"], REGION)
        client.get_waiter("bucket_exists").wait(Bucket="mine")
        other.delete_bucket(Bucket="mine")
        self.refused("404", client.head_bucket, Bucket="mine")

    def test_objects(self) -> None:
        client = self.client
        client.create_bucket(Bucket="box")
        key = "a/ä +b&c"
        put = client.put_object(
            Bucket="box", Key=key, Body=b"hello", Metadata={"two-words": "x"}, ContentType="text/x", Tagging="k=v"
        )
        self.assertEqual(put["ETag"], '"5d41402abc4b2a76b9719d911017c592"')
        got = client.get_object(Bucket="box", Key=key)
        self.assertEqual(
            (got["Body"].read(), got["Metadata"], got["ContentType"], got["TagCount"], got["ChecksumCRC32"]),
            (b"hello", {"two-words": "x"}, "text/x", 1, "NhCmhg=="),
        )
        self.assertEqual(client.get_object(Bucket="box", Key=key, Range="bytes=1-2")["Body"].read(), b"el")
        self.refused("NoSuchKey", client.get_object, Bucket="box", Key="none")
        self.refused("304", client.get_object, Bucket="box", Key=key, IfNoneMatch=put["ETag"])
        self.refused("PreconditionFailed", client.put_object, Bucket="box", Key=key, IfNoneMatch="*")
        self.refused("NoSuchKey", client.put_object, Bucket="box", Key="none", IfMatch=put["ETag"])
        client.copy_object(Bucket="box", Key="copy", CopySource={"Bucket": "box", "Key": key})
        for number in range(5):
            client.put_object(Bucket="box", Key=f"n/{number}")
        for version in ("list_objects", "list_objects_v2"):
            pages = client.get_paginator(version).paginate(Bucket="box", PaginationConfig={"PageSize": 2})
            found = [each["Key"] for page in pages for each in page["Contents"]]
            self.assertEqual(found, [key, "copy", *(f"n/{number}" for number in range(5))])
        page = client.list_objects_v2(Bucket="box", Delimiter="/")
        self.assertEqual([each["Prefix"] for each in page["CommonPrefixes"]], ["a/", "n/"])
        self.refused("BucketNotEmpty", client.delete_bucket, Bucket="box")
        listed = [{"Key": name} for name in found]
        self.assertEqual(len(client.delete_objects(Bucket="box", Delete={"Objects": listed})["Deleted"]), 7)
        client.delete_bucket(Bucket="box")

    def test_large(self) -> None:
        """In parts, each way."""
        self.client.create_bucket(Bucket="box")
        data = os.urandom(20 << 20)
        self.client.upload_fileobj(io.BytesIO(data), "box", "large")
        about = self.client.head_object(Bucket="box", Key="large")
        self.assertEqual((about["ContentLength"], about["ETag"][-3:]), (len(data), '-3"'))
        back = io.BytesIO()
        self.client.download_fileobj("box", "large", back)
        self.assertTrue(back.getvalue() == data)
        part = self.client.get_object(Bucket="box", Key="large", PartNumber=2)
        self.assertEqual((part["PartsCount"], part["ContentRange"]), (3, "bytes 8388608-16777215/20971520"))

    def test_presigned(self) -> None:
        """URLs and forms as boto3 signs them by itself, and by version 4."""
        trust = ssl.create_default_context(cafile=str(self.house.certificate)) if self.secure else None
        self.client.create_bucket(Bucket="box")
        signed = self.connect(self.house.key_id, self.house.secret, "s3v4")
        for number, client in enumerate((self.client, signed)):
            about = {"Bucket": "box", "Key": f"ä {number}"}
            url = client.generate_presigned_url("put_object", Params=about)
            urlopen(Request(url, b"text", {"Content-Type": ""}, method="PUT"), context=trust).close()
            url = client.generate_presigned_url("get_object", Params={**about, "ResponseContentType": "text/x"})
            with urlopen(url, context=trust) as response:
                self.assertEqual((response.read(), response.headers["Content-Type"]), (b"text", "text/x"))
            form = client.generate_presigned_post("box", f"form {number}")
            verify = str(self.house.certificate) if self.secure else True
            response = requests.post(
                form["url"], form["fields"], files={"file": b"by form"}, verify=verify, timeout=PATIENCE
            )
            self.assertEqual(response.status_code, 204, response.text)
            stored = client.get_object(Bucket="box", Key=f"form {number}")
            self.assertEqual(stored["Body"].read(), b"by form")

    @long_loop
    def test_one_wins(self) -> None:
        """Of many clients that make the same change on the same condition."""
        client = self.client
        client.create_bucket(Bucket="box")
        client.put_object(Bucket="box", Key="source", Body=b"source")
        with ThreadPoolExecutor(WRITERS) as threads:

            def race(call: Callable[..., object], given: list[dict[str, Any]], *losers: str) -> None:
                codes = Counter(threads.map(lambda each: self.code(call, **each), given))
                self.assertEqual(codes.pop(""), 1, codes)
                self.assertLessEqual(set(codes), {"PreconditionFailed", *losers})
                count("races")

            for number in rounds(4):
                about: dict[str, Any] = {"Bucket": "box", "Key": f"key {number}"}
                absent = about | {"IfNoneMatch": "*"}
                race(client.put_object, [absent | {"Body": b"%d" % each} for each in range(WRITERS)])
                match = about | {"IfMatch": client.head_object(**about)["ETag"]}
                race(client.put_object, [match | {"Body": b"x%d" % each} for each in range(WRITERS)])
                match = about | {"IfMatch": client.head_object(**about)["ETag"]}
                race(client.delete_object, [match] * WRITERS, "NoSuchKey")
                race(client.copy_object, [absent | {"CopySource": "box/source"}] * WRITERS)
                client.delete_object(**about)
                race(client.complete_multipart_upload, [absent | self.uploaded(about) for _ in range(WRITERS)])

    def uploaded(self, about: dict[str, str]) -> dict[str, Any]:
        """An upload of one part, as it is to be completed."""
        id = self.client.create_multipart_upload(**about)["UploadId"]
        etag = self.client.upload_part(**about, UploadId=id, PartNumber=1, Body=b"part")["ETag"]
        return {"UploadId": id, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": etag}]}}


class BotoTLSTests(BotoTests):
    """Over TLS."""

    secure = True
