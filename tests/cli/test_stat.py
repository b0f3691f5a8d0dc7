"""C{storehouse stat}, and the sizes that people read."""

from __future__ import annotations

import functools
import json

from twisted.trial.unittest import SynchronousTestCase

from storehouse.cli.output import human_size
from tests.cli.case import CommandCase
from tests.cli.fake import Request


class StatTests(CommandCase):
    """C{storehouse stat}."""

    def test_table(self) -> None:
        """A row a prefix."""
        self.log.append("default", "x", b"x" * 5000)
        self.log.append("b", "x", b"x")
        self.assertEqual(
            self.run_command("stat").stdout,
            "PREFIX   RECORDS     SIZE  FILES  BUCKETS  STATE\nb              1      5 B      1      128  "
            "open\ndefault        1  4.9 KiB      1      128  open\n",
        )

    def test_empty(self) -> None:
        """No prefixes, no rows."""
        self.assertEqual(self.run_command("stat").stdout, "PREFIX  RECORDS  SIZE  FILES  BUCKETS  STATE\n")

    def test_json(self) -> None:
        """The answer of the server, for one prefix."""
        self.log.append("default", "x", b"x")
        self.log.append("b", "x", b"x")
        size = {"records": 1, "bytes": 5, "files": 1, "buckets": 128, "open": True}
        got = json.loads(self.run_command("stat", "--json", "--prefix", "b").stdout)
        self.assertEqual(got, {"prefixes": {"b": size}})

    def test_no_such_prefix(self) -> None:
        """The server's reason."""
        result = self.run_command("stat", "--prefix", "nowhere", status=1)
        self.assertEqual(result.stderr, "Error: there is no such prefix (404 NoSuchPrefix)\n")

    def test_senseless_answers(self) -> None:
        """A server that is no append log is found out."""
        for body in (b"{}", b'{"prefixes":[]}', b'{"prefixes":{"a":1}}', b'{"prefixes":{"a":{"records":"x"}}}'):
            self.log.overrides["/stat"] = functools.partial(Request.send, body=body)
            self.assertIn("is it a storehouse server?", self.run_command("stat", status=1).stderr)


class HumanSizeTests(SynchronousTestCase):
    """L{human_size}."""

    def test_sizes(self) -> None:
        """No more than five characters of number."""
        sizes = {0: "0 B", 999: "999 B", 1000: "1.0 KiB", 1536: "1.5 KiB", 1024**2: "1.0 MiB", 1023 * 1024: "1.0 MiB"}
        sizes |= {5 * 1024**3: "5.0 GiB", 3 * 1024**4: "3.0 TiB", 2**64: "16777216.0 TiB"}
        for size, text in sizes.items():
            self.assertEqual(human_size(size), text)
