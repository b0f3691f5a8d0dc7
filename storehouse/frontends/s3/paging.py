"""Tokens by which a list continues where a page ended: opaque to clients, and nothing on the server belongs to them."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

from storehouse.frontends.s3.errors import S3Error

__all__ = ["read_token", "write_token"]


def write_token(after: str) -> str:
    """
    The token of the page that follows.

    @param after: the last name of this one.
    """
    return urlsafe_b64encode(after.encode()).decode("ascii").rstrip("=")


def read_token(token: str) -> str:
    """@raise S3Error: C{InvalidArgument} if L{write_token} did not make it."""
    try:
        after = urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        if not after or write_token(after) != token:
            raise ValueError
    except ValueError:
        raise S3Error(
            "InvalidArgument",
            "The continuation token provided is incorrect",
            ArgumentName="continuation-token",
            ArgumentValue=token[:100],
        ) from None
    return after
