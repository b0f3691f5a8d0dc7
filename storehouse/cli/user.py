"""C{storehouse user}: who may."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import attrs
import click

from storehouse.app.local.accounts import LocalUsers, NewKey, User
from storehouse.cli.accounts import parse_lifetime, url_option, users_options
from storehouse.cli.output import Output

__all__ = ["command"]

_HEAD = ("NAME", "KEY ID", "ROLE", "STATE", "CREATED", "KEY MADE")

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, with times in seconds since 1970.")


@click.group("user", short_help="Add, list, disable users, and give them keys.")
def command() -> None:
    """
    Manage the users of a root: who may use the door of uploads (https).

    All of it works beside a running service, which knows of it within a second, and without one.

    \b
    Examples:
      storehouse user add ann
      storehouse user list
      storehouse user sign-in admin
    """


@command.command("add", short_help="Add a user.")
@click.argument("name")
@click.option("--admin", "is_admin", is_flag=True, help="One who may manage others.")
@_json_option
@users_options(may_make=True)
def add(users: LocalUsers, name: str, is_admin: bool, as_json: bool) -> None:
    """
    Add a user, and print the access key: its ID and its secret, which is shown this once.

    NAME has 1 to 64 of a-z, 0-9, dots, hyphens and underscores.

    \b
    Examples:
      storehouse user add ann
      storehouse user add ops --admin --root /srv/storehouse
    """
    _show_key(users.add(name, is_admin), as_json)


@command.command("list", short_help="List users.")
@_json_option
@users_options()
def list_(users: LocalUsers, as_json: bool) -> None:
    """
    List all users, by name. Times are UTC; --json prints an object for each.

    \b
    Examples:
      storehouse user list
      storehouse user list --json | jq -r 'select(.is_disabled | not) | .name'
    """
    found = users.list()
    _print("".join(f"{json.dumps(attrs.asdict(user))}\n" for user in found) if as_json else _table(found))


@command.command("disable", short_help="Allow a user nothing any more.")
@click.argument("name")
@users_options()
def disable(users: LocalUsers, name: str) -> None:
    """
    End the sessions of a user, and refuse the access key and all links that the user has signed.

    \b
    Example:
      storehouse user disable ann
    """
    users.disable(name)
    click.echo(f"{name} is disabled", err=True)


@command.command("enable", short_help="Undo disable.")
@click.argument("name")
@users_options()
def enable(users: LocalUsers, name: str) -> None:
    """
    Let a user in again that was disabled. The access key and links that have not expired work again; sessions do not.

    \b
    Example:
      storehouse user enable ann
    """
    users.enable(name)
    click.echo(f"{name} is enabled", err=True)


@command.command("rotate", short_help="Give a user another access key.")
@click.argument("name")
@_json_option
@users_options()
def rotate(users: LocalUsers, name: str, as_json: bool) -> None:
    """
    Give a user another access key, and print it. The old one, and all sessions, end; signed links go on until they expire.

    \b
    Example:
      storehouse user rotate ann
    """
    _show_key(users.rotate(name), as_json)


@command.command("sign-in", short_help="Make a link that signs a user in once.")
@click.argument("name")
@click.option(
    "--expires",
    metavar="TIME",
    default="1h",
    show_default=True,
    callback=parse_lifetime,
    help="How long it is good: 15m, 2h, 7d, or seconds.",
)
@url_option
@users_options()
def sign_in(users: LocalUsers, name: str, expires: float, url: str | None) -> None:
    """
    Print a link that signs a user in once, in a browser. Those made for that user before end.

    \b
    Examples:
      storehouse user sign-in admin
      storehouse user sign-in ann --expires 7d --url https://files.example.org
    """
    _print(f"{users.sign_in_url(name, expires, url)}\n")


def _show_key(key: NewKey, as_json: bool) -> None:
    if as_json:
        _print(f"{json.dumps({**attrs.asdict(key.user), 'secret': key.secret})}\n")
        return
    _print(f"key ID  {key.user.key_id}\nsecret  {key.secret}\n")
    click.echo(
        f"This is the access key of {key.user.name}. Its secret is shown this once and cannot be read back: keep it safe.",
        err=True,
    )


def _print(text: str) -> None:
    with Output() as output:
        output.write(text.encode())


def _table(users: Sequence[User]) -> str:
    rows = [
        (
            user.name,
            user.key_id,
            "admin" if user.is_admin else "user",
            "disabled" if user.is_disabled else "enabled",
            _time(user.created),
            _time(user.key_created),
        )
        for user in users
    ]
    lines = [_HEAD, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
