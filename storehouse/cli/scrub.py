"""C{storehouse scrub}: is everything as it was stored?"""

from __future__ import annotations

import json
from collections.abc import Callable

import attrs
import click

from storehouse.app.local.objects import Finding, LocalObjects
from storehouse.app.local.objects import Progress as Done
from storehouse.app.local.waiting import run
from storehouse.cli.errors import CommandError, one_line, usage
from storehouse.cli.options import progress_option, settings_options
from storehouse.cli.output import Output, counted, human_size
from storehouse.cli.progress import Progress
from storehouse.cli.store import Opener
from storehouse.config import Settings
from storehouse.errors import WrongMasterKey

__all__ = ["command"]


@click.command("scrub")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each damage.")
@click.option("-q", "--quiet", is_flag=True, help="Print only damage: no progress, no summary.")
@progress_option
@settings_options("root", "objects-dir")
def command(settings: Settings, as_json: bool, quiet: bool, progress: bool) -> None:
    """
    Verify every object and upload below a root: every block against its checksum, every description, and that nothing
    is missing or there too much. Then compare every key with its object: size and tag. For encrypted objects that takes the
    running service, or else the master key; without both, the bytes are verified and the keys are not compared.

    It reads the files themselves, changes nothing, and may run beside the service. A line is printed for each damage:
    the ID, the part, the block and what is wrong. Exit status 1 if there is any.

    \b
    Examples:
      storehouse scrub --root /srv/storehouse
      storehouse scrub --root /srv/storehouse --quiet --json > damage.jsonl
    """
    with usage():
        objects = LocalObjects(settings)
    wanted = progress and not quiet
    found = 0
    read = 0
    with Progress("count", None, wanted) as shown:
        total = objects.count(shown.advance)
    with Output() as output, Progress("scrub", total, wanted) as shown:

        def on_finding(finding: Finding) -> None:
            nonlocal found
            found += 1
            shown.hide()
            text = json.dumps(attrs.asdict(finding)) if as_json else _line(finding)
            output.write(f"{text}\n".encode("utf-8", "backslashreplace"))
            output.flush()

        def on_progress(done: Done) -> None:
            nonlocal read
            shown.advance(done.size - read)
            read = done.size

        done = objects.scrub(on_finding, on_progress, total)
        if objects.uncompared:
            shown.hide()
            try:
                run(_compare_encrypted(settings, on_finding))
            except (WrongMasterKey, CommandError) as error:
                click.echo(
                    f"{counted(objects.uncompared, 'key', 'keys')} of encrypted objects not compared: {error}", err=True
                )
    summary = f"{counted(done.objects, 'object', 'objects')}, {human_size(done.size)} verified"
    if found and quiet:
        click.get_current_context().exit(1)
    if found:
        raise CommandError(f"{counted(found, 'damage', 'damages')} found; {summary}")
    if not quiet:
        click.echo(f"{summary}: no damage", err=True)


async def _compare_encrypted(settings: Settings, on_finding: Callable[[Finding], object]) -> None:
    """Compare all keys with their objects, by the service or the master key."""
    async with Opener(settings)() as store:
        for problem in await store.check():
            if problem.kind in ("missing", "damaged") and problem.key is not None:
                on_finding(Finding(problem.id or "", None, None, problem.text, "key"))


def _line(finding: Finding) -> str:
    """C{ID  part N  block M  reason}, without what there is none of."""
    words = [finding.id if finding.kind != "upload" else f"upload {finding.id}"]
    if finding.part is not None:
        words.append(f"part {finding.part}")
    if finding.block is not None:
        words.append(f"block {finding.block}")
    return one_line("  ".join([*words, finding.reason]))
