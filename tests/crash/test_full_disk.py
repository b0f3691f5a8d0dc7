"""A disk that is full: appends are refused, nothing else is, and with room they are taken again."""

from __future__ import annotations

import contextlib
import json
import os
import signal

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.framing import pack_length
from tests.crash.small_disk import PLAIN, kind_of_disk, wrapped
from tests.integration.process import Storehouse, wait_for


class FullDiskTests(SynchronousTestCase):
    """
    A real process on a small disk.

    @ivar stored: C{(prefix, id, offset, payload)} of everything acknowledged in prefixes that still are.
    """

    def setUp(self) -> None:
        self.stored: list[tuple[str, str, int, bytes]] = []

    def start(self, kind: str, size: str, level: str) -> None:
        # Not relative, and not below what is mounted over.
        self.directory = os.path.abspath(self.mktemp())
        self.disk = os.path.join(self.directory, "disk")
        self.root = os.path.join(self.disk, "root")
        self.house = Storehouse(self.directory, "--root", self.root, "--append-buckets", "4", "--append-sync", level)
        # The shell keeps the mount until the second of the two has ended.
        self.house.command = wrapped(
            kind, self.disk, size, ["/bin/sh", "-c", '"$@"; exec "$@"', "sh", *self.house.command]
        )
        self.addCleanup(self.house.kill)
        self.addCleanup(self.kill_server)
        self.house.start()

    def kill_server(self) -> None:
        assert self.house.process is not None
        with contextlib.suppress(OSError):
            with open(f"/proc/{self.house.process.pid}/root{self.root}/lock", encoding="ascii") as file:
                pid = int(file.read())
            if pid != self.house.process.pid:
                os.kill(pid, signal.SIGKILL)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        return self.house.ask(self.house.append_port, method, path, body)

    def is_served(self) -> bool:
        try:
            return self.ask("GET", "/stat")[0] == 200
        except OSError:
            return False

    def append(self, prefix: str, id: str, payload: bytes) -> bool:
        """@return: whether there was room."""
        status, body = self.ask("POST", f"/append?id={id}&storagePrefix={prefix}", payload)
        return self._took(status, body, prefix, id, [payload])

    def append_multi(self, prefix: str, id: str, payloads: list[bytes]) -> bool:
        batch = b"".join(pack_length(len(payload)) + payload for payload in payloads)
        status, body = self.ask("POST", f"/appendMulti?id={id}&storagePrefix={prefix}", batch)
        return self._took(status, body, prefix, id, payloads)

    def _took(self, status: int, body: bytes, prefix: str, id: str, payloads: list[bytes]) -> bool:
        answer = json.loads(body)
        if status == 507:
            self.assertEqual(answer["error"], "NoSpace")
            self.assertTrue(answer["detail"])
            return False
        self.assertEqual(status, 200, body)
        offsets = answer.get("offsets") or [answer["offset"]]
        self.stored += [(prefix, id, offset, payload) for offset, payload in zip(offsets, payloads, strict=True)]
        return True

    def stat(self) -> dict[str, dict[str, int]]:
        status, body = self.ask("GET", "/stat")
        self.assertEqual(status, 200)
        stat: dict[str, dict[str, int]] = json.loads(body)["prefixes"]
        return stat

    def check_all(self) -> None:
        for prefix, id, offset, payload in self.stored:
            self.assertEqual(self.ask("GET", f"/get?id={id}&storagePrefix={prefix}&offset={offset}"), (200, payload))
        for prefix, stat in self.stat().items():
            payloads = [payload for name, _, _, payload in self.stored if name == prefix]
            self.assertEqual(
                (stat["records"], stat["bytes"]), (len(payloads), sum(map(len, payloads)) + 4 * len(payloads)), prefix
            )

    def fill(self, prefix: str, level: str) -> int:
        """Append less and less until not even a byte fits. @return: how often there was no room."""
        refused = 0
        for size in (200_000, 20_000, 2_000, 200, 1):
            number = 0
            while self.append(prefix, "filler", os.urandom(size)):
                number += 1
                self.assertLess(number, 10_000, level)
            refused += 1
            before = self.stat()
            self.assertFalse(self.append_multi(prefix, "filler", [os.urandom(1 + size // 3)] * 4))
            self.assertEqual(self.stat(), before)
        return refused

    def full_disk(self, kind: str, size: str, level: str) -> None:
        self.start(kind, size, level)
        for number in range(6):
            self.assertTrue(self.append("keep", f"id{number}", b"keep %d" % number))
            self.assertTrue(self.append("default", f"id{number}", b"default %d" % number))
        self.assertEqual(self.fill("fill", level), 5)
        self.check_all()
        if kind != PLAIN:
            # The others have no room either, and a new one cannot be made.
            self.assertFalse(self.append("keep", "id0", os.urandom(100_000)))
            self.assertFalse(self.append("fresh", "id0", b"x"))
            self.assertNotIn("fresh", self.stat())
        self.check_all()
        # A bound on files is none of the disk.
        status, body = self.house.ask(self.house.admin_port, "GET", "/readyz")
        self.assertEqual(status, 200 if kind == PLAIN else 503)
        self.assertEqual(b"no space on the disk" in body, kind != PLAIN)

        self.assertEqual(self.ask("DELETE", "/prefix?storagePrefix=fill")[0], 200)
        self.stored = [record for record in self.stored if record[0] != "fill"]
        for prefix in ("keep", "default", "fresh", "fill"):
            self.assertTrue(self.append(prefix, "filler", os.urandom(100_000)))
            self.assertTrue(self.append_multi(prefix, "id1", [b"a", b"b" * 1000, b"c"]))
        self.check_all()
        self.fill("fill", level)
        self.check_all()

        self.kill_server()
        wait_for(self.is_served, "the second server")
        self.check_all()
        for words in ("torn", "damaged", "Traceback"):
            # A scrub of the objects tells how many are.
            self.assertNotIn(words, self.house.output.replace(": 0 damaged", ""))
        # The shell has become the second server.
        self.house.stop()
        self.assertIn("Server Shut Down.", self.house.output)

    def best_disk(self) -> str:
        kind = kind_of_disk(os.path.abspath(self.mktemp()))
        if kind == PLAIN:
            print(" (no mounts here: with a limit on file sizes instead)", end="")
        return kind

    def on_full_disk(self, level: str) -> None:
        kind = self.best_disk()
        self.full_disk(kind, str(1 << 20) if kind == PLAIN else "5m", level)

    def test_limit_on_files(self) -> None:
        """Files that may not grow: works everywhere."""
        self.full_disk(PLAIN, str(1 << 20), "disk")

    def test_disk(self) -> None:
        """Appends that are acknowledged once on disk."""
        self.on_full_disk("disk")

    def test_os(self) -> None:
        """Appends that are acknowledged from the page cache."""
        self.on_full_disk("os")

    def test_no_room_to_start(self) -> None:
        """A first start without room for the write-ahead log says so, and that door stays shut."""
        kind = self.best_disk()
        directory = os.path.abspath(self.mktemp())
        disk = os.path.join(directory, "disk")
        house = Storehouse(directory, "--root", os.path.join(disk, "root"), settings={"append-wal-size": "8MiB"})
        house.command = wrapped(kind, disk, str(1 << 20), house.command)
        self.addCleanup(house.kill)
        told: list[bytes] = []

        def has_told() -> bool:
            try:
                told[:] = [house.ask(house.admin_port, "GET", "/readyz")[1]]
            except OSError:
                return False
            return b"append_log" in told[0]

        house.begin()
        wait_for(has_told, "what is not ready")
        self.assertIn(b"cannot be opened", told[0])
        self.assertRaises(OSError, house.ask, house.append_port, "GET", "/stat")
        house.stop()
        self.assertIn("cannot be opened", house.output)
        self.assertNotIn("Traceback", house.output)
