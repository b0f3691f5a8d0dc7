"""Access control at the S3 door of a real service, by boto3 as several users and as nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.s3clients.case import REGION, S3House

POLICY = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/*"}


class AccessTests(SynchronousTestCase):
    """C{ann} owns a bucket; C{bob} is another user."""

    def setUp(self) -> None:
        self.house = S3House(self.mktemp(), settings={"audit-log": "all"})
        self.addCleanup(self.house.kill)
        self.house.start()
        self.ann, self.bob = (self.client(*self.house.add_user(name)) for name in ("ann", "bob"))
        self.nobody = self.client()
        self.ann.create_bucket(Bucket="box")
        self.ann.put_object(Bucket="box", Key="a", Body=b"data")

    def client(self, key_id: str = "", secret: str = "") -> Any:
        """One of a user; without a key, of nobody."""
        config = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"})
        if not key_id:
            config = config.merge(Config(signature_version=UNSIGNED))
        made = boto3.client(
            "s3",
            endpoint_url=self.house.endpoint,
            region_name=REGION,
            aws_access_key_id=key_id or None,
            aws_secret_access_key=secret or None,
            config=config,
        )
        self.addCleanup(made.close)
        return made

    def refused(self, code: str, call: Callable[..., Any], *words: Any, **given: Any) -> None:
        """A call fails with a code."""
        error = self.assertRaises(ClientError, call, *words, **given)
        self.assertEqual(error.response["Error"]["Code"], code)

    def policy(self, **more: Any) -> str:
        """A policy of one statement."""
        return json.dumps({"Version": "2012-10-17", "Statement": [POLICY | more]})

    def test_new_buckets_are_closed(self) -> None:
        """Until their owner opens them, step by step."""
        for other in (self.bob, self.nobody):
            self.refused("AccessDenied", other.get_object, Bucket="box", Key="a")
            self.refused("AccessDenied", other.list_objects_v2, Bucket="box")
            self.refused("AccessDenied", other.put_object, Bucket="box", Key="b", Body=b"")
            self.refused("AccessDenied", other.put_bucket_policy, Bucket="box", Policy=self.policy())
        self.assertEqual(self.bob.list_buckets()["Buckets"], [])
        self.refused("BucketAlreadyExists", self.bob.create_bucket, Bucket="box")
        for name in ("sfsp", "uploads"):
            self.refused("BucketAlreadyExists", self.bob.create_bucket, Bucket=name)
        self.refused("AccessControlListNotSupported", self.ann.put_bucket_acl, Bucket="box", ACL="public-read")
        self.refused("AccessDenied", self.ann.put_bucket_policy, Bucket="box", Policy=self.policy())
        self.ann.delete_public_access_block(Bucket="box")
        self.ann.put_bucket_policy(Bucket="box", Policy=self.policy())
        self.assertTrue(self.ann.get_bucket_policy_status(Bucket="box")["PolicyStatus"]["IsPublic"])
        self.assertEqual(json.loads(self.ann.get_bucket_policy(Bucket="box")["Policy"])["Statement"], [POLICY])
        self.assertEqual(self.nobody.get_object(Bucket="box", Key="a")["Body"].read(), b"data")
        self.refused("AccessDenied", self.nobody.list_objects_v2, Bucket="box")
        self.ann.put_bucket_policy(Bucket="box", Policy=self.policy(Principal={"AWS": "arn:aws:iam:::user/bob"}))
        self.assertEqual(self.bob.get_object(Bucket="box", Key="a")["Body"].read(), b"data")
        self.refused("AccessDenied", self.nobody.get_object, Bucket="box", Key="a")
        self.ann.delete_bucket_policy(Bucket="box")
        self.refused("NoSuchBucketPolicy", self.ann.get_bucket_policy, Bucket="box")
        self.refused("AccessDenied", self.bob.get_object, Bucket="box", Key="a")

    def test_acls(self) -> None:
        """Where they count."""
        self.ann.delete_public_access_block(Bucket="box")
        controls = {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
        self.ann.put_bucket_ownership_controls(Bucket="box", OwnershipControls=controls)
        self.ann.put_bucket_acl(Bucket="box", ACL="public-read-write")
        self.bob.put_object(Bucket="box", Key="bobs", Body=b"his", ACL="public-read")
        self.assertEqual(self.nobody.get_object(Bucket="box", Key="bobs")["Body"].read(), b"his")
        self.refused("AccessDenied", self.nobody.get_object, Bucket="box", Key="a")
        self.assertEqual(len(self.nobody.list_objects_v2(Bucket="box")["Contents"]), 2)
        found = self.bob.get_object_acl(Bucket="box", Key="bobs")
        self.assertEqual(found["Owner"]["DisplayName"], "bob")
        grants = {"Owner": found["Owner"], "Grants": found["Grants"][:1]}
        self.bob.put_object_acl(Bucket="box", Key="bobs", AccessControlPolicy=grants)
        self.refused("AccessDenied", self.nobody.get_object, Bucket="box", Key="bobs")
        self.ann.put_public_access_block(
            Bucket="box", PublicAccessBlockConfiguration={"IgnorePublicAcls": True, "BlockPublicAcls": True}
        )
        self.refused("AccessDenied", self.nobody.list_objects_v2, Bucket="box")
        self.refused("AccessDenied", self.ann.put_object_acl, Bucket="box", Key="a", ACL="public-read")

    def test_rights_and_limits(self) -> None:
        """Of a user, and of an append-only key, at once and without a restart."""
        root = ("--root", str(self.house.root))
        self.house.command_line("user", "grant", "bob", "read", "list", "--bucket", "box", "--prefix", "a", *root)
        self.assertEqual(self.bob.get_object(Bucket="box", Key="a")["Body"].read(), b"data")
        self.refused("AccessDenied", self.bob.list_objects_v2, Bucket="box")
        self.house.command_line("user", "revoke", "bob", "--all", *root)
        self.refused("AccessDenied", self.bob.get_object, Bucket="box", Key="a")
        self.refused("AccessDenied", self.bob.create_bucket, Bucket="bobs")
        said = json.loads(self.house.command_line("user", "key", "add", "ann", "--append-only", "--json", *root))
        adder = self.client(said["key_id"], said["secret"])
        adder.put_object(Bucket="box", Key="new", Body=b"1")
        for key in ("new", "a"):
            self.refused("AccessDenied", adder.put_object, Bucket="box", Key=key, Body=b"2")
            self.refused("AccessDenied", adder.get_object, Bucket="box", Key=key)
            self.refused("AccessDenied", adder.delete_object, Bucket="box", Key=key)
        upload = adder.create_multipart_upload(Bucket="box", Key="a")["UploadId"]
        where = {"Bucket": "box", "Key": "a", "UploadId": upload}
        part = {"PartNumber": 1, "ETag": adder.upload_part(**where, PartNumber=1, Body=b"2")["ETag"]}
        self.refused("AccessDenied", adder.complete_multipart_upload, **where, MultipartUpload={"Parts": [part]})
        self.assertEqual(self.ann.get_object(Bucket="box", Key="a")["Body"].read(), b"data")
        self.house.command_line("user", "key", "remove", "ann", said["key_id"], *root)
        self.refused("InvalidAccessKeyId", adder.put_object, Bucket="box", Key="other", Body=b"1")
        audit = [line for line in self.house.output.splitlines() if "audit: " in line]
        self.assertTrue(any("changed bob at objects: grant read, list on the bucket box" in line for line in audit))
        self.assertTrue(any("ann from 127.0.0.1 was refused s3:PutObject on box/new at s3" in line for line in audit))
        self.assertFalse(any(said["secret"] in line for line in audit))
