"""The S3 door and s3cmd, which signs whole bodies and lists by version 1."""

from __future__ import annotations

import ssl
from urllib.request import urlopen

from tests.integration.s3clients.case import S3Case
from tests.integration.s3clients.data import digest, make_tree, tree_of
from tests.integration.s3clients.environment import program, python


class S3cmdTests(S3Case):
    """Over plain HTTP."""

    def s3cmd(self, *words: object, status: int = 0) -> str:
        """The command."""
        host = self.house.endpoint.partition("://")[2]
        where = [f"--host={host}", f"--host-bucket={host}", f"--access_key={self.house.key_id}"]
        where.append(f"--secret_key={self.house.secret}")
        where += ["--ssl", f"--ca-certs={self.house.certificate}"] if self.secure else ["--no-ssl"]
        return self.run_client(python(), program("s3cmd"), "--no-progress", *where, *words, status=status)

    def test_files(self) -> None:
        """A tree, there and back."""
        tree = make_tree(self.home / "tree")
        self.s3cmd("mb", "s3://box")
        self.s3cmd("sync", "tree/", "s3://box/tree/")
        self.s3cmd("sync", "s3://box/tree/", "back/")
        self.assertEqual(tree_of(self.home / "back"), tree)
        listed = [line.split(None, 3) for line in self.s3cmd("ls", "--recursive", "s3://box/tree/").splitlines()]
        self.assertEqual(
            {name.removeprefix("s3://box/tree/"): int(size) for _, _, size, name in listed},
            {name: int(about.split()[1]) for name, about in tree.items()},
        )
        # Files that are the same are copied at the server.
        (self.home / "tree" / "again").write_bytes((self.home / "tree" / "middle" / "eight").read_bytes())
        self.s3cmd("sync", "tree/", "s3://box/tree/")
        self.s3cmd("cp", "s3://box/tree/large.bin", "s3://box/copy")
        self.s3cmd("mv", "s3://box/tree/odd/grüße/käse €.txt", "s3://box/moved here")
        self.s3cmd("get", "s3://box/copy", "s3://box/moved here", "s3://box/tree/again", ".")
        self.assertEqual(digest(self.home / "copy"), tree["large.bin"])
        self.assertEqual(digest(self.home / "moved here"), tree["odd/grüße/käse €.txt"])
        self.assertEqual(digest(self.home / "again"), tree["middle/eight"])
        self.assertIn(digest(self.home / "copy").split()[1], self.s3cmd("info", "s3://box/copy"))
        signed = self.s3cmd("signurl", "s3://box/copy", "+600").strip()
        trust = ssl.create_default_context(cafile=str(self.house.certificate) if self.secure else None)
        # Whose scheme is always this, unless its configuration file says otherwise.
        with urlopen(signed.replace("http:", self.house.endpoint.partition(":")[0] + ":"), context=trust) as response:
            self.assertEqual(len(response.read()), (self.home / "copy").stat().st_size)
        self.s3cmd("del", "--recursive", "--force", "s3://box")
        self.s3cmd("rb", "s3://box")
        self.assertEqual(self.s3cmd("ls"), "")


class S3cmdTLSTests(S3cmdTests):
    """Over TLS."""

    secure = True
