"""
A plugin for pytest: fixtures with a server of S3 (docs/testing.rst). pytest finds it by itself when storehouse is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

# pytest imports this at every start, also for tests that need no server.
if TYPE_CHECKING:
    from storehouse.testing.s3 import S3Bucket, S3Server

__all__ = ["s3_bucket", "s3_server"]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A server of S3, one for all tests of the process, whose data is gone with it."""
    from storehouse.testing.s3 import S3Server

    with S3Server() as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> Iterator[S3Bucket]:
    """A new bucket on C{s3_server}, which is removed after the test."""
    with s3_server.bucket() as bucket:
        yield bucket
