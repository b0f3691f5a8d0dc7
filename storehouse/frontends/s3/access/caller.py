"""Who makes a request."""

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
    @ivar is_secure: whether it came by TLS.
    """

    user: User | None = None
    key_id: str = ""
    address: str = ""
    is_secure: bool = False

    @property
    def name(self) -> str:
        """The user's; empty without one."""
        return "" if self.user is None else self.user.name
