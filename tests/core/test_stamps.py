"""Namespace and data space that belong together, and others."""

from __future__ import annotations

import errno
import os
import shutil

from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.files import Files
from storehouse.core.stamps import Stamps
from storehouse.errors import StartFailed
from storehouse.testing.files import FailingFiles


class PairTests(SynchronousTestCase):
    """A namespace that is a set of IDs, and a data space that is another."""

    def setUp(self) -> None:
        self.top = os.path.abspath(self.mktemp())
        os.mkdir(self.top)

    def pair(
        self,
        names: str = "n",
        objects: str = "o",
        ids: tuple[str, ...] = (),
        there: tuple[str, ...] = (),
        buckets: bool = False,
        files: Files | None = None,
    ) -> Stamps:
        return Stamps(
            os.path.join(self.top, names),
            os.path.join(self.top, objects),
            lambda: ids,
            lambda id: id in there,
            lambda: bool(there),
            lambda: buckets or bool(ids),
            False,
            files,
        )

    def stamp(self, name: str) -> bytes | None:
        try:
            with open(os.path.join(self.top, name, "stamp"), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def refused(self, pair: Stamps, *words: str) -> None:
        """With a sentence that names both, says why and what to do; nothing is made or changed."""
        before = sorted(os.walk(self.top))
        error = self.assertRaises(StartFailed, pair.start)
        for word in (os.path.join(self.top, ""), "do not belong together", "--objects-dir", "--join", *words):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual(sorted(os.walk(self.top)), before)

    def test_new(self) -> None:
        self.pair().start()
        self.assertIsNotNone(self.stamp("n"))
        self.assertEqual(self.stamp("n"), self.stamp("o"))
        self.assertEqual((os.listdir(f"{self.top}/n"), os.listdir(f"{self.top}/o")), (["stamp"], ["stamp"]))
        before = self.stamp("n")
        self.pair(ids=("aa",), there=("aa",)).start()
        self.pair(ids=("aa",), there=()).start()
        self.assertEqual(self.stamp("n"), before)

    def test_forgotten_directory(self) -> None:
        """The objects are elsewhere: nothing is made where they are not."""
        self.pair(objects="x").start()
        for keys in ((), ("aa",)):
            self.refused(self.pair(ids=keys), "lacks the stamp")
            self.assertFalse(os.path.exists(f"{self.top}/o"))
        os.mkdir(f"{self.top}/o")
        self.refused(self.pair(), "lacks the stamp")
        self.refused(self.pair(ids=("aa",), there=("bb",)), "lacks the stamp")

    def test_swapped(self) -> None:
        self.pair().start()
        self.pair("n2", "o2").start()
        for there in ((), ("aa",), ("bb",)):
            self.refused(self.pair("n", "o2", ids=("aa",), there=there), "different stores")
            self.refused(self.pair("n2", "o", ids=("aa",), there=there), "different stores")
        self.assertRaises(StartFailed, self.pair("n", "o2").check)
        self.pair("n", "o").check()
        self.pair("n", "nowhere").check()

    def test_lost_namespace(self) -> None:
        self.pair().start()
        shutil.rmtree(f"{self.top}/n")
        self.refused(self.pair(there=("aa",)), "lacks the stamp")
        self.refused(self.pair(), "lacks the stamp")
        self.assertFalse(os.path.exists(f"{self.top}/n"))

    def test_before_stamps(self) -> None:
        """A store of before gets them if a key has its bytes, or there is nothing to be confused."""
        self.pair("n1", "o1", ids=("aa", "bb"), there=("bb", "cc")).start()
        self.assertEqual(self.stamp("n1"), self.stamp("o1"))
        self.pair("n2", "o2", buckets=True).start()
        self.assertEqual(self.stamp("n2"), self.stamp("o2"))
        # All keys were removed, and a crash left bytes.
        self.pair("n3", "o3", buckets=True, there=("aa",)).start()
        self.refused(self.pair("n4", "o4", ids=("aa",)), "no objects")
        self.refused(self.pair("n4", "o4", there=("aa",)), "no buckets")
        self.refused(self.pair("n4", "o4", ids=("aa",), there=("bb",)), "none of 1 IDs")

    def test_one_of_before(self) -> None:
        """One was put back from a copy that had no stamp yet."""
        self.pair().start()
        stamp = self.stamp("n")
        for name in ("n", "o"):
            os.unlink(f"{self.top}/{name}/stamp")
            self.pair(ids=("aa",), there=("aa",)).start()
            self.assertEqual((self.stamp("n"), self.stamp("o")), (stamp, stamp))

    def test_damaged_stamp(self) -> None:
        """What is damaged is as if it were not there; where a key has its bytes it is written again."""
        self.pair().start()
        stamp = self.stamp("n")
        assert stamp is not None
        for name in ("n", "o"):
            for data in (b"", stamp[:20], stamp.replace(b"1", b"2", 1), b"\0" * 100, b"{}"):
                with open(f"{self.top}/{name}/stamp", "wb") as file:
                    file.write(data)
                self.refused(self.pair(ids=("aa",)))
                self.pair(ids=("aa",), there=("aa",)).start()
                self.assertEqual((self.stamp("n"), self.stamp("o")), (stamp, stamp))

    def test_no_file(self) -> None:
        """A directory in the place of a stamp keeps nothing shut where a key has its bytes; it does elsewhere."""
        for name in ("n", "o"):
            self.pair(there=("aa",), ids=("aa",)).start()
            os.unlink(f"{self.top}/{name}/stamp")
            os.mkdir(f"{self.top}/{name}/stamp")
            self.refused(self.pair(ids=("aa",)))
            self.pair(there=("aa",), ids=("aa",)).start()
            os.rmdir(f"{self.top}/{name}/stamp")

    def test_cut_short(self) -> None:
        """Wherever the first start is cut short, the next one goes on."""
        for left in range(8):
            files = FailingFiles().fail("open", "rename", error=errno.EIO, skip=left)
            names, objects = f"n{left}", f"o{left}"
            try:
                self.pair(names, objects, files=files).start()
            except StartFailed:
                self.assertLess(left, 5)
            else:
                self.assertGreater(left, 2)
            self.pair(names, objects).start()
            self.assertIsNotNone(self.stamp(names))
            self.assertEqual(self.stamp(names), self.stamp(objects))

    def test_full(self) -> None:
        """Without room a store is opened all the same."""
        files = FailingFiles().fail("open", "rename")
        self.pair(ids=("aa",), there=("aa",), files=files).start()
        self.assertIsNone(self.stamp("n"))
        self.pair(ids=("aa",), there=("aa",)).start()
        self.assertIsNotNone(self.stamp("n"))

    def test_join(self) -> None:
        """Two halves are joined to one store on demand."""
        self.pair().start()
        self.pair("n2", "o2").start()
        self.pair("n", "o2").join()
        self.pair("n", "o2").start()
        self.refused(self.pair("n2", "o2"))
        os.mkdir(f"{self.top}/empty")
        self.pair("n", "empty", ids=("aa",)).join()
        self.pair("n", "empty", ids=("aa",)).start()
