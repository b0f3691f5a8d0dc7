"""
A file system with little room, however the tests are run: a tmpfs of our own, or one in a namespace of our own, or a
limit on the size of files.

As a program it runs a storehouse on one: C{python small_disk.py KIND DIRECTORY SIZE command...}.
"""

from __future__ import annotations

import os
import subprocess
import sys

__all__ = ["NAMESPACE", "PLAIN", "ROOT", "kind_of_disk"]

#: C{mount} works as it is.
ROOT = "tmpfs"
#: C{mount} works under C{unshare -rm}.
NAMESPACE = "namespace"
#: There is no mounting here.
PLAIN = "limit"

_PROGRAM = os.path.abspath(__file__)


def mount(directory: str, size: str) -> None:
    """Mount a tmpfs, to be seen by this process and its children only if it is in a namespace."""
    os.makedirs(directory, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "storehouse-test", directory],
        check=True,
        capture_output=True,
    )


def wrapped(kind: str, directory: str, size: str, command: list[str]) -> list[str]:
    """
    A command that runs C{command} on a small disk.

    Always in a mount namespace, so that the mount ends with it, however it ends.
    """
    run = [sys.executable, _PROGRAM, kind, directory, size, *command]
    return {ROOT: ["unshare", "-m", *run], NAMESPACE: ["unshare", "-rm", *run], PLAIN: run}[kind]


def kind_of_disk(probe_directory: str) -> str:
    """What is possible here."""
    for kind in (ROOT, NAMESPACE):
        try:
            done = subprocess.run(
                wrapped(kind, probe_directory, "1m", [sys.executable, "-c", "pass"]), capture_output=True, check=False
            )
        except OSError:
            continue
        if done.returncode == 0:
            return kind
    return PLAIN


def _main(kind: str, directory: str, size: str, *command: str) -> None:
    if kind != PLAIN:
        mount(directory, size)
    else:
        import resource

        os.makedirs(directory, exist_ok=True)
        limit = int(size)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    os.execv(command[0], command)


if __name__ == "__main__":
    _main(*sys.argv[1:])
