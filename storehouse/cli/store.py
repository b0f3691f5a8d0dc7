"""What the verbs of buckets and objects share: where the objects are, how they are named, how errors are printed."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from inspect import iscoroutine
from types import TracebackType
from typing import Any, Protocol, TypeVar

import attrs
import click

from storehouse.app.local.waiting import run
from storehouse.cli.errors import CommandError, one_line, reason_of
from storehouse.cli.options import settings_options
from storehouse.cli.remote import SocketStore, Stream
from storehouse.config import Settings
from storehouse.core.sockets import connect
from storehouse.errors import RootInUse, StorehouseError, Unavailable
from storehouse.storage.namespace.interfaces import Bucket
from storehouse.storage.objects.values import Condition, Indexed, Listing, Metadata, ObjectInfo, Problem, VersionListing

__all__ = [
    "BUCKET",
    "DAMAGED",
    "NAME",
    "PLACE",
    "Name",
    "Opener",
    "Reading",
    "Store",
    "Unaffected",
    "condition_options",
    "description_options",
    "keys_below",
    "naming",
    "printable",
    "service_of",
    "store_options",
    "versions_below",
]

T = TypeVar("T")

#: The size of an object of which nothing but the key can be read.
DAMAGED = -1

#: Seconds to wait for another command that works on the root.
_PATIENCE = 5.0

#: Keys that are listed at once.
_PAGE = 1000


class Reading(Stream, Protocol):
    """A range of an object, open."""

    @property
    def length(self) -> int:
        """Bytes of the range."""


class Store(Protocol):
    """
    What commands need of an object store, with the words of L{IObjectStore<storehouse.storage.objects.interfaces.IObjectStore>}
    and C{IMaintained}: the store of the root in this process is one, and so is the service that runs on it.
    """

    def create_bucket(self, name: str) -> Awaitable[Bucket]: ...

    def get_bucket(self, name: str) -> Awaitable[Bucket]: ...

    def set_bucket_metadata(self, name: str, metadata: Metadata) -> Awaitable[Bucket]: ...

    def delete_bucket(self, name: str) -> Awaitable[None]: ...

    def list_buckets(self) -> Awaitable[list[Bucket]]: ...

    def list_objects(
        self, bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Awaitable[Listing]: ...

    def list_versions(
        self,
        bucket: str,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        version_marker: str = "",
        limit: int = 1000,
    ) -> Awaitable[VersionListing]: ...

    def head(self, bucket: str, key: str) -> Awaitable[ObjectInfo]: ...

    def put(
        self,
        bucket: str,
        key: str,
        stream: Stream,
        size: int | None,
        content_type: str = "",
        metadata: Metadata | None = None,
        condition: Condition = ...,
        md5: bool = False,
    ) -> Awaitable[ObjectInfo]: ...

    def get(self, bucket: str, key: str, offset: int = 0, length: int | None = None) -> Awaitable[Reading]: ...

    def delete(self, bucket: str, key: str) -> Awaitable[ObjectInfo]: ...

    def copy(
        self,
        bucket: str,
        key: str,
        source_bucket: str,
        source_key: str,
        content_type: str | None = None,
        metadata: Metadata | None = None,
        condition: Condition = ...,
    ) -> Awaitable[ObjectInfo]: ...

    def check(
        self, progress: Callable[[int], object] | None = None, repair: bool = False
    ) -> Awaitable[list[Problem]]: ...

    def reindex(self, progress: Callable[[int], object] | None = None) -> Awaitable[Indexed]: ...


# -- where it is -----------------------------------------------------------------------------------


class Opener:
    """Opens the store that the command line names."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def __call__(self, create: bool = False) -> AsyncIterator[Store]:
        """
        Open it: through the socket of the service that runs on the root, or else its files. It is closed when it is left.

        @param create: make the root if there is none.
        @raise click.UsageError: if there is no store.
        @raise CommandError: if it cannot be opened.
        """
        if self._settings.objects.directory:
            # Objects that are named apart may be those of another store.
            from storehouse.app.local.store import check_stamps

            check_stamps(self._settings)
        until = time.monotonic() + _PATIENCE
        while True:
            with service_of(self._settings) as service:
                if service is not None:
                    yield service
                    return
            directory = os.path.abspath(self._settings.namespace_directory)
            if not create and not os.path.isdir(directory):
                raise click.UsageError(one_line(f"there are no buckets: {directory} is not a directory"))
            # Imported here: a command that asks a service needs nothing of it, and would take three times as long to start.
            from storehouse.app.local.store import open_store

            async with AsyncExitStack() as opened:
                try:
                    store = await opened.enter_async_context(open_store(self._settings, create))
                except RootInUse as error:
                    if time.monotonic() > until:
                        path = os.path.abspath(self._settings.objects_socket)
                        raise CommandError(f"{error.detail}; it does not listen on {path}") from None
                else:
                    yield store
                    return
            time.sleep(0.05)

    def join(self) -> None:
        """Make namespace and data space one store, whatever is in them."""
        from storehouse.app.local.store import join

        join(self._settings)

    def check_output(self, path: str | None) -> None:
        """@raise CommandError: if a file that a command is to write is among those of the store it reads."""
        target = "" if path in (None, "-") else os.path.realpath(str(path))
        for directory in (self._settings.root, self._settings.objects_directory):
            if target.startswith(os.path.join(os.path.realpath(directory), "")):
                raise CommandError(f"{path} is in {directory}, which the store keeps its files in: write elsewhere")


@contextmanager
def service_of(settings: Settings) -> Iterator[SocketStore | None]:
    """
    The service that runs on a root; C{None} if none does. The connection is closed when it is left.

    @raise CommandError: if that cannot be found out.
    """
    path = os.path.abspath(settings.objects_socket)
    try:
        connect(path, _PATIENCE).close()
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        yield None
        return
    except OSError as error:
        raise CommandError(f"cannot reach the service by its socket file {path}: {reason_of(error)}") from None
    with SocketStore(path) as store:
        yield store


def store_options(function: Callable[..., T]) -> Callable[..., T]:
    """Add --root, --objects-dir and --config; the function, which may be a coroutine, gets an L{Opener} as C{opener}."""

    @settings_options("root", "objects-dir")
    @functools.wraps(function)
    def wrapper(*args: object, settings: Settings, **kwargs: object) -> T:
        result = function(*args, opener=Opener(settings), **kwargs)
        return run(result) if iscoroutine(result) else result

    return wrapper


# -- how things are named --------------------------------------------------------------------------


@attrs.frozen
class Name:
    """A bucket, and a key or a prefix of keys, which may be empty."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"


class _NameType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    def __init__(self, name: str, needs_key: bool) -> None:
        self.name = name
        self._needs_key = needs_key

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take it apart at the first slash."""
        if isinstance(value, Name):
            return value
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail(f"{value!r} is not UTF-8.", param, ctx)
        bucket, _, key = value.partition("/")
        if not bucket or (self._needs_key and not key):
            self.fail(f"{value!r} is not of the form {self.name}.", param, ctx)
        return Name(bucket, key)


class _BucketType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    name = "BUCKET"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A slash at its end does not count."""
        return value.removesuffix("/")


#: BUCKET, BUCKET/KEY and BUCKET[/PREFIX] on the command line.
BUCKET = _BucketType()
NAME = _NameType("BUCKET/KEY", True)
PLACE = _NameType("BUCKET[/PREFIX]", False)


@contextmanager
def naming(name: object) -> Iterator[None]:
    """What fails in here says what it was about."""
    try:
        yield
    except (StorehouseError, CommandError) as error:
        message = error.message if isinstance(error, CommandError) else error.detail
        raise CommandError(message if str(name) in message else f"{name}: {message}") from None


class Unaffected:
    """
    For commands that are about several things: a failure is printed, and the others are still done. A
    context manager, at whose end a failure becomes the exit status.

    @ivar hide: called before something is printed.
    """

    def __init__(self) -> None:
        self.hide: Callable[[], None] = lambda: None
        self._failed = False

    def __enter__(self) -> Unaffected:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and self._failed:
            raise click.exceptions.Exit(1)

    @contextmanager
    def by(self, name: object, *harmless: type[StorehouseError]) -> Iterator[None]:
        """
        A failure in here is printed, with the name. An error of the whole store is raised.

        @param harmless: errors that are none here.
        """
        try:
            with naming(name):
                yield
        except CommandError as error:
            cause = error.__context__
            if isinstance(cause, harmless):
                return
            if not isinstance(cause, StorehouseError) or isinstance(cause, Unavailable):
                raise
            self._failed = True
            self.hide()
            with suppress(BrokenPipeError):
                error.show()


async def keys_below(
    store: Store, place: Name, delimiter: str = "", seen: Callable[[Listing], object] = lambda page: None
) -> AsyncIterator[ObjectInfo | str]:
    """
    The objects of a place, and the common prefixes, in order and a page at a time. Of one whose size is L{DAMAGED}
    nothing but the key can be read.

    @param seen: called with each page.
    """
    after: str | None = ""
    while after is not None:
        page = await store.list_objects(place.bucket, place.key, delimiter, after, _PAGE)
        damaged = [ObjectInfo(key, "", DAMAGED, "", 0, "", {}) for key in page.damaged]
        items: list[ObjectInfo | str] = [*page.objects, *damaged, *page.prefixes]
        seen(page)
        items.sort(key=lambda item: (item if isinstance(item, str) else item.key).encode())
        for item in items:
            yield item
        after = page.next_after


async def versions_below(
    store: Store, place: Name, delimiter: str = "", seen: Callable[[VersionListing], object] = lambda page: None
) -> AsyncIterator[ObjectInfo | str]:
    """The versions of a place, delete markers too, and the common prefixes, as L{keys_below} gives keys."""
    key: str | None = ""
    version = ""
    while key is not None:
        page = await store.list_versions(place.bucket, place.key, delimiter, key, version, _PAGE)
        damaged = [ObjectInfo(key, id, DAMAGED, "", 0, "", {}, version=id) for key, id in page.damaged]
        items: list[ObjectInfo | str] = [*page.versions, *damaged, *page.prefixes]
        seen(page)
        items.sort(key=lambda item: (item if isinstance(item, str) else item.key).encode())
        for item in items:
            yield item
        key, version = page.next_key_marker, page.next_version_marker


def printable(text: str) -> str:
    """The text on one line: control characters as C{\\xNN}."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


# -- what is printed of objects --------------------------------------------------------------------


def _metadata(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, list[str]]:
    metadata: dict[str, list[str]] = {}
    for value in values:
        name, equals, text = value.partition("=")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise click.BadParameter(f"{value!r} is not UTF-8.") from None
        if not name or not equals:
            raise click.BadParameter(f"{value!r} is not of the form NAME=VALUE.")
        metadata.setdefault(name, []).append(text)
    return metadata


def _content_type(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not (value.isascii() and value.isprintable() and value == value.strip()):
        raise click.BadParameter(f"{value!r} is not printable ASCII.")
    return value


def description_options(function: Callable[..., T]) -> Callable[..., T]:
    """Add --content-type and --metadata."""
    function = click.option(
        "--metadata",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_metadata,
        help="Metadata of the object; may be given several times.",
    )(function)
    return click.option("--content-type", metavar="TYPE", callback=_content_type, help="The media type of the object.")(
        function
    )


def condition_options(function: Callable[..., T]) -> Callable[..., T]:
    """Add --if-absent and --if-match; the function gets a L{Condition} as C{condition}."""

    @click.option("--if-absent", is_flag=True, help="Fail if the key exists.")
    @click.option("--if-match", metavar="ETAG", help="Fail unless the object there has this etag; * for any.")
    @functools.wraps(function)
    def wrapper(*args: object, if_absent: bool, if_match: str | None, **kwargs: object) -> T:
        if if_match is not None and not (if_match.isascii() and if_match.isprintable() and "," not in if_match):
            raise click.UsageError(f"{if_match!r} is not an etag.")
        return function(*args, condition=Condition(if_absent, if_match), **kwargs)

    return wrapper
