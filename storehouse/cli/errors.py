"""The errors of the command line: one clear line on standard error, exit status 1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import click

from storehouse.errors import RootInUse, StartFailed

__all__ = ["CommandError", "Refused", "one_line", "reason_of", "strange", "unreadable", "usage"]

_unprintable = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def one_line(text: str) -> str:
    """The text with control characters, line ends among them, as spaces, so that it cannot play with a terminal."""
    return _unprintable.sub(" ", text).strip()


def reason_of(error: BaseException) -> str:
    """What an exception says, without its class and number."""
    return one_line(getattr(error, "strerror", None) or str(error) or type(error).__name__)


class CommandError(click.ClickException):
    """Something that a command cannot do. Its text is for the user."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class Refused(CommandError):
    """
    A service has responded that it cannot, or will not.

    @ivar kind: the name of its error, C{"NoSuchKey"} for one; empty if it gave none.
    @ivar detail: what it said, without the status.
    """

    def __init__(self, message: str, kind: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.detail = one_line(detail)


@contextmanager
def usage() -> Iterator[None]:
    """What cannot be opened in here, because it is not there or not set right, is wrong usage: exit status 2."""
    try:
        yield
    except RootInUse:
        raise
    except StartFailed as error:
        raise click.UsageError(one_line(error.detail)) from None


def unreadable(count: int) -> str:
    """The message about so many damaged keys."""
    return f"{'1 key' if count == 1 else f'{count} keys'} cannot be read: 'storehouse fsck' shows why"


def strange(count: int) -> str:
    """The message about so many unknown names."""
    what = "1 name is neither a key nor a bucket" if count == 1 else f"{count} names are neither keys nor buckets"
    return f"in the namespace {what}: 'storehouse fsck' shows which"
