"""
Paths of files below a root as notes on disk have them: relative to the root, so that it can be moved or copied as a whole.

What is not below the root is noted as it is, absolute. Notes of earlier versions are absolute all: what they mean is looked
for below the root first, since the root may have been moved since, or copied while the files of the other one are there still.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["below_root", "candidates", "noted_path", "path_of"]


def below_root(root: str, path: str) -> str | None:
    """A path relative to the root; C{None} if it is not below it. Both are absolute."""
    start = os.path.join(root, "")
    return path[len(start) :] if root and path.startswith(start) else None


def noted_path(root: str, path: str) -> str:
    """What to note of an absolute path."""
    below = below_root(root, path)
    return path if below is None else below


def path_of(root: str, noted: str) -> str:
    """The absolute path of what L{noted_path} gave, as it was noted; an empty one stays empty."""
    return os.path.join(root, noted) if noted and root else noted


def candidates(root: str, path: str) -> Iterator[str]:
    """
    Where below the root a file may be whose absolute path was noted when the root was elsewhere: by as much of that path as
    possible, then by less. The caller checks whether it is the file.
    """
    parts = [part for part in path.split("/") if part]
    for start in range(len(parts)):
        candidate = os.path.join(root, *parts[start:])
        if candidate != path and os.path.lexists(candidate):
            yield candidate
