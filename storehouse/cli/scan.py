"""C{storehouse scan}: all records of an identifier or a bucket, from an offset on, and as they arrive."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence

import click

from storehouse.cli.frames import Piece, encode_header
from storehouse.cli.log import LogClient
from storehouse.cli.options import OFFSET, log_options, progress_option
from storehouse.cli.output import Output
from storehouse.cli.progress import Progress

__all__ = ["JsonLines", "command"]

_Writer = Callable[[Piece], bytes]


@click.command("scan")
@click.argument("id", required=False)
@click.option(
    "--bucket",
    type=click.IntRange(0, 2**32 - 1),
    metavar="N",
    help="Print all records of a bucket file, not those of an ID.",
)
@click.option("--from", "start", type=OFFSET, metavar="OFFSET", help="Start at the first record at or after OFFSET.")
@click.option("--limit", type=click.IntRange(1, 2**63 - 1), metavar="N", help="Stop after N records.")
@click.option("--follow", "-f", is_flag=True, help="Wait for more records, until Ctrl-C or until the prefix is closed.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["lines", "raw", "jsonl", "framed"]),
    default="lines",
    show_default=True,
    help="The output format.",
)
@progress_option
@log_options
def command(
    log: LogClient,
    id: str | None,
    bucket: int | None,
    start: int | None,
    limit: int | None,
    follow: bool,
    form: str,
    progress: bool,
) -> None:
    """
    Write the records of ID, or of a bucket, to standard output in the order of their offsets.

    \b
    Formats:
      lines    each record and a newline
      raw      the records, nothing between them
      jsonl    {"offset":N,"data":"TEXT"} a line; data is {"base64":"..."} where it is not UTF-8
      framed   4 bytes length, 8 bytes offset, both little-endian, and the record

    \b
    Examples:
      storehouse scan events
      storehouse scan events --from 4096 --limit 10 --format jsonl
      storehouse scan events --follow | grep --line-buffered error
      storehouse scan --bucket 3 --format framed > bucket3
    """
    if (id is None) == (bucket is None):
        raise click.UsageError("Give either an ID or --bucket.")
    of: tuple[str, str | int] = ("id", id) if id is not None else ("bucket", bucket or 0)
    write = _writer(form)
    with Output() as output, Progress("scan", None, progress and not follow and not output.is_terminal) as shown:
        for pieces in log.scan(of, start, limit, follow):
            _put(pieces, write, output, shown)
            if follow:
                output.flush()


def _put(pieces: Sequence[Piece], write: _Writer, output: Output, progress: Progress) -> None:
    output.write(b"".join(map(write, pieces)))
    progress.advance(sum(len(piece.data) for piece in pieces))


def _writer(form: str) -> _Writer:
    if form == "jsonl":
        return JsonLines().write
    return {"lines": _line, "raw": _raw, "framed": _framed}[form]


def _line(piece: Piece) -> bytes:
    return piece.data + b"\n" if piece.last else piece.data


def _raw(piece: Piece) -> bytes:
    return piece.data


def _framed(piece: Piece) -> bytes:
    return encode_header(piece.length, piece.offset) + piece.data if piece.first else piece.data


class JsonLines:
    """Makes a JSON line of each record. Holds one record, since whether it is text shows only at its end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, piece: Piece) -> bytes:
        """The line of a record whose last piece this is; nothing for others."""
        self._parts.append(piece.data)
        if not piece.last:
            return b""
        payload = b"".join(self._parts)
        self._parts.clear()
        data: str | dict[str, str]
        try:
            data = payload.decode("utf-8")
        except UnicodeDecodeError:
            data = {"base64": base64.b64encode(payload).decode("ascii")}
        line = json.dumps({"offset": piece.offset, "data": data}, ensure_ascii=False, separators=(",", ":"))
        return f"{line}\n".encode()
