"""The extensions checksum and checksum-trailer: whether a body is what was announced."""

from __future__ import annotations

from collections.abc import Callable

from storehouse.errors import BadRequest
from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.http.resource import field_of
from storehouse.frontends.upload.intake import ALGORITHMS, Checksums
from storehouse.frontends.upload.resumable.tus.fields import checksum_in

__all__ = ["checking_of"]

_FIELD = b"upload-checksum"


def checking_of(request: StreamingRequest) -> tuple[tuple[str, ...], Callable[[Checksums], None] | None]:
    """
    What to compute of a body, and how to check it; C{None} if nothing was announced.

    @raise BadRequest: if it is not of the right form.
    """
    value = field_of(request, b"Upload-Checksum")
    if value is not None:
        algorithm, digest = checksum_in(value)
        return (algorithm,), lambda checksums: checksums.check(algorithm, digest)
    announced = b",".join(request.requestHeaders.getRawHeaders(b"Trailer", [])).lower().split(b",")
    if _FIELD not in [name.strip() for name in announced]:
        return (), None

    def check(checksums: Checksums) -> None:
        found = request.body.trailers.get(_FIELD)
        if found is None:
            raise BadRequest(
                "the body has no Upload-Checksum after it, although the Trailer field announced it: nothing is kept"
            )
        checksums.check(*checksum_in(found))

    # Which one it will be is known when it is too late to begin.
    return ALGORITHMS, check
