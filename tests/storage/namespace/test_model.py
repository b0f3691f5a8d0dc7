"""Random use of a namespace beside sorted dictionaries that must agree with it."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import AlreadyExists, BucketNotEmpty, NoSuchBucket, NoSuchKey, PreconditionFailed
from storehouse.storage.namespace.interfaces import ENABLED, NULL, OFF, SUSPENDED, Changed, Entry
from tests.conformance.namespace import ODD_KEYS
from tests.conformance.versions import VersionModel, items_of
from tests.soak import SOAK, count, long_loop, rounds
from tests.storage.namespace.rig import Driven, now

BUCKETS = ["one", "two"]

#: Few characters, so that keys are prefixes of each other; and any.
near = st.text(st.sampled_from("a/.%+é\0"), min_size=1, max_size=6)
far = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
long = st.builds(
    lambda text, times: (text * times)[:1024], st.sampled_from(["x", "/", ".", "ab/", "%"]), st.integers(190, 600)
)
keys = st.one_of(near, near, near, far, long, st.sampled_from(ODD_KEYS))
texts = st.one_of(st.just(""), st.text(st.sampled_from("a/.%+é\0"), max_size=3), far)


def must_be_none(there: Entry | None) -> None:
    """A condition."""
    if there is not None:
        raise PreconditionFailed("it is there")


class Machine(RuleBasedStateMachine):
    """
    A namespace and a model of it.

    @ivar model: bucket to key to versions, the default first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.top = tempfile.mkdtemp(dir=os.getcwd())
        self.runs = 0
        self.driven = Driven(os.path.join(self.top, "0"), checkpoint_records=5).start()
        self.model: dict[str, dict[str, list[Entry]]] = {}
        self.gone: set[str] = set()
        self.number = 0
        self.steps = 0

    def teardown(self) -> None:
        problems = self.driven.check()
        self.driven.stop()
        shutil.rmtree(self.top)
        assert problems == [], problems

    def pick(self, bucket: str, key: str, known: int) -> str:
        """A key that is there, more often than not."""
        there = sorted(self.model.get(bucket, {}))
        return there[known % len(there)] if there and known % 4 else key

    def expect(self, error: type[Exception], call: Any, *args: Any, **options: Any) -> None:
        try:
            result = call(*args, **options)
        except error:
            return
        raise AssertionError(f"{result!r} instead of {error.__name__}")

    @rule(bucket=st.sampled_from(BUCKETS))
    def create_bucket(self, bucket: str) -> None:
        if bucket in self.model:
            self.expect(AlreadyExists, self.driven.create, bucket)
        else:
            self.driven.create(bucket)
            self.model[bucket] = {}

    @rule(bucket=st.sampled_from(BUCKETS))
    def delete_bucket(self, bucket: str) -> None:
        namespace = self.driven.namespace
        if bucket not in self.model:
            self.expect(NoSuchBucket, lambda: now(namespace.delete_bucket(bucket)))
        elif self.model[bucket]:
            self.expect(BucketNotEmpty, lambda: now(namespace.delete_bucket(bucket)))
        else:
            now(namespace.delete_bucket(bucket))
            del self.model[bucket]

    @rule(
        bucket=st.sampled_from(BUCKETS),
        key=keys,
        known=st.integers(0, 99),
        size=st.integers(0, 2**63 - 1),
        keep=st.booleans(),
        new=st.booleans(),
        early=st.booleans(),
        settle=st.booleans(),
    )
    def publish(
        self, bucket: str, key: str, known: int, size: int, keep: bool, new: bool, early: bool, settle: bool
    ) -> None:
        key = self.pick(bucket, key, known)
        self.number += 1
        entry = Entry(f"{self.number:04x}", min(size, 2**40), "é", self.number, "a/b", {key: [key]})
        options: dict[str, Any] = {"keep": keep, "condition": must_be_none if new else None}
        if bucket not in self.model:
            self.expect(NoSuchBucket, self.driven.publish, key, entry, bucket, **options)
            return
        if early:
            now(self.driven.namespace.intend(bucket, key, [entry.id]))
            self.gone.add(entry.id)
        there = self.model[bucket].get(key, [])
        if new and there:
            self.expect(PreconditionFailed, self.driven.publish, key, entry, bucket, **options)
            return
        superseded = [] if keep else there[:1]
        assert self.driven.publish(key, entry, bucket, **options) == superseded
        self.gone.discard(entry.id)
        self.model[bucket][key] = [entry, *there[len(superseded) :]]
        self.free(superseded, settle)

    @rule(
        bucket=st.sampled_from(BUCKETS),
        key=keys,
        known=st.integers(0, 99),
        version=st.integers(-1, 3),
        settle=st.booleans(),
    )
    def unpublish(self, bucket: str, key: str, known: int, version: int, settle: bool) -> None:
        key = self.pick(bucket, key, known)
        there = self.model.get(bucket, {}).get(key)
        if there is None:
            self.expect((NoSuchBucket, NoSuchKey), self.driven.unpublish, key, bucket)  # type: ignore[arg-type]
            return
        if version < 0:
            gone = there
        else:
            gone = [there[version % len(there)]]
        id = gone[0].id if version >= 0 else None
        found = self.driven.unpublish(key, bucket, id=id)
        assert sorted(each.id for each in found) == sorted(each.id for each in gone)
        left = [each for each in there if each not in gone]
        if left:
            if there[0] in gone:
                left.sort(key=lambda each: each.created, reverse=True)
            self.model[bucket][key] = left
        else:
            del self.model[bucket][key]
        self.free(gone, settle)

    def free(self, entries: list[Entry], settle: bool) -> None:
        ids = [each.id for each in entries]
        if settle:
            self.driven.namespace.settle(ids)
        else:
            self.gone |= set(ids)

    @rule()
    def settle_all(self) -> None:
        self.driven.namespace.settle(self.gone)
        self.gone = set()

    @rule()
    def reopen(self) -> None:
        self.driven.stop()
        self.driven.start()
        assert sorted(self.driven.namespace.unsettled) == sorted(self.gone)

    @rule()
    def kill(self) -> None:
        self.runs += 1
        self.driven = self.driven.killed(os.path.join(self.top, str(self.runs))).start()
        assert self.gone <= set(self.driven.namespace.unsettled)
        self.gone |= set(self.driven.namespace.unsettled)

    @rule()
    def lose_index(self) -> None:
        self.driven.stop()
        shutil.rmtree(self.driven.path("index"))
        self.driven.start()

    @rule()
    def reindex(self) -> None:
        assert now(self.driven.namespace.reindex()) == sum(map(len, self.model.values()))

    @rule(bucket=st.sampled_from(BUCKETS), prefix=texts, delimiter=texts, after=texts, limit=st.integers(0, 5))
    def list_keys(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int) -> None:
        if bucket not in self.model:
            self.expect(NoSuchBucket, self.driven.list, bucket)
            return
        expected: list[tuple[str, Any]] = []
        for key in sorted(self.model[bucket], key=str.encode):
            if not key.startswith(prefix):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            item = (prefix + head + delimiter, None) if found else (key, self.model[bucket][key][0])
            if key.encode() > after.encode() and (item[1] is not None or item[0] != after) and item not in expected:
                expected.append(item)
        page = self.driven.list(bucket, prefix=prefix, delimiter=delimiter, after=after, limit=limit)
        listed = expected[:limit]
        assert list(page.entries) == [item for item in listed if item[1] is not None]
        assert list(page.prefixes) == [item[0] for item in listed if item[1] is None]
        assert page.next_after == (listed[-1][0] if 0 < limit < len(expected) else None)

    @invariant()
    def agree(self) -> None:
        self.steps += 1
        assert [each.name for each in now(self.driven.namespace.list_buckets())] == sorted(self.model)
        for bucket, there in self.model.items():
            listed = [(key, there[key][0]) for key in sorted(there, key=str.encode)]
            assert list(self.driven.list(bucket).entries) == listed
            for key, versions in there.items():
                assert self.driven.look_up(key, bucket=bucket) == versions[0]
                if self.steps % 5 == 0:
                    rest = sorted(versions[1:], key=lambda each: each.created, reverse=True)
                    assert self.driven.versions(key, bucket) == [versions[0], *rest]


class VersionMachine(RuleBasedStateMachine):
    """A bucket with versions and the model of S3's (L{VersionModel}), through kills, restarts and lost indexes."""

    def __init__(self) -> None:
        super().__init__()
        self.top = tempfile.mkdtemp(dir=os.getcwd())
        self.runs = 0
        self.driven = Driven(os.path.join(self.top, "0"), checkpoint_records=5).start().create()
        self.model = VersionModel()
        self.number = 0

    def teardown(self) -> None:
        problems = self.driven.check()
        self.driven.stop()
        shutil.rmtree(self.top)
        assert problems == [], problems

    def pick(self, key: str, known: int) -> str:
        there = sorted(self.model.keys)
        return there[known % len(there)] if there and known % 4 else key

    def new(self, size: int, created: int) -> Entry:
        self.number += 1
        return Entry(f"{self.number:04x}", size, "é", created, "a/b")

    def settle(self, changed: Changed, expected: list[str]) -> None:
        assert [each.id for each in changed.removed] == expected
        self.driven.namespace.settle(expected)

    @rule(state=st.sampled_from([ENABLED, ENABLED, SUSPENDED]))
    def set_versioning(self, state: str) -> None:
        now(self.driven.namespace.set_versioning("bucket", state))
        self.model.state = state

    @rule(
        key=near,
        known=st.integers(0, 99),
        size=st.integers(0, 2**40),
        created=st.integers(0, 9),
        must_be_new=st.booleans(),
    )
    def publish(self, key: str, known: int, size: int, created: int, must_be_new: bool) -> None:
        key = self.pick(key, known)
        new = self.new(size, created)
        condition = must_be_none if must_be_new else None
        versions = self.model.keys.get(key)
        if must_be_new and versions and not versions[0][2]:
            try:
                self.driven.publish(key, new, condition=condition)
            except PreconditionFailed:
                return
            raise AssertionError("it was published over an object")
        changed = now(self.driven.namespace.publish("bucket", key, new, condition))
        self.settle(changed, self.model.put(key, new.id, size))

    @rule(key=near, known=st.integers(0, 99), created=st.integers(0, 9))
    def unpublish(self, key: str, known: int, created: int) -> None:
        key = self.pick(key, known)
        names = self.driven.namespace
        if self.model.state == OFF:
            if key in self.model.keys:
                self.settle(now(names.unpublish("bucket", key)), self.model.remove(key))
            return
        marker = self.new(0, created)
        changed = now(names.unpublish("bucket", key, marker=marker))
        self.settle(changed, self.model.put(key, marker.id, 0, True))

    @rule(known=st.integers(0, 99), which=st.integers(0, 9), by_null=st.booleans())
    def remove(self, known: int, which: int, by_null: bool) -> None:
        there = sorted(self.model.keys)
        if not there:
            return
        key = there[known % len(there)]
        id, is_null, *_ = self.model.keys[key][which % len(self.model.keys[key])]
        changed = now(self.driven.namespace.unpublish("bucket", key, NULL if is_null and by_null else id))
        self.settle(changed, self.model.remove(key, id))
        left = self.model.keys.get(key)
        assert (changed.current and changed.current.id) == (left[0][0] if left else None)

    @rule()
    def reopen(self) -> None:
        self.driven.stop()
        self.driven.start()

    @rule()
    def kill(self) -> None:
        self.runs += 1
        self.driven = self.driven.killed(os.path.join(self.top, str(self.runs))).start()
        self.driven.namespace.settle(list(self.driven.namespace.unsettled))

    @rule()
    def lose_index(self) -> None:
        self.driven.stop()
        shutil.rmtree(self.driven.path("index"))
        self.driven.start()

    @rule()
    def reindex(self) -> None:
        assert now(self.driven.namespace.reindex()) == len(self.model.keys)

    @rule(prefix=texts, delimiter=texts, limit=st.integers(1, 5))
    def list_versions(self, prefix: str, delimiter: str, limit: int) -> None:
        found: list[Any] = []
        key: str | None = ""
        version = ""
        while key is not None:
            page = now(self.driven.namespace.list_versions("bucket", prefix, delimiter, key, version, limit))
            found += items_of(page)
            key, version = page.next_key_marker, page.next_version_marker
        assert found == self.model.listed(prefix, delimiter), (found, self.model.listed(prefix, delimiter))

    @invariant()
    def agree(self) -> None:
        names = self.driven.namespace
        page = now(names.list_versions("bucket"))
        assert items_of(page) == self.model.listed()
        assert [(key, each.id) for key, each in self.driven.list().entries] == self.model.live()
        assert now(names.usage("bucket")) == self.model.usage()
        for each in page.versions:
            assert now(names.look_up("bucket", each.key, each.entry.version)) == each.entry


class ModelTests(SynchronousTestCase):
    """A namespace and a model of it go the same way."""

    @long_loop
    def test_model(self) -> None:
        self.run_machine(Machine)

    @long_loop
    def test_versions(self) -> None:
        self.run_machine(VersionMachine)

    def run_machine(self, machine: type[RuleBasedStateMachine]) -> None:
        for _ in rounds(1):
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=15,
                    stateful_step_count=30,
                    # To make a failure smaller takes minutes: only when there is time.
                    phases=list(Phase) if SOAK else [Phase.explicit, Phase.generate],
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
            count("histories", 15)
        self.assertEqual(self.flushLoggedErrors(), [])
