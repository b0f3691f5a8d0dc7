"""What the verbs of users and links have in common on the command line."""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import click

from storehouse.app.local.accounts import LocalUsers
from storehouse.cli.errors import CommandError, one_line
from storehouse.config import load_settings
from storehouse.core import times
from storehouse.core.keys.masterkey import take_master_key
from storehouse.errors import InvalidSetting, StartFailed, StorehouseError

__all__ = ["parse_lifetime", "url_option", "users_options"]


def users_options(may_make: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """
    Add --root, --config and --master-key-file; the function gets L{LocalUsers} as C{users}.

    @param may_make: whether the root is made if there is none.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @click.option("--root", metavar="DIR", help="The service's root directory.  [default: ./storehouse-data]")
        @click.option("--config", metavar="FILE", help="The service's configuration file, to find it by.")
        @click.option(
            "--master-key-file",
            metavar="FILE",
            help="A file with the master key, if the root is encrypted.  [default: masterkey of the environment]",
        )
        @functools.wraps(function)
        def wrapper(
            *args: Any, root: str | None, config: str | None, master_key_file: str | None, **kwargs: Any
        ) -> Any:
            given = {"root": root, "master-key-file": master_key_file}
            try:
                settings = load_settings({name: value for name, value in given.items() if value is not None}, config)
                master = take_master_key(dict(os.environ), settings.master_key_file)
                users = LocalUsers(settings, may_make, master)
            except (InvalidSetting, StartFailed) as error:
                raise click.UsageError(one_line(error.detail)) from None
            try:
                return function(*args, users=users, **kwargs)
            except StorehouseError as error:
                raise CommandError(error.detail) from None

        return wrapper

    return decorate


def parse_lifetime(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """@raise click.BadParameter: unless it is a span of time, such as C{15m}, or a moment to come."""
    try:
        return times.parse_lifetime(value, time.time())
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _parse_url(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        url = urlsplit(value)
        is_right = url.scheme in ("https", "http") and url.hostname and not url.query and not url.fragment
        url.port  # noqa: B018 - raises
    except ValueError:
        is_right = False
    if not is_right or not re.fullmatch(r"[!-~]+", value):
        raise click.BadParameter(f"{value!r} is not of the form https://HOST[:PORT].")
    return value


url_option = click.option(
    "--url",
    metavar="URL",
    callback=_parse_url,
    help="The URL of the door.  [default: what the service that runs, or ran last, is reached by; else https://localhost:6445]",
)
