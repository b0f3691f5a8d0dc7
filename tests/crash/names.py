"""
A life of a namespace that tells on paper what it is about and what it was answered, and what the next one must find.
"""

from __future__ import annotations

import os
from typing import Any

import attrs

from storehouse.core.files import Files
from storehouse.errors import NoSuchKey
from storehouse.storage.namespace.interfaces import ENABLED, OFF, SUSPENDED, Entry
from tests.conformance.namespace import entry
from tests.storage.namespace.rig import Driven, now

__all__ = ["KEYS", "NameSession", "name_history", "verify_names"]

LONG = "x" * 450
KEYS = ["a", "a/b", "b", LONG]

#: Key to the IDs of its versions, the default first; and L{METADATA} to what the bucket's own has.
Names = dict[str, list[str]]

METADATA = "(metadata)"

#: The same for its versioning.
STATE = "(versioning)"


class NameSession:
    """
    @param notes: with C{note(text, state)}: called before each operation with the state that it leads to, and after it.
    """

    def __init__(self, top: str, notes: Any, files: Files | None = None) -> None:
        self.driven = Driven(os.path.join(top, "n"), files, checkpoint_records=9)
        self.notes = notes
        self.names: Names = {}
        self.nulls: set[str] = set()

    def start(self) -> None:
        self.notes.note("start begins", {})
        self.driven.start()
        self.notes.note("create begins", {})
        self.driven.create()
        self.notes.note("create done", {})

    def stop(self) -> None:
        self.driven.stop()

    def _do(self, what: str, key: str, versions: list[str], operation: Any, other: str = "") -> None:
        """@param other: a key that is gone then, too."""
        names = {**self.names, key: versions, **({other: []} if other else {})}
        self.notes.note(f"{what} begins", names)
        gone = operation()
        self.names = names
        self.notes.note(f"{what} done", names)
        self.driven.namespace.settle([each.id for each in gone or ()])

    def publish(self, what: str, key: str, number: int, keep: bool = False) -> None:
        there = self.names.get(key, [])
        id = entry(number).id
        self.nulls.add(id)
        left = [id, *(each for each in (there if keep or there[:1] == [id] else there[1:]) if each != id)]
        self._do(what, key, left, lambda: self.driven.publish(key, entry(number), keep=keep))

    def unpublish(self, what: str, key: str, id: str | None = None) -> None:
        left = [each for each in self.names[key] if id not in (None, each)]
        self._do(what, key, sorted(left, reverse=True), lambda: self.driven.unpublish(key, id=id))

    def set_versioning(self, state: str) -> None:
        self._do(state, STATE, [state], lambda: now(self.driven.namespace.set_versioning("bucket", state)) and None)

    def add(self, what: str, key: str, number: int, is_marker: bool = False) -> None:
        """Publish a version, or a marker, as the versioning of the bucket has it."""
        id = entry(number).id
        is_null = self.names[STATE] != [ENABLED]
        there = [each for each in self.names.get(key, []) if not is_null or each not in self.nulls]
        self.nulls |= {id} if is_null else set()
        if is_marker:
            self._do(what, key, [id, *there], lambda: self.driven.unpublish(key, marker=entry(number, 0)))
        else:
            self._do(what, key, [id, *there], lambda: self.driven.publish(key, entry(number)))

    def remove(self, what: str, key: str, number: int) -> None:
        """Remove a version for good."""
        id = entry(number).id
        left = [each for each in self.names[key] if each != id]
        self._do(what, key, left, lambda: self.driven.unpublish(key, id=id))

    def revise(self, what: str, key: str, number: int) -> None:
        def change(there: Entry) -> Entry:
            return attrs.evolve(there, system={"tagging": str(number)})

        call = self.driven.namespace.revise
        self._do(what, key, self.names[key], lambda: now(call("bucket", key, entry(number).id, change)) and None)

    def rename(self, what: str, key: str, new_key: str, number: int) -> None:
        left = [entry(number).id, *self.names.get(new_key, [])[1:]]
        self.nulls.add(entry(number).id)

        def change() -> list[Entry]:
            freed, gone = now(self.driven.namespace.rename("bucket", key, new_key, entry(number)))
            return [*freed, *gone]

        self._do(what, new_key, left, change, key)

    def intend(self, key: str, number: int) -> None:
        self._do(
            "intend",
            key,
            self.names.get(key, []),
            lambda: now(self.driven.namespace.intend("bucket", key, [entry(number).id])),
        )

    def describe(self, number: int) -> None:
        """Give the bucket other metadata."""

        def change() -> None:
            now(self.driven.namespace.set_bucket_metadata("bucket", {"number": [str(number)]}))

        self._do("describe", METADATA, [str(number)], change)

    def reindex(self) -> None:
        self.notes.note("reindex begins", self.names)
        now(self.driven.namespace.reindex())
        self.notes.note("reindex done", self.names)


def name_history(session: NameSession) -> None:
    """Every operation, on short keys and on long ones."""
    for number, key in enumerate(("a", "a/b", LONG)):
        session.publish("publish", key, 10 * number + 1)
        session.publish("replace", key, 10 * number + 2)
        session.publish("keep", key, 10 * number + 3, keep=True)
        session.publish("same", key, 10 * number + 3)
        session.publish("again", key, 10 * number + 2, keep=True)
        session.unpublish("older", key, entry(10 * number + 3).id)
        session.publish("keep", key, 10 * number + 4, keep=True)
    session.unpublish("default", "a", entry(4).id)
    session.describe(1)
    session.intend("b", 90)
    session.publish("publish", "b", 90)
    session.unpublish("unpublish", "a/b")
    session.unpublish("unpublish", LONG)
    session.describe(2)
    session.reindex()
    session.publish("publish", "b", 91)
    session.rename("rename", "b", LONG, 92)
    session.publish("publish", "b", 93)
    session.publish("keep", "b", 94, keep=True)
    session.publish("publish", "a/b", 95)
    session.publish("keep", "a/b", 96, keep=True)
    session.rename("rename-over", "b", "a/b", 97)
    session.publish("publish", "b", 98)
    session.rename("rename", LONG, "b", 99)
    # Versions: the keys that are there have null versions.
    session.set_versioning(ENABLED)
    for number, key in enumerate(("b", LONG)):
        first = 100 + 20 * number
        session.add("version", key, first + 9)
        session.add("version", key, first + 1)  # the clock was set back
        session.add("mark", key, first + 2, True)
        session.add("version", key, first + 3)
        session.revise("revise-older", key, first + 1)
        session.remove("remove-older", key, first + 9)
        session.remove("remove-current", key, first + 3)
        session.remove("unmark", key, first + 2)
        session.revise("revise", key, first + 1)
    session.set_versioning(SUSPENDED)
    session.add("suspended", "b", 150)
    session.add("suspended", "b", 151)
    session.add("suspended-mark", "b", 152, True)
    session.set_versioning(ENABLED)
    session.add("version", "b", 153)
    session.set_versioning(SUSPENDED)
    session.add("suspended-older", "b", 154)
    session.remove("remove-current", "b", 154)
    session.add("suspended-mark", "a", 155, True)
    session.reindex()
    session.remove("remove-last", "a", 155)
    session.remove("remove-current", "b", 153)


def verify_names(driven: Driven, notes: list[tuple[str, Names]]) -> None:
    """What was answered holds; what had begun has happened or not; nothing is left half-way, and all agrees."""
    possible = [notes[-1][1]]
    if notes[-1][0].endswith("begins") and len(notes) > 1:
        possible.append(notes[-2][1])
    found: dict[str, tuple[Entry, ...]] = {}
    for key in KEYS:
        try:
            found[key] = tuple(driven.versions(key))
        except NoSuchKey:
            found[key] = ()
    ids = {key: [each.id for each in versions] for key, versions in found.items()}
    # Of all keys together: a rename is of two.
    assert any(
        all(ids[key][:1] == each.get(key, [])[:1] and set(ids[key]) == set(each.get(key, [])) for key in KEYS)
        for each in possible
    ), (ids, possible)
    state = now(driven.namespace.get_bucket("bucket")).versioning
    assert [state] in [each.get(STATE, [OFF]) for each in possible], state
    metadata = now(driven.namespace.get_bucket("bucket")).metadata.get("number", [])
    assert metadata in [each.get(METADATA, []) for each in possible], metadata
    listed = sorted((key for key in KEYS if found[key]), key=str.encode)
    live = [(key, found[key][0]) for key in listed if not found[key][0].marker]
    assert list(driven.list().entries) == live
    page = now(driven.namespace.list_versions("bucket"))
    assert [(each.key, each.entry) for each in page.versions] == [(key, each) for key in listed for each in found[key]]
    problems = driven.check()
    assert not problems, problems
    assert not os.listdir(driven.path("tmp"))
    named = {each.id for versions in found.values() for each in versions}
    unsettled = set(driven.namespace.unsettled)
    assert not named & unsettled
    ever = {id for _, names in notes for key in KEYS for id in names.get(key, ())}
    for id in ever - named - unsettled:
        # Its end was answered: who keeps the bytes knows.
        assert all(id not in versions for versions in possible[-1].values()), id
