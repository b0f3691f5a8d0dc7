"""The S3 door and boto3: all checksums, conditions, ways to sign, and the library of transfers."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.integration.process import PATIENCE
from tests.integration.s3clients.case import REGION, S3Case
from tests.integration.s3clients.data import MIB, digest, make_tree

#: Those that it computes itself.
_ALGORITHMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256", "SHA512", "XXHASH64", "XXHASH3", "XXHASH128")


class PythonTests(S3Case):
    """Over plain HTTP."""

    def client(self, **config: Any) -> Any:
        """On its defaults but for what is given."""
        client = boto3.client(
            "s3",
            endpoint_url=self.house.endpoint,
            aws_access_key_id=self.house.key_id,
            aws_secret_access_key=self.house.secret,
            region_name=REGION,
            verify=str(self.house.certificate) if self.secure else None,
            config=Config(**config),
        )
        self.addCleanup(client.close)
        return client

    def refused(self, code: str, operation: Any, **given: Any) -> None:
        """It fails with that code."""
        error = self.assertRaises(ClientError, operation, **given)
        self.assertEqual(error.response["Error"]["Code"], code)

    def test_files(self) -> None:
        """What the library of transfers does: parts in several threads, each way, and copies."""
        tree = make_tree(self.home / "tree")
        client = self.client()
        client.create_bucket(Bucket="box")
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda name: client.upload_file(str(self.home / "tree" / name), "box", name), tree))
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="box", PaginationConfig={"PageSize": 50})
        listed = {each["Key"]: each["Size"] for page in pages for each in page["Contents"]}
        self.assertEqual(listed, {name: int(about.split()[1]) for name, about in tree.items()})
        client.copy({"Bucket": "box", "Key": "large.bin"}, "box", "copy of/large.bin")
        for name, about in {**tree, "copy of/large.bin": tree["large.bin"]}.items():
            client.download_file("box", name, str(self.home / "got"))
            self.assertEqual(digest(self.home / "got"), about, name)
        names = [{"Key": name} for name in (*tree, "copy of/large.bin")]
        self.assertEqual(len(client.delete_objects(Bucket="box", Delete={"Objects": names})["Deleted"]), len(names))
        client.delete_bucket(Bucket="box")

    def test_checksums(self) -> None:
        """Each algorithm, whole and in parts: what the client computes is compared at both ends."""
        client = self.client()
        client.create_bucket(Bucket="box")
        data = bytes(range(256)) * 20_480
        for name in _ALGORITHMS:
            field = f"Checksum{name}"
            stored = client.put_object(Bucket="box", Key=name, Body=data, ChecksumAlgorithm=name)
            self.assertEqual(stored["ETag"], f'"{hashlib.md5(data).hexdigest()}"')
            got = client.get_object(Bucket="box", Key=name, ChecksumMode="ENABLED")
            self.assertEqual((got["Body"].read(), got[field]), (data, stored[field]))
            upload = client.create_multipart_upload(Bucket="box", Key=f"{name}.parts", ChecksumAlgorithm=name)
            part = {"Bucket": "box", "Key": f"{name}.parts", "UploadId": upload["UploadId"]}
            parts = []
            for number in (1, 2):
                sent = client.upload_part(**part, PartNumber=number, Body=data, ChecksumAlgorithm=name)
                parts.append({"PartNumber": number, "ETag": sent["ETag"], field: sent[field]})
            client.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})
            wanted = ["Checksum", "ObjectParts", "ObjectSize"]
            found = client.get_object_attributes(Bucket="box", Key=f"{name}.parts", ObjectAttributes=wanted)
            self.assertEqual((found["ObjectSize"], found["ObjectParts"]["TotalPartsCount"]), (2 * len(data), 2))
            self.assertIn(field, found["Checksum"])
            got = client.get_object(Bucket="box", Key=f"{name}.parts", ChecksumMode="ENABLED")
            self.assertEqual(got["Body"].read(), data * 2)
            second = client.get_object(Bucket="box", Key=f"{name}.parts", PartNumber=2)
            self.assertEqual((second["Body"].read(), second["PartsCount"]), (data, 2))
        for given in ({"ChecksumSHA256": "A" * 43 + "="}, {"ContentMD5": "A" * 22 + "=="}):
            self.refused("BadDigest", client.put_object, Bucket="box", Key="wrong", Body=data, **given)
        self.refused("404", client.head_object, Bucket="box", Key="wrong")

    def test_conditions(self) -> None:
        client = self.client()
        client.create_bucket(Bucket="box")
        key = {"Bucket": "box", "Key": "a"}
        etag = client.put_object(**key, Body=b"1", IfNoneMatch="*")["ETag"]
        self.refused("PreconditionFailed", client.put_object, **key, Body=b"2", IfNoneMatch="*")
        self.refused("NoSuchKey", client.put_object, Bucket="box", Key="none", Body=b"2", IfMatch=etag)
        second = client.put_object(**key, Body=b"2", IfMatch=etag)["ETag"]
        self.refused("PreconditionFailed", client.put_object, **key, Body=b"3", IfMatch=etag)
        self.refused("PreconditionFailed", client.get_object, **key, IfMatch=etag)
        self.refused("304", client.get_object, **key, IfNoneMatch=second)
        self.refused("PreconditionFailed", client.delete_object, **key, IfMatch=etag)
        wrong = client.delete_objects(Bucket="box", Delete={"Objects": [{"Key": "a", "ETag": etag}]})
        self.assertEqual([each["Code"] for each in wrong["Errors"]], ["PreconditionFailed"])
        client.delete_object(**key, IfMatch=second)
        self.refused("NoSuchKey", client.get_object, **key)

    def test_signed_urls(self) -> None:
        """By the version that is the default, and by version 4; and forms."""
        trust = str(self.house.certificate) if self.secure else None
        self.client().create_bucket(Bucket="box")
        data = b"x" * (3 * MIB)
        for number, client in enumerate((self.client(), self.client(signature_version="s3v4"))):
            key = {"Bucket": "box", "Key": f"a &{number}"}
            answer = requests.put(
                client.generate_presigned_url("put_object", key), data, verify=trust, timeout=PATIENCE
            )
            self.assertEqual(answer.status_code, 200, answer.text)
            url = client.generate_presigned_url("get_object", {**key, "ResponseContentType": "text/x"})
            answer = requests.get(url, verify=trust, timeout=PATIENCE)
            self.assertEqual((answer.content, answer.headers["Content-Type"]), (data, "text/x"))
            answer = requests.get(url.replace("a%20", "b%20"), verify=trust, timeout=PATIENCE)
            self.assertEqual(answer.status_code, 403)
            form = client.generate_presigned_post(
                "box", f"f{number}/${{filename}}", Conditions=[["content-length-range", 1, 10]]
            )
            for size, status in ((10, 204), (11, 400)):
                files = {"file": (f"{size}.txt", b"y" * size)}
                answer = requests.post(form["url"], form["fields"], files=files, verify=trust, timeout=PATIENCE)
                self.assertEqual(answer.status_code, status, answer.text)
            self.assertEqual(client.get_object(Bucket="box", Key=f"f{number}/10.txt")["Body"].read(), b"y" * 10)

    def test_more_than_objects(self) -> None:
        """Configurations of buckets, and tags."""
        client = self.client()
        client.create_bucket(Bucket="box", ObjectOwnership="ObjectWriter")
        client.put_object(Bucket="box", Key="a", Body=b"1", Tagging="colour=red", Metadata={"who": "me"})
        client.put_object_tagging(Bucket="box", Key="a", Tagging={"TagSet": [{"Key": "size", "Value": "s"}]})
        self.assertEqual(client.get_object_tagging(Bucket="box", Key="a")["TagSet"], [{"Key": "size", "Value": "s"}])
        rules = {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://a.example"]}]}
        client.put_bucket_cors(Bucket="box", CORSConfiguration=rules)
        self.assertEqual(client.get_bucket_cors(Bucket="box")["CORSRules"], rules["CORSRules"])
        trust = str(self.house.certificate) if self.secure else None
        url = f"{self.house.endpoint}/box/a"
        self.assertEqual(requests.get(url, verify=trust, timeout=PATIENCE).status_code, 403)
        client.delete_public_access_block(Bucket="box")
        client.put_object_acl(Bucket="box", Key="a", ACL="public-read")
        self.assertEqual(requests.get(url, verify=trust, timeout=PATIENCE).content, b"1")
        self.assertEqual(client.get_bucket_location(Bucket="box").get("LocationConstraint"), None)
        self.assertEqual([each["Name"] for each in client.list_buckets()["Buckets"]], ["box"])


class PythonTLSTests(PythonTests):
    """Over TLS."""

    secure = True
