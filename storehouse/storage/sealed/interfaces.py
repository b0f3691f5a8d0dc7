"""What the room of encryption gives other rooms."""

from __future__ import annotations

from typing import Protocol

__all__ = ["ICipher"]


class ICipher(Protocol):
    """Encrypts and authenticates small values as a whole. Both methods may be called in any thread."""

    def encrypt(self, about: str, data: bytes) -> bytes:
        """@param about: ASCII text that is authenticated with the value, such as its name: under another it cannot be read."""

    def decrypt(self, about: str, data: bytes) -> bytes:
        """@raise ValueError: unless this cipher encrypted it, about the same."""
