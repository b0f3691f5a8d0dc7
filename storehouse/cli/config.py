"""C{storehouse config}: which settings are in force, and whether a start would take them."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import attrs
import click

from storehouse.cli.errors import one_line
from storehouse.cli.output import Output
from storehouse.config import Loaded, Option, Settings, find_problems, load, options, unknown_option
from storehouse.core.keys.masterkey import VARIABLE
from storehouse.errors import InvalidSetting

__all__ = ["command"]

T = TypeVar("T")


@click.group("config")
def command() -> None:
    """
    The settings of `twistd storehouse`: give the same options and the same --config as there.

    \b
    Examples:
      storehouse config show --config /etc/storehouse.toml
      storehouse config check --config /etc/storehouse.toml && systemctl restart storehouse
    """


class _Command(click.Command):
    """Says of an unknown option what twistd says of it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the arguments."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(unknown_option(error.option_name.lstrip("-")), ctx) from None


def _settings_options(function: Callable[..., T]) -> Callable[..., T]:
    """Add the options of twistd; the function gets those that were given, by name, as C{given}, and C{config}."""

    @functools.wraps(function)
    def wrapper(*args: object, config: str | None, **kwargs: object) -> T:
        given = {}
        for option in options():
            value = kwargs.pop(option.name.replace("-", "_"), None)
            if value is not None:
                given[option.name] = value
        return function(*args, given=given, config=config, **kwargs)

    decorated: Callable[..., T] = wrapper
    for option in reversed(options()):
        if option.on_command_line and option.is_flag:
            decorated = click.option(
                f"--{option.name}", flag_value=True, is_flag=True, default=None, help=f"{option.help}."
            )(decorated)
        elif option.on_command_line:
            text = f"{option.help}.  [default: {option.shown}]"
            decorated = click.option(f"--{option.name}", metavar=option.kind, help=text)(decorated)
    return click.option("--config", "-c", metavar="FILE", help="The configuration file.")(decorated)


@command.command("show", cls=_Command, short_help="Print all settings and their sources.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: sizes in bytes, times in seconds.")
@_settings_options
def show(given: dict[str, object], config: str | None, as_json: bool) -> None:
    """
    Print the value of each setting, and where it came from: default, command line, environment, or the file and line.
    The master key itself is never printed.

    \b
    Examples:
      storehouse config show
      storehouse config show --config storehouse.toml --append-sync os
      storehouse config show --json | jq -r '."append-dir".value'
    """
    try:
        loaded = load(given, config)
    except InvalidSetting as error:
        raise click.UsageError(one_line(error.detail)) from None
    with Output() as output:
        text = json.dumps(_described(loaded), indent=2) if as_json else "\n".join(_table(loaded))
        output.write(f"{text}\n".encode("utf-8", "backslashreplace"))


def _effective(option: Option, settings: Settings) -> Any:
    """The value in force: a directory that is not set is one in the root."""
    directories = {"append-dir": settings.append_directory, "objects-dir": settings.objects_directory}
    return directories.get(option.name) or option.value_in(settings)


def _origin(option: Option, loaded: Loaded) -> str:
    if option.name == "master-key-file" and VARIABLE in os.environ:
        return f"environment: {VARIABLE}"
    return str(loaded.origins.get(option.name, "default"))


def _table(loaded: Loaded) -> Iterator[str]:
    settings = loaded.settings
    rows = []
    for option in options():
        origin = _origin(option, loaded)
        value = "set" if origin.startswith("environment") else option.text(_effective(option, settings))
        rows.append((option.name, one_line(value), one_line(origin)))
    first, second = (max(len(row[at]) for row in rows) for at in (0, 1))
    second = min(second, 40)
    for name, value, origin in rows:
        yield f"{name:{first}}  {value:{second}}  {origin}"
    for stream in settings.tables.streams:
        yield one_line(f"[archive.streams.{stream.name}]")
    for destination in settings.tables.destinations:
        yield one_line(f"[destinations.{destination.name}] kind {destination.kind}")


def _described(loaded: Loaded) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for option in options():
        value = _effective(option, loaded.settings)
        found = loaded.origins.get(option.name)
        origin = {"source": "default"} if found is None else {k: v for k, v in attrs.asdict(found).items() if v}
        if _origin(option, loaded).startswith("environment"):
            origin = {"source": "environment", "variable": VARIABLE}
        described[option.name] = {"value": sorted(value) if isinstance(value, frozenset) else value, "origin": origin}
    tables = loaded.settings.tables
    described["archive.streams"] = [stream.name for stream in tables.streams]
    described["destinations"] = {each.name: each.kind for each in tables.destinations}
    return described


@command.command("check", cls=_Command, short_help="Check the settings without starting.")
@_settings_options
def check(given: dict[str, object], config: str | None) -> None:
    """
    Look at settings as a start does, and at the files that they name: certificates, keys, secrets. Nothing is opened,
    and no port is taken. Each problem is a line on standard error.

    Exit status: 0 a start takes them; 1 there are problems; 2 wrong usage.

    \b
    Examples:
      storehouse config check --config /etc/storehouse.toml
      storehouse config check --root /srv/storehouse --https tcp:6445 --https-cert /etc/acme/files.example.com
    """
    problems = find_problems(given, config)
    if not problems:
        # Only now: this imports all of the service.
        from storehouse.app.checking import find_refusal

        settings = load(given, config).settings
        problems = list(filter(None, [find_refusal(settings, os.environ)]))
    for problem in problems:
        click.echo(one_line(problem), err=True)
    if problems:
        raise click.exceptions.Exit(1)
    doors = ", ".join(f"{name} {endpoint}" for name, endpoint in settings.doors.items())
    click.echo(one_line(f"no problems found; doors: {doors}"))
