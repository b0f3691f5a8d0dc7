"""C{storehouse archive convert}: the same records in another format."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

import attrs
import click

from storehouse.app.local.archives import SUFFIXES
from storehouse.archive.archive import ArchiveReader, ArchiveWriter
from storehouse.archive.interfaces import Record
from storehouse.cli.archive.cat import skip_option
from storehouse.cli.archive.places import STORE, Archive, archive_argument
from storehouse.cli.archive.records import Records, as_bytes
from storehouse.cli.archive.target import Target
from storehouse.cli.errors import CommandError
from storehouse.cli.options import progress_option
from storehouse.cli.output import counted, human_size, same_file
from storehouse.cli.progress import Progress
from storehouse.errors import NoSpace, StorehouseError

__all__ = ["command"]

_NONE = "none"

#: The levels of each compression.
_LEVELS = {"gzip": 9, "zstd": 22}


@attrs.frozen
class _Form:
    """
    What is to be made.

    @ivar blocks: the compression of its blocks; C{None} for none.
    @ivar whole: the compression of all of it; C{None} for none.
    """

    version: int
    blocks: str | None
    whole: str | None
    level: int | None


@attrs.define
class _Losses:
    """What the format has no room for."""

    times: int = 0
    kinds: int = 0

    def count(self, record: Record, form: _Form) -> None:
        """Version 1 has no times, and cannot tell bytes from text if they are UTF-8."""
        if form.version == 1:
            self.times += record.time != 0
            self.kinds += isinstance(record.payload, bytes) and _is_text(record.payload)

    def lines(self) -> Iterator[str]:
        """What to say of it."""
        if self.times:
            yield f"the times of {counted(self.times, 'record', 'records')} are lost: version 1 has none"
        if self.kinds:
            yield f"{counted(self.kinds, 'payload', 'payloads')} of bytes will be read as text: version 1 cannot tell"


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


@click.command("convert")
@archive_argument
@click.argument("target", metavar="TARGET", type=click.Path(dir_okay=False))
@click.option(
    "--to-version", "version", type=click.Choice(["1", "2"]), help="The version to write. Default: that of ARCHIVE."
)
@click.option(
    "--blocks", type=click.Choice([_NONE, "zstd"]),
    help="Compress its blocks, so that any record is found quickly (version 2). Default: as ARCHIVE.",
)  # fmt: skip
@click.option(
    "--whole", type=click.Choice([_NONE, *SUFFIXES]),
    help="Compress the whole file. Default: by the suffix of TARGET, .gz or .zst.",
)  # fmt: skip
@click.option("--level", type=click.IntRange(1, 22), help="The compression level: 1 to 9 for gzip, 1 to 22 for zstd.")
@click.option("-f", "--force", is_flag=True, help="Replace TARGET if it exists.")
@skip_option
@progress_option
def command(
    archive: Archive,
    target: str,
    version: str | None,
    blocks: str | None,
    whole: str | None,
    level: int | None,
    force: bool,
    skip_damaged: bool,
    progress: bool,
) -> None:
    """
    Write the records of ARCHIVE to the new file TARGET, as version 1 or 2, compressed or not.

    TARGET takes its place when it is whole and on disk, and was read back and compared with ARCHIVE record by record; what
    fails leaves nothing. What version 1 cannot hold is reported: times, and whether a payload was text. From version 1
    the records have no times, and TARGET counts as made when ARCHIVE was written last. Damage ends it, unless it is to be
    skipped; a torn tail is reported, and is not in TARGET. With --force TARGET may be ARCHIVE itself, unless something
    of it would be lost.

    \b
    Examples:
      storehouse archive convert notes.events notes-2.events --to-version 2
      storehouse archive convert notes-2.events.zst old.events --to-version 1
      storehouse archive convert notes.events notes.events --blocks zstd --level 9 --force
      storehouse archive convert store:archives/notes/a.events.gz a.events
    """
    if target.startswith(STORE):
        raise click.UsageError("TARGET is a file; 'storehouse put' makes an object of it.")
    with Progress("convert", 2 * archive.size, progress) as shown, Target(target, force) as made:
        with archive.open() as reader:
            form = _form(reader, target, version, blocks, whole, level)
            created, sequence = reader.info.created or archive.modified, reader.info.sequence or 1
        losses = _Losses()
        records = Records([archive], skip_damaged, shown)
        writer = made.write(form.version, form.blocks, form.level, created, sequence)
        count = _copy(records, writer, form, losses)
        path = made.compress(form.whole, form.level)
        # It says what it skips once.
        again = Records([archive], skip_damaged, shown, quiet=True)
        _compare(again, path, form, archive)
        lost = list(losses.lines())
        if same_file(archive.path, target) and (lost or records.skipped or records.torn):
            raise CommandError(
                f"{target} is ARCHIVE itself, and the result would not have all of it: name another TARGET"
            )
        for line in lost:
            records.say(f"{target}: {line}")
        archive.check_unchanged()
        size = made.commit(archive.path)
    click.echo(
        f"{counted(count, 'record', 'records')} converted: {human_size(archive.size)} to {human_size(size)}", err=True
    )
    records.check()


def _form(
    reader: ArchiveReader, target: str, version: str | None, blocks: str | None, whole: str | None, level: int | None
) -> _Form:
    if whole is None:
        whole = next((method for method, suffix in SUFFIXES.items() if target.endswith(suffix)), _NONE)
    number = reader.version if version is None else int(version)
    if blocks is None:
        blocks = reader.info.compression if number == 2 and whole == _NONE else None
    elif number == 1 and blocks != _NONE:
        raise click.UsageError("archives of version 1 have no blocks to compress; --whole compresses all of it.")
    form = _Form(number, None if blocks == _NONE else blocks, None if whole == _NONE else whole, level)
    method = form.blocks or form.whole
    if form.blocks and form.whole:
        raise click.UsageError("compress the blocks or the whole, not both.")
    if level is not None and (method is None or level > _LEVELS[method]):
        raise click.UsageError(
            f"{method} has levels 1 to {_LEVELS[method]}." if method else "--level needs a compression."
        )
    return form


def _copy(records: Records, writer: ArchiveWriter, form: _Form, losses: _Losses) -> int:
    """@return: how many."""
    count = 0
    for archive, record in records:
        try:
            writer.write(record.metadata, record.payload, record.time)
        except NoSpace:
            raise
        except StorehouseError as error:
            raise CommandError(
                f"record {record.number} of {archive.name} cannot be converted: {error.detail}"
            ) from None
        losses.count(record, form)
        count += 1
    writer.close()
    if form.version == 2 and not writer.complete:
        raise NoSpace(f"no space for the end of {writer.filename}")
    return count


def _compare(records: Records, path: str, form: _Form, archive: Archive) -> None:
    """@raise CommandError: unless a file has the same records."""
    name = archive.name
    with ArchiveReader(path, max_record=archive.max_record) as reader:
        pairs = zip_longest((record for _, record in records), reader.records())
        for number, (there, here) in enumerate(pairs):
            if there is None or here is None or not _is_same(there, here, form):
                raise CommandError(
                    f"record {number} is not read back as {name} has it; nothing was written. Is {name} being written "
                    "to?"
                )
        if reader.torn:
            raise CommandError(f"what was written of {name} does not end as it should; nothing was written")


def _is_same(there: Record, here: Record, form: _Form) -> bool:
    if there.metadata != here.metadata:
        return False
    if form.version == 1:
        return as_bytes(there.payload) == as_bytes(here.payload)
    return there.time == here.time and there.payload == here.payload
