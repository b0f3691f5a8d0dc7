"""
All settings of one storehouse: each is declared here, once. The command line, the configuration file and
docs/settings.rst are made from these classes.

Those of a door are one class, and their names begin with the door's name. Sizes are in bytes, times in seconds.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlsplit

import attrs

from storehouse.config.option import option, prefix
from storehouse.config.tables import Tables
from storehouse.core.proxies import TrustedProxies
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
    parse_url,
    seconds,
    sized,
)

__all__ = [
    "AppendSettings",
    "ArchiveSettings",
    "AuditSettings",
    "ConnectionSettings",
    "HTTPSSettings",
    "LoggingSettings",
    "MemoryShares",
    "NotifySettings",
    "ObjectsSettings",
    "S3Settings",
    "SFSPSettings",
    "Settings",
]


_region = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII).fullmatch


def _parse_region(value: Any) -> str:
    """Part of what clients sign, and of responses: a word."""
    text = parse_text(value)
    if not _region(text):
        raise ValueError(
            "a name such as us-east-1 is needed, of up to 64 letters, digits, hyphens and underscores; or any"
        )
    return text


def _parse_proxies(value: Any) -> str:
    """Addresses and networks with commas between them, or a list of them; C{off} is none."""
    if isinstance(value, list):
        value = ",".join(map(str, value))
    if value is False or str(value).strip().lower() == OFF:
        return ""
    TrustedProxies(parse_text(value))
    return str(value)


def parse_text_or_off(value: object) -> str:
    """A text; C{off} is none."""
    return "" if value is False or str(value).strip().lower() == OFF else parse_text(value)


def parse_user_or_off(value: object) -> str:
    """The name of a user; C{off} is none."""
    name = parse_text_or_off(value)
    if name and not re.fullmatch(r"[a-z0-9._-]{1,64}", name, re.ASCII):
        raise ValueError("it must be the name of a user, or off")
    return name


@attrs.frozen(kw_only=True)
class AppendSettings:
    """The append log and its door."""

    endpoint: str = option(
        "tcp:8001:interface=127.0.0.1",
        parse_text,
        "ENDPOINT",
        "Where the append log listens, a Twisted endpoint; off opens no such door",
        cli=True,
        name="",
    )
    directory: str = option(
        "",
        parse_path,
        "DIR",
        "The directory of the append log, if not in the root",
        shown="ROOT/append",
        cli=True,
        name="dir",
    )
    buckets: int = option(
        128,
        counted(1, 65535),
        "NUMBER",
        "Bucket files of each new storage prefix; a prefix keeps the number that it was created with",
        cli=True,
        old_names=("buckets",),
    )
    sync: str = option(
        "disk",
        one_of("disk", "os"),
        "disk|os",
        "When the response to an append is sent: disk, after it is on disk; os, as soon as the operating system has "
        "it, which a power cut may undo. A request can ask for either",
        cli=True,
    )
    sync_interval: float = option(
        10.0,
        seconds(),
        "DURATION",
        "How often records that were appended with os are synced to disk in the background",
    )
    wal_size: int = option(256 * MIB, sized(MIB), "SIZE", "Bytes that the write-ahead log takes on disk")
    max_record: int = option(
        64 * MIB,
        sized(1, GIB),
        "SIZE",
        "Bytes that one record may have",
        old_names=("max-record",),
    )
    max_batch: int = option(
        16 * MIB,
        sized(1, GIB),
        "SIZE",
        "Bytes that the body of one /appendMulti may have",
        old_names=("max-batch",),
    )
    max_multi: int = option(
        65536,
        counted(),
        "NUMBER",
        "Records that one /appendMulti may bring, and that one /getMulti may ask for",
        old_names=("max-multi",),
    )
    max_multi_bytes: int = option(
        256 * MIB,
        sized(),
        "SIZE",
        "Bytes that the response to one /getMulti may have",
        old_names=("max-multi-bytes",),
    )
    ship: str = option(
        OFF,
        parse_text,
        "DESTINATION",
        "The destination, a table of the file, to which the bucket files of a storage prefix are shipped when a "
        "request closes it; off ships none",
    )
    ship_prefixes: str = option(
        "*", parse_text, "NAMES", "The storage prefixes that are shipped, with commas between; * for all"
    )
    ship_delete: bool = option(
        False,
        parse_flag,
        "on|off",
        "Remove a storage prefix once all its bucket files were shipped and verified, unless it was opened again since",
    )


@attrs.frozen(kw_only=True)
class ArchiveSettings:
    """The door of streams of archives; the streams are tables of the file."""

    endpoint: str = option(
        "tcp:8003:interface=127.0.0.1",
        parse_text,
        "ENDPOINT",
        "Where streams of archives are served over HTTP, a Twisted endpoint; only if the configuration file has "
        "streams. off opens no such door. In the file: endpoint in [archive]",
        cli=True,
        name="",
    )
    max_record: int = option(16 * MIB, sized(1, GIB), "SIZE", "Bytes that one record may have")
    max_batch: int = option(16 * MIB, sized(1, GIB), "SIZE", "Bytes that the body of a batch of records may have")
    max_records: int = option(65536, counted(), "NUMBER", "Records, or lines, that one batch may have")
    user: str = option(
        "",
        parse_user_or_off,
        "NAME",
        "The user as whom this door acts: a stream is written, read and listed with that user's rights on the keys "
        "STREAM/ of the bucket archives. off allows everything",
        shown=OFF,
    )


@attrs.frozen(kw_only=True)
class SFSPSettings:
    """The door of SFSP."""

    endpoint: str = option(
        "tcp:7370:interface=127.0.0.1",
        parse_text,
        "ENDPOINT",
        "Where chunks are stored and read by SFSP, a Twisted endpoint; off opens no such door",
        cli=True,
        name="",
    )
    user: str = option(
        "",
        parse_user_or_off,
        "NAME",
        "The user as whom this door acts, with the rights on the bucket sfsp; off allows everything",
        shown=OFF,
    )
    client_ca: str = option(
        "",
        parse_path_or_off,
        "FILE",
        "A PEM file of certificate authorities: only clients with a certificate signed by one of them may connect; "
        "sfsp must be an ssl: endpoint then. off asks for no certificates",
        shown=OFF,
        cli=True,
    )
    max_name: int = option(4096, sized(1, 16 * KIB), "SIZE", "Bytes that a file's name may have")
    max_chunk: int = option(4 * GIB, sized(1, 1 << 50), "SIZE", "Bytes that one chunk may have")


@attrs.frozen(kw_only=True)
class HTTPSSettings:
    """The door of uploads and downloads, and its users."""

    endpoint: str = option(
        "tcp:6445:interface=127.0.0.1",
        parse_text,
        "ENDPOINT",
        "Where files are uploaded and downloaded over HTTPS, a Twisted endpoint: one such as tcp:6445, to which TLS "
        "is added, or an ssl: endpoint with its own certificate; off opens no such door",
        cli=True,
        name="",
    )
    cert: str = option(
        "",
        parse_path_or_off,
        "FILE",
        "A PEM file with the certificate and its chain; or a directory with fullchain.pem and privkey.pem, as ACME "
        "clients keep it. Read again when it changes",
        shown="one for this machine is made",
        cli=True,
    )
    key: str = option(
        "",
        parse_path_or_off,
        "FILE",
        "A PEM file with the key of https-cert",
        shown="in the file of https-cert",
        cli=True,
    )
    url: str = option(
        "",
        parse_url,
        "URL",
        "The URL by which others reach this door, for links; needed behind a proxy",
        shown="that of the endpoint",
        cli=True,
    )
    client_ca: str = option(
        "",
        parse_path_or_off,
        "FILE",
        "A PEM file of certificate authorities: a client with a certificate signed by one of them is signed in as the "
        "user of its common name. off asks for no certificates",
        shown=OFF,
        cli=True,
        old_names=("client-ca",),
    )
    max_size: int = option(
        0,
        or_off(sized(1, 1 << 60)),
        "SIZE",
        "Bytes that one upload may have; off sets no limit but the disk",
        shown=OFF,
        old_names=("upload-max-size",),
    )
    max_uploads: int = option(
        1024,
        counted(),
        "NUMBER",
        "Uploads that are received at once; one more gets 503, and can be tried again later",
        old_names=("upload-sessions",),
    )
    max_files: int = option(
        1000, counted(), "NUMBER", "Files and fields that one form may have", old_names=("upload-max-files",)
    )
    names: str = option(
        "rename",
        one_of("rename", "replace", "refuse"),
        "rename|replace|refuse",
        "What happens to an upload whose name is taken: rename adds a number to its name; replace replaces the file; "
        "refuse responds with 409. PUT always replaces",
        old_names=("upload-names",),
    )
    upload_expiry: float = option(
        86400.0,
        or_off(seconds(allow_zero=True)),
        "DURATION",
        "How long a resumable upload that is not continued is kept; off keeps it",
        old_names=("upload-expiry",),
    )
    session_lifetime: float = option(
        43200.0,
        seconds(),
        "DURATION",
        "How long people stay signed in",
        old_names=("session-lifetime",),
    )
    link_lifetime: float = option(
        604800.0,
        seconds(),
        "DURATION",
        "How long a signed link may be valid, at most",
        old_names=("link-lifetime",),
    )


@attrs.frozen(kw_only=True)
class S3Settings:
    """
    The door of S3.

    @ivar endpoint: empty if none was given: then the door is opened at L{DEFAULT} if nothing else listens there.
    """

    #: Where the door is by default.
    DEFAULT = "tcp:9000:interface=127.0.0.1"

    endpoint: str = option(
        "",
        parse_text,
        "ENDPOINT",
        "Where buckets and objects are served by Amazon's S3 protocol, a Twisted endpoint; off opens no such door. If "
        "another program has the port of the default, the start continues without this door",
        shown=DEFAULT,
        cli=True,
        name="",
    )
    tls: bool = option(
        False,
        parse_flag,
        "on|off",
        "Add TLS to s3, with the certificate of https. An ssl: endpoint has its own",
        cli=True,
    )
    domain: frozenset[str] = option(
        frozenset(),
        parse_hosts,
        "NAMES",
        "Names, with commas between, of hosts below which a bucket has a host of its own: with s3.example.com, "
        "box.s3.example.com is the bucket box. Every bucket is reached by its path as well; off adds none",
        shown=OFF,
        cli=True,
    )
    region: str = option(
        "us-east-1",
        _parse_region,
        "NAME",
        "The region for which requests must be signed, and in which buckets are; any takes every one",
        cli=True,
    )
    max_uploads: int = option(
        1024,
        counted(),
        "NUMBER",
        "Uploads of more than 64KiB, and copies, at once; one more gets 503, and can be tried again later",
    )
    defaults: str = option(
        "aws",
        one_of("aws", "classic"),
        "aws|classic",
        "How new buckets are made: aws, as Amazon makes them today: ACLs are off, and public access is blocked; "
        "classic, as older servers do: ACLs count, and nothing is blocked",
        cli=True,
    )


@attrs.frozen(kw_only=True)
class ObjectsSettings:
    """The objects, under all doors."""

    user: str = option(
        "",
        parse_user_or_off,
        "NAME",
        "The user as whom commands of this machine act on a running service, by its socket file; off allows them "
        "everything, as the files of the root do",
        shown=OFF,
    )
    directory: str = option(
        "",
        parse_path,
        "DIR",
        "The directory of the objects, if not in the root",
        shown="ROOT/objects",
        cli=True,
        name="dir",
    )
    sync: str = option(
        "disk",
        one_of("disk", "os"),
        "disk|os",
        "When an object is acknowledged: disk, after it is on disk; os, as soon as the operating system has it, which "
        "a power cut may undo",
        cli=True,
    )
    hash: str = option(
        "auto",
        name_of("auto", "HighwayHash256", "BLAKE3", "CRC32C"),
        "NAME",
        "The checksum of blocks of new objects: HighwayHash256, BLAKE3 or CRC32C; auto is HighwayHash256 (BLAKE3 "
        "where storehouse was installed without its native module), or CRC32C for encrypted objects, which are "
        "authenticated anyway. Objects that exist are read by the checksum that they have",
    )
    block_size: int = option(
        MIB,
        sized(1, 64 * MIB),
        "SIZE",
        "Bytes of the blocks that new objects are checked in: the least that a read verifies",
    )
    scrub_rate: int = option(
        8 * MIB,
        or_off(sized(0)),
        "SIZE",
        "Bytes of stored objects that are verified in the background in a second; off verifies none",
        cli=True,
    )
    scrub_pause: float = option(
        86400.0,
        seconds(),
        "DURATION",
        "How long to wait from the end of one verification of all objects to the next",
    )
    upload_expiry: float = option(
        604800.0,
        or_off(seconds(allow_zero=True)),
        "DURATION",
        "How long an upload in parts that is not continued is kept; off keeps it",
    )


@attrs.frozen(kw_only=True)
class ConnectionSettings:
    """What the connections of every door may take."""

    max_connections: int = option(4096, counted(), "NUMBER", "Connections that each door serves at once")
    connections_per_address: int = option(
        0,
        or_off(counted()),
        "NUMBER",
        "Connections that one address has at once at each door, and requests in flight that proxies make for it; an "
        "IPv6 address is its first 64 bits. off sets no limit, but the last eighth of max-connections is for "
        "addresses that have few",
        shown=OFF,
    )
    idle_timeout: float = option(60.0, seconds(), "DURATION", "How long a connection may be idle before it is closed")
    head_timeout: float = option(
        20.0,
        seconds(),
        "DURATION",
        "How long the head of a request, the handshake of TLS, or a body that is small by nature, may take",
    )
    min_body_rate: int = option(
        KIB,
        or_off(sized(1)),
        "SIZE",
        "Bytes a second, over 30 seconds, that a client must send of a body while the server waits for it, and read "
        "of a response; off takes any that comes within idle-timeout",
    )
    #: Seconds that it may be silent in a body, which min-body-rate allows for.
    slow_after: float = 30.0


@attrs.frozen(kw_only=True)
class LoggingSettings:
    """Settings of the process's log; not of the append log."""

    format: str = option(
        "text",
        one_of("text", "json"),
        "text|json",
        "text, lines for people, written where twistd's --logfile says; json, one JSON object a line",
        cli=True,
    )
    level: str = option(
        "info",
        one_of("info", "debug"),
        "info|debug",
        "info; or debug, which adds a line for each bucket file that is opened",
        cli=True,
    )
    file: str = option(
        "", parse_path, "FILE", "The file to which JSON lines are added", shown="standard output", cli=True
    )


@attrs.frozen(kw_only=True)
class AuditSettings:
    """The audit of access."""

    log: str = option(
        "refusals",
        one_of("refusals", "all"),
        "refusals|all",
        "Which authorization decisions are recorded: refusals, at a bounded rate; or all. Changes of rights always are",
    )
    prefix: str = option(
        "",
        parse_text_or_off,
        "NAME",
        "The storage prefix of the append log to which decisions and changes are appended as well, a JSON object each; "
        "off writes them to the log alone",
        shown=OFF,
    )


def _parse_targets(value: object) -> tuple[tuple[str, str], ...]:
    """Destinations of events: C{NAME=TARGET}, with commas between them, or a list of them."""
    items = value if isinstance(value, list) else str(value).split(",")
    found: dict[str, str] = {}
    for item in items:
        name, equals, target = str(item).strip().partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name, re.ASCII):
            raise ValueError(
                "NAME=TARGET is needed, with a name of up to 64 letters, digits, dots, hyphens and underscores"
            )
        if name in found:
            raise ValueError(f"the name {name} is there twice")
        kind, colon, rest = target.partition(":")
        if kind in ("http", "https") and colon:
            url = urlsplit(target)
            if not url.hostname or url.username or url.fragment or not re.fullmatch("[!-~]+", target):
                raise ValueError(f"{target!r} is not a URL of the form https://HOST/PATH, without a password")
        elif not ((kind == "append" and re.fullmatch(r"[^/]+/.+", rest)) or (kind == "archive" and rest)):
            raise ValueError(
                f"{target!r} is no destination: there are https://HOST/PATH, append:PREFIX/ID and archive:STREAM"
            )
        found[name] = target
    return tuple(found.items())


def _parse_targets_or_off(value: object) -> tuple[tuple[str, str], ...]:
    return () if value is False or value == [] or str(value).strip().lower() == OFF else _parse_targets(value)


@attrs.frozen(kw_only=True)
class NotifySettings:
    """Where changes of objects are announced."""

    destinations: tuple[tuple[str, str], ...] = option(
        (),
        _parse_targets_or_off,
        "NAME=TARGET",
        "Destinations of events, with commas between: an HTTP endpoint (https://HOST/PATH), the append log "
        "(append:PREFIX/ID), or a stream (archive:STREAM). Notification configurations of buckets name them; off has none",
        shown=OFF,
        cli=True,
        name="",
    )
    secrets: str = option(
        "",
        parse_path_or_off,
        "DIR",
        "A directory with a file for each HTTP endpoint, NAME, with the secret that signs its requests; other users must "
        "not be able to read it. A credential of systemd, notify-NAME, does the same",
        shown=OFF,
        cli=True,
    )
    ca: str = option(
        "",
        parse_path_or_off,
        "FILE",
        "A PEM file of certificate authorities to trust for HTTP endpoints; off trusts those of the system",
        shown=OFF,
    )
    spool: int = option(
        256 * MIB,
        sized(MIB),
        "SIZE",
        "Bytes of events kept until delivery, dead letters included. When the spool is full, changes that have events "
        "are refused",
    )
    keep: float = option(
        3 * 86400.0,
        seconds(),
        "DURATION",
        "How long delivery of an event is retried; then it is a dead letter",
    )
    timeout: float = option(
        30.0,
        seconds(),
        "DURATION",
        "How long an HTTP endpoint may make no progress; a request takes at most twice that",
    )
    concurrency: int = option(8, counted(1, 256), "NUMBER", "Events on their way to a destination at once")


@attrs.frozen
class MemoryShares:
    """
    How C{memory} is divided. In bytes.

    @ivar requests: of requests, and of responses that are not read yet: a half.
    @ivar objects: of objects on their way to the disk and from it: a quarter.
    @ivar uploads: of uploads before they are written: an eighth.
    @ivar chunks: of chunks that were received whole and are being stored: a sixteenth.
    @ivar records: of records of all streams that wait to be written: a sixteenth.
    """

    requests: int
    objects: int
    uploads: int
    chunks: int
    records: int

    @classmethod
    def of(cls, memory: int) -> MemoryShares:
        """Divide so many bytes."""
        return cls(memory // 2, memory // 4, memory // 8, memory // 16, memory // 16)


@attrs.frozen(kw_only=True)
class Settings:
    """All settings, checked: what is no door's, and a class for each door."""

    root: str = option(
        "storehouse-data",
        parse_path,
        "DIR",
        "The directory in which everything is kept; created if it is missing",
        shown="./storehouse-data",
        cli=True,
    )
    admin: str = option(
        "tcp:8002:interface=127.0.0.1",
        parse_text,
        "ENDPOINT",
        "Where health, readiness, metrics and version are served, a Twisted endpoint; off opens no such door",
        cli=True,
    )
    append: AppendSettings = attrs.field(factory=AppendSettings, metadata=prefix("append"))
    archive: ArchiveSettings = attrs.field(factory=ArchiveSettings, metadata=prefix("archive"))
    sfsp: SFSPSettings = attrs.field(factory=SFSPSettings, metadata=prefix("sfsp"))
    https: HTTPSSettings = attrs.field(factory=HTTPSSettings, metadata=prefix("https"))
    s3: S3Settings = attrs.field(factory=S3Settings, metadata=prefix("s3"))
    objects: ObjectsSettings = attrs.field(factory=ObjectsSettings, metadata=prefix("objects"))
    memory: int = option(
        512 * MIB,
        sized(16 * MIB),
        "SIZE",
        "Bytes that all doors together hold in memory: a half is for requests and responses, a quarter for objects on "
        "their way to and from the disk, an eighth for uploads, a sixteenth each for SFSP chunks and for records of "
        "archives",
        cli=True,
        old_names=("upload-memory", "objects-memory", "sfsp-memory", "archive-memory"),
    )
    master_key_file: str = option(
        "",
        parse_path_or_off,
        "FILE",
        "A file with the master key, by which all objects are encrypted; the environment variable masterkey does the "
        "same. off encrypts nothing",
        shown=OFF,
        cli=True,
    )
    seal_names: bool = option(
        False,
        parse_flag,
        "on|off",
        "With a master key, encrypt the names of objects and their metadata, too. It cannot be changed once an object "
        "is stored",
        cli=True,
    )
    allow_anonymous: bool = option(
        False,
        parse_flag,
        "on|off",
        "Let doors without authentication listen on addresses that other machines can reach: everyone who reaches "
        "them can read, add and remove records",
        cli=True,
    )
    allowed_host: frozenset[str] = option(
        frozenset(),
        parse_hosts,
        "NAMES",
        "Names, with commas between, by which requests over loopback may call this server, beside localhost, IP "
        "addresses and the names of its certificate: those that a proxy on this machine passes on. *.NAME is all "
        "names below one; off adds none",
        shown=OFF,
        cli=True,
    )
    trusted_proxies: str = option(
        "",
        _parse_proxies,
        "ADDRESSES",
        "Addresses and networks, with commas between, of proxies that are believed about the clients whose "
        "connections (the PROXY protocol) and requests (X-Forwarded-For, Forwarded) they pass on; unix for those that "
        "connect to a socket file. off believes none",
        shown=OFF,
        cli=True,
    )
    connections: ConnectionSettings = attrs.field(factory=ConnectionSettings, metadata=prefix(""))
    shutdown_timeout: float = option(
        30.0,
        seconds(allow_zero=True),
        "DURATION",
        "How long requests in flight may take to finish when the process stops",
    )
    fast_lane: bool = option(
        True,
        parse_flag,
        "on|off",
        "Short requests take a shorter way through the server; off sends all of them the full way",
    )
    log: LoggingSettings = attrs.field(factory=LoggingSettings, metadata=prefix("log"))
    audit: AuditSettings = attrs.field(factory=AuditSettings, metadata=prefix("audit"))
    notify: NotifySettings = attrs.field(factory=NotifySettings, metadata=prefix("notify"))
    access_log: bool = option(
        False,
        parse_flag,
        "on|off",
        "Log a line for each request, which costs more than a small append",
        cli=True,
    )
    #: The tables of the configuration file.
    tables: Tables = attrs.field(factory=Tables)

    @property
    def shares(self) -> MemoryShares:
        """How the memory is divided."""
        return MemoryShares.of(self.memory)

    @property
    def proxies(self) -> TrustedProxies:
        """The proxies that are believed about their clients."""
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
    def events_path(self) -> str:
        """The spool of events."""
        return os.path.join(self.root, "events", "spool.db")

    @property
    def append_directory(self) -> str:
        """The directory of the append log: C{append-dir}, or C{append} in the root."""
        return self.append.directory or os.path.join(self.root, "append")

    @property
    def objects_directory(self) -> str:
        """The directory of the objects: C{objects-dir}, or C{objects} in the root."""
        return self.objects.directory or os.path.join(self.root, "objects")

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
        """The certificate authorities of each door that lets only their clients connect, by the name of its option."""
        return {"sfsp": self.sfsp.client_ca} if self.sfsp.client_ca else {}

    @property
    def tls_directory(self) -> str:
        """Where the certificate of https is kept that is made if none is given."""
        return os.path.join(self.root, "tls")

    @property
    def asking_doors(self) -> frozenset[str]:
        """The doors with authentication, by the names of their options: others may reach these."""
        return frozenset({"https", "s3", *self.client_cas})

    @property
    def doors(self) -> dict[str, str]:
        """The endpoint of each door that is to be opened, by the name of its option."""
        return {
            name: endpoint
            for name, endpoint in (
                ("append", self.append.endpoint),
                ("archive", self.archive.endpoint if self.tables.streams else OFF),
                ("sfsp", self.sfsp.endpoint),
                ("https", self.https.endpoint),
                ("s3", self.s3.endpoint or S3Settings.DEFAULT),
                ("admin", self.admin),
            )
            if endpoint != OFF
        }
