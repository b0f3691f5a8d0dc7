"""
Checkers and callbacks by name, as configurations give them.

A name is one of ours (C{size}, C{compress}), the name of an entry point in the group C{storehouse.archive.checkers} or
C{storehouse.archive.callbacks}, or a dotted path to a class: C{package.module:Class} or C{package.module.Class}.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

import attrs
from zope.interface import Interface

from storehouse.archive.interfaces import IArchiveCallback, IRollChecker
from storehouse.errors import InvalidSetting

__all__ = ["CALLBACKS", "CHECKERS", "Callback", "Checker", "Kind", "load_class", "make"]

T = TypeVar("T")

#: What a checker, or a callback, can be given as: itself, its name, or a mapping with its name as C{class} and arguments.
Checker = IRollChecker | str | Mapping[str, object]
Callback = IArchiveCallback | str | Mapping[str, object]

_ROOM = "storehouse.archive"


@attrs.frozen
class Kind(Generic[T]):
    """
    What can be named: checkers, or callbacks.

    @ivar noun: for messages.
    @ivar interface: what all of the kind provide.
    @ivar methods: its methods: an object that is made already needs these alone.
    @ivar group: of entry points.
    @ivar builtin: our own names and their dotted paths.
    """

    noun: str
    interface: type[Interface]
    methods: tuple[str, ...]
    group: str
    builtin: Mapping[str, str]


CHECKERS: Kind[IRollChecker] = Kind(
    "roll checker",
    IRollChecker,
    ("start", "check"),
    "storehouse.archive.checkers",
    {
        "never": f"{_ROOM}.roll_checker:NeverRollChecker",
        "size": f"{_ROOM}.roll_checker:SizeRollChecker",
        "time": f"{_ROOM}.roll_checker:TimeRollChecker",
        "records": f"{_ROOM}.roll_checker:RecordCountRollChecker",
        "any": f"{_ROOM}.roll_checker:AnyRollChecker",
    },
)

CALLBACKS: Kind[IArchiveCallback] = Kind(
    "archive callback",
    IArchiveCallback,
    ("on_open", "on_close"),
    "storehouse.archive.callbacks",
    {
        "extension": f"{_ROOM}.handlers:ChangeExtension",
        "move": f"{_ROOM}.handlers:MoveFile",
        "delete": f"{_ROOM}.handlers:DeleteFile",
        "compress": f"{_ROOM}.handlers:CompressFile",
        "chain": f"{_ROOM}.handlers:CallbackChain",
    },
)


def load_class(kind: Kind[T], name: str) -> Callable[..., object]:
    """
    The class, or other callable, of that name.

    @raise InvalidSetting: if there is none.
    """
    path = kind.builtin.get(name)
    if path is None:
        found = tuple(entry_points(group=kind.group, name=name))
        if found:
            try:
                loaded: Callable[..., object] = found[0].load()
                return loaded
            except Exception as problem:
                raise InvalidSetting(f"the {kind.noun} {name!r} cannot be loaded: {problem}") from problem
        path = name
    module, colon, attribute = path.partition(":")
    if not colon:
        module, _, attribute = path.rpartition(".")
    if not module or not attribute:
        raise InvalidSetting(
            f"there is no {kind.noun} {name!r}: name one of {', '.join(kind.builtin)}, an entry point of the group "
            f"{kind.group}, or a dotted path to a class"
        )
    try:
        found_class: Any = import_module(module)
        for part in attribute.split("."):
            found_class = getattr(found_class, part)
    except Exception as problem:
        raise InvalidSetting(f"the {kind.noun} {name!r} cannot be loaded: {problem}") from problem
    if not callable(found_class):
        raise InvalidSetting(f"the {kind.noun} {name!r} is not a class")
    made: Callable[..., object] = found_class
    return made


def make(kind: Kind[T], what: T | str | Mapping[str, object], arguments: Mapping[str, object] | None = None) -> T:
    """
    A checker or a callback.

    @param what: a name; a mapping with the name as C{class} and arguments beside it; or one that is made already.
    @param arguments: keyword arguments for a name.
    @raise InvalidSetting: if the name or an argument is not known, or it is not of the kind. A name must be that of a class
        that implements the interface of the kind.
    """
    made: Any
    if isinstance(what, Mapping):
        arguments = {**what, **(arguments or {})}
        name = arguments.pop("class", None)
        if not isinstance(name, str):
            raise InvalidSetting(f"a {kind.noun} needs the member 'class', which {dict(what)!r} lacks")
        what = name
    if isinstance(what, str):
        made = _build(kind, what, dict(arguments or {}))
    elif isinstance(what, type):
        raise InvalidSetting(f"a {kind.noun} was expected, not the class {what.__name__} itself")
    elif arguments:
        raise InvalidSetting(f"the {kind.noun} {what!r} is an instance already and takes no arguments")
    else:
        made = what
    if not kind.interface.providedBy(made) and not all(callable(getattr(made, name, None)) for name in kind.methods):
        raise InvalidSetting(f"{made!r} is no {kind.noun}: it lacks {' or '.join(kind.methods)}")
    return made  # type: ignore[no-any-return]


def _build(kind: Kind[T], name: str, arguments: dict[str, object]) -> object:
    maker = load_class(kind, name)
    # Anything else that the name leads to is not called: it may do anything.
    if not isinstance(maker, type) or not kind.interface.implementedBy(maker):
        raise InvalidSetting(
            f"{name!r} is no {kind.noun}: that is a class that implements {kind.interface.__name__} (zope.interface)"
        )
    try:
        inspect.signature(maker).bind(**arguments)
    except TypeError as problem:
        raise InvalidSetting(f"the {kind.noun} {name!r} does not take these arguments: {problem}") from None
    except ValueError:
        pass  # it has no signature to compare with
    try:
        return maker(**arguments)
    except InvalidSetting:
        raise
    except Exception as problem:
        raise InvalidSetting(f"the {kind.noun} {name!r} cannot be created: {problem}") from problem
