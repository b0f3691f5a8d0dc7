"""
The one error tree.

Every error that a room of storehouse raises on purpose is a L{StorehouseError}. Its text is for the user: it names what was
wrong and what to do. The tree knows no protocol; each door has a table from these classes to its own answers.
"""

from __future__ import annotations

__all__ = [
    "AlreadyExists",
    "BadRequest",
    "BucketCountMismatch",
    "BucketNotEmpty",
    "ChecksumMismatch",
    "Conflict",
    "Damaged",
    "DamagedArchive",
    "DamagedEntry",
    "DamagedObject",
    "DamagedRecord",
    "DeleteMarkerFound",
    "EmptyRecord",
    "EndOfArchive",
    "Forbidden",
    "ForgedRequest",
    "InvalidAnswer",
    "InvalidBucketState",
    "InvalidName",
    "InvalidPart",
    "InvalidPartOrder",
    "InvalidRange",
    "InvalidRecord",
    "InvalidRequest",
    "InvalidSetting",
    "LinkExpired",
    "LinkOutOfScope",
    "LinkTampered",
    "LinkUsed",
    "MalformedBody",
    "NoKeyToMatch",
    "NoMoreFiles",
    "NoSpace",
    "NoSuchAccessKey",
    "NoSuchBucket",
    "NoSuchChunk",
    "NoSuchKey",
    "NoSuchObject",
    "NoSuchPrefix",
    "NoSuchRecord",
    "NoSuchStream",
    "NoSuchUpload",
    "NoSuchUser",
    "NoSuchVersion",
    "NotFound",
    "NotSignedIn",
    "NotSupported",
    "OffsetMismatch",
    "Overloaded",
    "PreconditionFailed",
    "RemoteDamaged",
    "RemoteRefused",
    "RemoteUnavailable",
    "RequestTimeout",
    "RootInUse",
    "ShareUsedUp",
    "SignInRefused",
    "SizeMismatch",
    "StartFailed",
    "StorageFailed",
    "StoreUnusable",
    "StorehouseError",
    "TokenExpired",
    "TokenInvalid",
    "TooLarge",
    "TooManyConnections",
    "TooManyUploads",
    "Unavailable",
    "UnknownAlgorithm",
    "UnknownArchiveFormat",
    "UploadBusy",
    "UploadGone",
    "WrongMasterKey",
]


class StorehouseError(Exception):
    """Something that storehouse refuses or cannot do, in words that a user understands."""

    @property
    def detail(self) -> str:
        """The text for the user."""
        return str(self)

    @property
    def kind(self) -> str:
        """The name of its class, or of the one that doors show in its place."""
        return type(self).__name__


class BadRequest(StorehouseError):
    """What was asked is invalid, whatever is stored."""


class InvalidName(BadRequest):
    """An identifier, a prefix or another name from outside is not a safe one."""


class EmptyRecord(BadRequest):
    """A record of no bytes was to be appended; a zero length announces an error in several formats."""


class InvalidRecord(BadRequest):
    """Metadata or a payload is not of the kind that an archive takes."""


class MalformedBody(BadRequest):
    """A body does not have the form that it announces."""


class InvalidRequest(BadRequest):
    """Bytes that are no request of the protocol. What follows them cannot be understood either."""


class NotSupported(BadRequest):
    """The other server, or the protocol that it speaks, cannot do what the request needs."""


class ChecksumMismatch(BadRequest):
    """Bytes do not have the checksum that was announced with them. They were not stored."""


class UnknownAlgorithm(BadRequest):
    """A checksum is of a kind that is not computed here."""


class SizeMismatch(BadRequest):
    """A body is shorter or longer than its announced size. Nothing of it was stored."""


class InvalidPart(BadRequest):
    """A part to complete an upload with is missing, or has another etag."""


class InvalidPartOrder(BadRequest):
    """The parts to complete an upload with are not in ascending order."""


class InvalidRange(BadRequest):
    """
    A range does not lie within what is stored.

    @ivar size: bytes that are stored.
    """

    def __init__(self, offset: int, length: int | None, size: int) -> None:
        asked = f"from {offset} to the end" if length is None else f"of {length} bytes from {offset}"
        super().__init__(f"no range {asked} in {size} bytes")
        self.size = size


class TooLarge(StorehouseError):
    """Something is larger than a bound that is set."""


class NotFound(StorehouseError):
    """What was asked for is not stored."""


class NoSuchPrefix(NotFound):
    """There is no such storage prefix."""


class NoSuchRecord(NotFound):
    """No record begins at that offset."""


class NoSuchStream(NotFound):
    """There is no such stream."""


class NoSuchObject(NotFound):
    """No object has that name."""


class NoSuchBucket(NotFound):
    """There is no bucket of that name."""


class NoSuchKey(NotFound):
    """The bucket has no such key, or the key no such version."""


class NoSuchVersion(NoSuchKey):
    """The key has no such version; it may have others."""


class DeleteMarkerFound(NoSuchKey):
    """
    What was asked for is a delete marker, which has no bytes: the key was deleted, and may have older versions.

    @ivar version: the ID of the marker, as S3 shows it: C{null}, or its own.
    @ivar created: nanoseconds since 1970 UTC.
    @ivar is_current: whether the request named only the key, whose current version is the marker; otherwise it named
        the marker by its ID.
    """

    def __init__(self, bucket: str, key: str, version: str, created: int, is_current: bool) -> None:
        super().__init__(
            f"the key {key!r} of the bucket {bucket} is deleted"
            if is_current
            else f"the version {version} of the key {key!r} of the bucket {bucket} is a delete marker"
        )
        self.bucket, self.key, self.version, self.created, self.is_current = bucket, key, version, created, is_current

    @property
    def kind(self) -> str:
        """For doors that have no versions there simply is no such key."""
        return NoSuchKey.__name__


class EndOfArchive(NotFound, EOFError):
    """An archive has no more records."""


class NoMoreFiles(NotFound, EOFError):
    """All archives have been read to their ends."""


class NoSuchChunk(NotFound):
    """A file has no chunk of that ID, or there is no such file."""


class NoSuchUpload(NotFound):
    """There is no such upload: it never was, or it was completed, aborted or expired."""


class UploadGone(NotFound):
    """There was such an upload; it expired, or was aborted."""


class NoSuchUser(NotFound):
    """There is no user of that name."""


class NoSuchAccessKey(NotFound):
    """The user has no access key with that ID."""


class Conflict(StorehouseError):
    """What is stored forbids what was asked."""


class AlreadyExists(Conflict):
    """Something of that name is stored, and is never overwritten."""


class BucketCountMismatch(Conflict):
    """A prefix was made with another number of buckets than the one that is set."""


class BucketNotEmpty(Conflict):
    """A bucket that still has keys was to be deleted."""


class InvalidBucketState(Conflict):
    """The versioning of a bucket forbids what was asked; nothing was changed."""


class OffsetMismatch(Conflict):
    """
    Bytes of an upload do not begin where those that are stored end.

    @ivar expected: where they would have to begin, and not at C{given}.
    """

    def __init__(self, expected: int, given: int) -> None:
        super().__init__(f"the upload has {expected} bytes, so nothing can be added at {given}")
        self.expected = expected
        self.given = given


class UploadBusy(Conflict):
    """Something else is being done with that upload."""


class PreconditionFailed(Conflict):
    """What is stored is not what the request was made for; nothing was changed."""


class NoKeyToMatch(NoSuchKey, PreconditionFailed):
    """
    A condition is about the etag of a key that the bucket does not have; nothing was changed. S3 says that there is no such
    key, RFC 9110 that the condition does not hold.
    """


class Damaged(StorehouseError):
    """Stored bytes are not what was stored."""


class DamagedRecord(Damaged):
    """
    A record of an append log fails its checksum or its framing.

    @ivar offset: where it is in its bucket file.
    """

    def __init__(self, file: str, offset: int, reason: str) -> None:
        super().__init__(f"the record at offset {offset} of {file} is damaged: {reason}")
        self.file, self.offset = file, offset


class DamagedEntry(Damaged):
    """
    What a namespace keeps of a key, or of a bucket, is not what was stored.

    @ivar key: C{None} if it is the bucket itself.
    @ivar id: the ID of the version; C{None} if it is not known.
    """

    def __init__(self, bucket: str, key: str | None, id: str | None, path: str, reason: str) -> None:
        what = f"the bucket {bucket}" if key is None else f"the key {key!r} of the bucket {bucket}"
        super().__init__(f"{what} is damaged at {path}: {reason}")
        self.bucket, self.key, self.id, self.path, self.reason = bucket, key, id, path, reason


class DamagedObject(Damaged):
    """
    Stored bytes of an object, or what describes them, are not what was stored.

    @ivar part: the number of the part; C{None} if it is the description of the whole.
    @ivar block: the number of the block in the part, from 0; C{None} if it is no block.
    @ivar missing: whether a file with its bytes is not there.
    """

    def __init__(
        self, id: str, reason: str, part: int | None = None, block: int | None = None, missing: bool = False
    ) -> None:
        where = "" if part is None else f", part {part}" + ("" if block is None else f", block {block}")
        super().__init__(f"{id}{where} is damaged: {reason}")
        self.id, self.reason = id, reason
        self.part, self.block, self.missing = part, block, missing


class RemoteDamaged(Damaged):
    """What another server has, or gives, is not what was sent to it. It may be sent again."""


class RemoteRefused(StorehouseError):
    """Another server refuses what was asked, for its credentials or its form: the same request would be refused again."""


class DamagedArchive(Damaged):
    """
    Bytes of an archive are not what was written.

    @ivar offset: where in it; for a compressed archive in what it is decompressed to.
    """

    def __init__(self, file: str, offset: int, reason: str) -> None:
        super().__init__(f"the archive {file} is damaged at offset {offset}: {reason}")
        self.file, self.offset, self.reason = file, offset, reason


class UnknownArchiveFormat(StorehouseError):
    """A file is no archive, or one of a version that is not known here, or not the one that was asked for."""


class InvalidAnswer(StorehouseError):
    """What another server sent is no answer of the protocol."""


class NotSignedIn(StorehouseError):
    """Only who has said who they are may do that."""


class SignInRefused(NotSignedIn):
    """A key, a link or a certificate does not sign anybody in."""


class TokenInvalid(SignInRefused):
    """The token of a temporary access key was not issued here, or was revoked."""


class TokenExpired(SignInRefused):
    """The time of a temporary access key is over."""


class Forbidden(StorehouseError):
    """The user has no right to do that."""


class ForgedRequest(Forbidden):
    """A request with a session's cookie that may have been made by another site: it lacks the session's token."""


class LinkTampered(Forbidden):
    """The signature of a link is not that of what it says."""


class LinkExpired(Forbidden):
    """The time of a link is over."""


class LinkUsed(Forbidden):
    """A link that works once was used."""


class LinkOutOfScope(Forbidden):
    """A link does not allow what it is used for."""


class NoSpace(StorehouseError):
    """The file system is full, or a quota is; nothing was changed."""


class Unavailable(StorehouseError):
    """It cannot be done now; it may be later."""


class RemoteUnavailable(Unavailable):
    """Another server cannot be reached, does not answer in time, or fails: the same request may be granted later."""


class RequestTimeout(Unavailable):
    """A request did not arrive in the time it may take."""


class Overloaded(Unavailable):
    """There is no room for it just now: the same may be asked again in a moment."""


class TooManyUploads(Overloaded):
    """As many uploads are received as are allowed."""


class TooManyConnections(Overloaded):
    """As many connections are open as are allowed."""


class ShareUsedUp(Overloaded):
    """One address, user or link has as much at a time as one may have; others are not concerned."""


class StorageFailed(Unavailable):
    """A sync or a write failed in a way after which nothing may be acknowledged until a restart."""


class StartFailed(StorehouseError):
    """The service cannot start; the text says why."""


class StoreUnusable(StartFailed):
    """A store cannot be opened because what it has on the disk is damaged. Others can be."""


class WrongMasterKey(StartFailed):
    """The master key is missing, or is not the one that a root was sealed with."""


class InvalidSetting(StartFailed):
    """A setting of the command line or the configuration file is not usable."""


class RootInUse(StartFailed):
    """Another process works on this root directory."""
