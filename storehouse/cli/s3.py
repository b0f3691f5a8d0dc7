"""C{storehouse s3}: a server of S3 for tests, that keeps nothing."""

from __future__ import annotations

import gc
import json
import os
import shlex
import stat
import sys
from typing import TYPE_CHECKING

import click

from storehouse.cli.errors import CommandError, reason_of
from storehouse.errors import StorehouseError

if TYPE_CHECKING:  # the help of all commands needs no service
    from storehouse.app.ephemeral import Access

__all__ = ["command"]


@click.command("s3")
@click.option("--ephemeral", is_flag=True, required=True, help="Keep everything in memory, until the command ends.")
@click.option(
    "--endpoint",
    metavar="ENDPOINT",
    default="tcp:0:interface=127.0.0.1",
    show_default=True,
    help="Where it listens, a Twisted endpoint; port 0 is any that is free.",
)
@click.option("--tls", is_flag=True, help="Serve HTTPS, with a certificate made for this machine.")
@click.option(
    "--region",
    metavar="NAME",
    help="The region that requests are signed for; any takes every one.  [default: us-east-1]",
)
@click.option("--domain", metavar="NAMES", help="Host names below which each bucket has one of its own.")
@click.option(
    "--defaults",
    type=click.Choice(["aws", "classic"]),
    help="How new buckets are: as on AWS today, or as on older servers, where ACLs count.  [default: aws]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["shell", "json"]),
    default="shell",
    show_default=True,
    help="How the endpoint and the keys are printed: as variables for a shell, or as a JSON object in a line.",
)
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False),
    help="Where files are made.  [default: /dev/shm if it has room, else that for temporary files]",
)
@click.option("--until-stdin-closes", is_flag=True, help="End when standard input, a pipe, does; not only by a signal.")
@click.option("--verbose", "-v", is_flag=True, help="Log every request to standard error.")
def command(
    ephemeral: bool,
    endpoint: str,
    tls: bool,
    region: str | None,
    domain: str | None,
    defaults: str | None,
    form: str,
    directory: str | None,
    until_stdin_closes: bool,
    verbose: bool,
) -> None:
    """
    Serve S3 to tests of other programs, until Ctrl-C or a signal: nothing is left then, also if the command is killed.

    When the server answers, its URL and the access key of an administrator are printed, and nothing else is.
    For a server that keeps its data: `twistd storehouse --s3 ENDPOINT`.

    \b
    Examples:
      storehouse s3 --ephemeral
      storehouse s3 --ephemeral > s3.env & while ! [ -s s3.env ]; do sleep 0.1; done; . ./s3.env
      storehouse s3 --ephemeral --format json --endpoint tcp:9000:interface=127.0.0.1
    """
    if until_stdin_closes and not stat.S_ISFIFO(os.fstat(0).st_mode) and not stat.S_ISSOCK(os.fstat(0).st_mode):
        raise click.UsageError("--until-stdin-closes needs a pipe as standard input.")
    # Tests wait for the start, a tenth of which would be looks through what was just imported.
    gc.disable()
    from storehouse.app.ephemeral import log_to, serve
    from storehouse.core.temporary import memory_directory

    settings: dict[str, object] = {"s3": endpoint, "s3-tls": tls, "access-log": verbose}
    for name, value in (("s3-region", region), ("s3-domain", domain), ("s3-defaults", defaults)):
        if value is not None:
            settings[name] = value

    def show(access: Access) -> None:
        click.echo(_json(access) if form == "json" else _shell(access))
        # Also to a pipe, or a file, that somebody waits for.
        sys.stdout.flush()

    log_to(sys.stderr, verbose)
    try:
        serve(directory or memory_directory(), settings, show, 0 if until_stdin_closes else None)
    except StorehouseError as error:
        raise CommandError(error.detail) from None
    except OSError as error:
        raise CommandError(f"{error.filename}: {reason_of(error)}" if error.filename else reason_of(error)) from None


def _json(access: Access) -> str:
    found = {
        "endpoint": access.endpoint,
        "region": access.region,
        "access_key_id": access.access_key_id,
        "secret_access_key": access.secret_access_key,
        "ca_bundle": access.ca_bundle,
        "socket": access.socket,
        "root": access.root,
        "pid": os.getpid(),
    }
    return json.dumps({name: value for name, value in found.items() if value})


def _shell(access: Access) -> str:
    found = {
        "AWS_ENDPOINT_URL": access.endpoint,
        "AWS_REGION": access.region,
        "AWS_DEFAULT_REGION": access.region,
        "AWS_ACCESS_KEY_ID": access.access_key_id,
        "AWS_SECRET_ACCESS_KEY": access.secret_access_key,
        "AWS_CA_BUNDLE": access.ca_bundle,
        "STOREHOUSE_PID": str(os.getpid()),
    }
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in found.items() if value)
