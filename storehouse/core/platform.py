"""What this machine offers, and its limits."""

from __future__ import annotations

import ctypes
import os
import select
import sys
from importlib import import_module
from types import ModuleType

__all__ = ["file_limit", "keep_freed_memory", "missing_features", "optional_module", "raise_file_limit"]


def optional_module(name: str) -> ModuleType | None:
    """A module of the standard library that not every system has; C{None} where it is missing."""
    try:
        return import_module(name)
    except ImportError:
        return None


def missing_features() -> list[str]:
    """What storehouse uses on Linux and this system lacks, by the names of the calls.  Empty on Linux."""
    wanted = [(os, name) for name in ("preadv", "pwritev", "fdatasync", "RWF_DSYNC")]
    missing = [f"os.{name}" for module, name in wanted if not hasattr(module, name)]
    if not hasattr(select, "epoll"):
        missing.append("select.epoll")
    if optional_module("fcntl") is None:
        missing.append("fcntl.flock")
    return missing


def raise_file_limit() -> tuple[int, int] | None:
    """
    Let this process open as many files and connections as the system allows.

    @return: the limit before and now; C{None} where there is no such limit.
    """
    resource = optional_module("resource")
    if resource is None:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft, soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft, soft
    return soft, hard


def file_limit() -> int:
    """
    How many files this process may open after L{raise_file_limit}; a large number where there is no limit.
    """
    resource = optional_module("resource")
    if resource is None:
        return 1 << 20
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if hard == resource.RLIM_INFINITY else int(hard)


# mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def keep_freed_memory(size: int = 32 << 20) -> bool:
    """
    Have the C library keep up to C{size} bytes of what is freed, for all threads together, where it has a call for that.

    Pieces of bodies and blocks come and go all the time.  To give each back to the system, and to get it again page by
    page, takes three times as long as to read and to hash what is in it.

    @return: whether it has.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, size), (_M_TRIM_THRESHOLD, size))
    return all(mallopt(name, value) for name, value in settings)
