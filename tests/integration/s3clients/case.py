"""A test of a client: a real service with a real door, over plain HTTP and over TLS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.process import PATIENCE, Storehouse
from tests.integration.s3clients.environment import python

__all__ = ["S3Case", "S3House"]

#: Seconds that one run of a client may take.
_LONG = 300.0

REGION = "us-east-1"

# Runs a script to its end, and not what some libraries do then: their threads may abort the interpreter while it ends, long after all
# was done and compared.
_RUN = """
import os, runpy, sys
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
sys.stdout.flush()
os._exit(0)
"""


class S3House(Storehouse):
    """
    A service whose S3 door is open, with an administrator's access key.

    @ivar endpoint: the URL of the door.
    @ivar certificate: the certificate of a door with TLS, for clients to trust in.
    """

    def __init__(self, directory: str, *options: str, secure: bool = False, **given: Any) -> None:
        super().__init__(directory, *(("--s3-tls",) if secure else ()), *options, s3=True, **given)
        self.endpoint = f"{'https' if secure else 'http'}://127.0.0.1:{self.s3_port}"
        self.root = Path(self.directory) / "storehouse-data"
        self.certificate = self.root / "tls" / "certificate.pem"
        self.key_id = self.secret = ""

    def start(self) -> None:
        """Start it, with a user."""
        super().start()
        if not self.key_id:
            self.key_id, self.secret = self.add_user("tester", "--admin")

    def add_user(self, name: str, *options: str) -> tuple[str, str]:
        """@return: the new user's access key."""
        said = self.command_line("user", "add", name, *options, "--json", "--root", str(self.root))
        key = json.loads(said)
        return key["key_id"], key["secret"]

    def command_line(self, *words: str) -> str:
        """@return: what C{storehouse} prints."""
        command = [sys.executable, "-m", "storehouse.cli", *words]
        done = self._run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            raise AssertionError(done.stderr)
        return str(done.stdout)


class S3Case(SynchronousTestCase):
    """
    A service, and the variables and files that clients read.

    @cvar secure: whether the door has TLS.
    @cvar options: more of the service's.
    """

    secure = False
    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        self.place = Path(self.mktemp()).resolve()
        # Some 200 MiB, which may be in memory.
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.house = S3House(str(self.place / "house"), *self.options, secure=self.secure)
        self.addCleanup(self.house.kill)
        self.house.start()
        self.home = self.place / "home"
        self.home.mkdir(parents=True)

    @property
    def variables(self) -> dict[str, str]:
        """What a client finds in its environment: nothing of who runs the tests, but for the path."""
        given = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.home),
            "AWS_ACCESS_KEY_ID": self.house.key_id,
            "AWS_SECRET_ACCESS_KEY": self.house.secret,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.house.endpoint,
            # Nobody is asked who this machine is.
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        if self.secure:
            trusted = str(self.house.certificate)
            given |= {"AWS_CA_BUNDLE": trusted, "SSL_CERT_FILE": trusted, "CERTIFICATE": trusted}
        return given

    def run_client(
        self,
        *command: object,
        status: int = 0,
        given: bytes | None = None,
        variables: Mapping[str, str] | None = None,
        **more: str,
    ) -> str:
        """
        Run a client to its end.

        @param status: what it has to end with.
        @param variables: those of its environment, if not C{self.variables}.
        @param more: variables beside those.
        @return: what it printed; of one that fails as it should, also its errors.
        """
        words = [str(word) for word in command]
        done = subprocess.run(
            words,
            cwd=self.home,
            env={**(self.variables if variables is None else variables), **more},
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            timeout=_LONG,
            check=False,
        )
        printed, errors = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        if done.returncode != status:
            raise AssertionError(
                f"{' '.join(words)}: {done.returncode}\n{printed[-5000:]}\n{errors[-5000:]}\n{self.log}"
            )
        return printed if not status else printed + errors

    def run_script(self, name: str, *words: object) -> str:
        """Run one of the scripts in tests/integration/s3clients/scripts with the interpreter that has the libraries."""
        return self.run_client(python(), "-c", _RUN, Path(__file__).parent / "scripts" / f"{name}.py", *words)

    @property
    def log(self) -> str:
        """The end of what the service has logged."""
        return self.house.output[-3000:]
