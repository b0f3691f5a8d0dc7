"""Programs that tests need, and that not every machine has."""

from __future__ import annotations

import os
import shutil
from unittest import SkipTest

__all__ = ["needed", "without_paths"]


def needed(*names: str) -> list[str]:
    """
    The paths of programs.

    @raise SkipTest: if one is missing; an C{AssertionError} where no test may be skipped.
    """
    paths = [shutil.which(name) for name in names]
    missing = [name for name, path in zip(names, paths, strict=True) if path is None]
    if missing:
        text = f"not installed: {', '.join(missing)}"
        if os.environ.get("CI"):
            raise AssertionError(text)
        raise SkipTest(text)
    return [path for path in paths if path is not None]


def without_paths() -> dict[str, str]:
    """
    The variables of this process for a pip that installs elsewhere. The processes in which trial runs tests have C{PYTHONPATH}
    set: pip would take what is there for installed.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
