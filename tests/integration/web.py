"""The folder web/, with the packages of npm that its lock file names."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

from tests.integration.process import CHECKOUT
from tests.integration.tools import needed

__all__ = ["WEB", "run_npm", "with_packages"]

WEB = Path(CHECKOUT) / "web"

#: Seconds that npm may take.
PATIENCE = 600


def run_npm(*words: str) -> str:
    """C{npm} in web/. @return: what it prints."""
    _, npm = needed("node", "npm")
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(
        [npm, *words], cwd=WEB, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if done.returncode != 0:
        raise AssertionError(f"npm {' '.join(words)}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def with_packages() -> Path:
    """
    Install what the lock file names, with the digests that it has, unless that is there; no script of a package is run.

    @return: the folder of packages.
    """
    needed("node", "npm")
    lock = WEB / "package-lock.json"
    packages = WEB / "node_modules"
    installed = packages / ".package-lock.json"
    with lock.open() as held:
        # Tests run in several processes at once.
        fcntl.flock(held, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            run_npm("ci", "--ignore-scripts", "--no-audit", "--no-fund")
    return packages
