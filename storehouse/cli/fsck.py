"""C{storehouse fsck} and C{reindex}: whether keys, index and bytes agree."""

from __future__ import annotations

import json

import attrs
import click

from storehouse.cli.errors import CommandError, strange, unreadable
from storehouse.cli.options import progress_option
from storehouse.cli.output import Output, counted
from storehouse.cli.progress import Progress, advancing
from storehouse.cli.store import Opener, printable, store_options
from storehouse.storage.objects.values import Problem

__all__ = ["fsck", "reindex"]


@click.command("fsck")
@click.option(
    "--repair", is_flag=True, help="Rebuild the index if it is wrong, and move bytes without a key to ROOT/recovered."
)
@click.option(
    "--join",
    is_flag=True,
    help="First join a namespace and objects that do not belong together, after one of them was lost. No service may run on the root.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each problem.")
@progress_option
@store_options
async def fsck(opener: Opener, repair: bool, join: bool, as_json: bool, progress: bool) -> None:
    """
    Check that every key has its bytes, all bytes have a key, and the index has all keys. Nothing is changed without
    --repair; for each problem it says what --repair does about it. Keys are never guessed, and nothing is removed:
    bytes without a key are moved to ROOT/recovered, with a note of where they were, and only if all else in the
    namespace is in order.

    The bytes themselves are not read; scrub does that.

    Exit status 1 if there are problems that were not repaired.

    \b
    Examples:
      storehouse fsck
      storehouse fsck --repair --root /srv/storehouse
    """
    if join:
        opener.join()
    async with opener() as store:
        with Progress("fsck", None, progress, unit="keys and objects") as shown:
            problems = await store.check(advancing(shown), repair)
    with Output() as output:
        for problem in problems:
            text = json.dumps(attrs.asdict(problem)) if as_json else _line(problem, repair)
            output.write(f"{text}\n".encode())
    if not problems:
        click.echo("no problems found", err=True)
        return
    repaired = sum(1 for problem in problems if problem.repair)
    found = f"{counted(len(problems), 'problem', 'problems')} found"
    if not repair:
        raise CommandError(f"{found}; --repair can repair {repaired}")
    if repaired < len(problems):
        raise CommandError(f"{found}; {repaired} repaired")
    click.echo(f"{found} and repaired", err=True)


def _line(problem: Problem, repair: bool) -> str:
    place = f"{problem.bucket}/{problem.key}" if problem.key is not None else problem.bucket or problem.id or "-"
    words = [problem.kind, place, problem.text]
    if problem.repair:
        words.append(problem.repair if repair else f"--repair: {problem.repair}")
    return printable("  ".join(words))


@click.command("reindex")
@progress_option
@store_options
async def reindex(opener: Opener, progress: bool) -> None:
    """
    Make the index of keys anew from the keys themselves. While a service runs on the root, its other work on keys
    waits.

    \b
    Examples:
      storehouse reindex
      storehouse reindex --root /srv/storehouse
    """
    async with opener() as store:
        with Progress("reindex", None, progress, unit="keys") as shown:
            made = await store.reindex(advancing(shown))
    click.echo(f"{counted(made.keys, 'key', 'keys')} indexed", err=True)
    if made.damaged:
        raise CommandError(unreadable(made.damaged))
    if made.unknown:
        raise CommandError(strange(made.unknown))
