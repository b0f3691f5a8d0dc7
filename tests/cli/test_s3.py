"""C{storehouse s3 --ephemeral}."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

from tests.cli.case import CommandCase
from tests.integration.process import CHECKOUT, PATIENCE, wait_for


class EphemeralTests(CommandCase):
    """Each server is a process of its own, whose files are in a directory of the test."""

    def begin(self, *words: str) -> tuple[subprocess.Popen[str], list[str]]:
        """@return: a server that answers, and what it has printed."""
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        process = subprocess.Popen(
            [sys.executable, "-m", "storehouse.cli", "s3", "--ephemeral", "--directory", self.directory, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": CHECKOUT},
        )
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        for each in (process.stdin.close, process.stdout.close, process.stderr.close, process.wait, process.kill):
            self.addCleanup(each)
        lines = [process.stdout.readline()]
        while lines[-1].startswith("export ") and "STOREHOUSE_PID" not in lines[-1]:
            lines.append(process.stdout.readline())
        return process, lines

    def gone(self) -> None:
        """Nothing is left."""
        wait_for(lambda: os.listdir(self.directory) == [], "the end of all files")

    def test_json(self) -> None:
        """It requires signatures, and listens on this machine alone; with an option, it ends with its input."""
        process, lines = self.begin("--format", "json", "--region", "eu-north-1", "--until-stdin-closes")
        said: dict[str, Any] = json.loads(lines[0])
        self.assertTrue(said["endpoint"].startswith("http://127.0.0.1:"))
        self.assertEqual((said["region"], said["pid"]), ("eu-north-1", process.pid))
        self.assertTrue(said["root"].startswith(self.directory))
        self.assertTrue(os.path.exists(said["socket"]))
        error = self.assertRaises(urllib.error.HTTPError, urllib.request.urlopen, said["endpoint"] + "/")
        self.assertEqual(error.code, 403)
        error.close()
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write("this means nothing\n")
        process.stdin.close()
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertEqual(process.stderr.read(), "")
        self.gone()

    def test_shell(self) -> None:
        """Variables for a shell; with TLS there is a certificate to trust; a signal ends it."""
        process, lines = self.begin("--tls", "--verbose")
        script = "".join(lines) + 'echo "$AWS_ENDPOINT_URL $AWS_CA_BUNDLE $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY"'
        told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split()
        self.assertTrue(told[0].startswith("https://localhost:"))
        self.assertTrue(os.path.exists(told[1]))
        self.assertEqual((len(told[2]), len(told[3])), (20, 40))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 0)
        assert process.stderr is not None
        self.assertIn("S3 door listens on https://localhost:", process.stderr.read())
        self.gone()

    def test_killed(self) -> None:
        process, _ = self.begin()
        process.kill()
        process.wait(PATIENCE)
        self.gone()

    def test_refused(self) -> None:
        """What cannot be is said, and nothing is left."""
        for words, text in (
            (("--endpoint", "nonsense:1"), "s3 cannot be 'nonsense:1'"),
            (("--region", ""), "s3-region"),
        ):
            process, lines = self.begin(*words)
            assert process.stderr is not None
            self.assertEqual((lines, process.wait(PATIENCE)), ([""], 1))
            self.assertIn(text, process.stderr.read())
            self.gone()
        self.assertIn("--ephemeral", self.run_command("s3", status=2).stderr)
        with open(os.devnull) as nothing:
            done = subprocess.run(
                [sys.executable, "-m", "storehouse.cli", "s3", "--ephemeral", "--until-stdin-closes"],
                stdin=nothing,
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": CHECKOUT},
                check=False,
            )
        self.assertEqual(done.returncode, 2)
        self.assertIn("needs a pipe", done.stderr)
