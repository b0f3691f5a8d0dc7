"""Tests of L{storehouse.frontends.s3.notes}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.s3.checksums import ALGORITHMS, Hasher, encoded
from storehouse.frontends.s3.notes import read_note, write_note
from storehouse.storage.resumable.parts import note_of


class NoteTests(SynchronousTestCase):
    """What is kept with parts."""

    def test_written(self) -> None:
        self.assertEqual(
            write_note({"crc32": "mO4X5w==", "md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}),
            "crc32=mO4X5w== md5=1B2M2Y8AsgTpgAmY7PhCfg==",
        )

    def test_every_algorithm(self) -> None:
        """Two of the longest fit into what is kept with a part."""
        for name in ALGORITHMS:
            value = encoded(Hasher(name).digest())
            self.assertEqual(read_note(write_note({name: value})), {f"checksum-{name}": value})
            longest = encoded(Hasher("sha512").digest())
            self.assertLess(len(write_note({name: value, "sha512": longest})), 900)

    def test_of_other_doors(self) -> None:
        for note in ("", note_of(0), note_of(0xFFFFFFFF), "crc32=x", "text with = in it", "crc32=mO4X5w== more"):
            self.assertEqual(read_note(note), {})
