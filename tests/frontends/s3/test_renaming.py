"""Tests of L{storehouse.frontends.s3.renaming}."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream
from storehouse.frontends.s3.call import Call, Door
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import quoted
from storehouse.storage.objects.interfaces import ObjectInfo
from tests.frontends.s3.playing import AnyAuthenticator, S3Case

BEFORE, AFTER = "Sun, 09 Sep 2001 01:46:39 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


async def allow_mine(call: Call) -> None:
    """Nobody may read or take away what is another's."""
    if call.operation in ("GetObject", "DeleteObject") and call.key.startswith(f"no-{call.operation}"):
        raise S3Error("AccessDenied")


class RenameTests(S3Case):
    """Other keys for objects."""

    def make_door(self) -> S3Door:
        shared = Door(self.store, self.accounts, self.settings, self.clock, InlineDisk())
        return S3Door(shared, AnyAuthenticator(), allow_mine)

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.successResultOf(self.store.create_bucket("box"))
        self.source = self.put("a", b"bytes")

    def put(self, key: str, data: bytes = b"x") -> ObjectInfo:
        """Store an object."""
        stored = self.store.put(
            "box", key, BytesStream(data), len(data), "text/css", {"m": ["1"]}, md5=True, system={"tagging": "k=v"}
        )
        return self.successResultOf(stored)

    def keys(self) -> list[str]:
        """All that there are."""
        return self.successResultOf(self.store.list_keys("box"))

    def head(self, key: str) -> ObjectInfo:
        """What is known of an object."""
        return self.successResultOf(self.store.head("box", key))

    def rename(self, *fields: str, source: str = "a", to: str = "b") -> None:
        """A request that is granted."""
        self.done(f"PUT /box/{to}?renameObject", b"", f"x-amz-rename-source: {source}", *fields)

    def denied(self, code: str, *fields: str, source: str = "a", to: str = "b") -> None:
        """One that is not, and changes nothing."""
        before = self.keys()
        self.refused(code, f"PUT /box/{to}?renameObject", b"", f"x-amz-rename-source: {source}", *fields)
        self.assertEqual(self.keys(), before)

    def test_renamed(self) -> None:
        """All that is known of it stays, and nothing is left behind."""
        self.rename()
        info = self.head("b")
        self.assertEqual(self.keys(), ["b"])
        self.assertEqual(
            (info.etag, info.created, info.content_type, info.metadata, dict(info.system)),
            (self.source.etag, self.source.created, "text/css", {"m": ["1"]}, {"tagging": "k=v"}),
        )
        self.rename(source="/box/b", to="c")
        self.assertEqual(self.keys(), ["c"])
        for key in ("d e", "ä+%", "box/f"):
            self.put(key)
            self.rename(source=quote(key), to="g")
        self.assertEqual(self.keys(), ["c", "g"])

    def test_replaces(self) -> None:
        """What the new key had, unless there is a condition."""
        self.put("b", b"old")
        self.denied("PreconditionFailed", "If-None-Match: *")
        self.denied("PreconditionFailed", 'If-Match: "x"')
        self.rename(f"If-Match: {quoted(self.head('b').etag)}")
        self.assertEqual((self.keys(), self.head("b").size), (["b"], 5))

    def test_source_conditions(self) -> None:
        for field in ("if-match: x", f"if-none-match: {quoted(self.source.etag)}", f"if-modified-since: {AFTER}",
                      f"if-unmodified-since: {BEFORE}"):  # fmt: skip
            self.denied("PreconditionFailed", f"x-amz-rename-source-{field}")
        self.rename(f"x-amz-rename-source-if-match: {quoted(self.source.etag)}")
        self.rename(f"x-amz-rename-source-if-modified-since: {BEFORE}", source="b", to="c")
        self.assertEqual(self.keys(), ["c"])

    def test_times_of_the_target(self) -> None:
        self.put("b")
        self.denied("PreconditionFailed", f"If-Unmodified-Since: {BEFORE}")
        self.denied("PreconditionFailed", f"If-Modified-Since: {AFTER}")
        self.rename(f"If-Modified-Since: {BEFORE}", f"If-Unmodified-Since: {AFTER}")
        self.rename(f"If-Unmodified-Since: {BEFORE}", source="b", to="c")

    def test_target_replaced_meanwhile(self) -> None:
        """What was looked at, and nothing else, is replaced."""
        self.put("b")
        rename = self.store.rename

        def late(*args: Any) -> Any:
            self.patch(self.store, "rename", rename)
            self.put("b", b"newer")
            return rename(*args)

        self.patch(self.store, "rename", late)
        self.denied("PreconditionFailed", f"If-Unmodified-Since: {AFTER}")

    def test_tokens(self) -> None:
        """A request that comes again has been granted already; another one with its token is refused."""
        self.rename("x-amz-client-token: t1")
        self.rename("x-amz-client-token: t1")
        self.denied("NoSuchKey", "x-amz-client-token: t2")
        self.put("c")
        self.denied("IdempotencyParameterMismatch", "x-amz-client-token: t1", source="c")
        self.rename(source="c")
        self.put("a")
        self.rename("x-amz-client-token: t1")
        self.assertEqual(self.keys(), ["b"])
        self.denied("InvalidArgument", f"x-amz-client-token: {'t' * 65}")

    def test_refused(self) -> None:
        self.denied("NoSuchKey", source="none")
        self.denied("InvalidArgument", source="%ff")
        self.denied("InvalidArgument", source="/box/")
        for key in ("no-GetObject", "no-DeleteObject"):
            self.put(key)
            self.denied("AccessDenied", source=key)
        self.refused("NoSuchBucket", "PUT /nobox/b?renameObject", b"", "x-amz-rename-source: a")

    def test_onto_itself(self) -> None:
        """It stays as it is."""
        self.rename(to="a")
        self.assertEqual(self.head("a"), self.source)
