"""What the errors of S3 servers are among ours."""

from __future__ import annotations

from collections.abc import Mapping

from storehouse.core.httpclient import Response
from storehouse.core.s3 import code_of, read_document
from storehouse.core.xmltext import Node
from storehouse.errors import (
    AlreadyExists,
    BucketNotEmpty,
    Conflict,
    InvalidName,
    InvalidPart,
    InvalidPartOrder,
    NoSpace,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    NotSupported,
    Overloaded,
    PreconditionFailed,
    RemoteDamaged,
    RemoteRefused,
    RemoteUnavailable,
    StorehouseError,
    TooLarge,
)

__all__ = ["error_of", "expect", "explain", "read_answer"]

_CODES: Mapping[str, type[StorehouseError]] = {
    "BadDigest": RemoteDamaged,
    "BucketAlreadyExists": AlreadyExists,
    "BucketAlreadyOwnedByYou": AlreadyExists,
    "BucketNotEmpty": BucketNotEmpty,
    "ConditionalRequestConflict": Conflict,
    "ContentSHA256Mismatch": RemoteDamaged,
    "EntityTooLarge": TooLarge,
    "EntityTooSmall": InvalidPart,
    "IncompleteBody": RemoteDamaged,
    "InsufficientStorage": NoSpace,
    "InternalError": RemoteUnavailable,
    "InvalidBucketName": InvalidName,
    "InvalidDigest": RemoteDamaged,
    "InvalidPart": InvalidPart,
    "InvalidPartOrder": InvalidPartOrder,
    "InvalidTag": InvalidName,
    "KeyTooLongError": InvalidName,
    "MetadataTooLarge": TooLarge,
    "NoSuchBucket": NoSuchBucket,
    "NoSuchKey": NoSuchKey,
    "NoSuchUpload": NoSuchUpload,
    "NotImplemented": NotSupported,
    "OperationAborted": Conflict,
    "PreconditionFailed": PreconditionFailed,
    "QuotaExceeded": NoSpace,
    "RequestTimeout": RemoteUnavailable,
    "ServiceUnavailable": RemoteUnavailable,
    "SlowDown": Overloaded,
    "TooManyParts": TooLarge,
    "XAmzContentSHA256Mismatch": RemoteDamaged,
}

#: Of responses without a code: those to HEAD, and those of what stands before the server.
_STATUSES: Mapping[int, type[StorehouseError]] = {
    404: NoSuchKey,
    409: Conflict,
    412: PreconditionFailed,
    413: TooLarge,
    501: NotSupported,
    507: NoSpace,
}

#: Characters of a server's message that are kept.
_MOST_MESSAGE = 500


async def error_of(response: Response, what: str) -> StorehouseError:
    """
    The error that a response says.

    @param what: was asked for, for its text.
    """
    code = await code_of(response)
    message = (await read_document(response.body)).value("Message")[:_MOST_MESSAGE] if code else ""
    kind = _CODES.get(code) or _STATUSES.get(response.status)
    if kind is None:
        kind = RemoteUnavailable if response.status >= 500 else RemoteRefused
    said = " ".join(each for each in (f"{response.status}", code) if each)
    text = f"{what}: {said}" + (f": {message}" if message else "")
    if response.status in (401, 403) and kind is RemoteRefused:
        return RemoteRefused(f"the credentials are refused, or do not allow this: {text}")
    return kind(text)


async def expect(response: Response, what: str, *statuses: int) -> None:
    """@raise StorehouseError: unless the response has one of these statuses, or any of 200 to 299."""
    if not (response.status in statuses or 200 <= response.status < 300):
        raise await error_of(response, what)


async def read_answer(response: Response, what: str) -> Node:
    """
    The document of a response.

    @raise StorehouseError: if it is an error, which may come with status 200 where the outcome was not known yet.
    """
    await expect(response, what)
    root = await read_document(response.body)
    if root.name == "Error":
        raise await error_of(response, what)
    return root


def explain(described: str, response: Response) -> Exception | None:
    """The error for a response that was worth another try, when there is none left. See L{RemoteClient}."""
    if response.status == 429 or (response.status == 503 and b"<Code>SlowDown</Code>" in response.body):
        return Overloaded(f"{described}: the response was {response.status}: too many requests")
    return None
