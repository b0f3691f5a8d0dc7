"""Which IDs something in a namespace names, and what makes it doubtful that others have no name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from storehouse.storage.namespace.interfaces import Needed
from tests.conformance.namespace import entry
from tests.storage.namespace.rig import flip, now
from tests.storage.namespace.test_check import DamageCase, file_of

IDS = [entry(number).id for number in range(1, 6)]


class NeededTests(DamageCase):
    """Keys C{a}, which has an older version, and C{b}."""

    def needed(self) -> Needed:
        found = now(self.driven.namespace.needed(IDS))
        assert isinstance(found, Needed)
        return found

    def test_all_well(self) -> None:
        self.driven.publish("x" * 450, entry(4))
        self.assertEqual(self.needed(), Needed(frozenset(IDS[:4]), ""))
        self.assertEqual(now(self.driven.namespace.needed([])), Needed(frozenset(), ""))
        self.driven.unpublish("b")
        self.assertEqual(self.needed(), Needed(frozenset((IDS[0], IDS[1], IDS[3])), ""))

    def test_contents_do_not_matter(self) -> None:
        """A damaged version still names its bytes."""
        flip(self.driven.object("b", file_of(3)), 20)
        self.assertEqual(self.needed(), Needed(frozenset(IDS[:3]), ""))

    def test_renamed_bucket(self) -> None:
        os.rename(self.driven.path("buckets", "bucket"), self.driven.path("buckets", "other"))
        self.assertEqual(self.needed(), Needed(frozenset(IDS[:3]), ""))

    def doubtful(self, change: Callable[[], object], path: str, *ids: int) -> None:
        change()
        found = self.needed()
        self.assertIn(path, found.doubt)
        self.assertLessEqual({IDS[number - 1] for number in (1, 2, 3, *ids)} - {""}, found.ids)

    def test_default_that_leads_nowhere(self) -> None:
        """What any default leads to is needed, however it says so."""
        default = self.driven.object("b", "default.json")
        for target in (
            f"{IDS[4]}.json",
            f"../x/{IDS[4]}.json",
            IDS[4],
            f"/abs/{IDS[4].upper()}.JSON",
            f"{IDS[4]}.jsom",
        ):
            os.unlink(default)
            os.symlink(target, default)
            self.doubtful(lambda: None, default, 5)

    def test_default_that_is_no_link(self) -> None:
        """Another program's, or one that was copied without links: what it names is needed."""
        default = self.driven.object("b", "default.json")
        os.unlink(default)
        with open(default, "w") as file:
            file.write(f'{{"id":"{IDS[4]}"}}')
        self.assertEqual(self.needed(), Needed(frozenset((*IDS[:3], IDS[4])), ""))
        os.unlink(default)
        os.mkfifo(default)
        self.doubtful(lambda: None, default)

    def test_doubts(self) -> None:
        bucket = self.driven.path("buckets", "bucket")
        key = self.driven.object("b")
        for name, path in (
            ("missing default", f"{key}/default.json"),
            ("file in a key", f"{key}/{IDS[4]}.json.bak"),
            ("link in a key", f"{key}/old"),
            ("file among keys", f"{bucket}/objects/.{IDS[4]}"),
            ("name that is no key", f"{bucket}/objects/%zz{IDS[4]}"),
            ("empty key", f"{bucket}/objects/empty"),
            ("file in a bucket", f"{bucket}/{IDS[4]}"),
            ("no bucket", self.driven.path("buckets", f"Photos-{IDS[4]}")),
            ("file among buckets", self.driven.path("buckets", IDS[4])),
            ("other", self.driven.path(IDS[4])),
        ):
            self.driven.stop()
            shutil.copytree(self.driven.directory, "kept", symlinks=True)
            self.driven.start()
            if name == "missing default":
                os.unlink(path)
            elif name == "link in a key":
                os.symlink(f"{IDS[4]}.json", path)
            elif name in ("empty key", "no bucket", "name that is no key"):
                os.mkdir(path)
            else:
                with open(path, "w"):
                    pass
            named = () if name in ("missing default", "empty key") else (5,)
            self.doubtful(lambda: None, path, *named)
            self.driven.abandon()
            shutil.rmtree(self.driven.directory)
            os.rename("kept", self.driven.directory)
            self.driven.start()
            self.assertEqual(self.needed(), Needed(frozenset(IDS[:3]), ""))

    def test_parts_of_the_tree_that_are_missing(self) -> None:
        """Where nothing is, perhaps something was."""
        objects = self.driven.path("buckets", "bucket", "objects")
        os.rename(objects, "objects")
        self.assertIn("bucket", self.needed().doubt)
        os.rename("objects", objects)
        os.rename(self.driven.path("buckets", "bucket"), "bucket")
        self.assertIn("is empty", self.needed().doubt)
        os.rename(self.driven.path("buckets"), "buckets")
        self.assertIn("buckets", self.needed().doubt)
        os.rename("buckets", self.driven.path("buckets"))
        os.rename("bucket", self.driven.path("buckets", "bucket"))
        self.assertEqual(self.needed().doubt, "")

    def test_given_up(self) -> None:
        """What the one who asks raises ends it."""

        def progress(count: int) -> None:
            raise KeyError

        self.failureResultOf(self.driven.namespace.needed(IDS, progress), KeyError)
