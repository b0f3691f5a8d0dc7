"""The S3 door and restic, which signs each chunk of what it sends."""

from __future__ import annotations

import shutil

from tests.integration.s3clients.case import S3Case
from tests.integration.s3clients.data import make_tree, tree_of
from tests.integration.s3clients.environment import program


class ResticTests(S3Case):
    """Over plain HTTP."""

    def restic(self, *words: object) -> str:
        """The command."""
        repository = f"s3:{self.house.endpoint}/backups/mine"
        given = ["--cacert", self.house.certificate] if self.secure else []
        cache = ["--cache-dir", self.home / "cache", "--repo", repository]
        return self.run_client(program("restic"), *cache, *given, *words, RESTIC_PASSWORD="not so secret")

    def test_backups(self) -> None:
        """Two of them, checked, restored, and one forgotten."""
        (self.home / "first").mkdir()
        tree = make_tree(self.home / "data")
        self.restic("init")
        self.restic("backup", "data")
        shutil.rmtree(self.home / "data" / "small")
        (self.home / "data" / "more").write_bytes(bytes(range(256)) * 40_000)
        changed = tree_of(self.home / "data")
        self.restic("backup", "data")
        self.restic("check", "--read-data")
        snapshots = [line.split()[0] for line in self.restic("snapshots", "--compact").splitlines()[2:-2]]
        self.assertEqual(len(snapshots), 2)
        self.restic("restore", snapshots[0], "--target", "first")
        self.assertEqual(tree_of(self.home / "first" / "data"), tree)
        self.restic("forget", "--prune", "--keep-last", 1)
        self.restic("check", "--read-data")
        self.restic("restore", "latest", "--target", "second")
        self.assertEqual(tree_of(self.home / "second" / "data"), changed)


class ResticTLSTests(ResticTests):
    """Over TLS."""

    secure = True
