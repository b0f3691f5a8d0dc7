"""
Configurations of buckets that are the same for all: those of what is not here, so that nothing is configured, and of what
cannot be changed. Asking for one is answered as S3 answers for a bucket without any; setting one is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from storehouse.core.xmltext import XML, document, element, text
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.route import handler

__all__: list[str] = []

#: What is found.
_FOUND: Mapping[str, bytes] = {
    "GetBucketAccelerateConfiguration": document("AccelerateConfiguration"),
    "GetBucketLogging": document("BucketLoggingStatus"),
    "GetBucketRequestPayment": document("RequestPaymentConfiguration", text("Payer", "BucketOwner")),
    "GetBucketVersioning": document("VersioningConfiguration"),
    "ListBucketAnalyticsConfigurations": document("ListBucketAnalyticsConfigurationResult", text("IsTruncated", False)),
    "ListBucketIntelligentTieringConfigurations": document(
        "ListBucketIntelligentTieringConfigurationsOutput", text("IsTruncated", False)
    ),
    "ListBucketInventoryConfigurations": document("ListInventoryConfigurationsResult", text("IsTruncated", False)),
    "ListBucketMetricsConfigurations": document("ListMetricsConfigurationsResult", text("IsTruncated", False)),
}

#: What is not found, and the error for it.
_MISSING: Mapping[str, str] = {
    "GetBucketAnalyticsConfiguration": "NoSuchConfiguration",
    "GetBucketIntelligentTieringConfiguration": "NoSuchConfiguration",
    "GetBucketInventoryConfiguration": "NoSuchConfiguration",
    "GetBucketLifecycleConfiguration": "NoSuchLifecycleConfiguration",
    "GetBucketMetricsConfiguration": "NoSuchConfiguration",
    "GetBucketReplication": "ReplicationConfigurationNotFoundError",
    "GetBucketWebsite": "NoSuchWebsiteConfiguration",
    "GetObjectLockConfiguration": "ObjectLockConfigurationNotFoundError",
}


async def _found(call: Call) -> Reply:
    await call.store.get_bucket(call.bucket)
    return Reply(200, _FOUND[call.operation], XML)


async def _missing(call: Call) -> Reply:
    await call.store.get_bucket(call.bucket)
    raise S3Error(_MISSING[call.operation], BucketName=call.bucket)


for _operation in _FOUND:
    handler(_operation)(_found)
for _operation in _MISSING:
    handler(_operation)(_missing)


_ENCRYPTION = document(
    "ServerSideEncryptionConfiguration",
    element(
        "Rule",
        element("ApplyServerSideEncryptionByDefault", text("SSEAlgorithm", "AES256")),
        text("BucketKeyEnabled", False),
    ),
)


@handler("GetBucketEncryption")
async def get_bucket_encryption(call: Call) -> Reply:
    """Whether what is stored is encrypted, which holds for all buckets alike."""
    await call.store.get_bucket(call.bucket)
    if not call.door.is_sealed:
        raise S3Error("ServerSideEncryptionConfigurationNotFoundError", BucketName=call.bucket)
    return Reply(200, _ENCRYPTION, XML)
