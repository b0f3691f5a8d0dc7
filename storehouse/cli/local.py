"""What the verbs that work on the files of a root have in common on the command line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from storehouse.app.local import LocalObjects
from storehouse.cli.errors import CommandError, one_line
from storehouse.config import load_settings
from storehouse.errors import StartFailed, StorehouseError

__all__ = ["local_options"]


def local_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --root, --objects-dir and --config; the function gets L{LocalObjects} as C{objects}."""

    @click.option("--root", metavar="DIR", help="The service's root directory.  [default: ./storehouse-data]")
    @click.option("--objects-dir", metavar="DIR", help="The directory of the objects.  [default: ROOT/objects]")
    @click.option("--config", metavar="FILE", help="The service's configuration file, to find them by.")
    @functools.wraps(function)
    def wrapper(*args: Any, root: str | None, objects_dir: str | None, config: str | None, **kwargs: Any) -> Any:
        given = {"root": root, "objects-dir": objects_dir}
        try:
            settings = load_settings({name: value for name, value in given.items() if value is not None}, config)
            objects = LocalObjects(settings)
        except StartFailed as error:
            raise click.UsageError(one_line(error.detail)) from None
        try:
            return function(*args, objects=objects, **kwargs)
        except StorehouseError as error:
            raise CommandError(error.detail) from None

    return wrapper
