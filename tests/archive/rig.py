"""What tests of archives share."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from storehouse.archive.archive import ArchiveReader, ArchiveWriter

__all__ = [
    "KINDS",
    "SALT",
    "SAMPLE",
    "UNHURRIED",
    "expected",
    "files_in",
    "metadata",
    "payloads",
    "read",
    "sample_files",
    "write",
]

#: Archives that the first program wrote, and what is in them.
SAMPLE = Path(__file__).resolve().parents[1] / "data" / "shoebox-v1"

SALT = 0x0807060504030201

#: The formats that a writer can be told to use.
KINDS: dict[str, dict[str, Any]] = {
    "version 1": {"version": 1},
    "version 2": {"version": 2},
    "version 2, zstd": {"version": 2, "compression": "zstd"},
}

UNHURRIED = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)

#: Text that UTF-8 can hold.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
metadata = st.dictionaries(texts, texts, max_size=8)
payloads = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.binary(max_size=60))


def expected() -> list[tuple[dict[str, str], str]]:
    """What the sample holds, in order."""
    with gzip.open(SAMPLE / "expected.json.gz") as file:
        return [(metadata, payload) for metadata, payload in json.load(file)]


def sample_files() -> list[bytes]:
    """The sample's archives, expanded, in order."""
    return [gzip.decompress(path.read_bytes()) for path in sorted(SAMPLE.glob("*.events.gz"))]


def write(path: str, records: Any, **how: Any) -> bytes:
    """Write an archive. @return: its bytes."""
    if os.path.exists(path):
        os.unlink(path)
    with ArchiveWriter(path, **how) as writer:
        for record in records:
            writer.write(*record)
    return Path(path).read_bytes()


def files_in(directory: str) -> list[str]:
    """The names of all files, but for the one that keeps the order of archives."""
    return sorted(name for name in os.listdir(directory) if not name.endswith(".last"))


def read(what: Any, **how: Any) -> list[tuple[dict[str, str], str | bytes]]:
    """All records of an archive."""
    with ArchiveReader(what, **how) as reader:
        return list(reader)
