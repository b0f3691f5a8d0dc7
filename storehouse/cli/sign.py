"""C{storehouse sign}: links that carry a permission."""

from __future__ import annotations

from typing import Any

import click

from storehouse.app.local.accounts import LocalUsers
from storehouse.cli.accounts import parse_lifetime, url_option, users_options
from storehouse.cli.output import Output
from storehouse.core.values import parse_size

__all__ = ["command"]


def parse_bytes(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """@raise click.BadParameter: unless it is a number of bytes, 1 at least."""
    if value is None:
        return None
    try:
        size = parse_size(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    if size < 1:
        raise click.BadParameter("a file that may be stored has one byte or more.")
    return size


@click.command("sign", short_help="Make a link by which others can store or read a file.")
@click.option("--put", "put", metavar="NAME", help="A link to store a file under NAME.")
@click.option("--get", "get", metavar="NAME", help="A link to read the file NAME.")
@click.option(
    "--expires",
    metavar="TIME",
    default="15m",
    show_default=True,
    callback=parse_lifetime,
    help="How long it works: 15m, 2h, 7d, or seconds; or when it ends: 2026-12-01T12:00Z. The service's setting https-link-lifetime is the most.",
)
@click.option(
    "--max-bytes", metavar="SIZE", callback=parse_bytes, help="With --put: the most that may be stored: 500MB, 1GiB."
)
@click.option("--once", is_flag=True, help="It works once.")
@click.option(
    "--prefix", "is_prefix", is_flag=True, help="It is for all names in the folder NAME; an empty NAME is everything."
)
@click.option("--as", "user", metavar="USER", help="Who signs.  [default: the first administrator]")
@url_option
@users_options()
def command(users: LocalUsers, put: str | None, get: str | None, **how: Any) -> None:
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
    if get is not None and how["max_bytes"] is not None:
        raise click.UsageError("--max-bytes is for --put.")
    name = put if put is not None else get
    if not name and not how["is_prefix"]:
        raise click.UsageError("NAME is empty; --prefix takes that for everything.")
    link = users.sign(
        "GET" if put is None else "PUT",
        str(name),
        how["expires"],
        how["max_bytes"],
        how["once"],
        how["is_prefix"],
        how["user"],
        how["url"],
    )
    with Output() as output:
        output.write(f"{link}\n".encode())
