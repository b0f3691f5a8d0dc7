"""
Operations and the actions of policies that they are, and what of it a right of storehouse allows.

Source: "Actions, resources, and condition keys for Amazon S3" of Amazon's service authorization reference, and "Required
permissions for Amazon S3 API operations" of its user guide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

__all__ = [
    "ACL_FIELDS",
    "ACTIONS",
    "ACTION_FIELDS",
    "BUCKET",
    "OBJECT",
    "PERMISSION",
    "SERVICE",
    "actions_of",
    "reads_configuration",
]

#: What an action is about.
SERVICE, BUCKET, OBJECT = "service", "bucket", "object"

_OF_BUCKETS = [
    "CreateBucket",
    "DeleteBucket",
    "DeleteBucketOwnershipControls",
    "DeleteBucketPolicy",
    "DeleteBucketWebsite",
    "GetAccelerateConfiguration",
    "GetAnalyticsConfiguration",
    "GetBucketAbac",
    "GetBucketAcl",
    "GetBucketCORS",
    "GetBucketLocation",
    "GetBucketLogging",
    "GetBucketMetadataTableConfiguration",
    "GetBucketNotification",
    "GetBucketObjectLockConfiguration",
    "GetBucketOwnershipControls",
    "GetBucketPolicy",
    "GetBucketPolicyStatus",
    "GetBucketPublicAccessBlock",
    "GetBucketRequestPayment",
    "GetBucketTagging",
    "GetBucketVersioning",
    "GetBucketWebsite",
    "GetEncryptionConfiguration",
    "GetIntelligentTieringConfiguration",
    "GetInventoryConfiguration",
    "GetLifecycleConfiguration",
    "GetMetricsConfiguration",
    "GetReplicationConfiguration",
    "ListBucket",
    "ListBucketMultipartUploads",
    "ListBucketVersions",
    "ListTagsForResource",
    "PutAccelerateConfiguration",
    "PutAnalyticsConfiguration",
    "PutBucketAbac",
    "PutBucketAcl",
    "PutBucketCORS",
    "PutBucketLogging",
    "PutBucketNotification",
    "PutBucketObjectLockConfiguration",
    "PutBucketOwnershipControls",
    "PutBucketPolicy",
    "PutBucketPublicAccessBlock",
    "PutBucketRequestPayment",
    "PutBucketTagging",
    "PutBucketVersioning",
    "PutBucketWebsite",
    "PutEncryptionConfiguration",
    "PutIntelligentTieringConfiguration",
    "PutInventoryConfiguration",
    "PutLifecycleConfiguration",
    "PutMetricsConfiguration",
    "PutReplicationConfiguration",
    "CreateBucketMetadataTableConfiguration",
    "DeleteBucketMetadataTableConfiguration",
    "UpdateBucketMetadataAnnotationTableConfiguration",
    "UpdateBucketMetadataInventoryTableConfiguration",
    "UpdateBucketMetadataJournalTableConfiguration",
    "TagResource",
    "UntagResource",
]

_OF_OBJECTS = [
    "AbortMultipartUpload",
    "BypassGovernanceRetention",
    "DeleteObject",
    "DeleteObjectAnnotation",
    "DeleteObjectTagging",
    "DeleteObjectVersion",
    "DeleteObjectVersionTagging",
    "GetObject",
    "GetObjectAcl",
    "GetObjectAnnotation",
    "GetObjectAttributes",
    "GetObjectLegalHold",
    "GetObjectRetention",
    "GetObjectTagging",
    "GetObjectTorrent",
    "GetObjectVersion",
    "GetObjectVersionAcl",
    "GetObjectVersionAttributes",
    "GetObjectVersionForReplication",
    "GetObjectVersionTagging",
    "GetObjectVersionTorrent",
    "InitiateReplication",
    "ListMultipartUploadParts",
    "ListObjectAnnotations",
    "ObjectOwnerOverrideToBucketOwner",
    "PutObject",
    "PutObjectAcl",
    "PutObjectAnnotation",
    "PutObjectLegalHold",
    "PutObjectRetention",
    "PutObjectTagging",
    "PutObjectVersionAcl",
    "PutObjectVersionTagging",
    "RenameObject",
    "ReplicateDelete",
    "ReplicateObject",
    "ReplicateTags",
    "RestoreObject",
    "UpdateObjectEncryption",
]

#: Every action that a bucket policy can name, and what it is about.
ACTIONS: Mapping[str, str] = {
    "s3:ListAllMyBuckets": SERVICE,
    **{f"s3:{name}": BUCKET for name in _OF_BUCKETS},
    **{f"s3:{name}": OBJECT for name in _OF_OBJECTS},
}

# Operations whose action has another name than they; for the others it is the same.
_OTHER: Mapping[str, str] = {
    "AppendObject": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteBucketAnalyticsConfiguration": "PutAnalyticsConfiguration",
    "DeleteBucketCors": "PutBucketCORS",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketIntelligentTieringConfiguration": "PutIntelligentTieringConfiguration",
    "DeleteBucketInventoryConfiguration": "PutInventoryConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketMetadataConfiguration": "DeleteBucketMetadataTableConfiguration",
    "DeleteBucketMetricsConfiguration": "PutMetricsConfiguration",
    "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
    "DeleteBucketReplication": "PutReplicationConfiguration",
    "DeleteBucketTagging": "PutBucketTagging",
    "DeleteObjects": "DeleteObject",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "CreateBucketMetadataConfiguration": "CreateBucketMetadataTableConfiguration",
    "GetBucketAccelerateConfiguration": "GetAccelerateConfiguration",
    "GetBucketAnalyticsConfiguration": "GetAnalyticsConfiguration",
    "GetBucketCors": "GetBucketCORS",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketIntelligentTieringConfiguration": "GetIntelligentTieringConfiguration",
    "GetBucketInventoryConfiguration": "GetInventoryConfiguration",
    "GetBucketLifecycle": "GetLifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketMetadataConfiguration": "GetBucketMetadataTableConfiguration",
    "GetBucketMetricsConfiguration": "GetMetricsConfiguration",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBucketAnalyticsConfigurations": "GetAnalyticsConfiguration",
    "ListBucketIntelligentTieringConfigurations": "GetIntelligentTieringConfiguration",
    "ListBucketInventoryConfigurations": "GetInventoryConfiguration",
    "ListBucketMetricsConfigurations": "GetMetricsConfiguration",
    "ListBuckets": "ListAllMyBuckets",
    "ListDirectoryBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "CreateSession": "ListBucket",
    "PostObject": "PutObject",
    "PutBucketAccelerateConfiguration": "PutAccelerateConfiguration",
    "PutBucketAnalyticsConfiguration": "PutAnalyticsConfiguration",
    "PutBucketCors": "PutBucketCORS",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketIntelligentTieringConfiguration": "PutIntelligentTieringConfiguration",
    "PutBucketInventoryConfiguration": "PutInventoryConfiguration",
    "PutBucketLifecycle": "PutLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutBucketMetricsConfiguration": "PutMetricsConfiguration",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "PutBucketReplication": "PutReplicationConfiguration",
    "PutObjectLockConfiguration": "PutBucketObjectLockConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "RenameObject": "PutObject",
    "SelectObjectContent": "GetObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
    "WriteGetObjectResponse": "PutObject",
}

# Actions that are others for a version that the request names.
_VERSIONED = frozenset(
    [
        "DeleteObject",
        "DeleteObjectTagging",
        "GetObject",
        "GetObjectAcl",
        "GetObjectAttributes",
        "GetObjectTagging",
        "GetObjectTorrent",
        "PutObjectAcl",
        "PutObjectTagging",
    ]
)

#: Operations that give a new object its tags and its ACL.
_MAKE_OBJECTS = frozenset({"PutObject", "CopyObject", "CreateMultipartUpload", "PostObject"})

#: Fields that give what is made an ACL.
ACL_FIELDS = frozenset(
    {
        "x-amz-acl",
        "x-amz-grant-full-control",
        "x-amz-grant-read",
        "x-amz-grant-read-acp",
        "x-amz-grant-write",
        "x-amz-grant-write-acp",
    }
)

#: Fields by which an operation has more than one action.
ACTION_FIELDS = frozenset({*ACL_FIELDS, "x-amz-object-ownership", "x-amz-tagging"})

#: What a right, or the limit of a key, must have for an action on a bucket or object; actions that are not here are only
#: for owners of buckets, administrators, and those to whom a policy or an ACL allows them. C{s3:PutObject} is not here
#: either: it needs C{put-new} or C{overwrite}, as the key is new or not.
PERMISSION: Mapping[str, str] = {
    "s3:GetObject": "read",
    "s3:GetObjectVersion": "read",
    "s3:GetObjectAcl": "read",
    "s3:GetObjectVersionAcl": "read",
    "s3:GetObjectAttributes": "read",
    "s3:GetObjectVersionAttributes": "read",
    "s3:GetObjectTagging": "read",
    "s3:GetObjectVersionTagging": "read",
    "s3:GetObjectAnnotation": "read",
    "s3:ListObjectAnnotations": "read",
    "s3:GetObjectLegalHold": "read",
    "s3:GetObjectRetention": "read",
    "s3:ListBucket": "list",
    "s3:ListBucketVersions": "list",
    "s3:ListBucketMultipartUploads": "list",
    "s3:GetBucketLocation": "list",
    "s3:GetBucketVersioning": "list",
    "s3:GetBucketRequestPayment": "list",
    "s3:GetAccelerateConfiguration": "list",
    "s3:GetEncryptionConfiguration": "list",
    "s3:GetBucketObjectLockConfiguration": "list",
    "s3:DeleteObject": "delete",
    "s3:DeleteObjectVersion": "delete",
    "s3:PutObjectTagging": "overwrite",
    "s3:PutObjectVersionTagging": "overwrite",
    "s3:DeleteObjectTagging": "overwrite",
    "s3:DeleteObjectVersionTagging": "overwrite",
    "s3:PutObjectAnnotation": "overwrite",
    "s3:DeleteObjectAnnotation": "overwrite",
    "s3:CreateBucket": "create",
}


def reads_configuration(action: str) -> bool:
    """Whether an action on a bucket only reads how it is configured."""
    return action.startswith(("s3:Get", "s3:List"))


def actions_of(operation: str, query: Mapping[str, str], header: Callable[[str], str | None]) -> tuple[str, ...]:
    """
    The actions of an operation: its own first, then what else it does.

    @param header: gives a header field of the request, or C{None}.
    """
    name = _OTHER.get(operation, operation)
    if "versionId" in query and name in _VERSIONED:
        name = name.replace("Object", "ObjectVersion", 1)
    actions = [f"s3:{name}"]
    if operation == "GetObjectAttributes":
        actions.append("s3:GetObjectVersion" if "versionId" in query else "s3:GetObject")
    elif operation in _MAKE_OBJECTS:
        if header("x-amz-tagging"):
            actions.append("s3:PutObjectTagging")
        if any(header(field) for field in ACL_FIELDS):
            actions.append("s3:PutObjectAcl")
    elif operation == "CreateBucket":
        if any(header(field) for field in ACL_FIELDS):
            actions.append("s3:PutBucketAcl")
        if header("x-amz-object-ownership"):
            actions.append("s3:PutBucketOwnershipControls")
    return tuple(actions)
