"""What a server imports before it listens: nothing that its settings do not ask for, since each start pays for it."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

_PROGRAM = """
import sys
from storehouse.core.fast.reactor import install
install()
from storehouse.app.tap import Options, makeService
options = Options()
options.parseOptions(sys.argv[1:])
makeService(options)
print(*sorted(sys.modules))
"""

#: Modules of ours that a start may import: without the S3 door, and with all doors of a plain command line.
_MOST = 240
_MOST_OF_ALL = 300

#: Of archives, and of what is shipped.
_ARCHIVES = {
    "storehouse.app.archiving",
    "storehouse.archive.archive",
    "storehouse.frontends.archive.door",
    "storehouse.storage.shipping.shipper",
    "storehouse.storage.streams.streams",
}

#: Of programs that ship archives to other servers.
_CLIENTS = {"treq", "twisted.web.client", "storehouse.core.httpclient", "storehouse.storage.shipping.swift"}

#: Of the upload door.
_UPLOADS = {"storehouse.frontends.upload.door", "storehouse.core.tls.server"}

#: Of doors that ask who one is.
_ASKING = {"storehouse.storage.accounts.local"}

#: Of the S3 door.
_S3 = {"storehouse.frontends.s3.door"}

#: Of requests to the S3 door: what computes checksums that hashlib has not.
_AWSCRT = {"awscrt", "_awscrt"}

#: Of tests, commands and clients.
_NEVER = {"twisted.trial", "twisted.internet.testing", "unittest", "click", "storehouse.cli", "storehouse.clients"}


class ImportsTests(SynchronousTestCase):
    """In a process of its own."""

    def imported(self, *options: str) -> set[str]:
        root = os.path.abspath(self.mktemp())
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, "--root", root, *options],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return set(done.stdout.split())

    def test_without_https(self) -> None:
        found = self.imported("--https", "off", "--s3", "off")
        self.assertIn("storehouse.frontends.append.door", found)
        self.assertEqual(found & (_ARCHIVES | _CLIENTS | _UPLOADS | _ASKING | _S3 | _NEVER), set())
        found = self.imported("--https", "off")
        self.assertEqual(found & (_ARCHIVES | _CLIENTS | _UPLOADS | _AWSCRT | _NEVER), set())
        self.assertLessEqual(_ASKING | _S3, found)

    def test_with_https(self) -> None:
        found = self.imported("--s3", "off")
        self.assertEqual(found & (_ARCHIVES | _CLIENTS | _S3 | _NEVER), set())
        self.assertLessEqual(_UPLOADS | _ASKING, found)
        ours = [name for name in found if name.partition(".")[0] == "storehouse"]
        self.assertLessEqual(len(ours), _MOST)

    def test_all_doors(self) -> None:
        """Those of a plain command line."""
        found = self.imported()
        self.assertEqual(found & (_ARCHIVES | _CLIENTS | _AWSCRT | _NEVER), set())
        self.assertLessEqual(_UPLOADS | _ASKING | _S3, found)
        ours = [name for name in found if name.partition(".")[0] == "storehouse"]
        self.assertLessEqual(len(ours), _MOST_OF_ALL)

    def test_archive(self) -> None:
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write("[archive.streams.notes]\n")
        found = self.imported("--https", "off", "--config", os.path.abspath(path))
        self.assertEqual(found & (_CLIENTS | _NEVER), set())
        self.assertLessEqual(_ARCHIVES, found)

    def test_shipping(self) -> None:
        """To another server."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write(
                '[destinations.far]\nkind = "swift"\nauth_url = "http://127.0.0.1:9/"\nuser = "u"\npassword_env = "SECRET"\n'
                'container = "c"\n'
            )
        self.patch(os, "environ", {**os.environ, "SECRET": "s"})
        found = self.imported("--https", "off", "--config", os.path.abspath(path))
        self.assertLessEqual(_CLIENTS, found)
