"""Where the bytes of a command go."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from storehouse.cli.output import Output


class OutputTests(SynchronousTestCase):
    """Files and what is none."""

    def test_no_regular_file(self) -> None:
        """A pipe by its descriptor, a FIFO and a device are written to as they are."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        link = os.path.abspath(self.mktemp())
        os.symlink(f"/dev/fd/{writing}", link)
        fifo = os.path.abspath(self.mktemp())
        os.mkfifo(fifo)
        fifo_fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, fifo_fd)
        for path, fd in ((f"/dev/fd/{writing}", reading), (link, reading), (fifo, fifo_fd), (os.devnull, -1)):
            with Output(path) as output:
                output.write(b"bytes")
            if fd >= 0:
                self.assertEqual(os.read(fd, 100), b"bytes")

    def test_link(self) -> None:
        """A link to a file, or to one that is to be, goes on leading to it."""
        target, link = os.path.abspath(self.mktemp()), os.path.abspath(self.mktemp())
        os.symlink(target, link)
        for data in (b"one", b"two"):
            with Output(link) as output:
                output.write(data)
            with open(target, "rb") as file:
                self.assertEqual(file.read(), data)
        self.assertTrue(os.path.islink(link))
