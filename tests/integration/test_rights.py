"""Rights at the doors of a real service, and the audit of them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.process import CHECKOUT, Storehouse, free_port


class RightsTests(SynchronousTestCase):
    """A door that acts as a user, and the audit."""

    def command(self, *args: str, status: int = 0) -> str:
        """The output of a command on the root."""
        environment = {**os.environ, "PYTHONPATH": CHECKOUT}
        done = subprocess.run(
            [sys.executable, "-m", "storehouse.cli", *args, *self.where],
            env=environment,
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout

    def sfsp(self, *args: str, status: int = 0) -> str:
        """The output of a command over SFSP."""
        self.where: tuple[str, ...] = ("--server", f"sfsp://127.0.0.1:{self.port}")
        try:
            return self.command("sfsp", *args, status=status)
        finally:
            self.where = ("--root", self.root)

    def test_acting(self) -> None:
        """SFSP as a user: what the user has no right to is refused at once, also of a service that runs."""
        self.port = free_port()
        settings: dict[str, Any] = {"sfsp-user": "ed", "audit-prefix": "audit", "audit-log": "all"}
        server = Storehouse(self.mktemp(), "--sfsp", f"tcp:{self.port}:interface=127.0.0.1", settings=settings)
        self.addCleanup(server.kill)
        server.start()
        self.root = os.path.join(server.directory, "storehouse-data")
        self.where = ("--root", self.root)
        local = self.mktemp()
        with open(local, "wb") as file:
            file.write(b"x" * 1000)
        self.sfsp("put", local, "--name", "name", status=1)
        self.command("user", "add", "ed")
        self.command("user", "grant", "ed", "list", "put-new", "create", "--bucket", "sfsp")
        self.sfsp("put", local, "--name", "name")
        self.command("user", "revoke", "ed", "--all")
        self.sfsp("put", local, "--name", "other", status=1)
        self.where = ("--server", f"http://127.0.0.1:{server.append_port}")
        found = self.command("scan", "audit", "--prefix", "audit")
        self.assertIn('"action":"grant"', found)
        self.assertIn('"door":"sfsp","user":"ed"', found)
