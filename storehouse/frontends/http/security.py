"""The fields with which a door tells browsers to be careful."""

from __future__ import annotations

__all__ = ["security_fields"]

#: For answers that say nothing else: what is served is shown by itself, to who asked, and does nothing.
_FIELDS = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Permissions-Policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    # The last two are not part of default-src.
    (
        b"Content-Security-Policy",
        b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (b"Cache-Control", b"no-store"),
)

#: Seconds for which a browser uses nothing but TLS with this host (RFC 6797).
_HTTPS_ONLY = b"max-age=31536000"


def security_fields(https_only: bool = False) -> tuple[tuple[bytes, bytes], ...]:
    """
    The header fields of every answer of a door for browsers, unless the answer has one of that name itself.

    @param https_only: tell browsers to use nothing but TLS with this host from now on. Only for a certificate that they
        trust by themselves: they would not let people go on with any other.
    """
    return (*_FIELDS, (b"Strict-Transport-Security", _HTTPS_ONLY)) if https_only else _FIELDS
