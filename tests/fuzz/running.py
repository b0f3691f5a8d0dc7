"""What every fuzzed codec's tests do: seeds, seeds that were changed, and the fuzzer itself."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

from tests.integration.process import CHECKOUT, PATIENCE
from tests.soak import SHARE, count, long_loop, rounds

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as TestCase
else:
    TestCase = object

__all__ = ["FuzzTestsMixin", "run_fuzzer"]

SECONDS = int(SHARE) or 1


def run_fuzzer(
    attempt: Callable[[bytes], object], instrumented: Sequence[tuple[object, Sequence[str]]], most: int
) -> None:
    """
    Fuzz with atheris; the arguments of the program are the seconds and a directory of seeds. Does not return: libFuzzer ends the
    process.

    @param attempt: fails with C{AssertionError} if some bytes are not understood as they should be.
    @param instrumented: modules and classes, with the names of the functions that guide the fuzzer.
    @param most: bytes of an input.
    """
    import atheris

    for owner, names in instrumented:
        for name in names:
            setattr(owner, name, atheris.instrument_func(getattr(owner, name)))
    program, seconds, corpus = sys.argv
    options = [f"-max_total_time={seconds}", f"-max_len={most}", "-timeout=10", "-print_final_stats=1"]
    atheris.Setup([program, *options, corpus], attempt)
    atheris.Fuzz()


class FuzzTestsMixin(TestCase):
    """
    Any bytes come to the same, at once and in pieces.

    @cvar module: what the fuzzer runs, with the seconds and a directory of seeds as its arguments.
    @cvar attempt: fails with C{AssertionError} if some bytes do not. Their first byte says how they are cut.
    @cvar seeds: some that are worth to be changed.
    @cvar cuts: how many ways of cutting each seed is tried with.
    @cvar morsels: what is put into seeds.
    @cvar most: seeds that are joined, at most.
    """

    module: str
    attempt: Callable[[bytes], object]
    seeds: Sequence[bytes]
    cuts: int
    morsels: Sequence[bytes]
    most = 1

    def try_bytes(self, data: bytes) -> None:
        """Fail if these do not."""
        type(self).attempt(data)

    def test_seeds(self) -> None:
        for seed in self.seeds:
            for cut in range(self.cuts):
                self.try_bytes(bytes([cut]) + seed[1:])

    @long_loop
    def test_random(self) -> None:
        """Seeds with bytes changed, repeated and lost: less than the fuzzer does, but everywhere."""
        for seed in rounds(1):
            self.change_seeds(Random(20 + seed))
            count("texts", 2500)

    def change_seeds(self, random: Random) -> None:
        """Try some thousand."""
        for _ in range(2500):
            data = bytearray(b"".join(random.choices(self.seeds, k=random.randrange(1, self.most + 1))))
            for _ in range(random.randrange(6)):
                at = random.randrange(len(data))
                change = random.randrange(4)
                if change == 0:
                    data[at] = random.randrange(256)
                elif change == 1:
                    del data[at : at + random.randrange(1, 9)]
                elif change == 2:
                    data[at:at] = data[at : at + random.randrange(1, 40)]
                else:
                    data[at:at] = random.choice(self.morsels)
                if not data:
                    break
            self.try_bytes(bytes(data))

    @long_loop
    def test_fuzzer(self) -> None:
        """With atheris, where there are wheels of it: there it must be installed when the tests are CI's."""
        if importlib.util.find_spec("atheris") is None:
            if os.environ.get("CI"):
                self.fail("atheris is not installed")
            # What stands in for it where it cannot be had.
            for seed in rounds(1):
                random = Random(30 + seed)
                for _ in range(10_000):
                    self.try_bytes(random.randbytes(random.randrange(100)))
                count("texts", 10_000)
            return
        corpus = os.path.abspath(self.mktemp())
        os.makedirs(corpus)
        for number, seed in enumerate(self.seeds):
            with open(os.path.join(corpus, f"seed-{number}"), "wb") as file:
                file.write(seed)
        path = os.pathsep.join(filter(None, [CHECKOUT, os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-m", self.module, str(SECONDS), corpus],
            cwd=corpus, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE, timeout=SECONDS + PATIENCE, check=False,
        )  # fmt: skip
        said = done.stderr.decode("utf-8", "replace")
        self.assertEqual(done.returncode, 0, said[-3000:])
        runs = [int(line.split()[1]) for line in said.splitlines() if line.startswith("stat::number_of_executed_units")]
        # All seeds are run, however little of its time a busy machine gives it.
        self.assertGreaterEqual(runs[0], len(self.seeds), said[-3000:])
        count("runs", runs[0])
