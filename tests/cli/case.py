"""A test case with a fake log and ways to run the command: within the process, and as one of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

import storehouse
from storehouse.cli import main
from tests.cli.fake import FakeLog, running
from tests.integration.forked import Forked

__all__ = ["CommandCase", "heavy_imports"]

_TREE = str(Path(storehouse.__file__).parent.parent)

#: What takes longer to import than a small command takes to run.
_HEAVY = {"OpenSSL", "asyncio", "cryptography", "prometheus_client", "sqlite3", "treq", "twisted"}

_PROGRAM = """
import atexit, sys
atexit.register(lambda: print("imported", *{name.partition(".")[0] for name in sys.modules}, file=sys.stderr))
from storehouse.cli import main
sys.exit(main())
"""


def heavy_imports(*words: str, stdin: bytes = b"") -> set[str]:
    """Run the command as a process, which must end well. @return: what it has imported of what it should not need."""
    environment = {**os.environ, "PYTHONPATH": _TREE}
    command = [sys.executable, "-c", _PROGRAM, *words]
    done = subprocess.run(command, env=environment, input=stdin, capture_output=True, check=False)
    *said, names = done.stderr.decode().splitlines()
    if done.returncode or not names.startswith("imported "):
        raise AssertionError(f"{words} ended with {done.returncode}: {said}")
    return _HEAVY & set(names.split())


class CommandCase(SynchronousTestCase):
    """Runs the command against a log of its own."""

    log: FakeLog

    def setUp(self) -> None:
        """Start the log."""
        server = running()
        self.log = server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)

    def run_command(self, *args: str, stdin: bytes = b"", status: int = 0) -> Result:
        """Run within this process, and check the exit status."""
        environment = {"STOREHOUSE_SERVER": self.log.url}
        result = CliRunner().invoke(main, args, input=stdin, env=environment, prog_name="storehouse")
        self.assertEqual(result.exit_code, status, result.stderr)
        if status == 1:
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
            self.assertTrue(result.stderr.startswith("Error: "), result.stderr)
        return result

    def start(
        self, *args: str, shell: str | None = None, before: str = ":", **kwargs: object
    ) -> subprocess.Popen[bytes]:
        """
        Start a process; it is ended with the test.

        @param shell: the arguments and redirections as a shell writes them, instead of C{args}.
        @param before: a shell command to run first; only with C{shell}.
        """
        environment = {**os.environ, "STOREHOUSE_SERVER": self.log.url, "PYTHONPATH": _TREE}
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs}
        command = [sys.executable, "-W", "error", "-m", "storehouse.cli", *args]
        if shell is not None:
            command = ["/bin/sh", "-c", f"{before}; exec {shlex.join(command)} {shell}"]
        process = Forked(command, env=environment, **settings)  # type: ignore[arg-type]
        self.addCleanup(self._end, process)
        assert isinstance(process, subprocess.Popen)
        return process

    def path(self, name: str, content: bytes) -> str:
        """Make a file."""
        path = Path(self.mktemp())
        path.mkdir(parents=True)
        (path / name).write_bytes(content)
        return str(path / name)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
