"""C{storehouse archive} before somebody's eyes: help, progress, Ctrl-C."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

from storehouse.cli.archive import VERBS
from tests.cli.archives import BEGIN, ArchiveCase
from tests.integration.forked import Forked, run_forked
from tests.integration.process import CHECKOUT, PATIENCE

_SCRIPT = "import storehouse.cli.progress as p; p._DELAY = p._INTERVAL = 0; from storehouse.cli import main; main()"


class TerminalTests(ArchiveCase):
    """On a terminal."""

    def test_help(self) -> None:
        """Each verb explains itself, with examples."""
        for verb in VERBS:
            text = self.said(verb, "--help")
            for expected in ("Examples:", f"  storehouse archive {verb} ", "--root", "--no-progress"):
                self.assertIn(expected, text)

    def test_progress(self) -> None:
        """The bar comes, and goes again; not if it is not wanted."""
        path = self.archive("a", *("x" * 1000 for _ in range(3000)), version=1)
        root = str(self.directory / "root")
        run_forked(
            [sys.executable, "-m", "storehouse.cli", "mb", "archives", "--root", root],
            env={**os.environ, "PYTHONPATH": CHECKOUT}, check=True,
        )  # fmt: skip
        for words, label in (
            (["cat", path, "-o", os.devnull], "cat  ["),
            (["grep", "y", path, "-c"], "grep  ["),
            (["verify", path], "verify  ["),
            (["ls", path], "count  "),
            (["convert", path, f"{path}.gz"], "convert  ["),
            (["ship", path, "--root", root], "ship  ["),
        ):
            shown = self.on_terminal(*words)
            self.assertIn(label, shown)
            self.assertIn("\r\x1b[K", shown)
            shown = self.on_terminal(*words, "--no-progress")
            self.assertNotIn(label, shown)

    def test_ctrl_c(self) -> None:
        """Not a word, and the status that shells have for it."""
        first = self.archive("a", "xxy")
        # This takes a regular expression longer than anybody lives.
        second = self.archive("b", "x" * 1000, at=BEGIN + 1)
        process = self.start("grep", "(x+x+)+y", first, second)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), f"{first}:0:xxy\n".encode())
        process.send_signal(signal.SIGINT)
        self.assertEqual(self.ended(process), (130, "", ""))

    def on_terminal(self, *words: str) -> str:
        """What standard error shows."""
        mine, theirs = pty.openpty()
        try:
            process = Forked(
                [sys.executable, "-c", _SCRIPT, "archive", *words],
                env={**os.environ, "PYTHONPATH": CHECKOUT}, stdout=subprocess.DEVNULL, stderr=theirs,
            )  # fmt: skip
            os.close(theirs)
            shown = b""
            while True:
                try:
                    piece = os.read(mine, 65536)
                except OSError:
                    break
                if not piece:
                    break
                shown += piece
            process.wait(PATIENCE)
        finally:
            os.close(mine)
        return shown.decode()
