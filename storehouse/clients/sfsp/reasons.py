"""Why a request failed: errors that are more special than those of the tree, and words for people."""

from __future__ import annotations

import os

from twisted.internet.error import ConnectionDone, ConnectionLost

from storehouse.errors import RemoteRefused, RemoteUnavailable, StorehouseError

__all__ = ["ServerSilent", "StaleConnection", "error_of", "reason_of", "shown"]


class StaleConnection(RemoteUnavailable):
    """The server had closed a connection that was idle when the request was sent: another one will do."""


class ServerSilent(RemoteUnavailable):
    """No byte moved for too long."""


def shown(name: bytes) -> str:
    """The name of a file for people."""
    return repr(name.decode("utf-8", "backslashreplace"))


def reason_of(error: BaseException | None) -> str:
    """What the system says of a connection that failed."""
    number = getattr(error, "osError", None) or (error.args[0] if isinstance(error, OSError) and error.args else None)
    if isinstance(number, int):
        return os.strerror(number)
    # OpenSSL has a list of what it met.
    met = error.args[0] if error is not None and error.args else None
    if isinstance(met, list) and met and isinstance(met[0], tuple):
        return str(met[0][-1])
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def error_of(error: BaseException | None) -> StorehouseError:
    """The error of the tree for why a connection was lost."""
    if type(error).__module__.partition(".")[0] in ("OpenSSL", "service_identity"):
        # Another attempt would meet the same certificates.
        return RemoteRefused(f"TLS failed: {reason_of(error)}")
    if isinstance(error, ConnectionDone):
        return RemoteUnavailable("the server closed the connection")
    if isinstance(error, ConnectionLost) and not error.args:
        return RemoteUnavailable("the connection broke")
    return RemoteUnavailable(f"the connection broke: {reason_of(error)}")
