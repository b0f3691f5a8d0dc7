"""
The settings of a storehouse: their names, what they mean, how their values are written, and L{Settings},
which holds them.

A setting has one name everywhere: C{append-sync} is C{--append-sync} on the command line, C{append-sync =
"os"} in the configuration file and L{Settings.append_sync} in code.  The command line wins over the file, the
file over the default.  What there may be any number of has tables in the file: L{storehouse.tables}.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from storehouse.core.values import (
    GIB,
    KIB,
    MIB,
    OFF,
    counted,
    name_of,
    one_of,
    or_off,
    parse_flag,
    parse_path,
    parse_path_or_off,
    parse_text,
    seconds,
    sized,
)
from storehouse.errors import InvalidSetting
from storehouse.tables import Tables, read_tables

__all__ = ["OFF", "Option", "Settings", "load_settings", "options", "read_file"]


@attrs.frozen
class Option:
    """
    What is known about one setting, for those who show or read settings.

    @ivar name: as it is written on the command line and in the file, such as C{append-sync}.
    @ivar help: one sentence for a user, with the default.
    @ivar is_flag: whether the command line takes it without a value.
    @ivar parse: from what was written to the value; raises C{ValueError} with the reason.
    """

    name: str
    help: str
    is_flag: bool
    parse: Callable[[Any], Any]

    @property
    def field(self) -> str:
        """Its name in L{Settings}."""
        return self.name.replace("-", "_")


def _option(default: Any, parse: Callable[[Any], Any], help: str, shown: str | None = None, flag: bool = False) -> Any:
    shown = str(default) if shown is None else shown
    text = help if flag else f"{help} [default: {shown}]"
    return attrs.field(default=default, metadata={"parse": parse, "help": text, "flag": flag})


@attrs.frozen(kw_only=True)
class Settings:
    """
    All settings of one storehouse, checked.

    Sizes are in bytes, times in seconds; L{options} says what each one means.
    """

    root: str = _option(
        "storehouse-data",
        parse_path,
        "The directory in which everything is kept; made if it is missing",
        shown="./storehouse-data",
    )
    append: str = _option(
        "tcp:8001:interface=127.0.0.1",
        parse_text,
        "Where the append log listens, a Twisted endpoint; off opens no such door",
    )
    admin: str = _option(
        "tcp:8002:interface=127.0.0.1",
        parse_text,
        "Where health, readiness, metrics and version are served, a Twisted endpoint; off opens no such door",
    )
    sfsp: str = _option(
        "tcp:7370:interface=127.0.0.1",
        parse_text,
        "Where chunks are taken and given by SFSP, a Twisted endpoint; off opens no such door",
    )
    sfsp_client_ca: str = _option(
        "",
        parse_path_or_off,
        "A PEM file of certificates: only clients with a certificate that one of them has signed are let in; sfsp must be an ssl: endpoint then; off asks nobody",
        shown="off",
    )
    archive: str = _option(
        "tcp:8003:interface=127.0.0.1",
        parse_text,
        "Where streams of archives are served over HTTP, a Twisted endpoint; only if the configuration file has streams; off opens no such door. In the file: endpoint in [archive]",
    )
    archive_max_record: int = _option(16 * MIB, sized(1, GIB), "Bytes that one record may have", shown="16MiB")
    archive_max_batch: int = _option(
        16 * MIB, sized(1, GIB), "Bytes that the body of a batch of records may have", shown="16MiB"
    )
    archive_memory: int = _option(
        64 * MIB, sized(MIB), "Bytes of records of all streams that wait to be written", shown="64MiB"
    )
    sfsp_max_name: int = _option(4096, sized(1, 16 * KIB), "Bytes that a file's name may have")
    sfsp_max_chunk: int = _option(4 * GIB, sized(1, 1 << 50), "Bytes that one chunk may have", shown="4GiB")
    sfsp_memory: int = _option(
        64 * MIB, sized(MIB), "Bytes of chunks that have come whole and are being stored, together", shown="64MiB"
    )
    allow_anonymous: bool = _option(
        False,
        parse_flag,
        "Let doors listen on addresses that other machines can reach, although they ask nobody who they are: whoever reaches them can read, add and remove records",
        flag=True,
    )
    append_dir: str = _option("", parse_path, "The directory of the append log", shown="ROOT/append")
    append_sync: str = _option(
        "disk",
        one_of("disk", "os"),
        "When an append is answered: disk, after it is on disk; os, as soon as the operating system has it, which a power cut may undo. A request can ask for either",
    )
    append_sync_interval: float = _option(
        10.0,
        seconds(),
        "Seconds after which records appended with os are brought to disk in the background",
        shown="10",
    )
    append_wal_size: int = _option(
        256 * MIB, sized(MIB), "Bytes that the write-ahead log takes on disk", shown="256MiB"
    )
    append_ship: str = _option(
        OFF,
        parse_text,
        "The destination, one of the configuration file, to which the bucket files of a storage prefix are shipped when it is closed by request; off ships none",
    )
    append_ship_prefixes: str = _option(
        "*", parse_text, "The storage prefixes that append-ship is about, with commas between; * for all"
    )
    append_ship_delete: bool = _option(
        False,
        parse_flag,
        "Remove a storage prefix once all its bucket files were shipped and verified, unless it was opened again since",
        flag=True,
    )
    buckets: int = _option(
        128, counted(1, 65535), "Bucket files of each storage prefix; a prefix keeps the number that it was made with"
    )
    max_record: int = _option(64 * MIB, sized(1, GIB), "Bytes that one record may have", shown="64MiB")
    max_batch: int = _option(16 * MIB, sized(1, GIB), "Bytes that the body of one /appendMulti may have", shown="16MiB")
    max_multi: int = _option(65536, counted(), "Offsets that one /getMulti may ask for")
    max_multi_bytes: int = _option(
        256 * MIB, sized(), "Bytes that the answer to one /getMulti may have", shown="256MiB"
    )
    objects_dir: str = _option("", parse_path, "The directory of the objects", shown="ROOT/objects")
    objects_hash: str = _option(
        "HighwayHash256",
        name_of("HighwayHash256", "BLAKE3", "CRC32C"),
        "How blocks of new objects are checked: HighwayHash256, BLAKE3 or CRC32C. Objects that are there are read by the hash that they have",
    )
    objects_block_size: int = _option(
        MIB,
        sized(1, 64 * MIB),
        "Bytes of the blocks that new objects are checked in: what a read verifies at least",
        shown="1MiB",
    )
    objects_sync: str = _option(
        "disk",
        one_of("disk", "os"),
        "When an object is acknowledged: disk, after it is on disk; os, as soon as the operating system has it, which a power cut may undo",
    )
    objects_memory: int = _option(
        64 * MIB,
        sized(MIB),
        "Bytes of objects that all who write hold together, and that all readers that wait for their clients do",
        shown="64MiB",
    )
    objects_scrub_rate: int = _option(
        8 * MIB,
        or_off(sized(0)),
        "Bytes of stored objects that are verified in the background in a second; off verifies none",
        shown="8MiB",
    )
    objects_scrub_pause: float = _option(
        86400.0, seconds(), "Seconds from the end of one verification of all objects to the next", shown="86400"
    )
    objects_upload_expiry: float = _option(
        604800.0,
        or_off(seconds(allow_zero=True)),
        "Seconds after which an upload in parts that nobody goes on with is removed; off keeps them",
        shown="604800",
    )
    memory: int = _option(256 * MIB, sized(), "Bytes of request bodies that are held in memory at once", shown="256MiB")
    max_connections: int = _option(4096, counted(), "Connections that each door serves at once")
    idle_timeout: float = _option(
        60.0, seconds(), "Seconds after which a connection without a request is closed", shown="60"
    )
    head_timeout: float = _option(20.0, seconds(), "Seconds that the head of a request may take to arrive", shown="20")
    shutdown_timeout: float = _option(
        30.0,
        seconds(allow_zero=True),
        "Seconds that requests in flight are given to finish when the process stops",
        shown="30",
    )
    log_format: str = _option(
        "text",
        one_of("text", "json"),
        "text, lines for people, written where twistd's --logfile says; json, one JSON object a line",
    )
    log_file: str = _option("", parse_path, "The file to which JSON lines are added", shown="standard output")
    access_log: bool = _option(
        False, parse_flag, "Log a line for each request, which costs more than a small append", flag=True
    )
    fast_lane: bool = _option(
        True,
        parse_flag,
        "Short requests take a shorter way through the server; off leads all of them the plain way",
        shown="on",
    )
    #: What the tables of the configuration file say.
    tables: Tables = attrs.field(factory=Tables)

    @property
    def archives_directory(self) -> str:
        """The directory of streams that name none."""
        return os.path.join(self.root, "archives")

    @property
    def shipping_directory(self) -> str:
        """Where files on their way to destinations are, a directory for each."""
        return os.path.join(self.root, "shipping")

    @property
    def append_directory(self) -> str:
        """The directory of the append log: C{append-dir}, or C{append} in the root."""
        return self.append_dir or os.path.join(self.root, "append")

    @property
    def objects_directory(self) -> str:
        """The directory of the objects: C{objects-dir}, or C{objects} in the root."""
        return self.objects_dir or os.path.join(self.root, "objects")

    @property
    def namespace_directory(self) -> str:
        """The directory of the keys of objects."""
        return os.path.join(self.root, "namespace")

    @property
    def objects_socket(self) -> str:
        """The socket file by which this machine's commands reach the objects while a service runs."""
        return os.path.join(self.root, "objects.sock")

    @property
    def client_cas(self) -> dict[str, str]:
        """Who signs for the clients of each door that asks them for certificates, by the name of its option."""
        return {name: path for name, path in (("sfsp", self.sfsp_client_ca),) if path}

    @property
    def doors(self) -> dict[str, str]:
        """The endpoint of each door that is to be opened, by the name of its option."""
        return {
            name: endpoint
            for name, endpoint in (
                ("append", self.append),
                ("archive", self.archive if self.tables.streams else OFF),
                ("sfsp", self.sfsp),
                ("admin", self.admin),
            )
            if endpoint != OFF
        }


def options() -> list[Option]:
    """All settings, in the order in which a user should meet them."""
    return [
        Option(field.name.replace("_", "-"), field.metadata["help"], field.metadata["flag"], field.metadata["parse"])
        for field in attrs.fields(Settings)
        if field.metadata
    ]


def read_file(path: str) -> dict[str, Any]:
    """
    Read a configuration file: TOML, with the names of the options.

    @return: the values as the file has them, by name.
    @raise InvalidSetting: if it cannot be read, is no TOML or has a name that is no setting; the text names
        the file.
    """
    path = os.path.expanduser(path)
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise InvalidSetting(f"the configuration file {path} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"the configuration file {path} is not TOML: {error}") from None
    known = {option.name for option in options()}
    for name in values:
        if name not in known and name != "destinations":
            raise InvalidSetting(f"the configuration file {path} has {name!r}, which is not the name of a setting")
    return values


def load_settings(command_line: Mapping[str, Any], file: str | None = None) -> Settings:
    """
    Put settings together.

    @param command_line: the values that were given there, by option name; those not given are absent.
    @param file: the path of a configuration file.
    @raise InvalidSetting: naming the option and the value that cannot be used.
    """
    in_file = read_file(file) if file else {}
    tables = _take_tables(in_file, str(file))
    written = {name: (value, f"in {file} ") for name, value in in_file.items()}
    written.update({name: (value, "") for name, value in command_line.items()})
    values = {}
    for option in options():
        if option.name in written:
            value, where = written.pop(option.name)
            try:
                values[option.field] = option.parse(value)
            except ValueError as reason:
                raise InvalidSetting(f"{option.name} {where}cannot be {value!r}: {reason}") from None
    for name in written:
        raise InvalidSetting(f"{name!r} is not the name of a setting")
    settings = Settings(**values, tables=tables)
    _check_together(settings)
    return settings


def _take_tables(values: dict[str, Any], file: str) -> Tables:
    """Take the tables out of what a file has. C{archive} is either the setting or the table, since TOML has it once."""
    archive = values["archive"] if isinstance(values.get("archive"), dict) else {}
    tables = read_tables(archive, values.pop("destinations", {}), file)
    if archive is values.get("archive"):
        del values["archive"]
        if tables.endpoint is not None:
            values["archive"] = tables.endpoint
    return tables


def _check_together(settings: Settings) -> None:
    for name, size in (
        ("max-record", settings.max_record),
        ("max-batch", settings.max_batch),
        ("archive-max-record", settings.archive_max_record),
        ("archive-max-batch", settings.archive_max_batch),
    ):
        if settings.memory < size:
            raise InvalidSetting(
                f"memory cannot be {settings.memory}: a body of {name} ({size} bytes) must fit into it"
            )
    if settings.sfsp_client_ca and not settings.sfsp.startswith("ssl:"):
        raise InvalidSetting(
            f"sfsp-client-ca needs an ssl: endpoint, since only TLS has certificates; sfsp is {settings.sfsp!r}"
        )
    if settings.append_ship not in {OFF, *(each.name for each in settings.tables.destinations)}:
        raise InvalidSetting(
            f"append-ship cannot be {settings.append_ship!r}: the configuration file has no [destinations.{settings.append_ship}]"
        )
    if settings.log_file and settings.log_format != "json":
        raise InvalidSetting(
            f"log-file cannot be {settings.log_file!r} while log-format is text: set log-format to json, or use twistd's --logfile"
        )
    if not settings.doors:
        if settings.tables.streams:
            raise InvalidSetting("append, archive, sfsp and admin are all 'off': there is no door to open")
        raise InvalidSetting(
            "append, sfsp and admin are all 'off', and archive is a door only with streams: there is no door to open"
        )
