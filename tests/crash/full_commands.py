"""
Commands on a disk that is full, each in a process that is forked from this one: C{python -m tests.crash.full_commands DIRECTORY}.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys

import storehouse.app.local
import storehouse.cli
from storehouse.cli import main

__all__: list[str] = []


def command(root: str, verb: str, *words: str, text: str = "") -> str:
    """Run one. @return: what it printed."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.dup2(writing, 1)
        given = os.memfd_create("input")
        os.write(given, text.encode())
        os.lseek(given, 0, os.SEEK_SET)
        os.dup2(given, 0)
        main([verb, "--root", root, *words])
        os._exit(1)  # it does not return
    os.close(writing)
    with open(reading, encoding="utf-8") as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(f"{verb} {words} ended with {status}")
    return said


def _main(directory: str) -> None:
    # Once, and not in each of them.
    for package in (storehouse.app.local, storehouse.cli):
        for each in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not each.name.endswith("__main__"):
                importlib.import_module(each.name)
    root = os.path.join(directory, "root")
    command(root, "mb", "photos")
    for number in range(20, 24):
        command(root, "put", "-", f"photos/{number}", text=f"{number}\n")
    for number in (21, 22):
        # All that is left, and all that the command before has given back.
        with open(os.path.join(directory, f"fill.{number}"), "wb") as file:
            subprocess.run(["cat", "/dev/zero"], stdout=file, stderr=subprocess.DEVNULL, check=False)
        if os.statvfs(directory).f_bavail:
            sys.exit("the disk is not full")
        print(len(command(root, "ls", "photos").splitlines()))
        print(command(root, "cat", f"photos/{number}"), end="")
        command(root, "rm", f"photos/{number}")
    command(root, "fsck")


if __name__ == "__main__":
    _main(*sys.argv[1:])
