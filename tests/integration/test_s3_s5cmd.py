"""The S3 door and s5cmd, which sends many requests at once."""

from __future__ import annotations

from tests.integration.s3clients.case import S3Case
from tests.integration.s3clients.data import digest, make_tree, tree_of
from tests.integration.s3clients.environment import program


class S5cmdTests(S3Case):
    """Over plain HTTP."""

    def s5cmd(self, *words: object, status: int = 0) -> str:
        """The command."""
        return self.run_client(program("s5cmd"), "--endpoint-url", self.house.endpoint, *words, status=status)

    def test_files(self) -> None:
        """A tree, there and back."""
        tree = make_tree(self.home / "tree", small=600)
        self.s5cmd("mb", "s3://box")
        self.s5cmd("cp", "tree/", "s3://box/tree/")
        self.s5cmd("cp", "s3://box/tree/*", "back/")
        self.assertEqual(tree_of(self.home / "back"), tree)
        self.assertEqual(self.s5cmd("sync", "tree/", "s3://box/tree/"), "")
        listed = [line.split(None, 3) for line in self.s5cmd("ls", "s3://box/tree/*").splitlines()]
        self.assertEqual(
            {name: int(size) for _, _, size, name in listed},
            {name: int(about.split()[1]) for name, about in tree.items()},
        )
        self.s5cmd("cp", "s3://box/tree/large.bin", "s3://box/copy")
        self.s5cmd("mv", "s3://box/tree/odd/with space", "s3://box/moved here")
        self.s5cmd("cp", "s3://box/copy", "copy")
        self.s5cmd("cp", "s3://box/moved here", "moved here")
        self.assertEqual(digest(self.home / "copy"), tree["large.bin"])
        self.assertEqual(digest(self.home / "moved here"), tree["odd/with space"])
        self.assertIn("no object found", self.s5cmd("cp", "s3://box/nothing/*", "nothing/", status=1))
        self.s5cmd("rm", "s3://box/*")
        self.s5cmd("rb", "s3://box")
        self.assertEqual(self.s5cmd("ls"), "")


class S5cmdTLSTests(S5cmdTests):
    """Over TLS."""

    secure = True
