"""
The first seed's README, line by line, by the real curl and bash against a real process.

Only the port and the directory of the files are mapped: the seed listens on 8001 (and once 8000) and keeps its files
right in C{/tmp}.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.process import PATIENCE, Storehouse

#: The seed's lines, as printed: what is typed behind "$", and what is answered.
APPEND_FIRST = """curl -XPOST -d 'some text' 'http://localhost:8001/append?id=some_identifier'"""
APPEND_SECOND = (
    """curl -XPOST -d 'some other data in same identifier' 'http://localhost:8001/append?id=some_identifier'"""
)
GET = """curl 'http://localhost:8001/get?id=some_identifier&offset=17'"""
MULTIGET = r"""echo -n -e '\x0D\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0D\x00\x00\x00\x00\x00\x00\x00' | \
  curl -X POST --data-binary @- http://localhost:8001/getMulti?id=some_identifier"""
MULTIGET_DUMP = r"""echo -n -e '\x0D\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0D\x00\x00\x00\x00\x00\x00\x00' | \
  curl -X POST --data-binary @- http://localhost:8001/getMulti?id=some_identifier | hexdump """
DUMPED = """
0000000 22 00 00 00 73 6f 6d 65 20 6f 74 68 65 72 20 64
0000010 61 74 61 20 69 6e 20 73 61 6d 65 20 69 64 65 6e
0000020 74 69 66 69 65 72 09 00 00 00 73 6f 6d 65 20 74
0000030 65 78 74 22 00 00 00 73 6f 6d 65 20 6f 74 68 65
0000040 72 20 64 61 74 61 20 69 6e 20 73 61 6d 65 20 69
0000050 64 65 6e 74 69 66 69 65 72
0000059
"""
CLOSE = "curl http://localhost:8000/close?storagePrefix=events_from_20171112"


class SeedsReadmeTests(SynchronousTestCase):
    """ "no shenanigans"."""

    def setUp(self) -> None:
        if shutil.which("curl") is None or shutil.which("bash") is None:
            raise SkipTest("curl and bash are what this tests with")
        self.house = Storehouse(self.mktemp(), "--append-buckets", "10", "--log-level", "debug")
        self.addCleanup(self.house.kill)
        self.house.start()
        self.log = os.path.join(self.house.directory, "storehouse-data", "append")

    def type(self, line: str) -> bytes:
        """What bash prints for a line, with the port mapped."""
        line = re.sub(r"localhost:800[01]", f"localhost:{self.house.append_port}", line)
        # The seed's hexdump is that of BSD, which prints bytes; this one does so everywhere.
        line = re.sub(r"\| hexdump $", "| od -A x -t x1 -v", line)
        done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_line_by_line(self) -> None:
        opened = re.findall(r"opening: (\S+) with offset: (\d+)", self.house.output)
        self.assertEqual(opened, [(f"{self.log}/default/append.{number}.raw", "0") for number in range(10)])
        # STORE
        file = f"{self.log}/default/append.3.raw"
        self.assertEqual(
            self.type(APPEND_FIRST).decode(),
            '{"offset":0,"file":"/tmp/append.3.raw"}'.replace("/tmp/append.3.raw", file),
        )
        self.assertEqual(
            self.type(APPEND_SECOND).decode(),
            '{"offset":13,"file":"/tmp/append.3.raw"}'.replace("/tmp/append.3.raw", file),
        )
        # GET
        self.assertEqual(self.type(GET), b"some other data in same identifier")
        # MULTIGET
        self.assertEqual(
            self.type(MULTIGET),
            b"\x22\0\0\0some other data in same identifier\x09\0\0\0some text\x22\0\0\0some other data in same identifier",
        )
        dumped = self.type(MULTIGET_DUMP).decode().split()
        # Addresses have six digits here and seven there.
        self.assertEqual(dumped, [word if len(word) == 2 else word[1:] for word in DUMPED.split()])
        # "in case of error length is 0 and what follows is the error text"
        error = self.type(MULTIGET_DUMP.replace("| hexdump ", "").replace(r"'\x0D\x00", r"'\x0C\x00"))
        self.assertEqual(error[:4], b"\0\0\0\0")
        self.assertIn(b"offset 12", error)
        # "the format is very simple"
        with open(file, "rb") as raw:
            self.assertEqual(raw.read(), b"\x09\0\0\0some text\x22\0\0\0some other data in same identifier")
        # "you can also pass storagePrefix"
        for prefix in ("events_from_20171111", "events_from_20171112"):
            answer = self.type(
                f"curl -XPOST -d 'some text' 'http://localhost:8001/append?id=some_identifier&storagePrefix={prefix}'"
            )
            self.assertEqual(answer.decode(), f'{{"offset":0,"file":"{self.log}/{prefix}/append.3.raw"}}')
        # CLOSE, "and then you simply delete the directories you dont need"
        self.assertEqual(self.type(CLOSE), b'{"success":true}')
        shutil.rmtree(f"{self.log}/events_from_20171112")
        read = "curl 'http://localhost:8001/get?id=some_identifier&offset=0&storagePrefix=events_from_2017111{}'"
        self.assertEqual(self.type(read.format(1)), b"some text")
        self.assertIn(b"NoSuchPrefix", self.type(read.format(2)))
        again = self.type(
            "curl -d 'anew' 'http://localhost:8001/append?id=some_identifier&storagePrefix=events_from_20171112'"
        )
        self.assertIn(b'"offset":0', again)
