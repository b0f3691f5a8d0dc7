"""The S3 door and rclone, as a server that it knows nothing of."""

from __future__ import annotations

import json

from tests.integration.s3clients.case import REGION, S3Case
from tests.integration.s3clients.data import digest, make_tree, tree_of
from tests.integration.s3clients.environment import program


class RcloneTests(S3Case):
    """Over plain HTTP."""

    def rclone(self, *words: object, status: int = 0, given: bytes | None = None) -> str:
        """The command."""
        remote = {"type": "s3", "provider": "Other", "endpoint": self.house.endpoint, "region": REGION}
        remote |= {"access_key_id": self.house.key_id, "secret_access_key": self.house.secret}
        variables = {f"RCLONE_CONFIG_S_{name.upper()}": value for name, value in remote.items()}
        self.assertNotIn("RCLONE_CONFIG", variables)
        return self.run_client(program("rclone"), *words, status=status, given=given, **variables)

    def test_files(self) -> None:
        """A tree, there and back."""
        tree = make_tree(self.home / "tree")
        self.rclone("mkdir", "s:box")
        self.rclone("copy", "tree", "s:box/tree")
        # By MD5, and by reading all.
        self.rclone("check", "tree", "s:box/tree")
        self.rclone("check", "--download", "tree", "s:box/tree")
        self.rclone("copy", "s:box/tree", "back")
        self.assertEqual(tree_of(self.home / "back"), tree)
        listed = json.loads(self.rclone("lsjson", "--recursive", "--files-only", "s:box/tree"))
        self.assertEqual(
            {each["Path"]: each["Size"] for each in listed},
            {name: int(about.split()[1]) for name, about in tree.items()},
        )
        # Times of files are metadata: a new time alone copies an object to itself.
        (self.home / "tree" / "middle" / "eight").touch()
        (self.home / "tree" / "empty").unlink()
        self.rclone("sync", "tree", "s:box/tree")
        self.rclone("check", "tree", "s:box/tree")
        self.rclone("copyto", "s:box/tree/large.bin", "s:box/copy")
        self.rclone("moveto", "s:box/tree/odd/plus+and&amp;", "s:box/moved")
        self.rclone("copy", "s:box/", ".", "--max-depth", "1")
        self.assertEqual(digest(self.home / "copy"), tree["large.bin"])
        self.assertEqual(digest(self.home / "moved"), tree["odd/plus+and&amp;"])
        self.rclone("rcat", "s:box/streamed", given=b"some text")
        self.assertEqual(self.rclone("cat", "s:box/streamed"), "some text")
        self.rclone("cleanup", "s:box")
        self.rclone("purge", "s:box")
        self.assertEqual(self.rclone("lsd", "s:"), "")


class RcloneTLSTests(RcloneTests):
    """Over TLS."""

    secure = True
