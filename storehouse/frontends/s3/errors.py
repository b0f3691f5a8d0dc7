"""
What S3 says of failures: the codes with their statuses, the table from our errors to them, and the reply in XML::

    <?xml version="1.0" encoding="UTF-8"?>
    <Error><Code>NoSuchKey</Code><Message>...</Message><Key>...</Key><Resource>/bucket/key</Resource>
    <RequestId>16 hex digits</RequestId></Error>

Source: "Error responses" of Amazon's S3 API reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate

from storehouse import errors
from storehouse.core.xmltext import DECLARATION, XML, NotXML, element, text
from storehouse.frontends.http import reply as http
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import BodyTooLarge

__all__ = ["CODES", "S3Error", "error_reply", "s3_error"]

#: Code to status and the text for when there is none better, as S3 has them.
CODES: Mapping[str, tuple[int, str]] = {
    "AccessControlListNotSupported": (400, "The bucket does not allow ACLs"),
    "AccessDenied": (403, "Access Denied"),
    "AccessForbidden": (403, "Access forbidden"),
    "AccountProblem": (403, "There is a problem with your account that prevents the operation from completing"),
    "AuthorizationHeaderMalformed": (400, "The authorization header that you provided is not valid"),
    "AuthorizationQueryParametersError": (400, "The query parameters of the signature are not valid"),
    "BadDigest": (400, "The Content-MD5 or checksum value that you specified did not match what was received"),
    "BadRequest": (400, "An error occurred when parsing the HTTP request"),
    "BucketAlreadyExists": (
        409,
        "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please "
        "select a different name and try again.",
    ),
    "BucketAlreadyOwnedByYou": (
        409,
        "Your previous request to create the named bucket succeeded and you already own it.",
    ),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty"),
    "ConditionalRequestConflict": (
        409,
        "A conflicting operation occurred during the processing of this request: retry it",
    ),
    "ContentSHA256Mismatch": (400, "The x-amz-content-sha256 that you specified did not match what was received"),
    "CredentialsNotSupported": (400, "This request does not support credentials"),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed size"),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed size"),
    "ExpiredToken": (400, "The provided token has expired"),
    "HttpVersionNotSupported": (505, "The HTTP version specified is not supported"),
    "IdempotencyParameterMismatch": (400, "The client token was used with other parameters before"),
    "IllegalLocationConstraintException": (
        400,
        "The location constraint is incompatible for the region specific endpoint this request was sent to",
    ),
    "IncompleteBody": (400, "You did not provide the number of bytes specified by the Content-Length HTTP header"),
    "IncorrectNumberOfFilesInPostRequest": (400, "POST requires exactly one file upload per request"),
    "InlineDataTooLarge": (400, "Inline data exceeds the maximum allowed size"),
    "InsufficientStorage": (507, "There is no room left to store this"),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": (403, "The AWS Access Key Id you provided does not exist in our records."),
    "InvalidArgument": (400, "Invalid argument"),
    "InvalidBucketAclWithBlockPublicAccessError": (
        400,
        "Bucket cannot have public ACLs set with BlockPublicAccess enabled",
    ),
    "InvalidBucketAclWithObjectOwnership": (
        400,
        "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
    ),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidBucketState": (409, "The request is not valid with the current state of the bucket"),
    "InvalidChunkSizeError": (403, "Only the last chunk is allowed to have a size less than 8192 bytes"),
    "InvalidDigest": (400, "The Content-MD5 or checksum value that you specified is not valid"),
    "InvalidEncryptionAlgorithmError": (400, "The encryption request that you specified is not valid"),
    "InvalidLocationConstraint": (400, "The specified location constraint is not valid"),
    "InvalidObjectState": (403, "The operation is not valid for the current state of the object"),
    "InvalidPart": (
        400,
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified "
        "entity tag may not match the part's entity tag.",
    ),
    "InvalidPartNumber": (416, "The requested partnumber is not satisfiable"),
    "InvalidPartOrder": (400, "The list of parts was not in ascending order. Parts must be ordered by part number."),
    "InvalidPolicyDocument": (400, "The content of the form does not meet the conditions specified in the policy"),
    "InvalidRange": (416, "The requested range is not satisfiable"),
    "InvalidRedirectLocation": (
        400,
        "The website redirect location must have a prefix of 'http://', 'https://' or '/'",
    ),
    "InvalidRequest": (400, "Invalid request"),
    "InvalidSecurity": (403, "The provided security credentials are not valid"),
    "InvalidStorageClass": (400, "The storage class you specified is not valid"),
    "InvalidTag": (400, "The tag provided was not a valid tag"),
    "InvalidToken": (400, "The provided token is malformed or otherwise invalid"),
    "InvalidURI": (400, "Couldn't parse the specified URI"),
    "InvalidWriteOffset": (400, "The write offset value that you specified does not match the current object size"),
    "KeyTooLongError": (400, "Your key is too long"),
    "MalformedACLError": (
        400,
        "The XML you provided was not well-formed or did not validate against our published schema",
    ),
    "MalformedPOSTRequest": (400, "The body of your POST request is not well-formed multipart/form-data"),
    "MalformedPolicy": (400, "This policy contains invalid JSON or does not conform to the policy language"),
    "MalformedXML": (400, "The XML you provided was not well-formed or did not validate against our published schema"),
    "MalformedTrailerError": (
        400,
        "The request contained trailing data that was not well-formed or did not conform to our published schema",
    ),
    "MaxMessageLengthExceeded": (400, "Your request was too big"),
    "MaxPostPreDataLengthExceededError": (
        400,
        "Your POST request fields preceding the upload file were too large",
    ),
    "MetadataTooLarge": (400, "Your metadata headers exceed the maximum allowed metadata size."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
    "MissingRequestBodyError": (400, "Request Body is empty"),
    "MissingSecurityHeader": (400, "Your request was missing a required header"),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "NoSuchBucketPolicy": (404, "The bucket policy does not exist"),
    "NoSuchConfiguration": (404, "The specified configuration does not exist"),
    "NoSuchCORSConfiguration": (404, "The CORS configuration does not exist"),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchLifecycleConfiguration": (404, "The lifecycle configuration does not exist"),
    "NoSuchPublicAccessBlockConfiguration": (404, "The public access block configuration was not found"),
    "NoSuchTagSet": (404, "The TagSet does not exist"),
    "NoSuchUpload": (
        404,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
    ),
    "NoSuchVersion": (404, "The specified version does not exist."),
    "NoSuchWebsiteConfiguration": (404, "The specified bucket does not have a website configuration"),
    "NotImplemented": (501, "A header or query you provided implies functionality that is not implemented"),
    "NotModified": (304, "Not Modified"),
    "ObjectAlreadyInActiveTierError": (403, "The operation is not valid for the current state of the object"),
    "ObjectLockConfigurationNotFoundError": (404, "Object Lock configuration does not exist for this bucket"),
    "OperationAborted": (
        409,
        "A conflicting conditional operation is currently in progress against this resource: try again",
    ),
    "OwnershipControlsNotFoundError": (404, "The bucket ownership controls were not found"),
    "PermanentRedirect": (
        301,
        "The bucket you are attempting to access must be addressed using the specified endpoint",
    ),
    "PreconditionFailed": (412, "At least one of the pre-conditions you specified did not hold"),
    "ReplicationConfigurationNotFoundError": (404, "The replication configuration was not found"),
    "RequestHeaderSectionTooLarge": (400, "Your request header section exceeds the maximum allowed size"),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the current time is too large."),
    "RequestTimeout": (
        400,
        "Your socket connection to the server was not read from or written to within the timeout period",
    ),
    "ServerSideEncryptionConfigurationNotFoundError": (404, "The server side encryption configuration was not found"),
    "ServiceUnavailable": (503, "Service is unable to handle request."),
    "SignatureDoesNotMatch": (
        403,
        "The request signature we calculated does not match the signature you provided. Check your key and signing "
        "method.",
    ),
    "SlowDown": (503, "Please reduce your request rate."),
    "TooManyBuckets": (400, "You have attempted to create more buckets than allowed"),
    "TooManyParts": (400, "You have attempted to add more parts than the maximum of 10000 that are allowed"),
    "UnexpectedContent": (400, "This request does not support content"),
    "UnresolvableGrantByEmailAddress": (
        400,
        "The email address you provided does not match any account on record",
    ),
    "UnsupportedMediaType": (415, "The body is of a type that is not taken here"),
    "UserKeyMustBeSpecified": (400, "The bucket POST must contain the specified field name"),
    "XAmzContentSHA256Mismatch": (
        400,
        "The provided 'x-amz-content-sha256' header does not match what was computed",
    ),
}

#: What XML 1.0 cannot say, such as parts of keys: an error is always read. The other way round, as what XML can say, it would
#: take 4 ms of each start to compile.
_unsayable = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]").sub

#: Milliseconds after which a client that was one too many may try again (C{x-amz-retry-after}).
RETRY_AFTER = 1000


class S3Error(errors.StorehouseError):
    """
    An error as S3 says it.

    @ivar code: one of L{CODES}.
    @ivar status: of the response.
    @ivar fields: further elements of the reply, by their names, such as C{ArgumentName}.
    @ivar headers: further header fields of the reply.
    @param message: for the user; empty for that of L{CODES}.
    """

    def __init__(
        self, code: str, message: str = "", /, *, headers: tuple[tuple[bytes, bytes], ...] = (), **fields: object
    ) -> None:
        self.status, usual = CODES[code]
        super().__init__(message or usual)
        self.code = code
        self.headers = headers
        self.fields = {name: str(value) for name, value in fields.items()}


#: The nearest class of an error's ancestry decides. What it is in S3's words, and whether its own text is for a client.
_CODE: Mapping[type[errors.StorehouseError], tuple[str, bool]] = {
    errors.StorehouseError: ("InternalError", False),
    errors.BadRequest: ("InvalidRequest", True),
    errors.InvalidName: ("InvalidArgument", True),
    errors.NotSupported: ("NotImplemented", True),
    errors.ChecksumMismatch: ("BadDigest", True),
    errors.SizeMismatch: ("IncompleteBody", True),
    errors.InvalidPart: ("InvalidPart", False),
    errors.InvalidPartOrder: ("InvalidPartOrder", False),
    errors.InvalidRange: ("InvalidRange", False),
    errors.TooLarge: ("EntityTooLarge", True),
    NotXML: ("MalformedXML", True),
    BodyTooLarge: ("MaxMessageLengthExceeded", True),
    errors.NotFound: ("NoSuchKey", False),
    errors.NoSuchBucket: ("NoSuchBucket", False),
    errors.NoSuchVersion: ("NoSuchVersion", False),
    errors.NoSuchUpload: ("NoSuchUpload", False),
    errors.UploadGone: ("NoSuchUpload", False),
    errors.Conflict: ("OperationAborted", True),
    errors.AlreadyExists: ("BucketAlreadyExists", False),
    errors.BucketNotEmpty: ("BucketNotEmpty", False),
    errors.InvalidBucketState: ("InvalidBucketState", True),
    errors.OffsetMismatch: ("InvalidWriteOffset", True),
    errors.PreconditionFailed: ("PreconditionFailed", False),
    errors.Damaged: ("InternalError", False),
    errors.UnknownArchiveFormat: ("InternalError", False),
    errors.InvalidAnswer: ("InternalError", False),
    errors.RemoteRefused: ("InternalError", False),
    errors.NotSignedIn: ("AccessDenied", False),
    errors.SignInRefused: ("InvalidAccessKeyId", False),
    errors.TokenInvalid: ("InvalidToken", False),
    errors.TokenExpired: ("ExpiredToken", False),
    errors.Forbidden: ("AccessDenied", False),
    errors.NoSpace: ("InsufficientStorage", True),
    errors.Unavailable: ("ServiceUnavailable", True),
    errors.RequestTimeout: ("RequestTimeout", True),
    errors.Overloaded: ("SlowDown", True),
    errors.StartFailed: ("InternalError", False),
    http.AmbiguousFraming: ("BadRequest", True),
    http.LengthRequired: ("MissingContentLength", False),
    http.ClientGone: ("IncompleteBody", True),
    http.HeadTooLarge: ("RequestHeaderSectionTooLarge", True),
    http.TargetTooLong: ("InvalidURI", True),
    http.MethodNotAllowed: ("MethodNotAllowed", True),
    http.MethodUnknown: ("MethodNotAllowed", True),
    http.UnsupportedType: ("UnsupportedMediaType", True),
    http.VersionNotSpoken: ("HttpVersionNotSupported", True),
}


def s3_error(error: BaseException) -> S3Error:
    """
    Any failure as S3 says it. What is no L{StorehouseError<errors.StorehouseError>} shows nothing of its inside.
    """
    if isinstance(error, S3Error):
        return error
    if not isinstance(error, errors.StorehouseError):
        return S3Error("InternalError")
    code, is_told = next(_CODE[ancestor] for ancestor in type(error).__mro__ if ancestor in _CODE)
    message = error.detail if is_told else ""
    if isinstance(error, errors.Damaged):
        # Not which file it is of, and where.
        message = "What is stored there is damaged: the server's log has more."
    if isinstance(error, errors.DeleteMarkerFound):
        marked = ((b"x-amz-delete-marker", b"true"), (b"x-amz-version-id", error.version.encode()))
        if error.is_current:
            return S3Error("NoSuchKey", headers=marked)
        changed = formatdate(error.created // 10**9, usegmt=True).encode()
        return S3Error("MethodNotAllowed", headers=(*marked, (b"Allow", b"DELETE"), (b"Last-Modified", changed)))
    if isinstance(error, errors.InvalidRange):
        headers = ((b"Content-Range", b"bytes */%d" % error.size),)
        return S3Error(code, message, headers=headers, ActualObjectSize=error.size)
    if isinstance(error, errors.Overloaded):
        seconds = -(-RETRY_AFTER // 1000)
        return S3Error(
            code, message, headers=((b"x-amz-retry-after", b"%d" % RETRY_AFTER), (b"Retry-After", b"%d" % seconds))
        )
    if isinstance(error, http.MethodNotAllowed):
        return S3Error(code, message, headers=((b"Allow", b", ".join(error.allowed)),))
    return S3Error(code, message)


def error_reply(error: BaseException, resource: str = "", request_id: str = "") -> Reply:
    """
    The response to a failure, in XML.

    @param resource: the path of the request, decoded.
    """
    said = s3_error(error)
    if said.status == 304:
        return Reply(304, b"", b"", said.headers)
    body = element(
        "Error",
        text("Code", said.code),
        text("Message", _unsayable("\ufffd", said.detail)),
        *(text(name, _unsayable("\ufffd", value)) for name, value in said.fields.items()),
        text("Resource", _unsayable("\ufffd", resource)),
        text("RequestId", request_id),
    )
    return Reply(said.status, (DECLARATION + body).encode(), XML, said.headers)
