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

from storehouse.core.keys.masterkey import is_private
from storehouse.core.names import MAX_PREFIX, check_prefix
from storehouse.core.values import one_of, parse_flag, parse_path, parse_text, parse_whole, seconds, sized
from storehouse.errors import InvalidName, InvalidSetting

__all__ = ["Destination", "Stream", "Tables", "read_tables"]

_Parse = Callable[[Any], Any]


@attrs.frozen(kw_only=True)
class Stream:
    """
    A table C{[archive.streams.NAME]}.

    @ivar roll: checkers, each with its name as C{class} and arguments beside it.
    @ivar callbacks: likewise.
    @ivar directory: as it was written; empty for the one in the root.
    @ivar ship: the name of a destination; empty for none.
    """

    name: str
    template: str = "%Y-%m-%dT%H_%M_%SZ.events"
    directory: str = ""
    roll: tuple[Mapping[str, Any], ...] = (
        {"class": "size", "roll_size_mb": 100},
        {"class": "time", "roll_minutes": 60},
    )
    callbacks: tuple[Mapping[str, Any], ...] = ()
    compression: str | None = None
    level: int | None = None
    sync: str = "record"
    ship: str = ""
    keep_local: bool = True


@attrs.frozen(kw_only=True)
class Destination:
    """
    A table C{[destinations.NAME]}.

    @ivar kind: C{store}, C{s3} or C{swift}.
    @ivar values: its settings by name, secrets included.
    @ivar connecting: those of the connection.
    @ivar shipping: how files are shipped there.
    """

    name: str
    kind: str
    values: Mapping[str, Any] = attrs.field(repr=False)
    connecting: Mapping[str, Any] = attrs.Factory(dict)
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


# -- values ------------------------------------------------------------------------------------------------------------


def _parts(member: str) -> _Parse:
    """A list of tables, each with a name and arguments."""

    def parse(value: Any) -> tuple[Mapping[str, Any], ...]:
        if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
            raise ValueError(f'it must be a list of tables such as {{{member} = "NAME", ...}}')
        made = []
        for part in value:
            if not isinstance(part.get(member), str) or "class" in part:
                raise ValueError(f"{part!r} must have a {member}, the name of one")
            made.append({"class": part[member], **{key: what for key, what in part.items() if key != member}})
        return tuple(made)

    return parse


def _some_parts(member: str) -> _Parse:
    parse = _parts(member)

    def parse_some(value: Any) -> tuple[Mapping[str, Any], ...]:
        made: tuple[Mapping[str, Any], ...] = parse(value)
        if not made:
            raise ValueError("one is needed at least")
        return made

    return parse_some


def _compression(value: Any) -> str | None:
    word = one_of("none", "zstd")(value)
    return None if word == "none" else word


def _optional_text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("a text is needed")
    return value


_STREAM: dict[str, _Parse] = {
    "template": parse_text,
    "directory": parse_path,
    "roll": _some_parts("checker"),
    "callbacks": _parts("callback"),
    "compression": _compression,
    "level": parse_whole,
    "sync": one_of("record", "os"),
    "ship": parse_text,
    "keep_local": parse_flag,
}

_CONNECTING: dict[str, _Parse] = {
    "timeout": seconds(),
    "connect_timeout": seconds(),
    "tries": parse_whole,
    "pause": seconds(),
    "ca_file": parse_path,
}

_SHIPPING: dict[str, _Parse] = {
    "compression": one_of("none", "gzip", "zstd"),
    "level": parse_whole,
    "verify": one_of("read", "tag"),
    "concurrency": parse_whole,
    "attempts": parse_whole,
    "pause": seconds(),
    "longest_pause": seconds(),
}

_KINDS: dict[str, dict[str, _Parse]] = {
    "store": {"bucket": parse_text},
    "s3": {
        "endpoint": parse_text,
        "bucket": parse_text,
        "region": parse_text,
        "access_key": parse_text,
        "create": parse_flag,
        "threshold": sized(),
        "part_size": sized(),
    },
    "swift": {
        "auth_url": parse_text,
        "user": parse_text,
        "auth": one_of("v1", "v3"),
        "project": _optional_text,
        "user_domain": parse_text,
        "project_domain": parse_text,
        "region": _optional_text,
        "interface": one_of("public", "internal", "admin"),
        "storage_url": parse_text,
        "container": parse_text,
        "create": parse_flag,
        "threshold": sized(),
        "segment_size": sized(),
    },
}

#: What is secret, and whether it is needed.
_SECRETS = {"store": {}, "s3": {"secret_key": True, "session_token": False}, "swift": {"password": True}}

_NEEDED = {"store": (), "s3": ("endpoint", "access_key"), "swift": ("auth_url", "user")}


# -- tables ------------------------------------------------------------------------------------------------------------


def _values(where: str, table: Any, known: Mapping[str, _Parse]) -> dict[str, Any]:
    """The values of a table, parsed."""
    if not isinstance(table, dict):
        raise InvalidSetting(f"{where} must be a table")
    values = {}
    for key, value in table.items():
        if key not in known:
            raise InvalidSetting(
                f"{where} has {key!r}, which is not the name of a setting; there are: {', '.join(known)}"
            )
        try:
            values[key] = known[key](value)
        except ValueError as reason:
            raise InvalidSetting(f"{key} in {where} cannot be {value!r}: {reason}") from None
    return values


def _name(where: str, name: str) -> str:
    """A name becomes one component of a path."""
    try:
        if not name:
            raise InvalidName("it is empty")
        return check_prefix(name.encode("utf-8", "surrogatepass"))
    except InvalidName as reason:
        raise InvalidSetting(
            f"{where} cannot be named {name!r}: a name is one safe component of a path, of {MAX_PREFIX} bytes at most ({reason})"
        ) from None


def _stream(name: str, table: Any, file: str) -> Stream:
    where = f"[archive.streams.{name}] in {file}"
    return Stream(name=_name(where, name), **_values(where, table, _STREAM))


def _destination(name: str, table: Any, file: str) -> Destination:
    where = f"[destinations.{name}] in {file}"
    _name(where, name)
    if not isinstance(table, dict):
        raise InvalidSetting(f"{where} must be a table")
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InvalidSetting(f"kind in {where} cannot be {kind!r}: it must be {' or '.join(_KINDS)}")
    rest = {key: value for key, value in table.items() if key not in ("kind", "shipping")}
    secrets = {}
    for key, needed in _SECRETS[kind].items():
        secret = _secret(where, rest, key)
        if secret is not None:
            secrets[key] = secret
        elif needed:
            raise InvalidSetting(f"{where} lacks the secret: say {key}_file = PATH or {key}_env = VARIABLE")
    connecting = {} if kind == "store" else _CONNECTING
    values = _values(where, rest, {**_KINDS[kind], **connecting})
    for key in _NEEDED[kind]:
        if key not in values:
            raise InvalidSetting(f"{where} lacks {key}")
    return Destination(
        name=name,
        kind=kind,
        values={**{key: value for key, value in values.items() if key not in connecting}, **secrets},
        connecting={key: value for key, value in values.items() if key in connecting},
        shipping=_values(f"[destinations.{name}.shipping] in {file}", table.get("shipping", {}), _SHIPPING),
    )


def _secret(where: str, table: dict[str, Any], key: str) -> str | None:
    """What is secret comes from a file that nobody else can read, or from the environment; taken out of the table."""
    if key in table:
        raise InvalidSetting(
            f"{key} must not stand in {where}, where others may read it: say {key}_file = PATH or {key}_env = VARIABLE"
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


def read_tables(archive: Any, destinations: Any, file: str) -> Tables:
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
        raise InvalidSetting(f"[archive] in {file} has {key!r}, which is not known; there are: endpoint, streams")
    if not isinstance(streams, dict) or not isinstance(destinations, dict):
        raise InvalidSetting(f"[archive.streams] and [destinations] in {file} must be tables of tables")
    made = Tables(
        tuple(_stream(name, table, file) for name, table in streams.items()),
        tuple(_destination(name, table, file) for name, table in destinations.items()),
        endpoint,
    )
    known = {destination.name for destination in made.destinations}
    for stream in made.streams:
        if stream.ship and stream.ship not in known:
            raise InvalidSetting(
                f"ship in [archive.streams.{stream.name}] in {file} cannot be {stream.ship!r}: there is no [destinations.{stream.ship}]"
            )
    return made
