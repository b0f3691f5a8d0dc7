"""C{storehouse user} and C{sign}: users, their keys, and links that carry a permission."""

from __future__ import annotations

import functools
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import attrs
import click

from storehouse.app.local.waiting import run
from storehouse.cli.errors import usage
from storehouse.cli.options import parse_bytes, settings_options
from storehouse.cli.output import Output, columns, time_text
from storehouse.cli.remote import SocketAccounts
from storehouse.cli.store import service_of
from storehouse.config import Settings
from storehouse.core import times
from storehouse.core.keys.masterkey import take_master_key
from storehouse.core.names import link_path
from storehouse.errors import Forbidden, InvalidName
from storehouse.storage.accounts.interfaces import NewKey, User

__all__ = ["sign", "user"]

#: Where the door of uploads is when nobody has said so.
_DEFAULT_URL = "https://localhost:6445"


class Accounts(Protocol):
    """
    What commands need of L{IAccounts<storehouse.storage.accounts.interfaces.IAccounts>}: the users of the root in this
    process, and those of the service that runs on it.
    """

    def add_user(self, name: str, is_admin: bool = False) -> Awaitable[NewKey]: ...

    def list_users(self) -> Awaitable[list[User]]: ...

    def disable_user(self, name: str) -> Awaitable[User]: ...

    def enable_user(self, name: str) -> Awaitable[User]: ...

    def rotate_key(self, name: str) -> Awaitable[NewKey]: ...

    def make_sign_in_token(self, name: str, lifetime: float) -> Awaitable[str]: ...

    def sign_link(
        self,
        user: User,
        method: str,
        path: str,
        expires: float,
        max_bytes: int | None = None,
        once: bool = False,
        is_prefix: bool = False,
    ) -> str: ...

    def read_url(self) -> Awaitable[str | None]: ...


def accounts_options(
    create: bool = False, users_only: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """
    Add --root, --config and --master-key-file; the coroutine function gets C{accounts}: those of the service that runs on the
    root, which has the keys, or else those in its files.

    @param create: whether the root is made if there is none.
    @param users_only: whether it does without the secret of the accounts, and so without the master key.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @settings_options("root", "master-key-file")
        @functools.wraps(function)
        def wrapper(*args: Any, settings: Settings, **kwargs: Any) -> Any:
            with service_of(settings) as service:
                accounts = _open(settings) if service is None else SocketAccounts(service)
                return run(function(*args, accounts=accounts, **kwargs))

        return wrapper

    def _open(settings: Settings) -> Accounts:
        # Imported here, since it is most of what such a command imports.
        from storehouse.app.local.accounts import check_accounts, open_accounts

        with usage():
            # A copy: who runs a command in a program of his own keeps his environment.
            master = take_master_key(dict(os.environ), settings.master_key_file)
            if not create:
                check_accounts(settings)
        return open_accounts(settings, master, users_only)

    return decorate


async def _base(accounts: Accounts, url: str | None) -> str:
    """The URL of the door: what was given, or what a service has said."""
    return (url or await accounts.read_url() or _DEFAULT_URL).rstrip("/")


def _parse_lifetime(ctx: click.Context, param: click.Parameter, value: str) -> float:
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


_url_option = click.option(
    "--url",
    metavar="URL",
    callback=_parse_url,
    help="The URL of the door.  [default: that of the running or last service; else https://localhost:6445]",
)


_HEAD = ("NAME", "KEY ID", "ROLE", "STATE", "CREATED", "KEY MADE")

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, with times in seconds since 1970.")


@click.group("user")
def user() -> None:
    """
    Manage the users of a root: who can use the door of uploads (https).

    A running service does all of it, and needs no master key for that from you. Without one it is done in the files of the
    root; in an encrypted one, what makes keys or links needs the master key then.

    \b
    Examples:
      storehouse user add ann
      storehouse user list
      storehouse user sign-in admin
    """


@user.command("add", short_help="Add a user.")
@click.argument("name")
@click.option("--admin", "is_admin", is_flag=True, help="Make the user an administrator.")
@_json_option
@accounts_options(create=True)
async def add(accounts: Accounts, name: str, is_admin: bool, as_json: bool) -> None:
    """
    Add a user, and print the access key: its ID and its secret, which is shown this once.

    NAME has 1 to 64 of a-z, 0-9, dots, hyphens and underscores.

    \b
    Examples:
      storehouse user add ann
      storehouse user add ops --admin --root /srv/storehouse
    """
    _show_key(await accounts.add_user(name, is_admin), as_json)


@user.command("list", short_help="List users.")
@_json_option
@accounts_options(users_only=True)
async def list_(accounts: Accounts, as_json: bool) -> None:
    """
    List all users, by name. Times are UTC; --json prints an object for each.

    \b
    Examples:
      storehouse user list
      storehouse user list --json | jq -r 'select(.is_disabled | not) | .name'
    """
    found = await accounts.list_users()
    _print("".join(f"{json.dumps(attrs.asdict(user))}\n" for user in found) if as_json else _table(found))


@user.command("disable", short_help="Disable a user.")
@click.argument("name")
@accounts_options(users_only=True)
async def disable(accounts: Accounts, name: str) -> None:
    """
    End the sessions of a user, and refuse the access key and all links that the user has signed.

    \b
    Example:
      storehouse user disable ann
    """
    await accounts.disable_user(name)
    click.echo(f"{name} is disabled", err=True)


@user.command("enable", short_help="Undo disable.")
@click.argument("name")
@accounts_options(users_only=True)
async def enable(accounts: Accounts, name: str) -> None:
    """
    Let a user in again that was disabled. The access key and links that have not expired work again; sessions do not.

    \b
    Example:
      storehouse user enable ann
    """
    await accounts.enable_user(name)
    click.echo(f"{name} is enabled", err=True)


@user.command("rotate", short_help="Give a user another access key.")
@click.argument("name")
@_json_option
@accounts_options()
async def rotate(accounts: Accounts, name: str, as_json: bool) -> None:
    """
    Give a user another access key, and print it. The old one, and all sessions, end; signed links go on until they expire.

    \b
    Example:
      storehouse user rotate ann
    """
    _show_key(await accounts.rotate_key(name), as_json)


@user.command("sign-in", short_help="Create a link that signs a user in once.")
@click.argument("name")
@click.option(
    "--expires",
    metavar="TIME",
    default="1h",
    show_default=True,
    callback=_parse_lifetime,
    help="How long it is valid: 15m, 2h, 7d, or seconds.",
)
@_url_option
@accounts_options(users_only=True)
async def sign_in(accounts: Accounts, name: str, expires: float, url: str | None) -> None:
    """
    Print a link that signs a user in once, in a browser. Those made for that user before end.

    \b
    Examples:
      storehouse user sign-in admin
      storehouse user sign-in ann --expires 7d --url https://files.example.org
    """
    token = await accounts.make_sign_in_token(name, expires)
    _print(f"{await _base(accounts, url)}/sign-in/{token}\n")


@click.command("sign")
@click.option("--put", "put", metavar="NAME", help="A link to store a file under NAME.")
@click.option("--get", "get", metavar="NAME", help="A link to read the file NAME.")
@click.option(
    "--expires",
    metavar="TIME",
    default="15m",
    show_default=True,
    callback=_parse_lifetime,
    help="How long it is valid: 15m, 2h, 7d, or seconds; or until when: 2026-12-01T12:00Z. At most the service's https-link-lifetime.",
)
@click.option(
    "--max-bytes", metavar="SIZE", callback=parse_bytes, help="The most bytes to store, with --put: 500MB, 1GiB."
)
@click.option("--once", is_flag=True, help="Allow one use.")
@click.option(
    "--prefix", "is_prefix", is_flag=True, help="Allow all names in the folder NAME; an empty NAME allows everything."
)
@click.option("--as", "name", metavar="USER", help="The user who signs.  [default: the first administrator]")
@_url_option
@accounts_options()
async def sign(
    accounts: Accounts,
    put: str | None,
    get: str | None,
    expires: float,
    max_bytes: int | None,
    once: bool,
    is_prefix: bool,
    name: str | None,
    url: str | None,
) -> None:
    """
    Print a link, alone, by which anybody who has it can store a file, or read one, until it expires.

    With --prefix, put the name of a file behind the path of the link, before the question mark. When the user who signed
    it is disabled, the link is, too.

    \b
    Examples:
      curl -T a.jpg "$(storehouse sign --put a.jpg --expires 15m)"
      curl -O "$(storehouse sign --get reports/2026.pdf --expires 7d)"
      storehouse sign --put inbox --prefix --max-bytes 1GiB --expires 2h
      storehouse sign --put a.jpg --once --as ann --url https://files.example.org
    """
    if (put is None) == (get is None):
        raise click.UsageError("Give either --put NAME or --get NAME.")
    if get is not None and max_bytes is not None:
        raise click.UsageError("--max-bytes is for --put.")
    file = str(put if put is not None else get)
    if not file and not is_prefix:
        raise click.UsageError("NAME is empty; that needs --prefix, and allows everything.")
    if max_bytes == 0:
        raise click.BadParameter("--max-bytes must be 1 or more.", param_hint="--max-bytes")
    method = "GET" if put is None else "PUT"
    try:
        path = link_path(method, file, is_prefix)
    except UnicodeEncodeError:
        raise InvalidName(f"the name {file!r} is not Unicode text") from None
    signer = await _signer(accounts, name)
    query = accounts.sign_link(signer, method, path, time.time() + expires, max_bytes, once, is_prefix)
    _print(f"{await _base(accounts, url)}{path}?{query}\n")


async def _signer(accounts: Accounts, name: str | None) -> User:
    """The user of a name; without one, the first administrator who is not disabled."""
    users = await accounts.list_users()
    if name is not None:
        found = [each for each in users if each.name == name]
    else:
        found = [each for each in users if each.is_admin and not each.is_disabled]
    if not found:
        raise Forbidden(
            "no administrator can sign: name a user with --as" if name is None else f"there is no user {name!r}"
        )
    return min(found, key=lambda each: each.created)


def _show_key(key: NewKey, as_json: bool) -> None:
    if as_json:
        _print(f"{json.dumps({**attrs.asdict(key.user), 'secret': key.secret})}\n")
        return
    _print(f"key ID  {key.user.key_id}\nsecret  {key.secret}\n")
    click.echo(
        f"This is the access key of {key.user.name}. Its secret is shown only once: keep it safe.",
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
            time_text(user.created),
            time_text(user.key_created),
        )
        for user in users
    ]
    return columns([_HEAD, *rows])
