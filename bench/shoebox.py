"""
The first program's own library, made to run on Python 3.

It was written for Python 2. What is changed is mechanical: where names moved, the whole division, and that text is encoded before it
is packed (Python 2's text was bytes). What it reads it gives as bytes: that is less work than ours, which decodes it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.harness import BenchError

__all__ = ["COMMIT", "convert"]

#: The state of its source that is measured.
COMMIT = "792b0fb"

_CHANGES = {
    "archive.py": [("import disk_storage", "from shoebox import disk_storage")],
    "disk_storage.py": [
        ("unicode", "str"),
        ("iteritems", "items"),
        ("num_strings[0] / 2", "num_strings[0] // 2"),
        (
            "        nsize = len(notification)",
            "        notification = self._encode(notification)\n        nsize = len(notification)",
        ),
    ],
    "roll_checker.py": [("size / 1048576", "size // 1048576")],
    "roll_manager.py": [
        ("import archive\nimport disk_storage", "from shoebox import archive\nfrom shoebox import disk_storage")
    ],
}

#: What it takes of a library that is not on PyPI for Python 3 any more.
_UTILS = """
import datetime
def now():
    return datetime.datetime.now(datetime.timezone.utc)
"""


def _source(checkout: Path, name: str) -> str:
    path = checkout / "shoebox" / name
    if path.is_file():
        return path.read_text(encoding="utf-8")
    # A repository without a work tree.
    command = ["git", "-C", str(checkout), "show", f"{COMMIT}:shoebox/{name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{checkout} is no checkout of openstack-archive/stacktach-shoebox at {COMMIT}: {done.stderr}")
    return done.stdout


def convert(checkout: Path, target: Path) -> Path:
    """
    Write the converted package.

    @param checkout: of openstack-archive/stacktach-shoebox.
    @return: the directory to put on C{PYTHONPATH}.
    @raise BenchError: if that is something else.
    """
    package = target / "shoebox"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (target / "notification_utils.py").write_text(_UTILS, encoding="utf-8")
    for name, changes in _CHANGES.items():
        text = _source(checkout, name)
        for old, new in changes:
            if old not in text:
                raise BenchError(f"{name} of {checkout} is another version than {COMMIT}")
            text = text.replace(old, new)
        (package / name).write_text(text, encoding="utf-8")
    return target
