"""The table from errors to SFSP answers."""

from __future__ import annotations

from twisted.logger import Logger
from twisted.python.failure import Failure

from storehouse import errors
from storehouse.core.sfsp import Code, Status

__all__ = ["ends_connection", "error_status", "request_status"]

_log = Logger()

#: The nearest class of an error's ancestry decides. The text is for people; where there is none, the error's own is,
#: which then names nothing of the inside.
_ANSWERS: dict[type[errors.StorehouseError], tuple[Code, str]] = {
    errors.StorehouseError: (Code.INTERNAL, "the server failed; see its log"),
    errors.InvalidRequest: (Code.INVALID_REQ, ""),
    errors.TooLarge: (Code.INVALID_REQ, ""),
    errors.RequestTimeout: (Code.INVALID_REQ, ""),
    errors.TooManyConnections: (Code.INVALID_REQ, ""),
    errors.ShareUsedUp: (Code.INVALID_REQ, ""),
    errors.NotFound: (Code.NOT_FOUND, ""),
    errors.Forbidden: (Code.INTERNAL, "the user as whom this door acts has no right to do that"),
    errors.Damaged: (Code.INTERNAL, "the stored chunk is damaged; see the server's log"),
    errors.NoSpace: (Code.INTERNAL, "the server has no space left; nothing was stored"),
    errors.Unavailable: (Code.INTERNAL, "the server is not ready; try again later"),
}

_UNEXPECTED = Status(Code.INTERNAL, b"an unexpected failure; see the server's log")


def error_status(error: BaseException) -> Status:
    """The answer to a failure. What is no L{StorehouseError} is answered without its inside."""
    if not isinstance(error, errors.StorehouseError):
        return _UNEXPECTED
    code, text = next(_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)
    if code == Code.NOT_FOUND:
        return Status(code)
    return Status(code, (text or error.detail).encode("utf-8", "replace"))


def ends_connection(status: Status) -> bool:
    """Whether nothing that follows the request can be understood."""
    return status.code == Code.INVALID_REQ


def request_status(error: BaseException, request: object) -> Status:
    """The answer to a request that is well formed and failed: its connection can continue."""
    if not isinstance(error, errors.StorehouseError):
        _log.failure("a request failed: {request}", Failure(error), request=type(request).__name__)
    status = error_status(error)
    return Status(Code.INTERNAL, status.message) if ends_connection(status) else status
