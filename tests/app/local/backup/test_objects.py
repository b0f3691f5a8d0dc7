"""Objects in a backup while they change."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from typing import Any

from storehouse.app.local.backup.names import NamesBackup
from storehouse.app.local.backup.objects import ObjectsBackup
from storehouse.app.local.waiting import run
from storehouse.core.streams import BytesStream, read_all
from storehouse.errors import Damaged
from tests.app.local.backup.rig import BackupCase
from tests.app.local.opened import Opened


class _Service:
    """What a service does for a backup, by a store of this process."""

    def __init__(self, store: Opened) -> None:
        self._space: Any = store.store._pair.space
        self.held = 0

    def hold(self) -> None:
        self.held += 1
        self._space.holding.keep_removed()

    def renew(self) -> None:
        pass

    def release(self) -> None:
        self.held -= 1
        self._space.holding.release_removed()


def versions_of(store: Opened) -> list[tuple[str, bool, bool, bytes]]:
    """What there is of each key, with its bytes."""
    found = []
    for info in store.list_versions("box").versions:
        data = b"" if info.marker else run(read_all(run(store.store.get("box", info.key, version=info.version))))
        found.append((info.version, info.is_latest, info.marker, data))
    return found


class ConfigTests(BackupCase):
    """What is configured of buckets."""

    def test_kept(self) -> None:
        """It is in a backup, which misses it when it is gone."""
        with self.store() as store:
            store.set_bucket_config("box", "cors", b"<cors/>")
        self.back_up()
        root, _ = self.restored()
        with self.store(root) as store:
            self.assertEqual((store.bucket_config("box", "cors"), store.check()), (b"<cors/>", []))
        os.unlink(os.path.join(self.made, "namespace", "buckets", "box", "bucket.cors.json"))
        with self.assertRaises(Damaged):
            self.restored("again")


class VersionTests(BackupCase):
    """Buckets that have versions."""

    def test_all(self) -> None:
        """All versions, their bytes and the markers are in a backup; nothing is taken for lost."""
        self.fill(a=b"before")
        with self.store() as store:
            store.set_versioning("box", "enabled")
            for key, data in (("a", b"second"), ("a", b"third"), ("b", b"of b")):
                run(store.store.put("box", key, BytesStream(data), len(data)))
            run(store.store.delete("box", "b"))
            before = versions_of(store)
        self.assertEqual(len(before), 5)
        made = self.back_up()
        self.assertEqual((made.lost, made.warnings), ([], []))
        root, _ = self.restored()
        with self.store(root) as store:
            self.assertEqual((versions_of(store), store.check()), (before, []))
            self.assertEqual(store.get_bucket("box").versioning, "enabled")


class MomentTests(BackupCase):
    """What comes between the steps of a backup."""

    def setUp(self) -> None:
        super().setUp()
        self.fill(a=b"of a", b=b"of b", c=b"of c")

    def during(
        self, kind: Any, method: str, change: Callable[[Opened], object], before: bool = False
    ) -> dict[str, bytes]:
        """
        Have something changed behind a step of a backup, or before it.

        @return: the objects of what is restored of it.
        """
        original = getattr(kind, method)
        with self.store() as store:
            changed: list[bool] = []

            def step(backup: Any, *args: Any) -> Any:
                if before and not changed:
                    changed.append(True)
                    change(store)
                outcome = original(backup, *args)
                if not before and not changed:
                    changed.append(True)
                    change(store)
                return outcome

            service = _Service(store)
            self.patch(kind, method, step)
            made = self.back_up(service)
            self.assertEqual((service.held, changed, made.lost, made.warnings), (0, [True], [], []))
            self.assertEqual([name for name in os.listdir(f"{self.root}/objects/tmp") if name.startswith("kept")], [])
        path, restored = self.restored()
        self.assertEqual(restored.findings, [])
        return self.objects(path)

    def change(self, store: Opened) -> None:
        """One of everything."""
        self.put(store, "a", b"another a")
        store.delete("box", "b")
        store.copy("box", "moved", "box", "c")
        store.delete("box", "c")
        self.put(store, "new", b"new")
        store.create_bucket("other")

    def test_between_files_and_moment(self) -> None:
        """What was copied of keys by then is put right."""
        found = self.during(NamesBackup, "_choose_moment", self.change, before=True)
        self.assertEqual(found, {"a": b"another a", "moved": b"of c", "new": b"new"})

    def versions_during(self, before: bool) -> None:
        """Versions are those of the moment, whether they come and go before it or behind it."""
        with self.store() as store:
            store.set_versioning("box", "enabled")
            for key in "ab":
                self.put(store, key, b"second " + key.encode())
            store.delete("box", "c")
        wanted: list[tuple[str, bool, bool, bytes]] = []

        def change(store: Opened) -> None:
            if not before:
                wanted.extend(versions_of(store))
            self.put(store, "a", b"third")
            store.delete("box", "a", version="null")
            for key in "bc":
                current = store.list_versions("box", key).versions[0]
                store.delete("box", key, version=current.version)
            store.delete("box", "b")
            store.delete("box", "new", mark_missing=True)
            if before:
                wanted.extend(versions_of(store))

        self.during(NamesBackup, "_choose_moment", change, before)
        with self.store(os.path.join(self.top, "restored")) as store:
            self.assertEqual((versions_of(store), store.check()), (wanted, []))

    def test_versions_before_the_moment(self) -> None:
        self.versions_during(True)

    def test_versions_behind_the_moment(self) -> None:
        self.versions_during(False)

    def test_removed_and_made_anew(self) -> None:
        """What was removed before the moment, and is there again behind it, is not in the backup."""
        original = NamesBackup._choose_moment
        with self.store() as store:

            def choose(backup: NamesBackup, before: Any) -> None:
                store.delete("box", "b")
                original(backup, before)
                self.put(store, "b", b"another b")

            self.patch(NamesBackup, "_choose_moment", choose)
            self.back_up(_Service(store))
        path, _ = self.restored()
        self.assertEqual(self.objects(path), {"a": b"of a", "c": b"of c"})

    def test_behind_the_moment(self) -> None:
        """It is as if it came later, although names and bytes are gone."""
        found = self.during(NamesBackup, "_choose_moment", self.change)
        self.assertEqual(found, {"a": b"of a", "b": b"of b", "c": b"of c"})

    def test_bucket_goes(self) -> None:
        def change(store: Opened) -> None:
            for key in "abc":
                store.delete("box", key)
            store.delete_bucket("box")
            store.create_bucket("box")

        self.assertEqual(self.during(NamesBackup, "_choose_moment", change, before=True), {})

    def test_journal_begins_anew(self) -> None:
        """Another moment is chosen."""

        def change(store: Opened) -> None:
            self.put(store, "new", b"new")
            names: Any = store.store._pair.names
            run(names.upkeep.checkpoint())

        found = self.during(NamesBackup, "_take_snapshot", change, before=True)
        self.assertEqual(found["new"], b"new")

    def test_damaged_index(self) -> None:
        """It is reported, and all that does not move is there."""

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise sqlite3.DatabaseError("file is not a database")

        with self.store() as store:
            service = _Service(store)
            self.patch(sqlite3, "connect", refuse)
            made = self.back_up(service)
        self.assertIn("may be missing", made.warnings[0])

    def test_index_behind(self) -> None:
        """On a full disk the index may lack rows, or have old ones: what was copied of the tree is right."""
        with self.store() as store:
            service = _Service(store)
            names: Any = store.store._pair.names
            self.patch(names.upkeep.index, "apply", lambda changes: None)
            self.put(store, "a", b"another a")
            self.put(store, "new", b"new")
            store.delete("box", "b")
            made = self.back_up(service)
        self.assertEqual(made.lost, [])
        path, _ = self.restored()
        self.assertEqual(self.objects(path), {"a": b"another a", "c": b"of c", "new": b"new"})

    def upload(self, store: Opened, key: str) -> str:
        """Begin an upload, of two parts."""
        objects: Any = store.store
        id: str = run(objects.begin_upload("box", key))
        for number in (1, 2):
            run(objects.upload_part("box", key, id, number, BytesStream(b"part %d " % number), None))
        return id

    def test_uploads(self) -> None:
        """Open ones are there, and can be completed in what is restored."""
        with self.store() as store:
            id = self.upload(store, "up")
        self.assertEqual(self.back_up().description.uploads, 1)
        path, _ = self.restored()
        with self.store(path) as store:
            objects: Any = store.store
            parts = run(objects.list_parts("box", "up", id))
            run(objects.complete_upload("box", "up", id, parts))
        self.assertEqual(self.objects(path)["up"], b"part 1 part 2 ")

    def test_completed_meanwhile(self) -> None:
        """An upload that becomes an object is an object, and no upload any more."""
        ids: list[str] = []

        def complete(store: Opened) -> None:
            objects: Any = store.store
            parts = run(objects.list_parts("box", "up", ids[0]))
            run(objects.complete_upload("box", "up", ids[0], parts))

        with self.store() as store:
            ids.append(self.upload(store, "up"))
        found = self.during(ObjectsBackup, "_uploads", complete)
        self.assertEqual(found["up"], b"part 1 part 2 ")

    def test_being_completed(self) -> None:
        """An upload whose parts are an object's, which has no key yet, is completed by a start on the backup."""
        with self.store() as store:
            id = self.upload(store, "up")
            objects: Any = store.store
            base = objects._pair
            parts = run(objects.list_parts("box", "up", id))

            def die(*args: Any) -> Any:
                raise KeyboardInterrupt

            # As far as the bytes: then the backup is made.
            self.patch(base, "publish", die)
            self.patch(base.removing, "refused", die)
            self.assertRaises(KeyboardInterrupt, lambda: run(objects.complete_upload("box", "up", id, parts)))
            self.back_up(_Service(store))
        path, _ = self.restored()
        self.assertEqual(self.objects(path)["up"], b"part 1 part 2 ")


class DamageTests(BackupCase):
    """What is wrong in a root is no reason to have no backup, nor to lose more."""

    def setUp(self) -> None:
        super().setUp()
        self.fill(a=b"of a", b=b"of b")

    def test_lost_bytes(self) -> None:
        with self.store() as store:
            id = store.head("box", "a").id
        shutil.rmtree(f"{self.root}/objects/data/{id[:2]}/{id}")
        made = self.back_up()
        self.assertEqual((made.lost, made.description.lost, made.description.keys), (["box/a"], 1, 2))
        self.restored()

    def test_damaged_key(self) -> None:
        """Its files, and the bytes that they name, are there, with a service and without."""
        with self.store() as store:
            id = store.head("box", "a").id
        os.unlink(f"{self.root}/namespace/buckets/box/objects/a/default.json")
        shutil.rmtree(f"{self.root}/namespace/index")
        for live in (False, True):
            self.made = f"{self.top}/made.{live}"
            if live:
                with self.store() as store:
                    self.back_up(_Service(store))
            else:
                self.back_up()
            self.assertEqual(os.listdir(f"{self.made}/namespace/buckets/box/objects/a"), [f"{id}.json"])
            self.assertTrue(os.path.exists(f"{self.made}/objects/data/{id[:2]}/{id}/part.1"))

    def test_bytes_of_nobody(self) -> None:
        """What nobody names may be all that is left of something; what is on its way in is not."""
        with self.store() as store:
            id = store.head("box", "a").id
        other = "ab" * 16
        os.makedirs(f"{self.root}/objects/data/ab", exist_ok=True)
        shutil.copytree(f"{self.root}/objects/data/{id[:2]}/{id}", f"{self.root}/objects/data/ab/{other}")
        with self.store() as store:
            self.back_up(_Service(store))
            self.assertFalse(os.path.exists(f"{self.made}/objects/data/ab/{other}"), "it has just come")
        self.back_up()
        self.assertTrue(os.path.exists(f"{self.made}/objects/data/ab/{other}"))
