"""A server of S3 for tests, and the fixtures of pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from storehouse.testing.s3 import S3Server
from tests.integration.process import CHECKOUT, PATIENCE

#: Tests as users write them.
_TESTS = """
import os
import boto3
import pytest

seen = []

def test_server(s3_server):
    client = boto3.client("s3", **s3_server.boto3)
    assert client.list_buckets()["Buckets"] == []
    seen.append(s3_server.endpoint)

def test_bucket(s3_server, s3_bucket, monkeypatch):
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    for number in range(3):
        client.put_object(Bucket=s3_bucket.name, Key=f"a/{number} & more", Body=b"some text")
    client.create_multipart_upload(Bucket=s3_bucket.name, Key="b")
    assert client.list_objects_v2(Bucket=s3_bucket.name)["KeyCount"] == 3
    seen.append(s3_server.endpoint)

def test_is_clean(s3_server, s3_bucket):
    client = boto3.client("s3", **s3_server.boto3)
    assert [each["Name"] for each in client.list_buckets()["Buckets"]] == [s3_bucket.name]
    client.delete_bucket(Bucket=s3_bucket.name)
    assert seen == [s3_server.endpoint] * 2
"""


class S3ServerTests(SynchronousTestCase):
    """By itself."""

    def test_buckets(self) -> None:
        """They go with all that is in them, and the server with all that it has."""
        with S3Server() as server:
            with server.bucket("box") as first, server.bucket() as second:
                self.assertEqual((str(first), len(second.name)), ("box", 21))
                self.assertEqual(server.boto3["endpoint_url"], server.environment["AWS_ENDPOINT_URL"])
                self.assertNotIn("AWS_CA_BUNDLE", server.environment)
            self.assertNotIn(server.secret_access_key, repr(server))
            root = Path(server.socket).parent
            self.assertTrue(root.exists())
        self.assertFalse(root.exists())
        server.stop()

    def test_tls(self) -> None:
        with S3Server(["--tls"]) as server:
            self.assertEqual(server.boto3["verify"], server.environment["AWS_CA_BUNDLE"])
            self.assertTrue(server.endpoint.startswith("https://"))

    def test_refused(self) -> None:
        server = S3Server(["--endpoint", "nonsense:1"])
        error = self.assertRaises(RuntimeError, server.start)
        self.assertIn("ended with 1", str(error))


class PluginTests(SynchronousTestCase):
    """C{pytest}, in a process of its own."""

    def test_fixtures(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "test_mine.py").write_text(_TESTS)
        environment = {**os.environ, "PYTHONPATH": CHECKOUT, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "storehouse.testing.pytest", "-p", "no:cacheprovider"]
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("3 passed", done.stdout)
