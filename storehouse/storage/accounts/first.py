"""How the person who starts a service for the first time gets in."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from twisted.logger import Logger

from storehouse.storage.accounts.local import LocalAccounts

__all__ = ["tell_first_sign_in"]

#: Seconds for which the link of a start is good.
LIFETIME = 3600.0

_log = Logger()


async def tell_first_sign_in(
    accounts: LocalAccounts, base_url: str, stream: TextIO | None = None, log: Any = _log
) -> None:
    """
    If no administrator was ever signed in, make a sign-in link and show it on the terminal.

    It is a secret: it goes to a terminal only, never to a log. Where there is none, the log says how to get one.

    @param base_url: of the door, without a slash at its end.
    @param stream: where people look; the standard error of the process without it.
    """
    name = await accounts.ensure_administrator()
    if name is None:
        return
    # Not sys.stderr: twistd has that go to its log.
    stream = sys.__stderr__ if stream is None else stream
    if stream is None or not _is_terminal(stream):
        log.info(
            "nobody has signed in as an administrator yet: 'storehouse user sign-in {name}' gives a link", name=name
        )
        return
    token = await accounts.make_sign_in_token(name, LIFETIME)
    stream.write(f"\nsign in once at {base_url}/sign-in/{token}\n(as {name}, within an hour)\n\n")
    stream.flush()


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # it was closed, as of a process in the background
        return False
