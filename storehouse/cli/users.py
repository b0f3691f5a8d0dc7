"""C{storehouse user} and C{sign}: users, their keys, and links that carry a permission."""

from __future__ import annotations

import functools
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol, TextIO, TypeVar
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
from storehouse.core.names import UPLOADS, link_path, rights_link
from storehouse.errors import Forbidden, InvalidName, NoSuchUser
from storehouse.storage.accounts.interfaces import PERMISSIONS, AccessKey, NewKey, Rights, TemporaryKey, User

__all__ = ["sign", "user"]

T = TypeVar("T")

#: Where the upload door is by default.
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

    def add_key(self, name: str, limits: Sequence[Rights] | None = None, note: str = "") -> Awaitable[NewKey]: ...

    def remove_key(self, name: str, key_id: str) -> Awaitable[User]: ...

    def grant(self, name: str, rights: Rights) -> Awaitable[User]: ...

    def revoke(self, name: str, rights: Rights | None) -> Awaitable[User]: ...

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

    def sign_rights(
        self, user: User, rights: Rights, expires: float, max_bytes: int | None = None, once: bool = False
    ) -> str: ...

    def issue_temporary(
        self,
        user: User,
        key_id: str,
        lifetime: float,
        name: str = "",
        rights: Sequence[Rights] | None = None,
        policy: str | None = None,
    ) -> TemporaryKey: ...

    def read_url(self) -> Awaitable[str | None]: ...


def accounts_options(
    create: bool = False, users_only: bool = False
) -> Callable[[Callable[..., Awaitable[T]]], Callable[..., T]]:
    """
    Add --root, --config and --master-key-file; the coroutine function gets C{accounts}: those of the service that runs on the
    root, which has the keys, or else those in its files.

    @param create: whether the root is made if there is none.
    @param users_only: whether it does without the secret of the accounts, and so without the master key.
    """

    def decorate(function: Callable[..., Awaitable[T]]) -> Callable[..., T]:
        @settings_options("root", "master-key-file")
        @functools.wraps(function)
        def wrapper(*args: object, settings: Settings, **kwargs: object) -> T:
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
    Manage the users of a root, their access keys, and what they can do.

    A running service does all of it, and needs no master key for that from you. Without one it is done in the files of the
    root; in an encrypted one, what makes keys or links needs the master key then.

    \b
    Examples:
      storehouse user add ann
      storehouse user list
      storehouse user grant ann read list --bucket photos
      storehouse user key add ann --append-only --bucket backups
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
    Give a user another first access key, and print it. The old one, and all sessions, end; further keys stay, and signed
    links go on until they expire.

    \b
    Example:
      storehouse user rotate ann
    """
    _show_key(await accounts.rotate_key(name), as_json)


@user.command("show", short_help="Show one user, the keys and rights.")
@click.argument("name")
@_json_option
@accounts_options(users_only=True)
async def show(accounts: Accounts, name: str, as_json: bool) -> None:
    """
    Show one user: role, state, access keys without their secrets, and rights.

    An administrator can do everything, and the owner of a bucket everything with it; the rights are what there is beside
    that.

    \b
    Examples:
      storehouse user show ann
      storehouse user show ann --json | jq .rights
    """
    _show_user(await _one(accounts, name), as_json)


_bucket_option = click.option(
    "--bucket",
    metavar="BUCKET",
    required=True,
    help="The bucket; NAME* for all that begin with NAME, * for all, @shared for those that no user owns.",
)
_prefix_option = click.option(
    "--prefix", metavar="PREFIX", default="", help="Only keys that begin with PREFIX.  [default: all]"
)
_permission_argument = click.argument("permissions", metavar="PERMISSION...", nargs=-1)


def _permissions(given: Sequence[str]) -> tuple[str, ...]:
    names = [name for each in given for name in each.split(",") if name]
    if not names:
        raise click.UsageError(f"Name a permission: {', '.join(PERMISSIONS)}, or all.")
    return PERMISSIONS if "all" in names else tuple(names)


@user.command("grant", short_help="Give a user permissions.")
@click.argument("name")
@_permission_argument
@_bucket_option
@_prefix_option
@_json_option
@accounts_options(users_only=True)
async def grant(
    accounts: Accounts, name: str, permissions: tuple[str, ...], bucket: str, prefix: str, as_json: bool
) -> None:
    """
    Give the user NAME permissions on a bucket, at all doors, and show what the user can do then.

    PERMISSION is read, list, put-new (store under a key that has no object), overwrite, delete, create (make buckets), or
    all.

    \b
    Examples:
      storehouse user grant ann read list --bucket photos
      storehouse user grant ann put-new --bucket backups --prefix laptop/
      storehouse user grant ops all --bucket '*'
    """
    _show_user(await accounts.grant(name, Rights(_permissions(permissions), bucket, prefix)), as_json)


@user.command("revoke", short_help="Take permissions from a user.")
@click.argument("name")
@_permission_argument
@click.option("--bucket", metavar="BUCKET", default="", help="The bucket, as it was granted.")
@_prefix_option
@click.option("--all", "is_all", is_flag=True, help="Take all permissions away.")
@_json_option
@accounts_options(users_only=True)
async def revoke(
    accounts: Accounts,
    name: str,
    permissions: tuple[str, ...],
    bucket: str,
    prefix: str,
    is_all: bool,
    as_json: bool,
) -> None:
    """
    Take permissions away that the user NAME has on just that BUCKET and PREFIX, as 'user show' lists them.

    What an administrator can do, and the owner of a bucket with it, stays.

    \b
    Examples:
      storehouse user revoke ann overwrite delete --bucket uploads
      storehouse user revoke ann --all
    """
    if is_all == bool(bucket or permissions):
        raise click.UsageError("Give PERMISSION... and --bucket, or --all.")
    rights = None if is_all else Rights(_permissions(permissions), bucket, prefix)
    _show_user(await accounts.revoke(name, rights), as_json)


@user.group("key")
def key() -> None:
    """
    Further access keys of a user, which can be limited.

    \b
    Examples:
      storehouse user key add ann --append-only --bucket backups
      storehouse user key list ann
    """


@key.command("add", short_help="Make a further access key.")
@click.argument("name")
@click.option(
    "--only",
    "only",
    metavar="PERMISSION",
    multiple=True,
    help="Allow this alone, of what the user can do: read, list, put-new, overwrite, delete, create. Can be repeated.",
)
@click.option(
    "--append-only", is_flag=True, help="The same as --only put-new: no object can be read, replaced or removed."
)
@click.option("--bucket", metavar="BUCKET", help="Allow it on this bucket alone, as for grant.  [default: all]")
@click.option("--prefix", metavar="PREFIX", help="Allow it on keys alone that begin with PREFIX.  [default: all]")
@click.option("--note", metavar="TEXT", default="", help="What the key is for.")
@_json_option
@accounts_options()
async def add_key(
    accounts: Accounts,
    name: str,
    only: tuple[str, ...],
    append_only: bool,
    bucket: str | None,
    prefix: str | None,
    note: str,
    as_json: bool,
) -> None:
    """
    Make a further access key for the user NAME, and print it: its ID and its secret, which is shown this once.

    With a limit, requests by the key can do only what the limit and the user's rights both allow; such a key cannot begin
    a session or sign links.

    \b
    Examples:
      storehouse user key add ann --note laptop
      storehouse user key add ann --append-only --bucket backups --prefix laptop/
      storehouse user key add ann --only read --only list
    """
    if append_only and only:
        raise click.UsageError("--append-only is --only put-new: give one of them.")
    is_limited = append_only or only or bucket is not None or prefix is not None
    names = ("put-new",) if append_only else _permissions(only or PERMISSIONS)
    limits = (Rights(names, "*" if bucket is None else bucket, prefix or ""),) if is_limited else None
    _show_key(await accounts.add_key(name, limits, note), as_json)


@key.command("remove", short_help="End an access key.")
@click.argument("name")
@click.argument("key_id", metavar="KEY-ID")
@accounts_options(users_only=True)
async def remove_key(accounts: Accounts, name: str, key_id: str) -> None:
    """
    End a further access key of the user NAME. If it had no limit, the sessions of the user end, too.

    \b
    Example:
      storehouse user key remove ann SHABCDEFGHIJKLMNOPQR
    """
    await accounts.remove_key(name, key_id)
    click.echo(f"the access key {key_id} of {name} is removed", err=True)


@key.command("list", short_help="List the access keys of a user.")
@click.argument("name")
@_json_option
@accounts_options(users_only=True)
async def list_keys(accounts: Accounts, name: str, as_json: bool) -> None:
    """
    List the access keys of the user NAME, the first one first, with their limits. Times are UTC.

    \b
    Example:
      storehouse user key list ann
    """
    found = _keys_of(await _one(accounts, name))
    lines = "".join(f"{json.dumps(attrs.asdict(each))}\n" for each in found)
    _print(lines if as_json else columns([_KEY_HEAD, *map(_key_row, found)]))


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


@user.command("session", short_help="Make a temporary access key.")
@click.argument("name")
@click.option(
    "--duration",
    metavar="TIME",
    default="1h",
    show_default=True,
    callback=_parse_lifetime,
    help="How long it is valid: 15m to 12h, or seconds.",
)
@click.option("--policy", metavar="FILE", type=click.File("r"), help="A policy, in JSON, that must allow what is done.")
@click.option(
    "--read", metavar="BUCKET[/PREFIX]", multiple=True, help="Allow reading and listing there. Can be repeated."
)
@click.option(
    "--put-new", metavar="BUCKET[/PREFIX]", multiple=True, help="Allow storing new objects there. Can be repeated."
)
@click.option("--session-name", metavar="TEXT", default="", help="A name for the audit.")
@click.option(
    "--key", "key_id", metavar="KEY-ID", help="The key behind it, with which it ends.  [default: the first one]"
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["env", "process"]),
    default="env",
    show_default=True,
    help="Shell variables, or JSON for credential_process.",
)
@accounts_options()
async def session(
    accounts: Accounts,
    name: str,
    duration: float,
    policy: TextIO | None,
    read: tuple[str, ...],
    put_new: tuple[str, ...],
    session_name: str,
    key_id: str | None,
    form: str,
) -> None:
    """
    Make a temporary access key for the user NAME, for S3, and print its three values. Nothing of it is stored; it ends by
    itself, with the key behind it, and while the user is disabled.

    \b
    Examples:
      export $(storehouse user session ann --duration 15m --put-new backups/laptop/)
      storehouse user session ann --policy ci.json --session-name ci --format process
    """
    text = None if policy is None else policy.read()
    if text is not None:
        # What it says is read by the door: there a policy that is malformed allows nothing.
        try:
            is_right = len(text) <= 2048 and isinstance(json.loads(text), dict)
        except ValueError:
            is_right = False
        if not is_right:
            raise click.BadParameter("a policy is a JSON object of at most 2048 characters.", param_hint="--policy")
    rights = [_right_at(("read", "list"), each) for each in read] + [_right_at(("put-new",), each) for each in put_new]
    found = await _one(accounts, name)
    key = accounts.issue_temporary(found, key_id or found.key_id, duration, session_name, rights or None, text)
    expires = datetime.fromtimestamp(key.expires, UTC).isoformat()
    if form == "process":
        values = {"AccessKeyId": key.key_id, "SecretAccessKey": key.secret, "SessionToken": key.token}
        _print(f"{json.dumps({'Version': 1, **values, 'Expiration': expires})}\n")
        return
    _print(
        f"AWS_ACCESS_KEY_ID={key.key_id}\nAWS_SECRET_ACCESS_KEY={key.secret}\nAWS_SESSION_TOKEN={key.token}\n"
        f"AWS_CREDENTIAL_EXPIRATION={expires}\n"
    )


def _right_at(permissions: tuple[str, ...], place: str) -> Rights:
    bucket, _, prefix = place.partition("/")
    return Rights(permissions, bucket, prefix)


@click.command("sign")
@click.option("--put", "put", metavar="NAME", help="A link to store a file under NAME.")
@click.option("--get", "get", metavar="NAME", help="A link to read the file NAME.")
@click.option(
    "--allow",
    metavar="PERMISSION",
    multiple=True,
    help="A link that allows this: read, list, put-new, overwrite, delete. Can be repeated.",
)
@click.option(
    "--append-only", is_flag=True, help="The same as --allow put-new: nothing can be replaced, read or removed."
)
@click.option("--below", metavar="PREFIX", help="With --allow: on names that begin with PREFIX alone.  [default: all]")
@click.option(
    "--bucket",
    metavar="BUCKET",
    help=f"With --allow: in BUCKET. Links store and delete in {UPLOADS} alone.  [default: {UPLOADS}]",
)
@click.option(
    "--expires",
    metavar="TIME",
    default="15m",
    show_default=True,
    callback=_parse_lifetime,
    help="How long it is valid: 15m, 2h, 7d, or seconds; or until when: 2026-12-01T12:00Z. At most the service's https-link-lifetime.",
)
@click.option(
    "--max-bytes", metavar="SIZE", callback=parse_bytes, help="The most bytes that one use can store: 500MB, 1GiB."
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
    allow: tuple[str, ...],
    append_only: bool,
    below: str | None,
    bucket: str | None,
    expires: float,
    max_bytes: int | None,
    once: bool,
    is_prefix: bool,
    name: str | None,
    url: str | None,
) -> None:
    """
    Print a link, alone, by which anybody who has it can store a file, or read one, until it expires; or, with --allow, do what
    is allowed with all files in a folder.

    With --prefix or --allow, put the name of a file behind the path of the link, before the question mark; a link with list
    shows the list. It can do nothing that the user who signed it cannot do when it is used.

    \b
    Examples:
      curl -T a.jpg "$(storehouse sign --put a.jpg --expires 15m)"
      curl -O "$(storehouse sign --get reports/2026.pdf --expires 7d)"
      storehouse sign --put inbox --prefix --max-bytes 1GiB --expires 2h
      storehouse sign --allow read --allow list --below reports/ --expires 7d
      storehouse sign --append-only --below inbox/
      storehouse sign --put a.jpg --once --as ann --url https://files.example.org
    """
    allowed = ("put-new",) if append_only else _permissions(allow) if allow else ()
    if append_only and allow:
        raise click.UsageError("--append-only is --allow put-new: give one of them.")
    if (put is not None) + (get is not None) + bool(allowed) != 1:
        raise click.UsageError("Give one of --put NAME, --get NAME and --allow PERMISSION.")
    if max_bytes == 0:
        raise click.BadParameter("--max-bytes must be 1 or more.", param_hint="--max-bytes")
    if allowed:
        if is_prefix:
            raise click.UsageError("--prefix is for --put and --get: name the folder by --below.")
        rights = Rights(tuple(each for each in allowed if each != "create"), bucket or UPLOADS, below or "")
        try:
            start = rights_link(rights.permissions, rights.bucket, rights.prefix)
        except UnicodeEncodeError:
            raise InvalidName(f"{below!r} is not Unicode text") from None
        signer = await _signer(accounts, name)
        query = accounts.sign_rights(signer, rights, time.time() + expires, max_bytes, once)
        _print(f"{await _base(accounts, url)}{start}{query}\n")
        return
    if below is not None or bucket is not None:
        raise click.UsageError("--below and --bucket are for --allow.")
    if get is not None and max_bytes is not None:
        raise click.UsageError("--max-bytes is for --put.")
    file = str(put if put is not None else get)
    if not file and not is_prefix:
        raise click.UsageError("NAME is empty; that needs --prefix, and allows everything.")
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


async def _one(accounts: Accounts, name: str) -> User:
    found = next((each for each in await accounts.list_users() if each.name == name), None)
    if found is None:
        raise NoSuchUser(f"there is no user {name[:100]!r}")
    return found


_KEY_HEAD = ("KEY ID", "MADE", "LIMITS", "NOTE")


def _keys_of(user: User) -> list[AccessKey]:
    return [AccessKey(user.key_id, user.key_created), *user.keys]


def _key_row(key: AccessKey) -> tuple[str, ...]:
    limits = "-" if key.limits is None else "; ".join(map(str, key.limits))
    return key.id, time_text(key.created), limits, key.note


def _show_user(user: User, as_json: bool) -> None:
    if as_json:
        _print(f"{json.dumps({**attrs.asdict(user), 'canonical_id': user.canonical_id})}\n")
        return
    role, state = "admin" if user.is_admin else "user", "disabled" if user.is_disabled else "enabled"
    lines = [("name", user.name), ("role", role), ("state", state), ("created", time_text(user.created))]
    lines.append(("S3 ID", user.canonical_id))
    lines += [("key", "  ".join(filter(None, _key_row(each)))) for each in _keys_of(user)]
    lines += [("right", str(each)) for each in user.rights]
    _print("".join(f"{name:<8} {value}\n" for name, value in lines))


def _show_key(key: NewKey, as_json: bool) -> None:
    if as_json:
        _print(f"{json.dumps({**attrs.asdict(key.user), 'key_id': key.key_id, 'secret': key.secret})}\n")
        return
    _print(f"key ID  {key.key_id}\nsecret  {key.secret}\n")
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
