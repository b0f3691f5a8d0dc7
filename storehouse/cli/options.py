"""What the verbs of the append log have in common on the command line."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import click

from storehouse.cli.client import Server
from storehouse.cli.log import LogClient
from storehouse.core.values import parse_size

__all__ = [
    "DEFAULT_SERVER",
    "OFFSET",
    "command_option",
    "log_options",
    "parse_bytes",
    "parse_server",
    "progress_option",
    "size_option",
]

#: Where the append log listens when nothing else is said.
DEFAULT_SERVER = "http://127.0.0.1:8001"

#: An offset in a bucket file.
OFFSET = click.IntRange(0, 2**64 - 1)


def parse_server(ctx: click.Context, param: click.Parameter, value: str) -> Server:
    """
    Take C{http://HOST[:PORT][/PATH]}, or https, apart.

    @raise click.BadParameter: if it is of another form: wrong usage.
    """
    try:
        url = urlsplit(value)
        port = url.port
        host = url.hostname or ""
        host.encode("idna")
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a URL: {error}.") from None
    if url.scheme not in ("http", "https") or not host:
        raise click.BadParameter(f"{value!r} is not of the form http://HOST:PORT.")
    if "@" in url.netloc or url.query or url.fragment or not re.fullmatch(r"[!-~]*", url.path):
        raise click.BadParameter(f"{value!r} has more than a scheme, a host, a port and a plain path.")
    return Server(
        scheme=url.scheme,
        host=host,
        port=port if port is not None else (443 if url.scheme == "https" else 80),
        path=url.path.rstrip("/"),
    )


def log_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --server, --prefix and --timeout; the function gets a L{LogClient} as C{log}, which is closed after it."""

    @click.option(
        "--server",
        metavar="URL",
        callback=parse_server,
        default=DEFAULT_SERVER,
        envvar="STOREHOUSE_SERVER",
        show_default=True,
        show_envvar=True,
        help="Where the append log listens.",
    )
    @click.option("--prefix", metavar="NAME", help="The storage prefix.")
    @click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="Give up when the server is silent for so long.",
    )
    @functools.wraps(function)
    def wrapper(*args: Any, server: Server, prefix: str | None, timeout: float, **kwargs: Any) -> Any:
        with LogClient(server, prefix, timeout) as log:
            return function(*args, log=log, **kwargs)

    return wrapper


def parse_bytes(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A number of bytes, with a unit or without. @raise click.BadParameter: if it is none."""
    try:
        return None if value is None else parse_size(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}.") from None


size_option = click.option(
    "--size",
    metavar="SIZE",
    callback=parse_bytes,
    help="The bytes that there must be: fewer or more are an error, and nothing is stored.",
)

command_option = click.option(
    "--from-command",
    is_flag=True,
    help="Store the output of a program; nothing if it ends with another status than 0.",
)

progress_option = click.option(
    "--progress/--no-progress",
    "progress",
    default=True,
    help="A progress line on long work, when standard error is a terminal (the default).",
)
