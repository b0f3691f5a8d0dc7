"""Random use of an object store beside a dictionary that must agree with it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import (
    AlreadyExists,
    BucketNotEmpty,
    InvalidPart,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    PreconditionFailed,
)
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.interfaces import Usage
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.storage.objects.interfaces import ALWAYS, Condition
from storehouse.storage.objects.store import LocalObjectStore
from storehouse.testing.files import UnsyncedFiles
from tests.conformance.objectstore import ABSENT, ANY
from tests.soak import SOAK, count, long_loop, rounds
from tests.storage.namespace.rig import now
from tests.storage.namespace.test_model import keys, texts

BUCKETS = ["one", "two"]

bodies = st.binary(max_size=40) | st.builds(
    lambda data, times: data * times, st.binary(min_size=1, max_size=5), st.integers(1, 2000)
)
conditions = st.sampled_from(["", "", "absent", "any", "same", "other"])


class Machine(RuleBasedStateMachine):
    """
    A store and a model of it.

    @ivar model: bucket to key to C{(body, content type, etag)}.
    @ivar uploads: C{ID: (bucket, key, {number: body})}.
    """

    def __init__(self) -> None:
        super().__init__()
        self.top = tempfile.mkdtemp(dir=os.getcwd())
        self.model: dict[str, dict[str, tuple[bytes, str, str]]] = {}
        self.uploads: dict[str, tuple[str, str, dict[int, bytes]]] = {}
        self.start()

    def start(self) -> None:
        files = UnsyncedFiles()
        self.space = WormerDataSpace(
            WormerSettings(f"{self.top}/data", "CRC32C", 512, False), InlineDisk(), files=files
        )
        self.names = LocalNamespace(
            NamespaceSettings(f"{self.top}/names", False, 5), Clock(), InlineDisk(), files=files
        )
        self.store = LocalObjectStore(self.space, self.names, InlineDisk())
        self.space.start()
        self.names.start()
        self.store.start()
        now(self.store.recovered)

    def stop(self) -> None:
        for room in (self.store, self.names, self.space):
            now(room.stop())

    def teardown(self) -> None:
        problems = now(self.store.check())
        stored = [id for name in sorted(os.listdir(f"{self.top}/data/data")) for id in now(self.space.list_ids(name))]
        named = [info.id for bucket in self.model for info in self.all_of(bucket)]
        open_uploads = {upload.id for upload in now(self.space.list_uploads())}
        self.stop()
        shutil.rmtree(self.top)
        assert problems == [], problems
        assert sorted(stored) == sorted(named)
        assert open_uploads == set(self.uploads)

    def all_of(self, bucket: str) -> list[Any]:
        return list(now(self.store.list_objects(bucket)).objects)

    def pick(self, bucket: str, key: str, known: int) -> str:
        """A key that is there, more often than not."""
        there = sorted(self.model.get(bucket, {}))
        return there[known % len(there)] if there and known % 4 else key

    def expect(self, error: type[Exception] | tuple[type[Exception], ...], deferred: Deferred[Any]) -> None:
        try:
            result = now(deferred)
        except error:
            return
        raise AssertionError(f"{result!r} instead of {error}")

    def condition(self, kind: str, there: tuple[bytes, str, str] | None) -> tuple[Condition, bool]:
        """And whether it holds."""
        if kind == "absent":
            return ABSENT, there is None
        if kind == "any":
            return ANY, there is not None
        if kind == "same" and there is not None:
            return Condition(etag=there[2]), True
        if kind == "other":
            return Condition(etag="0"), False
        return ALWAYS, True

    @rule(bucket=st.sampled_from(BUCKETS))
    def create_bucket(self, bucket: str) -> None:
        if bucket in self.model:
            self.expect(AlreadyExists, self.store.create_bucket(bucket))
        else:
            now(self.store.create_bucket(bucket))
            self.model[bucket] = {}

    @rule(bucket=st.sampled_from(BUCKETS))
    def delete_bucket(self, bucket: str) -> None:
        if bucket not in self.model:
            self.expect(NoSuchBucket, self.store.delete_bucket(bucket))
        elif self.model[bucket]:
            self.expect(BucketNotEmpty, self.store.delete_bucket(bucket))
        else:
            now(self.store.delete_bucket(bucket))
            del self.model[bucket]
            self.uploads = {id: upload for id, upload in self.uploads.items() if upload[0] != bucket}

    @rule(
        bucket=st.sampled_from(BUCKETS),
        key=keys,
        known=st.integers(0, 99),
        body=bodies,
        kind=conditions,
        md5=st.booleans(),
    )
    def put(self, bucket: str, key: str, known: int, body: bytes, kind: str, md5: bool) -> None:
        key = self.pick(bucket, key, known)
        there = self.model.get(bucket, {}).get(key)
        condition, holds = self.condition(kind, there)
        size = len(body) if known % 2 else None
        putting = self.store.put(bucket, key, BytesStream(body), size, key[:9], {key: [key]}, condition, md5)
        if bucket not in self.model:
            self.expect(NoSuchBucket, putting)
        elif not holds:
            self.expect(PreconditionFailed, putting)
        else:
            info = now(putting)
            assert not md5 or info.etag == hashlib.md5(body).hexdigest()
            self.model[bucket][key] = (body, key[:9], info.etag)

    @rule(bucket=st.sampled_from(BUCKETS), key=keys, known=st.integers(0, 99), kind=conditions)
    def delete(self, bucket: str, key: str, known: int, kind: str) -> None:
        key = self.pick(bucket, key, known)
        there = self.model.get(bucket, {}).get(key)
        condition, holds = self.condition(kind, there)
        deleting = self.store.delete(bucket, key, condition)
        if bucket not in self.model:
            self.expect(NoSuchBucket, deleting)
        elif not holds:
            self.expect(PreconditionFailed, deleting)
        elif there is None:
            self.expect(NoSuchKey, deleting)
        else:
            assert now(deleting).etag == there[2]
            del self.model[bucket][key]

    @rule(
        bucket=st.sampled_from(BUCKETS),
        key=keys,
        source=st.sampled_from(BUCKETS),
        known=st.integers(0, 99),
        kind=conditions,
        source_kind=conditions,
        kept=st.booleans(),
    )
    def copy(self, bucket: str, key: str, source: str, known: int, kind: str, source_kind: str, kept: bool) -> None:
        from_key = self.pick(source, key, known)
        if known % 3 == 0:
            key = self.pick(bucket, key, known // 2)
        there = self.model.get(bucket, {}).get(key)
        original = self.model.get(source, {}).get(from_key)
        condition, holds = self.condition(kind, there)
        source_condition, source_holds = self.condition(source_kind, original)
        content_type = None if kept else "new"
        copying = self.store.copy(bucket, key, source, from_key, content_type, {}, condition, source_condition)
        if bucket not in self.model or source not in self.model:
            self.expect(NoSuchBucket, copying)
        elif original is None:
            self.expect(NoSuchKey, copying)
        elif not holds or not source_holds:
            self.expect(PreconditionFailed, copying)
        else:
            assert now(copying).etag == original[2]
            self.model[bucket][key] = (original[0], original[1] if kept else "new", original[2])

    @rule(bucket=st.sampled_from(BUCKETS), key=keys, known=st.integers(0, 99))
    def begin(self, bucket: str, key: str, known: int) -> None:
        key = self.pick(bucket, key, known)
        beginning = self.store.begin_upload(bucket, key, "parts")
        if bucket not in self.model:
            self.expect(NoSuchBucket, beginning)
        else:
            self.uploads[now(beginning)] = (bucket, key, {})

    def upload(self, known: int) -> tuple[str, tuple[str, str, dict[int, bytes]]] | None:
        ids = sorted(self.uploads)
        if not ids:
            return None
        id = ids[known % len(ids)]
        return id, self.uploads[id]

    @rule(known=st.integers(0, 99), number=st.integers(1, 4), body=bodies, md5=st.booleans())
    def part(self, known: int, number: int, body: bytes, md5: bool) -> None:
        found = self.upload(known)
        if found is None:
            self.expect((NoSuchUpload, NoSuchBucket), self.store.list_parts("one", "a", "00"))
            return
        id, (bucket, key, parts) = found
        now(self.store.upload_part(bucket, key, id, number, BytesStream(body), None, md5))
        parts[number] = body
        listed = now(self.store.list_parts(bucket, key, id))
        assert [(part.number, part.size) for part in listed] == [(each, len(parts[each])) for each in sorted(parts)]

    @rule(known=st.integers(0, 99), number=st.integers(1, 4), source=st.sampled_from(BUCKETS), key=keys)
    def part_copy(self, known: int, number: int, source: str, key: str) -> None:
        found = self.upload(known)
        from_key = self.pick(source, key, known)
        original = self.model.get(source, {}).get(from_key)
        if found is None or original is None:
            return
        id, (bucket, key, parts) = found
        start = known % (len(original[0]) + 1)
        now(self.store.upload_part_copy(bucket, key, id, number, source, from_key, start))
        parts[number] = original[0][start:]

    @rule(known=st.integers(0, 99), kind=conditions)
    def complete(self, known: int, kind: str) -> None:
        found = self.upload(known)
        if found is None:
            return
        id, (bucket, key, parts) = found
        condition, holds = self.condition(kind, self.model[bucket].get(key))
        listed = now(self.store.list_parts(bucket, key, id))
        chosen = [part for part in listed if part.number % 4 != known % 4] or listed
        completing = self.store.complete_upload(bucket, key, id, chosen, condition)
        if not holds:
            self.expect(PreconditionFailed, completing)
        elif not chosen:
            self.expect(InvalidPart, completing)
        else:
            info = now(completing)
            self.model[bucket][key] = (b"".join(parts[part.number] for part in chosen), "parts", info.etag)
            del self.uploads[id]
            self.expect(NoSuchUpload, self.store.complete_upload(bucket, key, id, [Part(1, "x", 1)]))

    @rule(known=st.integers(0, 99))
    def abort(self, known: int) -> None:
        found = self.upload(known)
        if found is not None:
            now(self.store.abort_upload(found[1][0], found[1][1], found[0]))
            del self.uploads[found[0]]

    @rule()
    def reopen(self) -> None:
        self.stop()
        self.start()

    @rule()
    def reindex(self) -> None:
        assert now(self.store.reindex()).keys == sum(map(len, self.model.values()))

    @rule(repair=st.booleans())
    def check(self, repair: bool) -> None:
        problems = now(self.store.check(None, repair))
        assert problems == [], problems

    @rule(bucket=st.sampled_from(BUCKETS), prefix=texts, delimiter=texts, limit=st.integers(1, 4))
    def list_pages(self, bucket: str, prefix: str, delimiter: str, limit: int) -> None:
        """Page after page, all of it, once, in order."""
        if bucket not in self.model:
            self.expect(NoSuchBucket, self.store.list_objects(bucket))
            return
        expected: list[tuple[str, bool]] = []
        for key in sorted(self.model[bucket], key=str.encode):
            if not key.startswith(prefix):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            item = (prefix + head + delimiter, True) if found else (key, False)
            if item not in expected:
                expected.append(item)
        listed: list[tuple[str, bool]] = []
        after: str | None = ""
        while after is not None:
            page = now(self.store.list_objects(bucket, prefix, delimiter, after, limit))
            items = [(info.key, False) for info in page.objects] + [(common, True) for common in page.prefixes]
            assert len(items) <= limit
            listed += sorted(items, key=lambda item: item[0].encode())
            for info in page.objects:
                assert (info.size, info.etag) == (
                    len(self.model[bucket][info.key][0]),
                    self.model[bucket][info.key][2],
                )
            after = page.next_after
        assert listed == sorted(expected, key=lambda item: item[0].encode()), (listed, expected)

    @rule(bucket=st.sampled_from(BUCKETS), key=keys, known=st.integers(0, 99))
    def get(self, bucket: str, key: str, known: int) -> None:
        key = self.pick(bucket, key, known)
        there = self.model.get(bucket, {}).get(key)
        if there is None:
            self.expect((NoSuchBucket, NoSuchKey), self.store.get(bucket, key))
            return
        body, content_type, etag = there
        start = known % (len(body) + 1)
        reader = now(self.store.get(bucket, key, start))
        assert now(Deferred.fromCoroutine(read_all(reader))) == body[start:]
        assert (reader.info.content_type, reader.info.etag, reader.info.size) == (content_type, etag, len(body))

    @invariant()
    def usage(self) -> None:
        for bucket, there in self.model.items():
            assert now(self.store.usage(bucket)) == Usage(len(there), sum(len(body) for body, _, _ in there.values()))


class ModelTests(SynchronousTestCase):
    """See the module."""

    @long_loop
    def test_model(self) -> None:
        for _ in rounds(1):
            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=40,
                    stateful_step_count=60 if SOAK else 30,
                    deadline=None,
                    derandomize=not SOAK,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                    phases=[Phase.generate, Phase.shrink] if SOAK else [Phase.generate],
                ),
            )
            count("histories", 40)
