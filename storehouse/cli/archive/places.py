"""Which archives a command is about: files, patterns for files, and objects of a root."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from stat import S_ISREG
from typing import Any, TypeVar, cast

import attrs
import click
from zope.interface import implementer

from storehouse.app.local.archives import (
    LARGEST_RECORD,
    MAX_RECORD,
    FileSource,
    Seen,
    each_once,
    find_now,
    is_ours_beside,
    order_of,
)
from storehouse.app.local.waiting import run
from storehouse.archive.archive import ArchiveReader
from storehouse.archive.interfaces import IByteSource
from storehouse.cli.archive.objects import ObjectSource, find_objects, has_magic
from storehouse.cli.errors import CommandError, reason_of
from storehouse.cli.store import NAME, Opener, Store, store_options
from storehouse.core.values import parse_size
from storehouse.errors import DamagedArchive, UnknownArchiveFormat

__all__ = ["STORE", "Archive", "CountedSource", "archive_argument", "archives_argument", "files_argument"]

T = TypeVar("T")
__all__ += ["find_archives", "find_files"]

#: How often names are looked for that change meanwhile.
_TRIES = 20

#: What begins the name of an object.
STORE = "store:"


@attrs.frozen
class Archive:
    """
    An archive that a command is about. What it holds is not known to be one before it is read.

    @ivar name: as the command line has it: a path, or C{store:BUCKET/KEY}.
    @ivar path: of the file; empty for an object.
    @ivar size: its bytes.
    @ivar modified: when it was written last, nanoseconds since 1970 UTC.
    @ivar exact: whether the name was given, and not a pattern.
    @ivar seen: what it was like when it was found; C{None} if nobody looked.
    @ivar max_record: a record that claims more bytes is not read.
    """

    name: str
    path: str
    size: int
    modified: int
    exact: bool
    source: Callable[[], Any] = attrs.field(repr=False)
    seen: Seen | None = None
    max_record: int = MAX_RECORD

    def open(self, skip_damaged: bool = False, taken: Callable[[int], object] | None = None) -> ArchiveReader:
        """
        Read it.

        @param taken: called with the number of bytes that were read.
        @raise UnknownArchiveFormat: if it is no archive.
        @raise DamagedArchive: if its header is damaged.
        @raise CommandError: if it cannot be opened.
        """
        try:
            source = CountedSource(self._source(), self.name, taken)
        except OSError as error:
            raise CommandError(f"cannot read {self.name}: {reason_of(error)}") from None
        return ArchiveReader(source, skip_damaged=skip_damaged, max_record=self.max_record)

    def check_unchanged(self) -> None:
        """@raise CommandError: if it is a file that was written to since it was found."""
        if self.path:
            state = os.stat(self.path)
            if (state.st_size, state.st_mtime_ns) != (self.size, self.modified):
                raise CommandError(f"{self.name} changed while it was read; nothing was written")

    def _source(self) -> Any:
        try:
            return self.source()
        except FileNotFoundError:
            # A callback of its writer may have renamed or compressed it since.
            now = None if self.seen is None else find_now(self.seen, ())
            if now is None:
                raise
            return FileSource(now)


@implementer(IByteSource)
class CountedSource:
    """Another source, whose name is as the user knows it, and whose errors are damage."""

    def __init__(self, source: IByteSource, name: str, taken: Callable[[int], object] | None) -> None:
        self.name = name
        self.size: int | None = source.size
        self._source = source
        self._taken = taken

    def pread(self, offset: int, size: int) -> bytes:
        """Read as C{os.pread} does: fewer bytes only at the end."""
        try:
            data: bytes = self._source.pread(offset, size)
        except OSError as error:
            raise DamagedArchive(self.name, offset, f"it cannot be read: {reason_of(error)}") from None
        if self._taken is not None:
            self._taken(len(data))
        return data

    def close(self) -> None:
        """Close the other."""
        self._source.close()


# -- what an argument stands for -------------------------------------------------------------------


def find_files(argument: str, may_be_none: bool = False) -> Iterator[Archive]:
    """
    The files that a path or a pattern stands for, in no order.

    @param may_be_none: whether a pattern may stand for none.
    @raise CommandError: if there are none.
    """
    if os.path.lexists(argument) or not has_magic(argument):
        # A name is a name first, whatever is in it.
        yield _file(argument, True)
        return
    paths: list[str] = []
    for _ in range(_TRIES):
        # A listing that is made while a name becomes another one may have neither.
        before, paths = paths, sorted(glob.iglob(argument, recursive=True))
        if before == paths and all(map(os.path.lexists, paths)):
            break
    found = False
    for path in paths:
        if is_ours_beside(os.path.basename(path)) or not os.path.isfile(path):
            continue
        found = True
        yield _file(path, False)
    if not found and not may_be_none:
        raise CommandError(f"no file matches {argument}")


def _file(path: str, exact: bool) -> Archive:
    try:
        state = os.stat(path)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {reason_of(error)}") from None
    if not S_ISREG(state.st_mode):
        hint = "; use a pattern to name its files" if os.path.isdir(path) else ""
        raise CommandError(f"{path} is not a regular file{hint}")
    return Archive(path, path, state.st_size, state.st_mtime_ns, exact, functools.partial(FileSource, path))


class _Stores:
    """The store of the root, opened when the first object is wanted."""

    def __init__(self, opener: Opener, context: ExitStack) -> None:
        self._opener = opener
        self._context = context
        self._store: Store | None = None

    def find(self, argument: str) -> Iterator[Archive]:
        """The objects that an argument stands for."""
        place = NAME.convert(argument.removeprefix(STORE), None, None)
        if self._store is None:
            opened = self._opener()
            self._store = run(opened.__aenter__())
            self._context.push(lambda *error: run(opened.__aexit__(*error)))
        store, found = self._store, False
        for info in find_objects(store, place):
            found = True
            there = attrs.evolve(place, key=info.key)
            name = f"{STORE}{there}"
            source = functools.partial(ObjectSource, store, there, info.size, name)
            yield Archive(name, "", info.size, info.created, not has_magic(place.key), source)
        if not found:
            raise CommandError(f"no object matches {place}")


def find_archives(
    arguments: Iterable[str],
    opener: Opener,
    context: ExitStack,
    every_name: bool = False,
    missing: Callable[[CommandError], object] | None = None,
) -> list[Archive]:
    """
    The archives that arguments stand for, each once, in the order in which they were written.

    @param context: closes the store, if one was opened.
    @param every_name: also further names of an archive, such as that under which it is compressed.
    @param missing: called with each argument that matches nothing.
    @raise CommandError: if one of them matches nothing, and there is no C{missing}.
    """
    stores = _Stores(opener, context)
    found: dict[str, Archive] = {}
    for argument in arguments:
        try:
            for archive in stores.find(argument) if argument.startswith(STORE) else find_files(argument):
                found.setdefault(os.path.abspath(archive.path) if archive.path else archive.name, archive)
        except CommandError as error:
            if missing is None:
                raise
            missing(error)
    archives = list(found.values())
    if len(archives) > 1:
        archives = list(map(_looked_at, archives))
        if not every_name:
            kept = {id(seen) for seen in each_once(each.seen for each in archives if each.seen is not None)}
            archives = [each for each in archives if each.seen is None or id(each.seen) in kept]
        archives.sort(key=lambda each: order_of(each.name, None if each.seen is None else each.seen.info))
    return archives


def _looked_at(archive: Archive) -> Archive:
    try:
        if archive.path:
            return attrs.evolve(archive, seen=Seen.of(archive.path))
        with archive.open() as reader:
            info, is_plain = reader.info, reader.compressed_as is None
            rank = (reader.complete or not is_plain, is_plain, archive.size)
        return attrs.evolve(archive, seen=Seen(archive.name, info, rank, (-1, hash(archive.name))))
    except (OSError, DamagedArchive, UnknownArchiveFormat, CommandError):
        return archive  # its readers get an error


def archives_argument(function: Callable[..., T]) -> Callable[..., T]:
    """
    Add ARCHIVE... and the options of the store; the function gets a list of L{Archive}s as C{archives}, each once. The store
    is open while it runs.
    """
    return _with_archives(function, True)


def files_argument(function: Callable[..., T]) -> Callable[..., T]:
    """As L{archives_argument}, with every name of an archive that has several."""
    return _with_archives(function, True, every_name=True)


def archive_argument(function: Callable[..., T]) -> Callable[..., T]:
    """As L{archives_argument}, for one archive: C{archive}."""

    @functools.wraps(function)
    def with_one(*args: object, archives: list[Archive], **kwargs: object) -> T:
        if len(archives) != 1:
            raise click.UsageError(f"ARCHIVE must be one archive; {len(archives)} are given.")
        return function(*args, archive=archives[0], **kwargs)

    return _with_archives(with_one, False)


def _parse_most(ctx: click.Context, param: click.Parameter, value: str) -> int:
    try:
        size = parse_size(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    if not 1 <= size <= LARGEST_RECORD:
        raise click.BadParameter("it must be 1 byte to 2 GiB.")
    return size


def _with_archives(function: Callable[..., T], several: bool, every_name: bool = False) -> Callable[..., T]:
    @click.argument(
        "arguments", metavar="ARCHIVE..." if several else "ARCHIVE", nargs=-1 if several else 1, required=True
    )
    @click.option(
        "--max-record", metavar="SIZE", callback=_parse_most, default="64MiB", show_default=True,
        help="The most memory for one record; one that claims to be larger counts as damaged.",
    )  # fmt: skip
    @store_options
    @functools.wraps(function)
    def wrapper(*args: object, opener: Opener, arguments: Sequence[str] | str, max_record: int, **kwargs: object) -> T:
        words = [arguments] if isinstance(arguments, str) else arguments
        missing: list[CommandError] = []
        with ExitStack() as context:
            archives = find_archives(words, opener, context, every_name, missing.append if len(words) > 1 else None)
            for error in missing[:-1] if not archives else missing:
                error.show()
            if not archives:
                raise missing[-1]
            if not all(archive.path for archive in archives):
                opener.check_output(cast("str | None", kwargs.get("path")))
            result = function(
                *args, archives=[attrs.evolve(each, max_record=max_record) for each in archives], **kwargs
            )
        if missing:
            raise click.exceptions.Exit(1)
        return result

    return wrapper
