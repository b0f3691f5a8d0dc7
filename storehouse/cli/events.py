"""C{storehouse events}: undelivered events, and dead letters."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import click

from storehouse.app.local.events import LocalEvents
from storehouse.cli.errors import CommandError
from storehouse.cli.options import settings_options
from storehouse.cli.output import Output, columns, counted, time_text
from storehouse.cli.store import printable
from storehouse.config import Settings
from storehouse.storage.notifications.values import BEHIND, DEAD, INTENDED, READY, Queued

__all__ = ["events"]

_HEAD = ("EVENT", "DESTINATION", "STATE", "SINCE", "TRIES", "WHAT", "ERROR")

_STATES = {INTENDED: "intended", READY: "waiting", BEHIND: "behind", DEAD: "dead"}

_name = re.compile(r"[0-9A-Fa-f]{16}")

#: Events that are printed as one table.
_TABLE = 10_000


@click.group("events")
def events() -> None:
    """
    Events of objects that are in the spool of a root: those that wait for their delivery, and
    dead letters, which were given up after notify-keep. It works on the files, also beside a running service.

    \b
    Examples:
      storehouse events ls --root /srv/storehouse --dead
      storehouse events retry --to hooks
    """


def _numbers(values: Sequence[str]) -> list[int]:
    for value in values:
        if not _name.fullmatch(value):
            raise CommandError(f"{value!r} is not the name of an event: 16 hex digits, as ls prints them")
    return [int(value, 16) for value in values]


@events.command("ls")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each, with its message.")
@click.option("--dead", is_flag=True, help="Only dead letters.")
@click.option("--to", "destination", metavar="NAME", default="", help="Only those for a destination.")
@settings_options("root")
def ls(settings: Settings, as_json: bool, dead: bool, destination: str) -> None:
    """
    List events that are not delivered, the oldest first: what waits, what waits behind another event of its key, and what was
    given up. Keys are not shown where the spool is encrypted.

    \b
    Examples:
      storehouse events ls --root /srv/storehouse --dead
      storehouse events ls --to hooks --json
    """
    found = LocalEvents(settings).list(destination, dead)
    with Output() as output:
        if as_json:
            for each in found:
                output.write(f"{json.dumps(_fields(each))}\n".encode())
            return
        rows = []
        for each in found:
            rows.append(_row(each))
            if len(rows) == _TABLE:
                output.write(columns([_HEAD, *rows]).encode("utf-8", "backslashreplace"))
                rows = []
        output.write(columns([_HEAD, *rows]).encode("utf-8", "backslashreplace"))


def _what(each: Queued) -> str:
    if each.change is None:
        return "s3:TestEvent" if each.body else "-"
    return f"{each.change.name} {each.change.bucket}/{each.change.key}"


def _row(each: Queued) -> tuple[str, ...]:
    return (
        f"{each.number:016X}",
        each.destination,
        _STATES[each.state],
        time_text(each.since),
        str(each.attempts),
        printable(_what(each)),
        printable(each.error or "-"),
    )


def _fields(each: Queued) -> dict[str, object]:
    return {
        "event": f"{each.number:016X}",
        "destination": each.destination,
        "state": _STATES[each.state],
        "since": each.since,
        "attempts": each.attempts,
        "error": each.error,
        "message": json.loads(each.body) if each.body else None,
    }


@events.command("retry")
@click.argument("number", metavar="[EVENT]...", nargs=-1)
@click.option("--to", "destination", metavar="NAME", default="", help="All dead letters for a destination.")
@click.option("--all", "is_all", is_flag=True, help="All dead letters.")
@settings_options("root")
def retry(settings: Settings, number: Sequence[str], destination: str, is_all: bool) -> None:
    """
    Deliver dead letters again: those of these numbers, all for a destination, or all. A running service begins within seconds.

    \b
    Examples:
      storehouse events retry --to hooks
    """
    if sum((bool(number), bool(destination), is_all)) != 1:
        raise click.UsageError("Give events, --to NAME, or --all.")
    count = LocalEvents(settings).retry(destination, _numbers(number))
    click.echo(f"{counted(count, 'event', 'events')} will be delivered again", err=True)


@events.command("drop")
@click.argument("number", metavar="[EVENT]...", nargs=-1)
@click.option("--to", "destination", metavar="NAME", default="", help="All dead letters for a destination.")
@click.option("--waiting", is_flag=True, help="With --to: those that wait, too.")
@settings_options("root")
def drop(settings: Settings, number: Sequence[str], destination: str, waiting: bool) -> None:
    """
    Remove events, which are never delivered then: those of these numbers, or all dead letters for a destination.

    \b
    Examples:
      storehouse events drop --to hooks --root /srv/storehouse
    """
    if bool(number) == bool(destination) or (waiting and number):
        raise click.UsageError("Give events, or --to NAME.")
    count = LocalEvents(settings).drop(destination, _numbers(number), bool(destination) and not waiting)
    click.echo(f"{counted(count, 'event', 'events')} removed", err=True)
