"""The append logs that bench/append.py compares: how they are started, spoken to and emptied."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from bench.harness import HOST, BenchError, Server, free_port, running

__all__ = ["BUCKETS", "OURS", "PEER", "Client", "Program", "bucket_of", "frame"]

#: The files over which a log spreads its identifiers.
BUCKETS = 128

#: The directory of records that name no prefix.
_prefix = "default"

# There is no "python -m" for twistd.
_twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


def bucket_of(identifier: str) -> int:
    """The bucket file that holds an identifier's records: 32-bit FNV-1a modulo the number of files."""
    value = 0x811C9DC5
    for byte in identifier.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value % BUCKETS


def frame(records: Iterable[bytes]) -> bytes:
    """
    Records as C{[u32 length][data]}: the body of C{/appendMulti}, the answer of C{/getMulti}, and the files on disk.
    """
    return b"".join(struct.pack("<I", len(record)) + record for record in records)


class Client:
    """
    One connection, for setting up and checking: every method waits for its answer and raises L{BenchError} if it is
    an error.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection(HOST, port, timeout=120)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def request(self, method: str, target: str, body: bytes | None = None) -> bytes:
        """The body of the answer."""
        self._connection.request(method, target, body)
        response = self._connection.getresponse()
        answer = response.read()
        if not 200 <= response.status < 300:
            raise BenchError(f"{method} {target}: {response.status} {answer[:500]!r}")
        return answer

    def append(self, identifier: str, record: bytes) -> int:
        """Append a record; its offset."""
        offset: int = json.loads(self.request("POST", f"/append?id={identifier}", record))["offset"]
        return offset

    def get(self, identifier: str, offset: int) -> bytes:
        """The record at an offset."""
        return self.request("GET", f"/get?id={identifier}&offset={offset}")

    def close_prefix(self) -> None:
        """Have the files closed."""
        self.request("POST", f"/close?storagePrefix={_prefix}")

    def delete_prefix(self) -> None:
        """Have the files closed and removed."""
        self.request("DELETE", f"/prefix?storagePrefix={_prefix}")


@attrs.frozen
class Program:
    """
    One program with its settings: a row of a table.

    @ivar name: the row's name.
    @ivar sync: when ours answers an append: C{"os"} (in the page cache) or C{"disk"}; L{None} is the peer, which
        never syncs.
    @ivar reactor: the reactor ours runs on; L{None} is Twisted's default.
    """

    name: str
    sync: str | None = None
    reactor: str | None = None

    @property
    def is_peer(self) -> bool:
        """Whether this is the program that we compare ourselves with."""
        return self.sync is None

    def command(self, peer: Path, root: Path, port: int) -> list[str]:
        """The words that start it."""
        if self.is_peer:
            return [str(peer), "-bind", f"{HOST}:{port}", "-root", str(root), "-buckets", str(BUCKETS)]
        reactor = [f"--reactor={self.reactor}"] if self.reactor else []
        door = [
            "--append",
            f"tcp:{port}:interface={HOST}",
            "--sfsp",
            "off",
            "--https",
            "off",
            "--s3",
            "off",
            "--admin",
            "off",
            "--append-sync",
            str(self.sync),
        ]
        return [*_twistd, "-n", *reactor, "--pidfile=", "storehouse", "--root", str(root), *door]

    @contextlib.contextmanager
    def started(self, peer: Path, directory: Path, core: int | None) -> Iterator[Server]:
        """Run it, with its data below C{directory}, until the block is left; the data are removed then."""
        port = free_port()
        root = self._root(directory)
        command = self.command(peer, root, port)
        environment = {"GOMAXPROCS": "1"} if self.is_peer and core is not None else {}
        log = directory / f"{root.name}.log"
        try:
            with running(
                self.name, command, port, log, core=core, environment=environment, quiet=self.is_peer
            ) as server:
                yield server
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def empty(self, client: Client, directory: Path) -> None:
        """
        Remove all records, so that every visit begins with a new log and no disk space is needed for earlier ones.
        """
        if self.is_peer:
            client.close_prefix()
            shutil.rmtree(self._root(directory) / _prefix)
        else:
            client.delete_prefix()

    def _root(self, directory: Path) -> Path:
        return directory / self.name.replace(" ", "-")


#: The program that ours is compared with.
PEER = Program("peer")

#: Ours: relaxed on both reactors, durable.
OURS = (
    Program("os, stock reactor", "os"),
    Program("os, own reactor", "os", "storehouse"),
    Program("disk, own reactor", "disk", "storehouse"),
)
