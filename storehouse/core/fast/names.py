"""
Private names of Twisted and pyOpenSSL: whether the release that is here has them.

What is faster by them takes the plain way without them, and says so once. What keeps requests apart or bounds memory by them
does not start without them: see L{require}.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted import __version__
from twisted.logger import Logger

from storehouse.errors import StartFailed

__all__ = ["lacking", "plain_way", "require"]

_log = Logger()
_told: set[str] = set()


def lacking(owner: object, names: Iterable[str]) -> list[str]:
    """Those of some names that a class or an object neither has nor uses in its methods, which may set them later."""
    kind = owner if isinstance(owner, type) else type(owner)
    used = {name for each in kind.__mro__ for method in vars(each).values() for name in _names_in(method)}
    return [f"{kind.__name__}.{name}" for name in names if not hasattr(owner, name) and name not in used]


def _names_in(method: object) -> tuple[str, ...]:
    code = getattr(method, "__code__", None)
    return code.co_names if code is not None else ()


def plain_way(what: str, missing: Iterable[str]) -> bool:
    """
    Whether something has to do without what is faster, because names are missing. The first time this is logged.

    @param what: what is slower then.
    """
    names = ", ".join(missing)
    if names and what not in _told:
        _told.add(what)
        _log.warn(
            "{what}: a slower way is used, since Twisted {version} lacks {names}",
            what=what,
            version=__version__,
            names=names,
        )
    return bool(names)


def require(missing: Iterable[str]) -> None:
    """
    Refuse to run without names by which requests are kept apart and memory is bounded.

    @raise StartFailed: if some are missing.
    """
    names = ", ".join(missing)
    if names:
        raise StartFailed(
            f"Twisted {__version__} lacks {names}: requests could not be kept apart, nor their memory bounded"
        )
