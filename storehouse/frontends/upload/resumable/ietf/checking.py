"""C{Content-Digest} and C{Repr-Digest}: whether what came is what was announced (RFC 9530)."""

from __future__ import annotations

from collections.abc import Callable

from storehouse.frontends.http.request import StreamingRequest
from storehouse.frontends.upload.intake import Checksums, digests_in

__all__ = ["checking_of"]


def checking_of(
    request: StreamingRequest, field: str = "Content-Digest"
) -> tuple[tuple[str, ...], Callable[[Checksums], None] | None]:
    """What to compute, and how to check it; C{None} if the request announced nothing that is supported."""
    digests = digests_in(field, request.requestHeaders.getRawHeaders(field.encode("ascii"), []))
    if not digests:
        return (), None

    def check(checksums: Checksums) -> None:
        for name, digest in digests.items():
            checksums.check(name, digest)

    return tuple(digests), check
