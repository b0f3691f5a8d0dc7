"""How large parts are."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.resumable.policy import MANY, is_enough, least_size, to_be_joined

MIB = 1 << 20
GIB = 1 << 30


class _Model:
    """Parts as they would become."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.most = self.copied = self.size = 0

    def add(self, size: int) -> None:
        self.parts.append(Part(len(self.parts) + 1, "", size))
        self.size += size
        count = to_be_joined(self.parts)
        if count:
            joined = sum(part.size for part in self.parts[-count:])
            self.copied += joined
            self.parts[-count:] = [Part(len(self.parts), "", joined)]
        self.most = max(self.most, len(self.parts))


class PolicyTests(SynchronousTestCase):
    """L{storehouse.storage.resumable.policy}."""

    def test_large(self) -> None:
        """What comes fast is cut into some thousand parts, even terabytes."""
        offset = parts = 0
        while offset < 4 << 40:
            offset += least_size(offset)
            parts += 1
        self.assertLess(parts, 5000)

    def test_is_enough(self) -> None:
        """A part is large enough, and took long enough; or is very large."""
        self.assertFalse(is_enough(0, 16 * MIB - 1, 9.0))
        self.assertFalse(is_enough(0, 16 * MIB, 0.4))
        self.assertTrue(is_enough(0, 16 * MIB, 0.5))
        self.assertTrue(is_enough(0, GIB, 0.0))
        self.assertFalse(is_enough(1 << 40, 2 * GIB // 2 - 1, 9.0))

    def test_small(self) -> None:
        """However small the pieces are, the parts stay few, and bytes are copied a few times at most."""
        for size, count in ((1, 20_000), (1000, 20_000), (65_536, 40_000), (5 * MIB, 20_000)):
            model = _Model()
            for _ in range(count):
                model.add(size)
            self.assertLess(model.most, 6 * MANY + model.size // least_size(model.size), size)
            self.assertLess(model.copied, 5 * model.size, size)

    def test_mixed(self) -> None:
        chance = random.Random(1)
        model = _Model()
        for _ in range(20_000):
            model.add(int(2 ** (chance.random() * 24)))
        self.assertLess(model.most, 6 * MANY + model.size // least_size(model.size))
        self.assertLess(model.copied, 5 * model.size)

    def test_few(self) -> None:
        """Nothing is copied where there is nothing to gain."""
        self.assertEqual(to_be_joined([]), 0)
        self.assertEqual(to_be_joined([Part(number, "", 10) for number in range(MANY - 1)]), 0)
        self.assertEqual(to_be_joined([Part(number, "", 32 * MIB) for number in range(4 * MANY)]), 0)
        self.assertEqual(to_be_joined([Part(number, "", 10) for number in range(MANY)]), MANY)
