"""The reader of forms under a fuzzer, for a few seconds; C{STOREHOUSE_SOAK=1} for minutes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.upload.multipart import MultipartReader
from tests.fuzz.forms import SEEDS, try_form
from tests.integration.process import CHECKOUT

SECONDS = 600 if os.environ.get("STOREHOUSE_SOAK") else 3


class FormFuzzTests(SynchronousTestCase):
    """Any bytes come to the same, at once and in pieces."""

    def test_seeds(self) -> None:
        for seed in SEEDS:
            for cut in range(16):
                try_form(bytes([cut]) + seed[1:])

    def test_it_would_be_found(self) -> None:
        """The harness itself tells what is wrong: here, a reader that loses what may be the beginning of a boundary."""
        self.patch(MultipartReader, "_partial", lambda reader, data: 0)
        self.assertRaises(AssertionError, try_form, b"\2" + SEEDS[0][1:])

    def test_random(self) -> None:
        """Seeds with bytes changed, repeated and lost: less than the fuzzer does, but everywhere."""
        random = Random(21)
        morsels = [
            b"\r\n",
            b"\r",
            b"\n",
            b"--b",
            b"\r\n--b",
            b"\r\n--b--",
            b'"',
            b";",
            b":",
            b"\0",
            b"\xff",
            b"filename*=",
        ]
        for _ in range(20_000 if SECONDS > 10 else 2000):
            data = bytearray(random.choice(SEEDS))
            for _ in range(random.randrange(6)):
                at = random.randrange(len(data))
                change = random.randrange(4)
                if change == 0:
                    data[at] = random.randrange(256)
                elif change == 1:
                    del data[at : at + random.randrange(1, 9)]
                elif change == 2:
                    data[at:at] = data[at : at + random.randrange(1, 60)]
                else:
                    data[at:at] = random.choice(morsels)
                if not data:
                    break
            try_form(bytes(data))

    def test_fuzzer(self) -> None:
        """With atheris, where there are wheels of it: there it must be installed when the tests are CI's."""
        if importlib.util.find_spec("atheris") is None:
            if os.environ.get("CI"):
                self.fail("atheris is not installed")
            # What stands in for it where it cannot be had.
            random = Random(31)
            for _ in range(10_000):
                try_form(random.randbytes(random.randrange(100)))
            return
        corpus = os.path.abspath(self.mktemp())
        os.makedirs(corpus)
        for number, seed in enumerate(SEEDS):
            with open(os.path.join(corpus, f"seed-{number}"), "wb") as file:
                file.write(seed)
        path = os.pathsep.join(filter(None, [CHECKOUT, os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.forms", str(SECONDS), corpus],
            cwd=corpus, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE, timeout=SECONDS + 60, check=False,
        )  # fmt: skip
        said = done.stderr.decode("utf-8", "replace")
        self.assertEqual(done.returncode, 0, said[-3000:])
        runs = [int(line.split()[1]) for line in said.splitlines() if line.startswith("stat::number_of_executed_units")]
        self.assertGreater(runs[0], 1000, said[-3000:])
