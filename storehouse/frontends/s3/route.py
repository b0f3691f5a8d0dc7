"""
Which operation a request is: its method, its level (service, bucket or object) and the sub-resource in its query.

Every operation of S3 is known by name, those that are not here too: a request for one of these is refused by that name, and so
is one for an unknown sub-resource. None falls through to the operation that the request would be without it.

Source: Amazon's S3 API reference, as the service model of botocore has it, to which a test compares this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.errors import S3Error

if TYPE_CHECKING:
    from storehouse.frontends.s3.call import Call

__all__ = ["HANDLERS", "Handler", "handler", "handler_of", "operation_of"]

#: What serves an operation. C{None} if it has sent its response itself.
Handler = Callable[["Call"], Awaitable[Reply | None]]

#: The operations that are here, by their names.
HANDLERS: dict[str, Handler] = {}


def handler(operation: str) -> Callable[[Handler], Handler]:
    """A decorator: the function serves this operation."""

    def register(function: Handler) -> Handler:
        if operation in HANDLERS:
            raise ValueError(f"{operation} has a handler already")
        HANDLERS[operation] = function
        return function

    return register


def handler_of(operation: str) -> Handler:
    """@raise S3Error: C{NotImplemented} if it is not here."""
    found = HANDLERS.get(operation)
    if found is None:
        raise S3Error("NotImplemented", f"{operation} is not implemented here", Operation=operation)
    return found


_SERVICE, _BUCKET, _OBJECT = "service", "bucket", "object"

#: Without a sub-resource.
_PLAIN: Mapping[tuple[str, str], str] = {
    ("GET", _SERVICE): "ListBuckets",
    ("GET", _BUCKET): "ListObjects",
    ("HEAD", _BUCKET): "HeadBucket",
    ("PUT", _BUCKET): "CreateBucket",
    ("DELETE", _BUCKET): "DeleteBucket",
    ("POST", _BUCKET): "PostObject",
    ("GET", _OBJECT): "GetObject",
    ("HEAD", _OBJECT): "HeadObject",
    ("PUT", _OBJECT): "PutObject",
    ("DELETE", _OBJECT): "DeleteObject",
}

#: Sub-resource, level and method.
_SUB: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "abac": {_BUCKET: {"GET": "GetBucketAbac", "PUT": "PutBucketAbac"}},
    "accelerate": {
        _BUCKET: {"GET": "GetBucketAccelerateConfiguration", "PUT": "PutBucketAccelerateConfiguration"},
    },
    "acl": {
        _BUCKET: {"GET": "GetBucketAcl", "PUT": "PutBucketAcl"},
        _OBJECT: {"GET": "GetObjectAcl", "PUT": "PutObjectAcl"},
    },
    "analytics": {
        _BUCKET: {
            "GET": "ListBucketAnalyticsConfigurations",
            "PUT": "PutBucketAnalyticsConfiguration",
            "DELETE": "DeleteBucketAnalyticsConfiguration",
        }
    },
    "annotation": {
        _OBJECT: {
            "GET": "ListObjectAnnotations",
            "PUT": "PutObjectAnnotation",
            "DELETE": "DeleteObjectAnnotation",
        }
    },
    "attributes": {_OBJECT: {"GET": "GetObjectAttributes"}},
    "cors": {_BUCKET: {"GET": "GetBucketCors", "PUT": "PutBucketCors", "DELETE": "DeleteBucketCors"}},
    "delete": {_BUCKET: {"POST": "DeleteObjects"}},
    "encryption": {
        _BUCKET: {"GET": "GetBucketEncryption", "PUT": "PutBucketEncryption", "DELETE": "DeleteBucketEncryption"},
        _OBJECT: {"PUT": "UpdateObjectEncryption"},
    },
    "intelligent-tiering": {
        _BUCKET: {
            "GET": "ListBucketIntelligentTieringConfigurations",
            "PUT": "PutBucketIntelligentTieringConfiguration",
            "DELETE": "DeleteBucketIntelligentTieringConfiguration",
        }
    },
    "inventory": {
        _BUCKET: {
            "GET": "ListBucketInventoryConfigurations",
            "PUT": "PutBucketInventoryConfiguration",
            "DELETE": "DeleteBucketInventoryConfiguration",
        }
    },
    "legal-hold": {_OBJECT: {"GET": "GetObjectLegalHold", "PUT": "PutObjectLegalHold"}},
    "lifecycle": {
        _BUCKET: {
            "GET": "GetBucketLifecycleConfiguration",
            "PUT": "PutBucketLifecycleConfiguration",
            "DELETE": "DeleteBucketLifecycle",
        }
    },
    "list-type": {_BUCKET: {"GET": "ListObjectsV2"}},
    "location": {_BUCKET: {"GET": "GetBucketLocation"}},
    "logging": {_BUCKET: {"GET": "GetBucketLogging", "PUT": "PutBucketLogging"}},
    "metadataAnnotationTable": {_BUCKET: {"PUT": "UpdateBucketMetadataAnnotationTableConfiguration"}},
    "metadataConfiguration": {
        _BUCKET: {
            "GET": "GetBucketMetadataConfiguration",
            "POST": "CreateBucketMetadataConfiguration",
            "DELETE": "DeleteBucketMetadataConfiguration",
        }
    },
    "metadataInventoryTable": {_BUCKET: {"PUT": "UpdateBucketMetadataInventoryTableConfiguration"}},
    "metadataJournalTable": {_BUCKET: {"PUT": "UpdateBucketMetadataJournalTableConfiguration"}},
    "metadataTable": {
        _BUCKET: {
            "GET": "GetBucketMetadataTableConfiguration",
            "POST": "CreateBucketMetadataTableConfiguration",
            "DELETE": "DeleteBucketMetadataTableConfiguration",
        }
    },
    "metrics": {
        _BUCKET: {
            "GET": "ListBucketMetricsConfigurations",
            "PUT": "PutBucketMetricsConfiguration",
            "DELETE": "DeleteBucketMetricsConfiguration",
        }
    },
    "notification": {
        _BUCKET: {"GET": "GetBucketNotificationConfiguration", "PUT": "PutBucketNotificationConfiguration"},
    },
    "object-lock": {_BUCKET: {"GET": "GetObjectLockConfiguration", "PUT": "PutObjectLockConfiguration"}},
    "ownershipControls": {
        _BUCKET: {
            "GET": "GetBucketOwnershipControls",
            "PUT": "PutBucketOwnershipControls",
            "DELETE": "DeleteBucketOwnershipControls",
        }
    },
    "policy": {_BUCKET: {"GET": "GetBucketPolicy", "PUT": "PutBucketPolicy", "DELETE": "DeleteBucketPolicy"}},
    "policyStatus": {_BUCKET: {"GET": "GetBucketPolicyStatus"}},
    "publicAccessBlock": {
        _BUCKET: {
            "GET": "GetPublicAccessBlock",
            "PUT": "PutPublicAccessBlock",
            "DELETE": "DeletePublicAccessBlock",
        }
    },
    "renameObject": {_OBJECT: {"PUT": "RenameObject"}},
    "replication": {
        _BUCKET: {"GET": "GetBucketReplication", "PUT": "PutBucketReplication", "DELETE": "DeleteBucketReplication"},
    },
    "requestPayment": {_BUCKET: {"GET": "GetBucketRequestPayment", "PUT": "PutBucketRequestPayment"}},
    "restore": {_OBJECT: {"POST": "RestoreObject"}},
    "retention": {_OBJECT: {"GET": "GetObjectRetention", "PUT": "PutObjectRetention"}},
    "select": {_OBJECT: {"POST": "SelectObjectContent"}},
    "session": {_BUCKET: {"GET": "CreateSession"}},
    "tagging": {
        _BUCKET: {"GET": "GetBucketTagging", "PUT": "PutBucketTagging", "DELETE": "DeleteBucketTagging"},
        _OBJECT: {"GET": "GetObjectTagging", "PUT": "PutObjectTagging", "DELETE": "DeleteObjectTagging"},
    },
    "torrent": {_OBJECT: {"GET": "GetObjectTorrent"}},
    "uploadId": {
        _OBJECT: {
            "GET": "ListParts",
            "PUT": "UploadPart",
            "POST": "CompleteMultipartUpload",
            "DELETE": "AbortMultipartUpload",
        }
    },
    "uploads": {_BUCKET: {"GET": "ListMultipartUploads"}, _OBJECT: {"POST": "CreateMultipartUpload"}},
    "versioning": {_BUCKET: {"GET": "GetBucketVersioning", "PUT": "PutBucketVersioning"}},
    "versions": {_BUCKET: {"GET": "ListObjectVersions"}},
    "website": {_BUCKET: {"GET": "GetBucketWebsite", "PUT": "PutBucketWebsite", "DELETE": "DeleteBucketWebsite"}},
}

#: Lists that are single items with this parameter.
_SINGLE: Mapping[str, tuple[str, str]] = {
    "ListBucketAnalyticsConfigurations": ("id", "GetBucketAnalyticsConfiguration"),
    "ListBucketIntelligentTieringConfigurations": ("id", "GetBucketIntelligentTieringConfiguration"),
    "ListBucketInventoryConfigurations": ("id", "GetBucketInventoryConfiguration"),
    "ListBucketMetricsConfigurations": ("id", "GetBucketMetricsConfiguration"),
    "ListObjectAnnotations": ("annotationName", "GetObjectAnnotation"),
}

#: What operations have in their queries beside sub-resources; lower case but for these.
_PARAMETERS = frozenset(
    [
        "annotation-prefix",
        "annotationName",
        "bucket-region",
        "continuation-token",
        "delimiter",
        "encoding-type",
        "fetch-owner",
        "id",
        "key-marker",
        "marker",
        "max-annotation-results",
        "max-buckets",
        "max-directory-buckets",
        "max-keys",
        "max-parts",
        "max-uploads",
        "part-number-marker",
        "partNumber",
        "prefix",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "select-type",
        "start-after",
        "upload-id-marker",
        "version-id-marker",
        "versionId",
        "x-id",
        "AWSAccessKeyId",
        "Expires",
        "Signature",
    ]
)


def operation_of(
    method: str, bucket: str, key: str, query: Mapping[str, str], has_header: Callable[[str], bool]
) -> str:
    """
    The name of the operation of a request, as S3's reference has it; beside those C{Preflight} for any C{OPTIONS}, C{PostObject}
    for a form, and C{AppendObject} for a PUT at an offset.

    @param bucket: empty at the level of the service.
    @param key: empty at the level of a bucket.
    @param query: names and values, decoded. Unknown parameters are ignored if they have a value, as S3 does.
    @param has_header: whether the request has a header field.
    @raise S3Error: C{NotImplemented} for an unknown sub-resource, C{MethodNotAllowed}, C{InvalidArgument}.
    """
    if method == "OPTIONS":
        return "Preflight"
    level = _OBJECT if key else _BUCKET if bucket else _SERVICE
    if method == "POST" and bucket == "WriteGetObjectResponse" and has_header("x-amz-request-route"):
        return "WriteGetObjectResponse"
    if level == _SERVICE and query.get("x-id") == "ListDirectoryBuckets":
        return "ListDirectoryBuckets"  # elsewhere at a host of its own
    subs = [name for name in query if name in _SUB]
    if len(subs) > 1:
        raise S3Error(
            "InvalidArgument",
            f"Conflicting query string parameters: {', '.join(sorted(subs))}",
            ArgumentName="ResourceType",
            ArgumentValue=sorted(subs)[0],
        )
    if not subs:
        for name, value in query.items():
            if not value and name not in _PARAMETERS and not name.lower().startswith("x-amz-"):
                raise S3Error("NotImplemented", f"the sub-resource {name[:100]} is not implemented")
        if method == "PUT" and "partNumber" in query:
            subs = ["uploadId"]  # which is missing: nothing to store an object by
    if subs:
        operation = _of_sub(method, level, subs[0])
        single = _SINGLE.get(operation)
        if single is not None and single[0] in query:
            return single[1]
    else:
        found = _PLAIN.get((method, level))
        if found is None:
            raise S3Error("MethodNotAllowed", Method=method[:32], ResourceType=level.upper())
        operation = found
    if method == "PUT" and level == _OBJECT:
        if operation in ("PutObject", "UploadPart") and has_header("x-amz-copy-source"):
            return "CopyObject" if operation == "PutObject" else "UploadPartCopy"
        if operation == "PutObject" and has_header("x-amz-write-offset-bytes"):
            return "AppendObject"
    return operation


def _of_sub(method: str, level: str, name: str) -> str:
    methods = _SUB[name].get(level)
    if methods is None:
        raise S3Error("NotImplemented", f"a {level} has no sub-resource {name}")
    operation = methods.get(method)
    if operation is None:
        raise S3Error(
            "MethodNotAllowed",
            headers=((b"Allow", ", ".join(sorted(methods)).encode("ascii")),),
            Method=method[:32],
            ResourceType=name.upper(),
        )
    return operation
