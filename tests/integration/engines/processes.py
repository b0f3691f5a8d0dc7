"""Programs that run for as long as the tests do."""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn, TypeVar

from twisted.trial.unittest import SkipTest

__all__ = ["Engine", "find_programs", "running"]

#: Seconds after which something that should have started has not.
_PATIENCE = 300.0

_PR_SET_PDEATHSIG = 1

E = TypeVar("E", bound="Engine")


def _die_with_parent() -> None:
    """In a child: a test process that is killed must not leave servers behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def find_programs(names: Sequence[str], hint: str, directory: str = "") -> dict[str, str]:
    """
    The paths of programs, by their names.

    @param hint: how to get them.
    @param directory: where to look first.
    @raise SkipTest: if one is missing; an C{AssertionError} where the tests must not be skipped.
    """
    # Servers are where users do not look by default.
    path = os.pathsep.join(filter(None, [directory, os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    found = {name: shutil.which(name, path=path) for name in names}
    missing = [name for name, where in found.items() if where is None]
    if missing:
        _missing(f"{', '.join(missing)} not found: {hint}")
    return {name: where for name, where in found.items() if where is not None}


class Engine:
    """
    Several programs that make a server together.

    @ivar directory: where all of it is.
    @cvar instance: the one of this process; what it could not be started for.
    @cvar needs_attributes: whether its files have extended attributes, which not every file system knows.
    """

    instance: ClassVar[Any] = None
    needs_attributes = False

    def __init__(self) -> None:
        self.directory = ""
        self._commands: dict[str, list[str]] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def processes(self) -> dict[str, subprocess.Popen[bytes]]:
        """Those that run, by name."""
        return dict(self._processes)

    def find(self) -> None:
        """@raise SkipTest: if something is missing."""
        raise NotImplementedError

    def start(self) -> None:
        """Make C{directory} and start the programs."""
        raise NotImplementedError

    def path(self, *names: str) -> str:
        """A path in the directory."""
        return os.path.join(self.directory, *names)

    def write(self, name: str, text: str) -> str:
        """Write a file. @return: its path."""
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def run(self, *command: str) -> str:
        """Run a program to its end. @return: what it printed."""
        done = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, timeout=_PATIENCE, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise AssertionError(f"{command[0]} failed: {done.stdout}{done.stderr}{self.logs()}")
        return done.stdout

    def spawn(self, name: str, *command: str) -> None:
        """Start a program that goes on."""
        self._commands[name] = list(command)
        with open(self.path(f"{name}.out"), "ab") as output:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_die_with_parent,
            )

    def wait_for_port(self, port: int, name: str) -> None:
        """Wait until a program listens."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    return
            if self._processes[name].poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{name} does not listen: {self.logs()}")
            time.sleep(0.05)

    def kill(self, name: str) -> None:
        """End a program at once."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def revive(self, name: str) -> None:
        """Start a program again that was killed."""
        if name not in self._processes:
            self.spawn(name, *self._commands[name])

    def logs(self) -> str:
        """The ends of what the programs printed."""
        texts = []
        for name in sorted(self._commands):
            with open(self.path(f"{name}.out"), encoding="utf-8", errors="replace") as file:
                texts.append(f"\n--- {name}\n{file.read()[-2000:]}")
        return "".join(texts)

    def end(self) -> None:
        """End all programs, the last started first, and remove the directory."""
        for name in reversed(list(self._processes)):
            self.kill(name)
        shutil.rmtree(self.directory, ignore_errors=True)


def _make_directory(needs_attributes: bool) -> str:
    for parent in (None, os.getcwd(), "/var/tmp", "/dev/shm"):
        directory = tempfile.mkdtemp("-engine", "storehouse-", parent)
        try:
            if needs_attributes:
                os.setxattr(directory, "user.storehouse", b"tests")
            return directory
        except OSError:
            os.rmdir(directory)
    return _missing("no file system here knows extended attributes")


def _missing(text: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        raise AssertionError(text)
    raise SkipTest(text)


def running(kind: type[E]) -> E:
    """
    The engine of that kind in this process, started if it was not yet.

    @raise SkipTest: if what it needs is not there.
    """
    if kind.instance is None:
        engine = kind()
        engine.find()
        engine.directory = _make_directory(engine.needs_attributes)
        atexit.register(engine.end)
        try:
            engine.start()
        except Exception as error:
            kind.instance = error
            raise
        kind.instance = engine
    if isinstance(kind.instance, Exception):
        raise AssertionError(f"it could not be started before: {kind.instance}")
    instance: E = kind.instance
    return instance
