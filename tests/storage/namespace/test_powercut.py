"""
What a power cut, or a kill, at any moment leaves of a namespace.

Operations are done one after the other on files that record them; for moments among these every kind of state that a
cut could leave is made, with an index that lacks any number of the last commits, or all; and a namespace is started on
it.
"""

from __future__ import annotations

import os
import shutil
from random import Random
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import NoSuchKey
from storehouse.storage.namespace.interfaces import ENABLED, SUSPENDED, Entry
from tests.conformance.namespace import entry
from tests.crash.disk import World, write_tree
from tests.crash.recording import Recorder, RecordingFiles
from tests.soak import long_loop, rounds
from tests.storage.namespace.rig import Driven, now

KEYS = ["a", "a/b", "x" * 450, ".."]
POLICIES = ["lost", "kept", "names", "writes", "blocks", "last"]

#: Key to versions, the default first.
Model = dict[str, list[Entry]]


class History:
    """
    One run.

    @ivar marks: C{(event, model, IDs without a key, metadata of the bucket)} after each operation: the number of events
        so far, and what holds.
    @ivar indexes: C{(event, directory)}: copies of the index after each operation.
    """

    def __init__(self, top: str, seed: int, steps: int, versioned: bool) -> None:
        self.top = top
        os.makedirs(top)
        self.random = Random(seed)
        self.recorder = Recorder(World())
        self.files = RecordingFiles(top, self.recorder)
        self.driven = Driven(os.path.join(top, "n"), self.files, checkpoint_records=10_000)
        self.driven.start()
        # The index is SQLite's own business: the recorder does not know it.
        self.indexes: list[tuple[int, str]] = []
        self.driven.create()
        self.is_null = not versioned
        if versioned:
            now(self.driven.namespace.set_versioning("bucket", ENABLED))
        self.model: Model = {}
        self.gone: set[str] = set()
        self.metadata: dict[str, list[str]] = {}
        self.marks: list[tuple[int, Model, set[str], dict[str, list[str]]]] = []
        self.mark()
        for number in range(steps):
            if versioned:
                self.versioned_step(number)
            else:
                self.step(number)
            self.mark()
        self.driven.abandon()

    def mark(self) -> None:
        events = len(self.recorder.events)
        copy = {key: list(versions) for key, versions in self.model.items()}
        self.marks.append((events, copy, set(self.gone), self.metadata))
        target = f"{self.top}.index.{events}"
        shutil.copytree(self.driven.path("index"), target, dirs_exist_ok=True)
        self.indexes.append((events, target))

    def step(self, number: int) -> None:
        random = self.random
        if random.random() < 0.15:
            self.metadata = {"number": [str(number)]}
            now(self.driven.namespace.set_bucket_metadata("bucket", self.metadata))
            return
        key = random.choice(KEYS)
        there = self.model.get(key, [])
        if there and random.random() < 0.25:
            self.rename(key, random.choice([each for each in KEYS if each != key]), entry(number + 1))
            return
        if there and random.random() < 0.35:
            gone = there if random.random() < 0.5 else [random.choice(there)]
            self.driven.unpublish(key, id=None if gone is there else gone[0].id)
            left = [each for each in there if each not in gone]
            if left and there[0] in gone:
                left.sort(key=lambda each: each.created, reverse=True)
            self.model[key] = left
            if not left:
                del self.model[key]
            self.gone |= {each.id for each in gone}
        elif there and random.random() < 0.2:
            # Of the same ID.
            new = entry(int(there[0].id, 16), number)
            self.driven.publish(key, new)
            self.model[key] = [new, *there[1:]]
        else:
            keep = random.random() < 0.4
            new = entry(number + 1)
            if random.random() < 0.3:
                now(self.driven.namespace.intend("bucket", key, [new.id]))
            superseded = self.driven.publish(key, new, keep=keep)
            self.gone |= {each.id for each in superseded}
            self.model[key] = [new, *(each for each in there if each not in superseded)]

    def versioned_step(self, number: int) -> None:
        random = self.random
        key = random.choice(KEYS)
        there = self.model.get(key, [])
        choice = random.random()
        if choice < 0.15:
            self.is_null = random.random() < 0.6
            now(self.driven.namespace.set_versioning("bucket", SUSPENDED if self.is_null else ENABLED))
            return
        if there and choice < 0.4:
            version = random.choice(there)
            changed = now(self.driven.namespace.unpublish("bucket", key, version.version))
            self.model[key] = [each for each in there if each != version]
        elif there and choice < 0.5:
            version = random.choice(there)
            change = {"system": {"tagging": str(number)}}
            revised = now(
                self.driven.namespace.revise("bucket", key, version.id, lambda each: attrs.evolve(each, **change))
            )
            self.model[key] = [revised if each == version else each for each in there]
            return
        else:
            # The clock may have been set back.
            new = attrs.evolve(entry(number + 1, 0), created=entry(random.randrange(100)).created)
            if choice < 0.7:
                changed = now(self.driven.namespace.unpublish("bucket", key, marker=new))
            else:
                changed = now(self.driven.namespace.publish("bucket", key, new))
            self.model[key] = [changed.entry, *(each for each in there if each not in changed.removed)]
        self.gone |= {each.id for each in changed.removed}
        if not self.model[key]:
            del self.model[key]

    def rename(self, key: str, new_key: str, new: Entry) -> None:
        freed, left = now(self.driven.namespace.rename("bucket", key, new_key, new))
        self.gone |= {each.id for each in (*freed, *left)}
        self.model[new_key] = [new, *(each for each in self.model.get(new_key, []) if each not in freed)]
        del self.model[key]


def as_sets(model: Model) -> dict[str, tuple[Entry, frozenset[str]]]:
    return {key: (versions[0], frozenset(each.id for each in versions)) for key, versions in model.items()}


class PowerCutTests(SynchronousTestCase):
    """See the module."""

    def check_state(self, history: History, world: World, at: int, policy: str, random: Random, number: int) -> None:
        tree = world.after_cut(random, policy)
        top = f"{history.top}.cut.{number}"
        write_tree(tree, top)
        directory = os.path.join(top, "n")
        before = [mark for mark in history.marks if mark[0] <= at]
        after = [mark for mark in history.marks if mark[0] > at]
        if random.random() < 0.7:
            _, index = random.choice([each for each in history.indexes if each[0] <= at])
            shutil.rmtree(os.path.join(directory, "index"), ignore_errors=True)
            shutil.copytree(index, os.path.join(directory, "index"))
        # What was answered holds; what was not has happened or not.
        known, gone = as_sets(before[-1][1]), before[-1][2]
        possible = [known, as_sets(after[0][1])] if after else [known]
        driven = Driven(directory).start()
        try:
            found: dict[str, Any] = {}
            all_of: dict[str, list[Entry]] = {}
            for key in KEYS:
                try:
                    versions = driven.versions(key)
                except NoSuchKey:
                    continue
                found[key] = (versions[0], frozenset(each.id for each in versions))
                all_of[key] = versions
            context = f"{policy} at {at}: {history.recorder.events[max(0, at - 3) : at]}"
            # Of all keys together: a rename is of two.
            self.assertIn(found, possible, context)
            self.assertEqual(
                [(key, each) for key, each in driven.list().entries],
                [(key, found[key][0]) for key in sorted(found, key=str.encode) if not found[key][0].marker],
                context,
            )
            page = now(driven.namespace.list_versions("bucket"))
            self.assertEqual(
                [(each.key, each.entry) for each in page.versions],
                [(key, each) for key in sorted(found, key=str.encode) for each in all_of[key]],
                context,
            )
            metadata = now(driven.namespace.get_bucket("bucket")).metadata
            self.assertIn(metadata, [mark[3] for mark in (before[-1], *after[:1])], context)
            self.assertEqual(driven.check(), [], context)
            self.assertEqual(os.listdir(driven.path("tmp")), [], context)
            # Nothing that has no name is forgotten, and nothing that has one is given away.
            unsettled = set(driven.namespace.unsettled)
            named = {id for _, ids in found.values() for id in ids}
            self.assertEqual(unsettled & named, set(), context)
            self.assertEqual(gone - named - unsettled, set(), context)
        finally:
            driven.abandon()
            shutil.rmtree(top)

    def run_history(self, seed: int, steps: int, cuts: int, versioned: bool = False) -> None:
        random = Random(seed)
        history = History(os.path.abspath(self.mktemp()), seed, steps, versioned)
        first = history.marks[0][0]
        last = len(history.recorder.events)
        moments = sorted(random.sample(range(first, last + 1), min(cuts, last + 1 - first)))
        world = history.recorder.start.clone()
        done = 0
        for number, moment in enumerate(moments):
            for _, event in history.recorder.events[done:moment]:
                if event is not None:
                    event(world)
                world.index += 1
            done = moment
            for policy in random.sample(POLICIES, 2):
                self.check_state(history, world, moment, policy, random, number)

    @long_loop
    def test_power_cuts(self) -> None:
        for seed in rounds(3):
            self.run_history(seed, 24, 40)

    @long_loop
    def test_versions(self) -> None:
        """With versions, markers, and what replaces the null version."""
        for seed in rounds(3):
            self.run_history(seed, 30, 40, True)
