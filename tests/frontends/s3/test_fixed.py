"""Tests of L{storehouse.frontends.s3.fixed}."""

from __future__ import annotations

from storehouse.frontends.s3.call import Door
from storehouse.frontends.s3.door import S3Door
from tests.frontends.s3.playing import AnyAuthenticator, InlineDisk, S3Case, allow_signed


class FixedTests(S3Case):
    """What is configured for no bucket."""

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.successResultOf(self.store.create_bucket("box"))

    def test_empty(self) -> None:
        for line, root, text in (
            ("accelerate", "AccelerateConfiguration", ""),
            ("logging", "BucketLoggingStatus", ""),
            ("requestPayment", "RequestPaymentConfiguration", "BucketOwner"),
            ("versioning", "VersioningConfiguration", ""),
            ("inventory", "ListInventoryConfigurationsResult", "false"),
            ("metrics", "ListMetricsConfigurationsResult", "false"),
            ("analytics", "ListBucketAnalyticsConfigurationResult", "false"),
            ("intelligent-tiering", "ListBucketIntelligentTieringConfigurationsOutput", "false"),
        ):
            found = self.read(root, f"GET /box?{line}")
            self.assertEqual("".join(each.text for each in found.children), text)
            self.refused("NoSuchBucket", f"GET /nobox?{line}")

    def test_missing(self) -> None:
        for line, code in (
            ("inventory&id=x", "NoSuchConfiguration"),
            ("metrics&id=x", "NoSuchConfiguration"),
            ("analytics&id=x", "NoSuchConfiguration"),
            ("intelligent-tiering&id=x", "NoSuchConfiguration"),
            ("lifecycle", "NoSuchLifecycleConfiguration"),
            ("replication", "ReplicationConfigurationNotFoundError"),
            ("website", "NoSuchWebsiteConfiguration"),
            ("object-lock", "ObjectLockConfigurationNotFoundError"),
            ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ):
            self.assertEqual(self.refused(code, f"GET /box?{line}").value("BucketName"), "box")
            self.refused("NoSuchBucket", f"GET /nobox?{line}")

    def test_none_can_be_set(self) -> None:
        for name in ("accelerate", "versioning", "replication", "lifecycle", "encryption", "website", "logging"):
            self.refused("NotImplemented", f"PUT /box?{name}", b"<x/>")


class SealedTests(S3Case):
    """A store where all is encrypted."""

    def make_door(self) -> S3Door:
        shared = Door(self.store, self.accounts, self.settings, self.clock, InlineDisk(), is_sealed=True)
        return S3Door(shared, AnyAuthenticator(), allow_signed)

    def test_encryption(self) -> None:
        self.successResultOf(self.store.create_bucket("box"))
        rule = self.read("ServerSideEncryptionConfiguration", "GET /box?encryption").child("Rule")
        assert rule is not None
        default = rule.child("ApplyServerSideEncryptionByDefault")
        assert default is not None
        self.assertEqual(default.value("SSEAlgorithm"), "AES256")
