"""The S3 door and libraries of other people, each with a program in tests/integration/s3clients/scripts."""

from __future__ import annotations

from pathlib import Path

from tests.integration.s3clients.case import S3Case
from tests.integration.s3clients.data import make_tree, tree_of


class LibraryTests(S3Case):
    """Over plain HTTP."""

    def tree(self) -> Path:
        """Files for them."""
        make_tree(self.home / "tree")
        return self.home / "tree"

    def make_bucket(self) -> None:
        """For those that make none."""
        command = ("mb", "box", "--root", str(self.house.root))
        self.house.command_line(*command)

    def test_minio(self) -> None:
        self.run_script("with_minio", self.tree())

    def test_s3fs(self) -> None:
        tree = self.tree()
        self.run_script("with_s3fs", tree, self.home / "back")
        self.assertEqual(tree_of(self.home / "back"), tree_of(tree))

    def test_pyarrow(self) -> None:
        self.run_script("with_pyarrow", self.tree())

    def test_duckdb(self) -> None:
        self.make_bucket()
        self.run_script("with_duckdb")

    def test_deltalake(self) -> None:
        self.make_bucket()
        self.run_script("with_deltalake")

    def test_polars(self) -> None:
        self.make_bucket()
        self.run_script("with_polars")

    def test_lancedb(self) -> None:
        self.make_bucket()
        self.run_script("with_lancedb")

    def test_slatedb(self) -> None:
        self.make_bucket()
        self.run_script("with_slatedb")


class LibraryTLSTests(LibraryTests):
    """Over TLS."""

    secure = True
