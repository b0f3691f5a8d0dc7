"""A storehouse in a process of its own, as its users start it."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from typing import Any

from tests.integration.forked import Forked, run_forked

__all__ = ["CHECKOUT", "PATIENCE", "Storehouse", "free_port", "wait_for"]

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

#: Seconds after which something that should have happened has not.
PATIENCE = 300.0


# Of each process of tests its own.
_random = random.SystemRandom()


def free_port() -> int:
    """
    A TCP port that nothing listens on just now: none of those that the kernel gives to clients, one of which might have it
    before the server does.
    """
    while True:
        port = _random.randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_for(happened: Callable[[], bool], what: str) -> None:
    """Wait until something happens, but not forever."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.02)


class Storehouse:
    """
    C{twistd storehouse} in a directory.

    @param twistd: its own options.
    @param settings: more of them, which only a configuration file takes; the one that C{--config} names, if it is there, is
        put behind them.
    @param https: whether the upload door is opened; without it a start takes less, and there is no bucket but those of the
        test.
    @param s3: whether the S3 door is opened.
    @param fork: whether it is forked from a process that has imported it; if not, it is started as users do.
    @ivar directory: its working directory, where its root, log and pid file are.
    """

    def __init__(
        self,
        directory: str,
        *options: str,
        twistd: tuple[str, ...] = ("-n",),
        https: bool = False,
        s3: bool = False,
        settings: Mapping[str, str | int | bool] | None = None,
        fork: bool = True,
    ) -> None:
        self._start: Any = Forked if fork else subprocess.Popen
        self._run: Any = run_forked if fork else subprocess.run
        os.makedirs(directory, exist_ok=True)
        self.directory = os.path.abspath(directory)
        self.append_port, self.sfsp_port, self.admin_port = free_port(), free_port(), free_port()
        self.https_port, self.s3_port, self.archive_port = free_port(), free_port(), free_port()
        open_ = {"https": https, "s3": s3}
        doors = [
            word
            for door, port in (
                ("append", self.append_port),
                ("sfsp", self.sfsp_port),
                ("https", self.https_port),
                ("s3", self.s3_port),
                ("admin", self.admin_port),
                # Opened only if the configuration file has streams.
                ("archive", self.archive_port),
            )
            if f"--{door}" not in options
            for word in (f"--{door}", f"tcp:{port}:interface=127.0.0.1" if open_.get(door, True) else "off")
        ]
        # Small, so that the tests do not fill the disk.
        file = self._write_settings(options, {"append-wal-size": "1MiB", **(settings or {})})
        twistd_run = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", *twistd]
        self.command = [*twistd_run, "storehouse", *doors, *options, *file]
        path = os.pathsep.join(filter(None, [CHECKOUT, os.environ.get("PYTHONPATH")]))
        self.environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        self.process: subprocess.Popen[str] | None = None

    def _write_settings(self, options: tuple[str, ...], settings: Mapping[str, str | int | bool]) -> tuple[str, ...]:
        """Write the configuration file. @return: the options that name it."""
        tables = ""
        if "--config" in options:
            named = os.path.join(self.directory, options[options.index("--config") + 1])
            if not os.path.exists(named):
                return ()
            with open(named, encoding="utf-8") as file:
                tables = file.read()
        path = os.path.join(self.directory, "settings.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
            file.write(tables)
        return "--config", path

    @property
    def pid_file(self) -> str:
        """Where twistd writes its pid."""
        return os.path.join(self.directory, "twistd.pid")

    @property
    def output(self) -> str:
        """What it has printed since its start."""
        with open(os.path.join(self.directory, "output"), encoding="utf-8") as file:
            return file.read()

    def run(self) -> subprocess.CompletedProcess[str]:
        """Start it and wait for its end; for starts that fail, and for the background."""
        done: subprocess.CompletedProcess[str] = self._run(
            self.command, cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        return done

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        """Start it."""
        with open(os.path.join(self.directory, "output"), "w", encoding="utf-8") as output:
            self.process = self._start(
                self.command,
                cwd=self.directory,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until the admin door says so."""

        def ready() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}:\n{self.output}")
            try:
                return self.ask(self.admin_port, "GET", "/readyz")[0] == 200
            except OSError:
                return False

        wait_for(ready, "readiness")

    def ask(self, port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request, its status and body."""
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal. @return: its status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def restart(self) -> None:
        """Kill it, and start it again, once nobody else has one of its ports."""
        self.stop(signal.SIGKILL)

        def started() -> bool:
            try:
                self.start()
            except AssertionError as error:
                if "Address already in use" not in str(error):
                    raise
                return False
            return True

        wait_for(started, "its ports to be free")

    def kill(self) -> None:
        """Make sure that it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
