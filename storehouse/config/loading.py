"""From what was written, in a file and on the command line, to L{Settings}."""

from __future__ import annotations

import functools
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from storehouse.config.option import Option, did_you_mean, options_of, parts_of
from storehouse.config.settings import Settings
from storehouse.config.tables import Tables, read_tables
from storehouse.core.values import OFF, write_size
from storehouse.errors import InvalidSetting

__all__ = ["Loaded", "Origin", "find_problems", "load", "load_settings", "options", "unknown_option"]

#: Tables of the file, beside C{archive}, which is the name of a setting as well.
_TABLES = ("destinations",)

_table_line = re.compile(r"\s*\[\[?\s*([^\[\]#]+?)\s*\]")
_key_line = re.compile(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*=")


@functools.cache
def options() -> tuple[Option, ...]:
    """All settings, in the order in which a user should meet them."""
    return tuple(options_of(Settings))


@attrs.frozen
class Origin:
    """
    Where the value of a setting came from.

    @ivar source: C{default}, C{file} or C{command line}.
    @ivar file: its path, for C{file}.
    @ivar line: the number of its line there; 0 if that is not known.
    @ivar table: the table that it is in; empty for none.
    """

    source: str = "default"
    file: str = ""
    line: int = 0
    table: str = ""

    def __str__(self) -> str:
        if not self.file:
            return self.source
        return self.file + (f":{self.line}" if self.line else "") + (f" [{self.table}]" if self.table else "")


@attrs.frozen
class Loaded:
    """
    Settings, and where they came from.

    @ivar origins: of those that do not have their default, by name.
    """

    settings: Settings
    origins: Mapping[str, Origin]


def load_settings(command_line: Mapping[str, object], file: str | None = None) -> Settings:
    """
    Put settings together. The command line wins over the file, the file over the defaults.

    @param command_line: the values that were given there, by the names of settings; those not given are absent.
    @param file: the path of a configuration file.
    @raise InvalidSetting: naming the first setting whose value cannot be used, and where it was written.
    """
    return load(command_line, file).settings


def load(command_line: Mapping[str, object], file: str | None = None) -> Loaded:
    """As L{load_settings}, with the origins."""
    loaded, problems = _load(command_line, file)
    if loaded is None:
        raise InvalidSetting(problems[0])
    return loaded


def find_problems(command_line: Mapping[str, object], file: str | None = None) -> list[str]:
    """Everything for which L{load_settings} would refuse these, a line each."""
    return _load(command_line, file)[1]


def unknown_option(name: str) -> str:
    """What to say about a name that the command line does not take."""
    known = {option.name: option for option in options()}
    if name in known:
        return f"--{name} is not an option: set {name} in the configuration file, which --config names"
    new = next((option for option in options() if name in option.old_names), None)
    if new is None:
        names = [f"--{option.name}" for option in options() if option.on_command_line]
        return f"--{name} is not an option" + did_you_mean(f"--{name}", ["--config", *names])
    share = "a share of " if len(new.old_names) > 1 else ""
    if new.on_command_line:
        return f"--{name} is now {share}--{new.name}"
    return f"--{name} is now {share}{new.name}, and is set in the configuration file, which --config names"


def _unknown_setting(name: str, where: str) -> str:
    new = next((option for option in options() if name in option.old_names), None)
    if new is None:
        near = did_you_mean(name, [*(option.name for option in options()), *_TABLES])
        return f"{name!r}{where} is not the name of a setting" + near
    return f"{name}{where} is now {'a share of ' if len(new.old_names) > 1 else ''}{new.name}"


def _load(command_line: Mapping[str, object], file: str | None) -> tuple[Loaded | None, list[str]]:
    """The settings, and all problems: exactly one of the two is there."""
    problems: list[str] = []
    written: dict[str, tuple[Any, Origin]] = {}
    tables = Tables()
    if file:
        try:
            values, lines = _read_file(os.path.expanduser(file))
        except InvalidSetting as error:
            return None, [error.detail]
        try:
            tables = _take_tables(values, file)
        except InvalidSetting as error:
            problems.append(error.detail)
        for name, value in values.items():
            if name == "archive" and tables.endpoint is not None:
                written[name] = value, Origin("file", file, lines.get(("archive", "endpoint"), 0), "archive")
            else:
                written[name] = value, Origin("file", file, lines.get(("", name), 0))
    written.update({name: (value, Origin("command line")) for name, value in command_line.items()})
    parsed: dict[tuple[str, ...], Any] = {}
    origins: dict[str, Origin] = {}
    for option in options():
        if option.name not in written:
            continue
        value, origins[option.name] = written.pop(option.name)
        where = f" in {origins[option.name]}" if origins[option.name].file else ""
        try:
            if isinstance(value, dict):
                raise ValueError(f"it is not a table: its settings have whole names, such as {_example(option.name)}")
            parsed[option.path] = option.parse(value)
        except ValueError as reason:
            problems.append(f"{option.name}{where} cannot be {value!r}: {reason}")
    for name, (_, origin) in written.items():
        problems.append(_unknown_setting(name, f" in {origin}" if origin.file else ""))
    if problems:
        return None, problems
    settings = attrs.evolve(_build(Settings, parsed), tables=tables)
    problems = list(_contradictions(settings))
    return (None, problems) if problems else (Loaded(settings, origins), [])


def _example(name: str) -> str:
    return next((option.name for option in options() if option.name.startswith(f"{name}-")), name)


def _build(kind: type[Any], parsed: Mapping[tuple[str, ...], Any], path: tuple[str, ...] = ()) -> Any:
    """Make an object of a class of settings from the values at their paths."""
    values, parts = {}, parts_of(kind)
    for field in attrs.fields(kind):
        at = (*path, field.name)
        if field.name in parts:
            values[field.name] = _build(parts[field.name], parsed, at)
        elif at in parsed:
            values[field.name] = parsed[at]
    return kind(**values)


def _read_file(path: str) -> tuple[dict[str, Any], dict[tuple[str, str], int]]:
    """
    Read a configuration file.

    @return: the values by name, and the numbers of lines by table and name.
    @raise InvalidSetting: if it cannot be read, or is not TOML.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        values = tomllib.loads(text)
    except OSError as error:
        raise InvalidSetting(f"the configuration file {path} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"the configuration file {path} is not TOML: {error}") from None
    # tomllib does not say where a value stands. A line within a text of several lines may be taken for one that sets
    # something: then the number is wrong, and nothing else.
    lines: dict[tuple[str, str], int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        if found := _table_line.match(line):
            table = found[1]
            lines.setdefault(("", table.partition(".")[0]), number)
        elif found := _key_line.match(line):
            lines.setdefault((table, found[1]), number)
    return values, lines


def _take_tables(values: dict[str, Any], file: str) -> Tables:
    """Take the tables out of what a file has. C{archive} is either the setting or the table, since TOML has it once."""
    archive = values.pop("archive") if isinstance(values.get("archive"), dict) else {}
    tables = read_tables(archive, values.pop("destinations", {}), file)
    if tables.endpoint is not None:
        values["archive"] = tables.endpoint
    return tables


def _contradictions(settings: Settings) -> Iterator[str]:
    """What does not fit together."""
    for name, size in (
        ("append-max-record", settings.append.max_record),
        ("append-max-batch", settings.append.max_batch),
        ("archive-max-record", settings.archive.max_record),
        ("archive-max-batch", settings.archive.max_batch),
    ):
        if settings.shares.requests < size:
            yield f"memory cannot be {write_size(settings.memory)}: a body of {name} ({write_size(size)}) must fit into its half for requests"
    if settings.sfsp.client_ca and not settings.sfsp.endpoint.startswith("ssl:"):
        yield f"sfsp-client-ca needs an ssl: endpoint, since only TLS has certificates; sfsp is {settings.sfsp.endpoint!r}"
    if settings.https.key and not settings.https.cert:
        yield "https-key needs https-cert, the certificate that it is the key of"
    if settings.https.cert and settings.https.endpoint.startswith("ssl:"):
        yield f"https-cert is for an endpoint without a certificate, such as tcp:6445; https is {settings.https.endpoint!r}"
    if settings.s3.tls and settings.s3.endpoint.startswith("ssl:"):
        yield f"s3-tls is for an endpoint without a certificate, such as tcp:9000; s3 is {settings.s3.endpoint!r}"
    ship = settings.append.ship
    if ship not in {OFF, *(each.name for each in settings.tables.destinations)}:
        yield f"append-ship cannot be {ship!r}: the configuration file has no [destinations.{ship}]"
    if settings.log.file and settings.log.format != "json":
        yield f"log-file cannot be {settings.log.file!r} while log-format is text: set log-format to json, or use twistd's --logfile"
    if not settings.doors:
        if settings.tables.streams:
            yield "append, archive, sfsp, https, s3 and admin are all 'off': there is no door to open"
        else:
            yield "append, sfsp, https, s3 and admin are all 'off', and archive needs streams: there is no door to open"
