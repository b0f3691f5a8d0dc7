"""Options that several verbs have."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

import click

from storehouse.cli.client import Server
from storehouse.cli.errors import CommandError, one_line
from storehouse.cli.log import LogClient
from storehouse.core.values import parse_size
from storehouse.errors import InvalidSetting, StorehouseError

__all__ = [
    "DEFAULT_SERVER",
    "OFFSET",
    "command_option",
    "log_options",
    "parse_bytes",
    "parse_server",
    "progress_option",
    "settings_options",
    "size_option",
]

T = TypeVar("T")

#: Where the append log listens by default.
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


def log_options(function: Callable[..., T]) -> Callable[..., T]:
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
        help="Give up after this long without a response.",
    )
    @functools.wraps(function)
    def wrapper(*args: object, server: Server, prefix: str | None, timeout: float, **kwargs: object) -> T:
        with LogClient(server, prefix, timeout) as log:
            return function(*args, log=log, **kwargs)

    return wrapper


_SETTINGS = {
    "root": ("DIR", "The service's root directory.  [default: ./storehouse-data]"),
    "objects-dir": ("DIR", "The directory of the objects.  [default: ROOT/objects]"),
    "append-dir": ("DIR", "The directory of the append log.  [default: ROOT/append]"),
    "master-key-file": (
        "FILE",
        "A file with the master key, if the root is encrypted and no service runs.  [default: masterkey of the "
        "environment]",
    ),
    "config": ("FILE", "The service's configuration file."),
}


def settings_options(*names: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """
    Add options that are settings of the service, and --config; the function gets C{settings}, which are those of the
    configuration file but for what was given. The store's errors are printed in a line.
    """

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        @functools.wraps(function)
        def wrapper(*args: object, config: str | None, **kwargs: object) -> T:
            # Imported here: the commands of the append log have no settings.
            from storehouse.config import load_settings

            given = {name: kwargs.pop(name.replace("-", "_")) for name in names}
            try:
                settings = load_settings({name: value for name, value in given.items() if value is not None}, config)
            except InvalidSetting as error:
                raise click.UsageError(one_line(error.detail)) from None
            try:
                return function(*args, settings=settings, **kwargs)
            except StorehouseError as error:
                raise CommandError(error.detail) from None

        for name in ("config", *reversed(names)):
            metavar, text = _SETTINGS[name]
            wrapper = click.option(f"--{name}", metavar=metavar, help=text)(wrapper)
        return wrapper

    return decorate


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
    help="The expected number of bytes; any other is an error, and nothing is stored.",
)

command_option = click.option(
    "--from-command",
    is_flag=True,
    help="Store the output of a program; nothing if its exit status is not 0.",
)

progress_option = click.option(
    "--progress/--no-progress",
    "progress",
    default=True,
    help="Show progress when standard error is a terminal (the default).",
)
