"""
Checksums of requests and responses to S3: what is announced, computed as the bytes pass, verified, kept and given back. How they
are computed says L{storehouse.core.checksums}.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from storehouse.core.checksums import (
    ALGORITHMS,
    COMPOSITE,
    DEFAULT,
    FULL_OBJECT,
    Hasher,
    combine,
    composite,
    decoded,
    encoded,
)
from storehouse.core.jobs import IDisk
from storehouse.core.streams import IByteStream, Piece, WholeStream, beside, updating
from storehouse.frontends.s3.errors import S3Error

__all__ = [
    "ALGORITHMS",
    "COMPOSITE",
    "DEFAULT",
    "FULL_OBJECT",
    "Checksums",
    "Hasher",
    "algorithm_of",
    "checksum_fields",
    "checksum_system",
    "checksums_of",
    "combine",
    "composite",
    "decoded",
    "encoded",
    "object_checksum",
    "type_of",
]

_PREFIX = "x-amz-checksum-"

# Bytes that are hashed at once in a thread; no more than twice that is kept for it.
_BATCH = 256 << 10

#: Fields that begin so and are no checksums.
_OTHERS = frozenset({"algorithm", "mode", "type"})

#: Gives the value of a header field, by its name in lower case.
Getter = Callable[[str], str | None]


# -- what requests say -----------------------------------------------------------------------------


def algorithm_of(value: str, field: str = "x-amz-checksum-algorithm") -> str:
    """
    The name of an algorithm, from how a header field or an element of a document has it: C{CRC64NVME}.

    @raise S3Error: if there is none of that name.
    """
    name = value.strip().lower()
    if name not in ALGORITHMS:
        names = ", ".join(each.upper() for each in ALGORITHMS)
        raise S3Error(
            "InvalidRequest",
            f"Value for {field} header is invalid: the checksum algorithm is unsupported. Please try again with any of "
            f"the valid types: [{names}]",
        )
    return name


def type_of(name: str, value: str | None) -> str:
    """
    C{COMPOSITE} or C{FULL_OBJECT}: what the checksum of an object that is uploaded in parts is.

    @param name: of its algorithm.
    @param value: C{x-amz-checksum-type}, if the request has it.
    @raise S3Error: if the algorithm is not for that type.
    """
    types = ALGORITHMS[name].types
    if value is None:
        return types[0]
    wanted = value.strip().upper()
    if wanted not in (COMPOSITE, FULL_OBJECT):
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    if wanted not in types:
        raise S3Error(
            "InvalidRequest",
            f"The {wanted} checksum type cannot be used with the {name} checksum algorithm.",
        )
    return wanted


def _named(names: Iterator[str]) -> str:
    """The algorithm that one field C{x-amz-checksum-NAME} is of; empty without one."""
    found = [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]
    found = [name for name in found if name not in _OTHERS]
    for name in found:
        if name not in ALGORITHMS:
            raise S3Error(
                "InvalidRequest", f"The algorithm type you specified in x-amz-checksum-{name[:64]} header is invalid."
            )
    if len(found) > 1:
        raise _several()
    return found[0] if found else ""


def _several() -> S3Error:
    return S3Error(
        "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
    )


def object_checksum(names: Sequence[str], header: Getter) -> tuple[str, str] | None:
    """
    The checksum that a request announces of an object rather than of its body, as CompleteMultipartUpload does: the name of
    the algorithm, and the value, which may be a composite one.

    @param names: of all header fields, in lower case.
    @raise S3Error: if there is more than one, or it is none.
    """
    name = _named(iter(names))
    if not name:
        return None
    value = header(_PREFIX + name) or ""
    digest, _, parts = value.partition("-")
    if decoded(name, digest) is None or (parts != "" and not parts.isdigit()):
        raise S3Error("InvalidRequest", f"Value for {_PREFIX}{name} header is invalid.")
    return name, value


@attrs.define(eq=False)
class Checksums:
    """
    The checksums of one body: what its request announces, and what they come to.

    @ivar name: the algorithm of the announced checksum; empty if none is.
    @ivar content_md5: the announced MD5 as it was written; empty if none is.
    @ivar values: once the body was read to its end, each checksum that was computed, as it is written, by its algorithm.
    """

    name: str = ""
    content_md5: str = ""
    _announced: str = ""  # empty if it follows in the trailer
    values: dict[str, str] = attrs.field(factory=dict)
    _wanted: set[str] = attrs.field(factory=set)
    _is_etag: bool = False  # whether the MD5 is asked for
    _hashers: dict[str, Hasher] | None = None  # once there are bytes

    @property
    def is_announced(self) -> bool:
        """Whether there is one, of either kind."""
        return bool(self.name or self.content_md5)

    def want(self, name: str) -> None:
        """Have one computed as well, whether it is announced or not. To be called before the body is read."""
        if self._hashers is not None:
            raise RuntimeError("the body is being read")
        self._wanted.add(name)

    def keep(self) -> None:
        """Have the one computed that is kept with an object: the announced one, or that which S3 computes by itself."""
        self.want(self.name or DEFAULT)

    def md5(self, size: int | None) -> bool | Callable[[], str]:
        """
        What the object store is to do for the MD5 of an etag: compute it; or take it from here, where it is computed anyway, or
        the bytes are so few that it is less work here.

        @param size: bytes of the body; C{None} if that is not known.
        """
        if not (self.content_md5 or self.name == "md5" or (size is not None and size <= _BATCH)):
            return True
        self._is_etag = True
        return lambda: b64decode(self.values["md5"]).hex()

    def stream(self, body: IByteStream, disk: IDisk, trailers: Mapping[str, str], batch: int = _BATCH) -> IByteStream:
        """
        The body; the last read fails with an L{S3Error} if a checksum is not as it was announced.

        @param trailers: what follows the body: complete when it ends.
        @param batch: bytes that are worked with at once in a thread.
        """
        if isinstance(body, WholeStream):

            def checked(data: bytes) -> bytes:
                if data:
                    self._update([data])
                self._finish(trailers)
                return data

            return body.then(checked)
        return beside(body, disk, self._update, batch, lambda: self._finish(trailers))

    def _begin(self) -> dict[str, Hasher]:
        if self._hashers is None:
            names = {*self._wanted, self.name, "md5" if self.content_md5 or self._is_etag else ""} - {""}
            self._hashers = {name: Hasher(name) for name in sorted(names)}
        return self._hashers

    def _update(self, pieces: list[Piece]) -> None:
        if hashers := self._begin():
            updating(*hashers.values())(pieces)

    def _finish(self, trailers: Mapping[str, str]) -> None:
        digests = {name: hasher.digest() for name, hasher in self._begin().items()}
        if self.content_md5 and digests["md5"] != decoded("md5", self.content_md5):
            raise S3Error(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                ExpectedDigest=self.content_md5,
                CalculatedDigest=encoded(digests["md5"]),
            )
        if self.name:
            digest = decoded(self.name, self._announced or trailers.get(_PREFIX + self.name, ""))
            if digest is None:
                raise S3Error("InvalidRequest", f"Value for {_PREFIX}{self.name} trailing header is invalid.")
            if digest != digests[self.name]:
                raise S3Error(
                    "BadDigest", f"The {self.name.upper()} you specified did not match the calculated checksum."
                )
        self.values |= {name: encoded(digest) for name, digest in digests.items()}

    @property
    def stored(self) -> str:
        """The algorithm that is kept with an object: the announced one, or else the first that was wanted."""
        return self.name or next((name for name in ALGORITHMS if name in self._wanted), "")

    def system(self) -> dict[str, str]:
        """What is kept with an object that was stored whole, once its body was read. See L{checksum_system}."""
        name = self.stored
        return checksum_system(name, self.values[name], FULL_OBJECT) if name in self.values else {}


def checksums_of(names: Sequence[str], header: Getter, trailer: str = "") -> Checksums:
    """
    The checksums that a request announces of its body.

    @param names: of all header fields, in lower case.
    @param trailer: the name of the field that follows the body, in lower case.
    @raise S3Error: if they are malformed, or contradict one another.
    """
    name = _named(iter(names))
    announced = header(_PREFIX + name) or "" if name else ""
    if name and decoded(name, announced) is None:
        raise S3Error("InvalidRequest", f"Value for {_PREFIX}{name} header is invalid.")
    if trailer:
        if name:
            raise _several()
        name = trailer.removeprefix(_PREFIX)
        if not trailer.startswith(_PREFIX) or name not in ALGORITHMS:
            raise S3Error("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
    said = header("x-amz-sdk-checksum-algorithm")
    if said is not None:
        wanted = algorithm_of(said, "x-amz-sdk-checksum-algorithm")
        if not name:
            raise S3Error(
                "InvalidRequest",
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers "
                "were found.",
            )
        if wanted != name:
            raise S3Error(
                "BadDigest",
                f"x-amz-sdk-checksum-algorithm is {wanted.upper()}, and the checksum is one of {name.upper()}",
            )
    content_md5 = header("content-md5")
    if content_md5 is not None and decoded("md5", content_md5) is None:
        invalid = S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.")
        invalid.fields["Content-MD5"] = content_md5[:128]
        raise invalid
    return Checksums(name, content_md5 or "", announced)


# -- what is kept, and given back ------------------------------------------------------------------


def checksum_system(name: str, value: str, type: str) -> dict[str, str]:
    """What is kept of an object's checksum in its system metadata."""
    return {f"checksum-{name}": value, "checksum-type": type}


def checksum_fields(system: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
    """The header fields of a response with an object's checksums, as L{checksum_system} keeps them."""
    for name in ALGORITHMS:
        value = system.get(f"checksum-{name}")
        if value is not None:
            yield f"{_PREFIX}{name}".encode("ascii"), value.encode("ascii")
            yield b"x-amz-checksum-type", system.get("checksum-type", FULL_OBJECT).encode("ascii")
            return
