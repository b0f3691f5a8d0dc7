"""Rights: L{storehouse.storage.accounts.interfaces}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import BadRequest
from storehouse.storage.accounts.interfaces import (
    EARLIER,
    PERMISSIONS,
    SHARED,
    Rights,
    covers,
    read_rights,
    with_rights,
    without_rights,
)

READ = Rights(("read",), "photos", "2026/")


class RightsTests(SynchronousTestCase):
    """L{Rights}, and lists of them."""

    def test_covers(self) -> None:
        for permission, bucket, key, is_covered in (
            ("read", "photos", "2026/a", True),
            ("read", "photos", "2026/", True),
            ("read", "photos", "2026", False),
            ("read", "photos", "", False),
            ("list", "photos", "2026/a", False),
            ("read", "photos2", "2026/a", False),
        ):
            self.assertEqual(READ.covers(permission, bucket, key, ""), is_covered, (permission, bucket, key))

    def test_buckets(self) -> None:
        every, begun, shared = Rights(("list",)), Rights(("list",), "log-*"), Rights(("list",), SHARED)
        self.assertTrue(every.covers("list", "x", "", "bob"))
        self.assertTrue(begun.covers("list", "log-a", "", "bob"))
        self.assertFalse(begun.covers("list", "log", "", ""))
        self.assertTrue(shared.covers("list", "x", "", ""))
        self.assertFalse(shared.covers("list", "x", "", "bob"))

    def test_earlier(self) -> None:
        """What users could do before there were rights, and no more."""
        for permission in PERMISSIONS:
            self.assertEqual(covers(EARLIER, permission, "other", "k"), permission in ("read", "list"), permission)
            self.assertEqual(covers(EARLIER, permission, "uploads", "k"), permission != "create", permission)

    def test_wrong(self) -> None:
        for values in (
            (("write",), "a", ""),
            ("read", "a", ""),
            (("read",), "", ""),
            (("read",), "A", ""),
            (("read",), "a*b", ""),
            (("read",), "@other", ""),
            (("read",), "a", "x" * 1025),
            (("read",), None, ""),
            (("read",), "a", 1),
        ):
            self.assertRaises(BadRequest, Rights, *values)
        for value in ("read", None, [{"permissions": ["read"], "what": 1}], [1], [READ] * 201):
            self.assertRaises(BadRequest, read_rights, value)

    @given(st.lists(st.tuples(st.sampled_from(PERMISSIONS), st.sampled_from(("a", "b*", "*")), st.sampled_from("xy"))))
    def test_grant_and_revoke(self, given_: list[tuple[str, str, str]]) -> None:
        """Each can be taken away again, and nothing is left then."""
        rights: tuple[Rights, ...] = ()
        for permission, bucket, prefix in given_:
            rights = with_rights(rights, Rights((permission,), bucket, prefix))
        self.assertEqual(len({(each.bucket, each.prefix) for each in rights}), len(rights))
        for permission, bucket, prefix in dict.fromkeys(given_):
            rights = without_rights(rights, Rights((permission,), bucket, prefix))
        self.assertEqual(rights, ())
        self.assertIn("nothing", str(self.assertRaises(BadRequest, without_rights, rights, READ)))

    def test_text(self) -> None:
        self.assertEqual(str(READ), "read on the bucket photos, keys 2026/*")
        self.assertEqual(str(EARLIER[0]), "read, list on all shared buckets")
