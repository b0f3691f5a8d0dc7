"""
The settings of a storehouse: their names, what they mean, how their values are written, and L{Settings},
which holds them.

A setting has one name everywhere: C{append-sync} is C{--append-sync} on the command line, C{append-sync =
"os"} in the configuration file and L{Settings.append_sync} in code.  The command line wins over the file, the
file over the default.  What there may be any number of has tables in the file: L{storehouse.config.tables}.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from typing import Any

import attrs

from storehouse.config.option import Option
from storehouse.config.settings import Settings
from storehouse.config.tables import Tables, read_tables
from storehouse.core.values import OFF
from storehouse.errors import InvalidSetting

__all__ = ["OFF", "Option", "Settings", "load_settings", "options", "read_file"]


def options() -> list[Option]:
    """All settings, in the order in which a user should meet them."""
    fields: list[Any] = sorted(attrs.fields(Settings), key=lambda field: bool(field.inherited))
    return [
        Option(field.name.replace("_", "-"), field.metadata["help"], field.metadata["flag"], field.metadata["parse"])
        for field in fields
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
    if settings.https_key and not settings.https_cert:
        raise InvalidSetting("https-key needs https-cert, the certificate that it is the key of")
    if settings.https_cert and settings.https.startswith("ssl:"):
        raise InvalidSetting(
            f"https-cert is for an endpoint without a certificate, such as tcp:6445; https is {settings.https!r}"
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
            raise InvalidSetting("append, archive, sfsp, https and admin are all 'off': there is no door to open")
        raise InvalidSetting(
            "append, sfsp, https and admin are all 'off', and archive is a door only with streams: there is no door to open"
        )
