"""What is done with closed archives, under our names and under those of the first program."""

from __future__ import annotations

import inspect
from typing import Any

from storehouse.archive.callbacks import ArchiveCallback, ChangeExtension, CompressFile, DeleteFile, MoveFile
from storehouse.archive.chain import CallbackChain
from storehouse.archive.plugins import CALLBACKS, load_class, make

__all__ = [
    "ArchiveCallback",
    "CallbackChain",
    "CallbackList",
    "ChangeExtension",
    "ChangeExtensionCallback",
    "CompressFile",
    "DeleteFile",
    "DeleteFileCallback",
    "MoveFile",
    "MoveFileCallback",
    "make_callback",
]

ChangeExtensionCallback = ChangeExtension
MoveFileCallback = MoveFile
DeleteFileCallback = DeleteFile


def make_callback(what: Any, **arguments: Any) -> Any:
    """A callback by name: see L{storehouse.archive.plugins}."""
    return make(CALLBACKS, what, arguments)


class CallbackList(CallbackChain):
    """
    A chain from a text, as the first program's configuration has it: names with commas between them.

    Each callback gets those of the other arguments that it takes.
    """

    def __init__(self, *, callback_list: str = "", **config: Any) -> None:
        names = [name.strip() for name in callback_list.split(",") if name.strip()]
        super().__init__(
            callbacks=[make(CALLBACKS, name, _taken(load_class(CALLBACKS, name), config)) for name in names]
        )


def _taken(maker: Any, config: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(maker).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return config
    return {parameter.name: config[parameter.name] for parameter in parameters if parameter.name in config}
