"""The first program's files and programs."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import storehouse
from storehouse.archive import archive, disk_storage, handlers, roll_checker, roll_manager
from storehouse.errors import DamagedArchive, EndOfArchive, UnknownArchiveFormat
from tests.archive.rig import SAMPLE, expected, files_in, read, sample_files, write

_CHECKOUT = str(Path(storehouse.__file__).resolve().parent.parent)

_WRITES = """
from storehouse.archive import roll_checker, roll_manager

# Make a roll checker of whatever strategy you choose.
checker = roll_checker.SizeRollChecker(roll_size_mb=100)  # 100mb files

x = roll_manager.WritingRollManager("test_%c.events", checker)

for index in range(10):
    x.write({"index": str(index)}, "payload_%d" % index)

x.close()
"""

_READS = """
from storehouse.archive import roll_checker, roll_manager

# Read from all the event data files using wildcards ...
manager = roll_manager.ReadingRollManager("test_*.events")

# This will keep reading across all files in the archive
# until we reach the end.
while True:
    try:
        metadata, json_payload = manager.read()
        print(metadata, json_payload)
    except roll_manager.NoMoreFiles:
        break
"""


class SampleTests(SynchronousTestCase):
    """Bit for bit, both ways."""

    def test_read(self) -> None:
        found = [pair for data in sample_files() for pair in read(data)]
        self.assertEqual(found, expected())

    def test_read_compressed(self) -> None:
        found = [pair for path in sorted(SAMPLE.glob("*.events.gz")) for pair in read(path)]
        self.assertEqual(found, expected())

    def test_manager(self) -> None:
        """In order, out of a directory, as they are and compressed."""
        self.assertEqual(list(roll_manager.ReadingRollManager("test_*.events.gz", str(SAMPLE))), expected())

    def test_written(self) -> None:
        """The same records make the same bytes."""
        for number, data in enumerate(sample_files()):
            self.assertEqual(write(f"{self.mktemp()}{number}", read(data), version=1), data)

    def test_functions(self) -> None:
        """The record functions, one record at a time and no byte further."""
        data = sample_files()[1]
        file = io.BytesIO(data)
        found = []
        while file.tell() < len(data):
            found.append(disk_storage.unpack_notification(file))
        self.assertEqual(found, expected()[-len(found) :])
        packed = b"".join(b"".join(disk_storage.pack_notification(payload, kept)) for kept, payload in found)
        self.assertEqual(packed, data)
        self.assertRaises(EndOfArchive, disk_storage.unpack_notification, file)
        self.assertRaises(EndOfArchive, disk_storage.unpack_notification, io.BytesIO(data[:50]))
        self.assertRaises(DamagedArchive, disk_storage.unpack_notification, io.BytesIO(b"x" * 50))
        self.assertRaises(
            UnknownArchiveFormat, disk_storage.unpack_notification, io.BytesIO(data[:4] + b"\2" + data[5:])
        )
        self.assertRaises(UnknownArchiveFormat, disk_storage.pack_notification, "x", {}, 2)


class ReadmeTests(SynchronousTestCase):
    """The programs of the seed's README, in processes of their own."""

    def run_program(self, program: str) -> str:
        done = subprocess.run(
            [sys.executable, "-b", "-W", "error", "-c", program],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": _CHECKOUT},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_both(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.run_program(_WRITES)
        self.run_program(_WRITES)
        names = files_in(self.directory)
        self.assertEqual(len(names), 2)
        for name in names:
            self.assertRegex(name, r"^test_[A-Z][a-z]{2}_[A-Z][a-z]{2}_[_0-9]+\.events$")
        lines = [f"{{'index': '{index}'}} payload_{index}" for index in range(10)]
        self.assertEqual(self.run_program(_READS).splitlines(), lines + lines)

    def test_library_page(self) -> None:
        """Each program of docs/library.rst that writes or reads archives runs as it is printed."""
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        page = Path(_CHECKOUT, "docs", "library.rst").read_text().partition("\nSFSP\n====\n")[0]
        programs = [block for block in re.findall(r"::\n\n((?:    .*\n|\n)+)", page) if "import" in block]
        self.assertEqual(len(programs), 4)
        for program in programs:
            self.run_program(textwrap.dedent(program))
        self.assertEqual(len(files_in(os.path.join(self.directory, "closed"))), 1)


class NamesTests(SynchronousTestCase):
    """What users of the first program's classes pass."""

    def test_own_archive_class(self) -> None:
        class Memory:
            def __init__(self, filename: str) -> None:
                self.filename = filename
                self.data: list[object] = []

            def write(self, metadata: object, payload: object) -> None:
                self.data.append((metadata, payload))

            def get_file_handle(self) -> io.BytesIO:
                return io.BytesIO()

            def close(self) -> None:
                pass

        directory = self.mktemp()
        checker = roll_checker.SizeRollChecker(roll_size_mb="1")
        manager = roll_manager.WritingRollManager("a_%c", checker, directory, archive_class=Memory)
        for number in range(10):
            manager.write({"n": str(number)}, "x")
        kept = manager.get_active_archive()
        manager.close()
        self.assertEqual(len(kept.data), 10)
        self.assertEqual(os.listdir(directory), [])

    def test_own_reader_class(self) -> None:
        class Once:
            def __init__(self, filename: str) -> None:
                self.left = [({}, filename)]

            def read(self) -> object:
                if not self.left:
                    raise disk_storage.EndOfFile
                return self.left.pop()

            def close(self) -> None:
                pass

        manager = roll_manager.ReadingRollManager("*.gz", str(SAMPLE), archive_class=Once)
        self.assertEqual(len(list(manager)), 3)

    def test_callback_list(self) -> None:
        """Names with commas between; each gets the arguments that it takes."""
        directory = self.mktemp()
        chain = handlers.CallbackList(
            callback_list="storehouse.archive.handlers:ChangeExtensionCallback, move",
            new_extension=".fin",
            destination_folder=directory,
        )
        path = self.mktemp()
        write(path, [({}, "x")])
        chain.on_open(path)
        moved = chain.on_close(path)
        self.assertEqual(moved, os.path.join(directory, os.path.basename(path) + ".fin"))
        self.assertEqual(read(moved), [({}, "x")])
        self.assertIs(archive.ArchiveReader, archive.ArchiveReader)
