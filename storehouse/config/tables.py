"""
The tables of the configuration file: streams of archives, and destinations.

What stands in C{[archive.streams.NAME]} and C{[destinations.NAME]} is checked here as far as it can be without knowing who
uses it; L{storehouse.config} reads the file, and has the settings that have a name of their own on the command line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from storehouse.config.option import did_you_mean, option, options_of
from storehouse.config.shipping import KINDS, Connecting, DestinationSettings, ShipperSettings
from storehouse.core.keys.masterkey import is_private
from storehouse.core.names import MAX_PREFIX, check_prefix
from storehouse.core.values import one_of, parse_flag, parse_path, parse_text, parse_whole
from storehouse.errors import InvalidName, InvalidSetting

__all__ = ["Destination", "Stream", "Tables", "read_tables"]

_Parse = Callable[[Any], Any]


# -- values ------------------------------------------------------------------------------------------------------------


def _parts(member: str) -> _Parse:
    """A list of tables, each with a name and arguments."""

    def parse(value: object) -> tuple[Mapping[str, Any], ...]:
        if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
            raise ValueError(f'it must be a list of tables such as {{{member} = "NAME", ...}}')
        parts = []
        for part in value:
            if not isinstance(part.get(member), str) or "class" in part:
                raise ValueError(f"{part!r} must have a {member}, the name of one")
            parts.append({"class": part[member], **{key: what for key, what in part.items() if key != member}})
        return tuple(parts)

    return parse


def _some_parts(member: str) -> _Parse:
    parse = _parts(member)

    def parse_some(value: object) -> tuple[Mapping[str, Any], ...]:
        parts: tuple[Mapping[str, Any], ...] = parse(value)
        if not parts:
            raise ValueError("one is needed at least")
        return parts

    return parse_some


def _compression(value: object) -> str | None:
    word = one_of("none", "zstd")(value)
    return None if word == "none" else word


@attrs.frozen(kw_only=True)
class Stream:
    """A table C{[archive.streams.NAME]}."""

    name: str
    template: str = option(
        "%Y-%m-%dT%H_%M_%SZ.events", parse_text, "TEXT", "Names of archives, as strftime takes it, in UTC"
    )
    directory: str = option(
        "", parse_path, "DIR", "Where the archives are; of this stream only", shown="ROOT/archives/NAME"
    )
    roll: tuple[Mapping[str, Any], ...] = option(
        ({"class": "size", "roll_size_mb": 100}, {"class": "time", "roll_minutes": 60}),
        _some_parts("checker"),
        "TABLES",
        "Roll checkers; any of them can start the next archive: size (roll_size_mb), time (roll_minutes), records "
        "(roll_records), never, or a class of yours by its dotted path or entry point",
        shown="100 MiB or an hour",
    )
    callbacks: tuple[Mapping[str, Any], ...] = option(
        (),
        _parts("callback"),
        "TABLES",
        "What happens to a closed archive, in order: compress (method: gzip or zstd, level), extension "
        "(new_extension), move (destination_folder), delete, or a class of yours. They run in disk threads, one after "
        "another; writers do not wait for them. One of them may compress; what is compressed already, by its first "
        "bytes, is left as it is",
        shown="none",
    )
    compression: str | None = option(
        None,
        _compression,
        "none|zstd",
        "zstd: blocks within archives are compressed. Records that are written together are one block, so this pays "
        "for batches",
        shown="none",
    )
    level: int | None = option(None, parse_whole, "NUMBER", "The level of the compression", shown="3 for zstd")
    sync: str = option(
        "record",
        one_of("record", "os"),
        "record|os",
        "record: records are acknowledged when they are on disk. os: when the operating system has them, which a "
        "power cut may undo",
    )
    ship: str = option(
        "",
        parse_text,
        "DESTINATION",
        "The destination to which closed archives are shipped after their callbacks",
        shown="none",
    )
    keep_local: bool = option(True, parse_flag, "on|off", "Whether local files stay then; only with ship")


@attrs.frozen(kw_only=True)
class Destination:
    """
    A table C{[destinations.NAME]}.

    @ivar kind: C{store}, C{s3} or C{swift}.
    @ivar settings: where to ship, and how that server is connected to.
    @ivar shipping: values for L{ShipperSettings}, by their names: what C{shipping} in the table says.
    """

    name: str
    kind: str
    settings: DestinationSettings
    shipping: Mapping[str, Any] = attrs.Factory(dict)


@attrs.frozen
class Tables:
    """
    All tables of a file.

    @ivar endpoint: what C{[archive]} says of the door; C{None} for nothing.
    """

    streams: tuple[Stream, ...] = ()
    destinations: tuple[Destination, ...] = ()
    endpoint: Any = None


# -- tables ------------------------------------------------------------------------------------------------------------


def _values(where: str, table: Any, *kinds: type[Any]) -> dict[str, Any]:
    """The values of a table, parsed, of the settings that these classes declare; secrets are not among them."""
    if not isinstance(table, dict):
        raise InvalidSetting(f"{where} must be a table")
    known = {each.path[-1]: each for kind in kinds for each in options_of(kind) if not each.is_secret}
    values = {}
    for key, value in table.items():
        if key not in known:
            near = did_you_mean(key, known) or f"; there are: {', '.join(known)}"
            raise InvalidSetting(f"{where} has an unknown setting {key!r}{near}")
        try:
            values[key] = known[key].parse(value)
        except ValueError as reason:
            raise InvalidSetting(f"{key} in {where} cannot be {value!r}: {reason}") from None
    for key, each in known.items():
        if each.is_needed and key not in values:
            raise InvalidSetting(f"{where} lacks {key}")
    return values


def _name(where: str, name: str) -> str:
    """A name becomes one component of a path."""
    try:
        if not name:
            raise InvalidName("it is empty")
        return check_prefix(name.encode("utf-8", "surrogatepass"))
    except InvalidName as reason:
        raise InvalidSetting(
            f"{where} cannot be named {name!r}: a name is one safe component of a path, of {MAX_PREFIX} bytes at most "
            f"({reason})"
        ) from None


def _stream(name: str, table: Any, file: str) -> Stream:
    where = f"[archive.streams.{name}] in {file}"
    return Stream(name=_name(where, name), **_values(where, table, Stream))


def _destination(name: str, table: Any, file: str) -> Destination:
    where = f"[destinations.{name}] in {file}"
    _name(where, name)
    if not isinstance(table, dict):
        raise InvalidSetting(f"{where} must be a table")
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidSetting(f"kind in {where} cannot be {kind!r}: it must be {' or '.join(KINDS)}")
    settings: type[Any] = KINDS[kind]
    rest = {key: value for key, value in table.items() if key not in ("kind", "shipping")}
    secrets: dict[str, Any] = {}
    for each in options_of(settings):
        if each.is_secret:
            key = each.path[-1]
            secret = _secret(where, rest, key)
            if secret is not None:
                secrets[key] = secret
            elif each.is_needed:
                raise InvalidSetting(f"{where} lacks the secret: set {key}_file = PATH or {key}_env = VARIABLE")
    own = {each.path[-1] for each in options_of(settings)}
    if kind == "store":
        values = _values(where, rest, settings)
    else:
        values = _values(where, rest, settings, Connecting)
        values["connecting"] = Connecting(**{key: values.pop(key) for key in list(values) if key not in own})
    shipping = _values(f"[destinations.{name}.shipping] in {file}", table.get("shipping", {}), ShipperSettings)
    try:
        return Destination(name=name, kind=kind, settings=settings(**values, **secrets), shipping=shipping)
    except InvalidSetting as error:
        raise InvalidSetting(f"{where}: {error.detail}") from None


def _secret(where: str, table: dict[str, Any], key: str) -> str | None:
    """What is secret comes from a file that nobody else can read, or from the environment; taken out of the table."""
    if key in table:
        raise InvalidSetting(
            f"{key} must not be in {where}, which others may read: set {key}_file = PATH or {key}_env = VARIABLE"
        )
    path, variable = table.pop(f"{key}_file", None), table.pop(f"{key}_env", None)
    if path is not None and variable is not None:
        raise InvalidSetting(f"{where} has both {key}_file and {key}_env")
    if variable is not None:
        secret = os.environ.get(variable) if isinstance(variable, str) else None
        if not secret:
            raise InvalidSetting(
                f"{key}_env in {where} cannot be {variable!r}: there is no such variable in the environment"
            )
        return secret
    return None if path is None else _read_secret(f"{key}_file in {where} cannot be {path!r}", path)


def _read_secret(what: str, path: Any) -> str:
    try:
        with open(parse_path(path), encoding="utf-8") as file:
            if not is_private(file.fileno(), file.name):
                raise InvalidSetting(f"{what}: others can read it; chmod 600 it first")
            secret = file.read(65536).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{what}: {getattr(error, 'strerror', None) or error}") from None
    except ValueError as error:
        raise InvalidSetting(f"{what}: {error}") from None
    if not secret:
        raise InvalidSetting(f"{what}: it is empty")
    return secret


def read_tables(archive: Mapping[str, object], destinations: object, file: str) -> Tables:
    """
    Check the tables of a file.

    @param archive: the table C{archive}; empty if there is none.
    @param destinations: likewise.
    @raise InvalidSetting: naming the table, the key and the value that cannot be used.
    """
    rest = dict(archive)
    streams = rest.pop("streams", {})
    endpoint = rest.pop("endpoint", None)
    for key in rest:
        raise InvalidSetting(
            f"[archive] in {file} has an unknown setting {key!r}; known are: endpoint, streams"
            " (settings such as archive-max-record stand before all tables)"
        )
    if not isinstance(streams, dict) or not isinstance(destinations, dict):
        raise InvalidSetting(f"[archive.streams] and [destinations] in {file} must be tables of tables")
    tables = Tables(
        tuple(_stream(name, table, file) for name, table in streams.items()),
        tuple(_destination(name, table, file) for name, table in destinations.items()),
        endpoint,
    )
    known = {destination.name for destination in tables.destinations}
    for stream in tables.streams:
        if stream.ship and stream.ship not in known:
            raise InvalidSetting(
                f"ship in [archive.streams.{stream.name}] in {file} cannot be {stream.ship!r}: there is no "
                f"[destinations.{stream.ship}]"
            )
    return tables
