"""Random use of a log beside a dictionary that must agree with it."""

from __future__ import annotations

import os
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import NoSuchPrefix, NoSuchRecord
from tests.soak import long_loop, rounds
from tests.storage.appendlog.rig import DISK, OS, Driven, id_in_bucket, offsets_of

BUCKETS = 3
IDS = [id_in_bucket(bucket, BUCKETS, number) for bucket in range(BUCKETS) for number in range(2)]
PREFIXES = ["default", "one", "two"]

#: C{(prefix, bucket)} to C{(id, offset, payload)}, in the order of offsets.
Model = dict[tuple[str, int], list[tuple[bytes, int, bytes]]]


class ModelTests(SynchronousTestCase):
    """A log and a model of it go the same way."""

    def run_one(self, seed: int, steps: int) -> None:
        random = Random(seed)
        model: Model = {}
        made = {"default"}
        settings = {"buckets": BUCKETS, "max_open": random.choice([2, 16]), "wal_size": random.choice([1, 1 << 20])}
        driven = Driven(os.path.abspath(self.mktemp()), **settings).start()

        def check(prefix: str, id: bytes, offset: int) -> None:
            records = model.get((prefix, IDS.index(id) // 2), [])
            expected = [p for _, o, p in records if o == offset] or [p for _, o, p in records if o + 4 == offset]
            if prefix not in made:
                self.assertRaises(NoSuchPrefix, driven.get, id, offset, prefix)
            elif expected:
                self.assertEqual(driven.get(id, offset, prefix), expected[0])
            else:
                self.assertRaises(NoSuchRecord, driven.get, id, offset, prefix)

        def append(several: bool) -> None:
            prefix, id = random.choice(PREFIXES), random.choice(IDS)
            longest = random.choice([3, 300, 20_000])
            payloads = [
                random.randbytes(1 + random.randrange(longest))
                for _ in range(random.randrange(2, 30) if several else 1)
            ]
            records = model.setdefault((prefix, IDS.index(id) // 2), [])
            offsets = offsets_of(payloads, records[-1][1] + 4 + len(records[-1][2]) if records else 0)
            self.assertEqual(
                list(driven.append(id, *payloads, prefix=prefix, durability=random.choice([OS, DISK]))), offsets
            )
            records += [(id, offset, payload) for offset, payload in zip(offsets, payloads, strict=True)]
            made.add(prefix)

        def get() -> None:
            prefix, id = random.choice(PREFIXES), random.choice(IDS)
            records = model.get((prefix, IDS.index(id) // 2), [])
            around = random.choice(records)[1] if records else 0
            check(prefix, id, around + random.choice([0, 0, 4, 4, 1, -1, 5, 100]))

        def scan() -> None:
            prefix, bucket = random.choice(sorted(made)), random.randrange(BUCKETS)
            records = model.get((prefix, bucket), [])
            start = random.choice(records)[1] + random.randrange(2) if records else 0
            self.assertEqual(driven.scan(bucket, start, prefix), [(o, p) for _, o, p in records if o >= start])
            id = IDS[2 * bucket]
            self.assertEqual(driven.scan(id, start, prefix), [(o, p) for i, o, p in records if o >= start and i == id])

        def stat() -> None:
            stats = driven.stat()
            self.assertEqual(set(stats), made)
            for prefix, found in stats.items():
                records = [record for (name, _), records in model.items() if name == prefix for record in records]
                self.assertEqual((found.records, found.size), (len(records), sum(4 + len(p) for _, _, p in records)))

        def delete() -> None:
            prefix = random.choice(PREFIXES)
            if prefix not in made:
                self.assertRaises(NoSuchPrefix, driven.delete, prefix)
                return
            driven.delete(prefix)
            made.discard(prefix)
            for key in [key for key in model if key[0] == prefix]:
                del model[key]
            if prefix == "default":
                append_to_default()

        def append_to_default() -> None:
            self.assertEqual(driven.append(IDS[0], b"first"), (0,))
            model["default", 0] = [(IDS[0], 0, b"first")]
            made.add("default")

        def again(crash: bool) -> None:
            nonlocal driven
            directory = driven.directory
            if crash:
                directory = driven.copy(os.path.abspath(self.mktemp()))
                driven.kill()
            else:
                driven.stop()
            driven = Driven(directory, **settings).start()

        verbs = [
            (30, lambda: append(False)),
            (8, lambda: append(True)),
            (30, get),
            (5, scan),
            (3, stat),
            (3, lambda: driven.close(random.choice(PREFIXES))),
            (1, delete),
            (1, lambda: again(False)),
            (2, lambda: again(True)),
        ]
        try:
            for _ in range(steps):
                random.choices([verb for _, verb in verbs], [weight for weight, _ in verbs])[0]()
            for (prefix, _), records in model.items():
                for id, offset, _ in records:
                    check(prefix, id, offset)
        finally:
            driven.kill()

    @long_loop
    def test_random(self) -> None:
        """Appends, reads, scans, closes, deletions, restarts and kills, a few thousand of them."""
        for seed in rounds(12):
            try:
                self.run_one(seed, 250)
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
