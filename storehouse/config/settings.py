"""L{Settings}: all settings of one storehouse."""

from __future__ import annotations

import os
from typing import Any

import attrs

from storehouse.config.option import option
from storehouse.config.tables import Tables
from storehouse.config.uploads import UploadSettings
from storehouse.core.peers import TrustedProxies
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
    parse_hosts,
    parse_path,
    parse_path_or_off,
    parse_text,
    seconds,
    sized,
)

__all__ = ["Settings"]


def _parse_proxies(value: Any) -> str:
    """Addresses and networks with commas between them, or a list of them; C{off} is none."""
    if isinstance(value, list):
        value = ",".join(map(str, value))
    if value is False or str(value).strip().lower() == OFF:
        return ""
    TrustedProxies(parse_text(value))
    return str(value)


@attrs.frozen(kw_only=True)
class Settings(UploadSettings):
    """
    All settings of one storehouse, checked.

    Sizes are in bytes, times in seconds; L{options} says what each one means.
    """

    root: str = option(
        "storehouse-data",
        parse_path,
        "The directory in which everything is kept; made if it is missing",
        shown="./storehouse-data",
    )
    append: str = option(
        "tcp:8001:interface=127.0.0.1",
        parse_text,
        "Where the append log listens, a Twisted endpoint; off opens no such door",
    )
    admin: str = option(
        "tcp:8002:interface=127.0.0.1",
        parse_text,
        "Where health, readiness, metrics and version are served, a Twisted endpoint; off opens no such door",
    )
    sfsp: str = option(
        "tcp:7370:interface=127.0.0.1",
        parse_text,
        "Where chunks are taken and given by SFSP, a Twisted endpoint; off opens no such door",
    )
    sfsp_client_ca: str = option(
        "",
        parse_path_or_off,
        "A PEM file of certificates: only clients with a certificate that one of them has signed are let in; sfsp must be an ssl: endpoint then; off asks nobody",
        shown="off",
    )
    archive: str = option(
        "tcp:8003:interface=127.0.0.1",
        parse_text,
        "Where streams of archives are served over HTTP, a Twisted endpoint; only if the configuration file has streams; off opens no such door. In the file: endpoint in [archive]",
    )
    archive_max_record: int = option(16 * MIB, sized(1, GIB), "Bytes that one record may have", shown="16MiB")
    archive_max_batch: int = option(
        16 * MIB, sized(1, GIB), "Bytes that the body of a batch of records may have", shown="16MiB"
    )
    archive_memory: int = option(
        64 * MIB, sized(MIB), "Bytes of records of all streams that wait to be written", shown="64MiB"
    )
    sfsp_max_name: int = option(4096, sized(1, 16 * KIB), "Bytes that a file's name may have")
    sfsp_max_chunk: int = option(4 * GIB, sized(1, 1 << 50), "Bytes that one chunk may have", shown="4GiB")
    sfsp_memory: int = option(
        64 * MIB, sized(MIB), "Bytes of chunks that have come whole and are being stored, together", shown="64MiB"
    )
    allow_anonymous: bool = option(
        False,
        parse_flag,
        "Let doors listen on addresses that other machines can reach, although they ask nobody who they are: whoever reaches them can read, add and remove records",
        flag=True,
    )
    allowed_host: frozenset[str] = option(
        frozenset(),
        parse_hosts,
        "Names, with commas between, by which requests over loopback may call this server, beside localhost, IP addresses and the names of its certificate: those that a proxy on this machine passes on; *.NAME is all names below one; off adds none",
        shown="off",
    )
    append_dir: str = option("", parse_path, "The directory of the append log", shown="ROOT/append")
    append_sync: str = option(
        "disk",
        one_of("disk", "os"),
        "When an append is answered: disk, after it is on disk; os, as soon as the operating system has it, which a power cut may undo. A request can ask for either",
    )
    append_sync_interval: float = option(
        10.0,
        seconds(),
        "Seconds after which records appended with os are brought to disk in the background",
        shown="10",
    )
    append_wal_size: int = option(256 * MIB, sized(MIB), "Bytes that the write-ahead log takes on disk", shown="256MiB")
    append_ship: str = option(
        OFF,
        parse_text,
        "The destination, one of the configuration file, to which the bucket files of a storage prefix are shipped when it is closed by request; off ships none",
    )
    append_ship_prefixes: str = option(
        "*", parse_text, "The storage prefixes that append-ship is about, with commas between; * for all"
    )
    append_ship_delete: bool = option(
        False,
        parse_flag,
        "Remove a storage prefix once all its bucket files were shipped and verified, unless it was opened again since",
        flag=True,
    )
    buckets: int = option(
        128, counted(1, 65535), "Bucket files of each storage prefix; a prefix keeps the number that it was made with"
    )
    max_record: int = option(64 * MIB, sized(1, GIB), "Bytes that one record may have", shown="64MiB")
    max_batch: int = option(16 * MIB, sized(1, GIB), "Bytes that the body of one /appendMulti may have", shown="16MiB")
    max_multi: int = option(
        65536,
        counted(),
        "Records that one /appendMulti, or one batch to the archive door, may bring, and that one /getMulti may ask for",
    )
    max_multi_bytes: int = option(256 * MIB, sized(), "Bytes that the answer to one /getMulti may have", shown="256MiB")
    objects_dir: str = option("", parse_path, "The directory of the objects", shown="ROOT/objects")
    objects_hash: str = option(
        "auto",
        name_of("auto", "HighwayHash256", "BLAKE3", "CRC32C"),
        "How blocks of new objects are checked: HighwayHash256, BLAKE3 or CRC32C; auto is HighwayHash256 (BLAKE3 where storehouse was installed without its native module), or CRC32C for what is encrypted, which has a check of its own. Objects that are there are read by the hash that they have",
    )
    objects_block_size: int = option(
        MIB,
        sized(1, 64 * MIB),
        "Bytes of the blocks that new objects are checked in: what a read verifies at least",
        shown="1MiB",
    )
    objects_sync: str = option(
        "disk",
        one_of("disk", "os"),
        "When an object is acknowledged: disk, after it is on disk; os, as soon as the operating system has it, which a power cut may undo",
    )
    objects_memory: int = option(
        64 * MIB,
        sized(MIB),
        "Bytes of objects that all who write hold together, and that all readers that wait for their clients do",
        shown="64MiB",
    )
    objects_scrub_rate: int = option(
        8 * MIB,
        or_off(sized(0)),
        "Bytes of stored objects that are verified in the background in a second; off verifies none",
        shown="8MiB",
    )
    objects_scrub_pause: float = option(
        86400.0, seconds(), "Seconds from the end of one verification of all objects to the next", shown="86400"
    )
    objects_upload_expiry: float = option(
        604800.0,
        or_off(seconds(allow_zero=True)),
        "Seconds after which an upload in parts that nobody goes on with is removed; off keeps them",
        shown="604800",
    )
    memory: int = option(
        256 * MIB,
        sized(),
        "Bytes of requests, and of answers that are not read yet, that are in memory at once, but for uploads",
        shown="256MiB",
    )
    max_connections: int = option(4096, counted(), "Connections that each door serves at once")
    connections_per_address: int = option(
        0,
        or_off(counted()),
        "Connections that one address has at once at each door, and requests in flight that proxies make for it; an address of IPv6 is its first 64 bits; off sets no bound but that the last eighth of max-connections is for addresses that have few",
        shown=OFF,
    )
    trusted_proxies: str = option(
        "",
        _parse_proxies,
        "Addresses and networks, with commas between them, of proxies that are believed for whom they make connections (the PROXY protocol) and requests (X-Forwarded-For, Forwarded); unix for those that connect to a socket file; off believes nobody",
        shown=OFF,
    )
    idle_timeout: float = option(
        60.0, seconds(), "Seconds after which a connection without a request is closed", shown="60"
    )
    head_timeout: float = option(
        20.0,
        seconds(),
        "Seconds that the head of a request, or a body that is small by nature, may take to arrive",
        shown="20",
    )
    min_body_rate: int = option(
        KIB,
        or_off(sized(1)),
        "Bytes a second, over 30 seconds, that a client must send of a body while it is its turn; off takes any that comes within idle-timeout",
        shown="1KiB",
    )
    shutdown_timeout: float = option(
        30.0,
        seconds(allow_zero=True),
        "Seconds that requests in flight are given to finish when the process stops",
        shown="30",
    )
    log_format: str = option(
        "text",
        one_of("text", "json"),
        "text, lines for people, written where twistd's --logfile says; json, one JSON object a line",
    )
    log_level: str = option(
        "info",
        one_of("info", "debug"),
        "info; or debug, which adds a line for each bucket file that is opened",
    )
    log_file: str = option("", parse_path, "The file to which JSON lines are added", shown="standard output")
    access_log: bool = option(
        False, parse_flag, "Log a line for each request, which costs more than a small append", flag=True
    )
    fast_lane: bool = option(
        True,
        parse_flag,
        "Short requests take a shorter way through the server; off leads all of them the plain way",
        shown="on",
    )
    #: What the tables of the configuration file say.
    tables: Tables = attrs.field(factory=Tables)

    @property
    def proxies(self) -> TrustedProxies:
        """The proxies that are believed for whom they make connections and requests."""
        return TrustedProxies(self.trusted_proxies)

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
    def tls_directory(self) -> str:
        """Where the certificate of https is kept that is made if none is given."""
        return os.path.join(self.root, "tls")

    @property
    def asking_doors(self) -> frozenset[str]:
        """The doors that ask who one is, by the names of their options: these may be reached by others."""
        return frozenset({"https", *self.client_cas})

    @property
    def doors(self) -> dict[str, str]:
        """The endpoint of each door that is to be opened, by the name of its option."""
        return {
            name: endpoint
            for name, endpoint in (
                ("append", self.append),
                ("archive", self.archive if self.tables.streams else OFF),
                ("sfsp", self.sfsp),
                ("https", self.https),
                ("admin", self.admin),
            )
            if endpoint != OFF
        }
