"""What this machine offers, and its limits."""

from __future__ import annotations

import os
import select
from importlib import import_module
from typing import Any

__all__ = ["file_limit", "missing_features", "optional_module", "raise_file_limit"]


def optional_module(name: str) -> Any:
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
    Let this process open as many files and connections as it may.

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
