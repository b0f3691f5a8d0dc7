"""The caller of a request."""

from __future__ import annotations

import attrs

from storehouse.storage.accounts.interfaces import User

__all__ = ["Caller"]


@attrs.frozen
class Caller:
    """
    @ivar user: C{None} if the request is not signed.
    @ivar key_id: of the access key that signed it; empty without one.
    @ivar address: of the client; empty if it has none, as at a socket file.
    @ivar is_secure: whether the client speaks TLS, be it with a trusted proxy.
    @ivar kind: how it was signed, as the policy key C{s3:authType} has it; empty if it is not signed.
    @ivar age: seconds since it was signed, as C{s3:signatureAge} has it in milliseconds.
    @ivar algorithm: of the signature, as C{s3:signatureversion} has it.
    @ivar payload: C{x-amz-content-sha256}; empty without it.
    """

    user: User | None = None
    key_id: str = ""
    address: str = ""
    is_secure: bool = False
    kind: str = ""
    age: float = 0.0
    payload: str = ""
    algorithm: str = "AWS4-HMAC-SHA256"

    @property
    def who(self) -> str:
        """For the audit: the user's name, and that of the session behind a slash, if the key is a temporary one with a name."""
        temporary = None if self.user is None else self.user.temporary
        return f"{self.name}/{temporary.name}" if temporary is not None and temporary.name else self.name

    @property
    def name(self) -> str:
        """The user's; empty without one."""
        return "" if self.user is None else self.user.name
