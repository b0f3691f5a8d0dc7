"""L{storehouse.frontends.s3.access.authorize}, by requests."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import Deferred

from storehouse.core.streams import BytesStream
from storehouse.core.xmltext import parse
from storehouse.errors import Damaged, Forbidden, NoSuchKey, PreconditionFailed
from storehouse.frontends.s3.access.acl import Acl, encode_acl
from storehouse.frontends.s3.access.authorize import authorize
from storehouse.frontends.s3.access.caller import Caller
from storehouse.frontends.s3.access.policy import user_arn
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.storage.accounts.interfaces import Rights, User, canonical_id
from storehouse.storage.objects.interfaces import ALWAYS, Condition
from tests.frontends.s3.access.playing import AccessCase

OBJECTS = "arn:aws:s3:::box/*"


class Request:
    """The parts of a request that authorization looks at."""

    def __init__(self, fields: dict[str, str]) -> None:
        from twisted.web.http_headers import Headers

        self.requestHeaders = Headers({name: [value] for name, value in fields.items()})


class AuthorizeCase(AccessCase):
    """Makes calls without a request."""

    def call(
        self,
        operation: str,
        bucket: str = "box",
        key: str = "",
        user: str = "bob",
        query: dict[str, str] | None = None,
        fields: dict[str, str] | None = None,
        address: str = "192.0.2.1",
    ) -> Call:
        """One that is not authorized yet."""
        caller = Caller(None, "", address, False)
        if user:
            usual = User(user, "SH", user == "root", False, 0.0, 0.0)
            caller = Caller(self.users.get(user, usual), "SH", address, False)
        request: Any = Request(fields or {})
        body = BytesStream([])
        signed: Any = None
        return Call(request, operation, bucket, key, query or {}, caller, body, 0, self.made, "ID", authorize, signed)

    def may(self, operation: str, *args: Any, **kwargs: Any) -> bool:
        """Whether a call is let through."""

        async def said() -> str:
            try:
                await authorize(self.call(operation, *args, **kwargs))
            except S3Error as error:
                return error.code
            except NoSuchKey:
                return "NoSuchKey"
            return ""

        code = self.done_by(said())
        self.assertIn(code, ("", "AccessDenied"))
        return code == ""

    def done_by(self, work: Awaitable[Any]) -> Any:
        """What a coroutine gives."""
        return self.successResultOf(Deferred.fromCoroutine(work))  # type: ignore[arg-type]


class StandingTests(AuthorizeCase):
    """Owners, administrators, users and nobody."""

    def test_service(self) -> None:
        self.assertTrue(self.may("ListBuckets", "", ""))
        self.assertFalse(self.may("ListBuckets", "", "", user=""))

    def test_create(self) -> None:
        self.user("ed", Rights(("create",), "ed-*"))
        self.assertTrue(self.may("CreateBucket", "ed-1", user="ed"))
        self.assertFalse(self.may("CreateBucket", "other", user="ed"))
        self.assertFalse(self.may("CreateBucket", "other", user=""))
        # A user from before there were rights.
        self.assertFalse(self.may("CreateBucket", "other", user="bob"))

    def test_who(self) -> None:
        """What a bucket's owner and administrators can do, others cannot."""
        for operation, key in (
            ("GetObject", "a"),
            ("PutObject", "b"),
            ("DeleteObject", "a"),
            ("ListObjectsV2", ""),
            ("PutBucketPolicy", ""),
            ("DeleteBucket", ""),
            ("HeadBucket", ""),
            ("PutBucketAcl", ""),
            ("CreateMultipartUpload", "b"),
        ):
            for user, is_let in (("ann", True), ("root", True), ("bob", False), ("", False)):
                self.assertEqual(self.may(operation, "box", key, user), is_let, (operation, user))

    def test_lists_of_nobody(self) -> None:
        """A list of keys to delete is not read if none of them can be allowed; a policy or an ACL may allow some."""
        document = b"<Delete><Object><Key>a</Key></Object></Delete>"
        md5 = "Content-MD5: " + b64encode(hashlib.md5(document).digest()).decode()
        for bucket in ("box", "shared"):
            self.denied(f"POST /{bucket}?delete", document, md5, user="")
        self.refused("NoSuchBucket", "POST /none?delete", document, md5, user="")
        self.policy({"Effect": "Allow", "Principal": "*", "Action": "s3:DeleteObject", "Resource": f"{OBJECTS[:-1]}b*"})
        answer = self.done("POST /box?delete", document, md5, user="")
        self.assertIn(b"<Key>a</Key><Code>AccessDenied</Code>", answer.body)

    def test_shared(self) -> None:
        """A bucket that no user owns, as users could use it before."""
        self.assertTrue(self.may("GetObject", "shared", "a"))
        self.assertTrue(self.may("ListObjects", "shared"))
        self.assertFalse(self.may("PutObject", "shared", "a"))
        self.assertFalse(self.may("PutBucketPolicy", "shared"))
        self.assertFalse(self.may("GetObject", "shared", "a", user=""))

    def test_published(self) -> None:
        """What everybody can read by other doors, everybody can read here."""
        self.successResultOf(self.store.set_bucket_metadata("shared", {"public": ["read"]}))
        self.assertTrue(self.may("GetObject", "shared", "a", user=""))
        self.assertTrue(self.may("ListObjectsV2", "shared", user=""))
        self.assertFalse(self.may("PutObject", "shared", "a", user=""))

    def test_rights(self) -> None:
        self.user("ed", Rights(("read",), "box", "public/"), Rights(("list",), "box", "public/"))
        self.assertTrue(self.may("ListObjectsV2", "box", user="ed", query={"prefix": "public/x"}))
        self.assertFalse(self.may("ListObjectsV2", "box", user="ed"))
        self.put("box", "public/a")
        self.assertTrue(self.may("GetObject", "box", "public/a", user="ed"))
        self.assertTrue(self.may("HeadObject", "box", "public/a", user="ed"))
        self.assertFalse(self.may("GetObject", "box", "a", user="ed"))
        self.assertFalse(self.may("DeleteObject", "box", "public/a", user="ed"))
        self.assertFalse(self.may("PutObjectTagging", "box", "public/a", user="ed"))

    def test_missing_keys(self) -> None:
        """Only who can list a bucket learns which keys are not there."""
        self.user("ed", Rights(("read",), "box"))
        self.user("al", Rights(("read", "list"), "box"))
        self.assertFalse(self.may("GetObject", "box", "none", user="ed"))
        self.assertTrue(self.may("GetObject", "box", "none", user="al"))
        self.assertTrue(self.may("GetObject", "box", "none", user="root"))
        work = Deferred.fromCoroutine(authorize(self.call("GetObject", "box", "none", "ann")))
        self.failureResultOf(work, NoSuchKey)

    def test_disabled(self) -> None:
        self.users["ann"] = User("ann", "SH", True, True, 0.0, 0.0)
        self.assertFalse(self.may("GetObject", "box", "a", user="ann"))

    def test_damaged(self) -> None:
        """What cannot be read allows nothing, until its owner removes it."""
        self.successResultOf(self.store.set_bucket_config("box", "policy", b"x"))
        for user in ("ann", "root", "bob"):
            work = Deferred.fromCoroutine(authorize(self.call("GetObject", "box", "a", user)))
            self.failureResultOf(work, Damaged)
        work = Deferred.fromCoroutine(authorize(self.call("DeleteBucketPolicy", "box", "", "bob")))
        self.failureResultOf(work, Damaged)
        self.done("DELETE /box?policy", status=204)
        self.assertTrue(self.may("GetObject", "box", "a", "ann"))

    def test_no_bucket(self) -> None:
        self.failureResultOf(Deferred.fromCoroutine(authorize(self.call("GetObject", "none", "a"))))


class LimitTests(AuthorizeCase):
    """Keys that are limited."""

    def test_limits(self) -> None:
        """They hold for owners and administrators, too."""
        limits = (Rights(("read", "list"), "box", "a"),)
        for name in ("ann", "root"):
            self.user(name, limits=limits, is_admin=name == "root")
            self.assertTrue(self.may("GetObject", "box", "a", user=name))
            self.assertTrue(self.may("ListObjects", "box", user=name, query={"prefix": "ab"}))
            for operation, key in (
                ("GetObject", "b"),
                ("PutObject", "a"),
                ("DeleteObject", "a"),
                ("PutBucketPolicy", ""),
                ("DeleteBucket", ""),
                ("ListObjects", ""),
                ("PutObjectAcl", "a"),
                ("CreateBucket", ""),
            ):
                self.assertFalse(self.may(operation, "box", key, user=name), (name, operation))

    def test_prefix_elsewhere(self) -> None:
        """That a query has a prefix makes no other operation one on the keys that the limits allow."""
        self.user("ann", limits=(Rights(("read", "list"), "box", "a"),))
        self.assertTrue(self.may("ListMultipartUploads", "box", user="ann", query={"prefix": "a"}))
        for operation in ("GetBucketAcl", "GetBucketPolicy", "GetBucketLocation", "GetPublicAccessBlock", "HeadBucket"):
            self.assertFalse(self.may(operation, "box", user="ann", query={"prefix": "a"}), operation)

    def test_append_only(self) -> None:
        """What is there is neither replaced nor read, and the store sees to that."""
        self.user("ann", limits=(Rights(("put-new",), "box"),))
        for operation in ("GetObject", "DeleteObject", "PutObjectTagging"):
            self.assertFalse(self.may(operation, "box", "a", user="ann"), operation)
        call = self.call("PutObject", "box", "a", user="ann")
        self.done_by(authorize(call))
        for condition in (Condition(), Condition(etag="*")):
            work = self.put_by(call, "a", condition)
            self.failureResultOf(work, Forbidden)
        self.successResultOf(self.put_by(call, "new"))
        self.failureResultOf(self.put_by(call, "new", Condition(absent=True)), PreconditionFailed)
        self.failureResultOf(call.store.copy("box", "a", "box", "new"), Forbidden)
        # Other methods are those of the store.
        self.assertEqual(self.successResultOf(call.store.head("box", "a")).size, 4)

    def test_abort(self) -> None:
        """A user who can only store can abort own uploads, but not those of others."""

        def begun(user: str) -> str:
            answer = self.done("POST /box/new?uploads", b"", user=user)
            return f"/box/new?uploadId={parse(answer.body, 'InitiateMultipartUploadResult').value('UploadId')}"

        self.user("ed", Rights(("put-new",), "box"))
        anns, own = begun("ann"), begun("ed")
        self.denied(f"DELETE {anns}", user="ed")
        self.done(f"DELETE {own}", user="ed", status=204)
        self.user("ann", limits=(Rights(("put-new",), "box"),))
        own = begun("ed")
        self.denied(f"DELETE {own}", user="ann")
        self.user("ann")
        self.done(f"DELETE {own}", user="ann", status=204)
        self.policy({
            "Effect": "Allow", "Principal": {"AWS": user_arn("bob")}, "Action": "s3:AbortMultipartUpload", "Resource": OBJECTS
        })  # fmt: skip
        self.done(f"DELETE {anns}", user="bob", status=204)

    def test_conditions_are_reads(self) -> None:
        """A user who cannot read an object learns nothing of it by a condition."""
        self.user("ed", Rights(("put-new", "overwrite", "delete", "list"), "box"))
        self.user("ann", limits=(Rights(("put-new", "overwrite", "delete", "list"), "box"),))
        tag = {"If-Match": '"8d777f385d3dfec8815d20f7496026dc"'}
        changing = ("PutObject", "CopyObject", "CompleteMultipartUpload", "AppendObject", "DeleteObject")
        for name in ("ed", "ann"):
            for operation in changing:
                self.assertTrue(self.may(operation, "box", "a", user=name), operation)
                self.assertTrue(self.may(operation, "box", "a", user=name, fields={"If-Match": "*"}), operation)
                self.assertFalse(self.may(operation, "box", "a", user=name, fields=tag), operation)
            time = {"If-Unmodified-Since": "Tue, 01 Dec 2026 00:00:00 GMT"}
            self.assertFalse(self.may("RenameObject", "box", "a", user=name, fields=time))
            for condition in (b"<ETag>x</ETag>", b"<Size>5</Size>", b"<LastModifiedTime>2026-01-01</LastModifiedTime>"):
                document = b"<Delete><Object><Key>a</Key>" + condition + b"</Object></Delete>"
                md5 = "Content-MD5: " + b64encode(hashlib.md5(document).digest()).decode()
                answer = self.done("POST /box?delete", document, md5, user=name)
                self.assertIn(b"<Code>AccessDenied</Code>", answer.body)
        self.user("ed", Rights(("overwrite", "read", "list"), "box"))
        self.assertTrue(self.may("PutObject", "box", "a", user="ed", fields=tag))

    def test_overwrite_only(self) -> None:
        self.user("ed", Rights(("overwrite",), "box"))
        call = self.call("PutObject", "box", "a", user="ed")
        self.done_by(authorize(call))
        self.successResultOf(self.put_by(call, "a"))
        for condition in (Condition(), Condition(absent=True)):
            work = self.put_by(call, "new", condition)
            self.failureResultOf(work, Forbidden)

    def put_by(self, call: Call, key: str, condition: Condition = ALWAYS) -> Deferred[Any]:
        """Store an object by the store of a call."""
        return call.store.put("box", key, BytesStream([b"more"]), 4, "", {}, condition)


class PolicyTests(AuthorizeCase):
    """Policies as a source of what is allowed and denied."""

    def test_allow(self) -> None:
        self.policy(
            {"Effect": "Allow", "Principal": {"AWS": user_arn("bob")}, "Action": "s3:GetObject", "Resource": OBJECTS}
        )
        self.assertTrue(self.may("GetObject", "box", "a"))
        self.assertFalse(self.may("GetObject", "box", "none"))
        self.assertFalse(self.may("PutObject", "box", "a"))
        self.assertFalse(self.may("GetObject", "box", "a", user=""))

    def test_deny(self) -> None:
        """Owners and administrators as well; but not from the policy itself."""
        self.policy({"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::box", OBJECTS]})
        for user in ("ann", "root"):
            self.assertFalse(self.may("GetObject", "box", "a", user=user))
            self.assertFalse(self.may("PutBucketAcl", "box", user=user))
            for operation in ("GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy", "GetBucketPolicyStatus"):
                self.assertTrue(self.may(operation, "box", user=user), operation)

    def test_address(self) -> None:
        self.policy({
            "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": OBJECTS,
            "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}},
        })  # fmt: skip
        self.assertTrue(self.may("GetObject", "box", "a", user=""))
        self.assertFalse(self.may("GetObject", "box", "a", user="", address="198.51.100.1"))

    def test_what_an_operation_does_beside(self) -> None:
        """An ACL in a PUT needs the right to set one."""
        only = {"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": OBJECTS}
        narrow = {"Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}
        self.policy(only | narrow)
        self.assertTrue(self.may("PutObject", "box", "b"))
        self.assertFalse(self.may("PutObject", "box", "b", fields={"x-amz-acl": "private"}))
        self.assertFalse(self.may("PutObject", "box", "b", fields={"x-amz-tagging": "a=b"}))

    def test_conditions_of_requests(self) -> None:
        """Keys that come from header fields, the query and tags."""
        for condition, operation, key, query, fields, is_let in (
            ({"StringEquals": {"s3:prefix": "x/"}}, "ListObjectsV2", "", {"prefix": "x/"}, {}, True),
            ({"StringEquals": {"s3:prefix": "x/"}}, "ListObjectsV2", "", {}, {}, False),
            ({"NumericLessThan": {"s3:max-keys": "11"}}, "ListObjects", "", {"max-keys": "10"}, {}, True),
            ({"NumericLessThan": {"s3:max-keys": "11"}}, "ListObjects", "", {"max-keys": "100"}, {}, False),
            ({"StringEquals": {"s3:x-amz-storage-class": "STANDARD"}}, "PutObject", "b", {}, {"x-amz-storage-class": "STANDARD"}, True),
            ({"Null": {"s3:if-none-match": "false"}}, "PutObject", "b", {}, {"If-None-Match": "*"}, True),
            ({"Null": {"s3:if-none-match": "false"}}, "PutObject", "b", {}, {}, False),
            ({"StringEquals": {"s3:RequestObjectTag/a": "b"}}, "PutObject", "b", {}, {"x-amz-tagging": "a=b"}, True),
            ({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a"]}}, "PutObject", "b", {}, {"x-amz-tagging": "a=b&c=d"}, False),
            ({"StringEquals": {"s3:ExistingObjectTag/a": "b"}}, "GetObject", "tagged", {}, {}, True),
            ({"StringEquals": {"s3:ExistingObjectTag/a": "b"}}, "GetObject", "a", {}, {}, False),
            ({"Bool": {"aws:SecureTransport": "true"}}, "GetObject", "a", {}, {}, False),
            ({"StringEquals": {"aws:username": "bob"}}, "GetObject", "a", {}, {}, True),
            ({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01"}}, "GetObject", "a", {}, {}, True),
            ({"StringLike": {"s3:x-amz-copy-source": "box/pub/*"}}, "CopyObject", "b", {}, {"x-amz-copy-source": "/box/pub%2Fa"}, True),
            ({"StringLike": {"s3:x-amz-copy-source": "/box/pub/*"}}, "CopyObject", "b", {}, {"x-amz-copy-source": "box/pub/a"}, True),
            ({"StringNotLike": {"s3:x-amz-copy-source": "box/pub/*"}}, "CopyObject", "b", {}, {"x-amz-copy-source": "/box/pub/a"}, False),
            ({"StringLike": {"aws:Referer": "https://example.org/*"}}, "GetObject", "a", {}, {"Referer": "https://example.org/x"}, True),
        ):  # fmt: skip
            self.put("box", "tagged", tagging="a=b")
            self.policy({
                "Effect": "Allow", "Principal": {"AWS": user_arn("bob")}, "Action": "s3:*",
                "Resource": ["arn:aws:s3:::box", OBJECTS], "Condition": condition,
            })  # fmt: skip
            self.assertEqual(
                self.may(operation, "box", key, query=query, fields=fields), is_let, (condition, operation)
            )

    def test_form(self) -> None:
        """What a form says counts as if it were in header fields."""
        self.policy({
            "Effect": "Allow", "Principal": {"AWS": user_arn("bob")}, "Action": "s3:PutObject", "Resource": OBJECTS,
            "Condition": {"StringNotEquals": {"s3:x-amz-storage-class": "REDUCED_REDUNDANCY"}},
        })  # fmt: skip
        for fields, is_let in (
            ({}, True),
            ({"x-amz-storage-class": "REDUCED_REDUNDANCY"}, False),
            ({"x-amz-acl": "public-read"}, False),
            ({"x-amz-tagging": "a=b"}, False),
        ):
            call = self.call("PutObject", "box", "b")
            call.form = fields.get
            work = Deferred.fromCoroutine(authorize(call))
            if is_let:
                self.successResultOf(work)
            else:
                self.assertEqual(self.failureResultOf(work, S3Error).value.code, "AccessDenied", fields)

    def test_restricted(self) -> None:
        """A public policy does not count where that is blocked."""
        self.policy({"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": OBJECTS})
        self.assertTrue(self.may("GetObject", "box", "a", user=""))
        block = b"<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>"
        self.done("PUT /box?publicAccessBlock", block)
        for user, is_let in (("", False), ("bob", False), ("ann", True)):
            self.assertEqual(self.may("GetObject", "box", "a", user=user), is_let, user)


class ACLTests(AuthorizeCase):
    """ACLs as a source of what is allowed."""

    def acl(self, *grants: tuple[str, str]) -> str:
        """As it is kept."""
        return encode_acl(Acl(grants))

    def bucket_acl(self, *grants: tuple[str, str]) -> None:
        """The bucket has these grants."""
        work = self.made.access.set(self.store, "box", "acl", self.acl(*grants).encode())
        self.done_by(work)

    def test_bucket(self) -> None:
        for grants, operation, key, bob, nobody in (
            ((("READ", "all"),), "ListObjects", "", True, True),
            ((("READ", "users"),), "ListObjects", "", True, False),
            ((("READ", f"id:{canonical_id('bob')}"),), "ListObjects", "", True, False),
            ((("READ", f"id:{canonical_id('al')}"),), "ListObjects", "", False, False),
            ((("READ", "all"),), "GetObject", "a", False, False),
            ((("READ", "all"),), "PutObject", "b", False, False),
            ((("WRITE", "all"),), "PutObject", "b", True, True),
            ((("WRITE", "all"),), "DeleteObject", "a", True, True),
            ((("WRITE", "all"),), "ListObjects", "", False, False),
            ((("READ_ACP", "all"),), "GetBucketAcl", "", True, True),
            ((("WRITE_ACP", "all"),), "PutBucketAcl", "", True, True),
            ((("FULL_CONTROL", "users"),), "PutBucketAcl", "", True, False),
            ((("FULL_CONTROL", "all"),), "PutBucketPolicy", "", False, False),
            ((("FULL_CONTROL", "all"),), "DeleteBucket", "", False, False),
        ):
            self.bucket_acl(*grants)
            self.assertEqual(self.may(operation, "box", key), bob, (grants, operation))
            self.assertEqual(self.may(operation, "box", key, user=""), nobody, (grants, operation))

    def test_object(self) -> None:
        for grants, operation, bob, nobody in (
            ((("READ", "all"),), "GetObject", True, True),
            ((("READ", "all"),), "HeadObject", True, True),
            ((("READ", "users"),), "GetObject", True, False),
            ((("READ", "all"),), "GetObjectAcl", False, False),
            ((("READ_ACP", "all"),), "GetObjectAcl", True, True),
            ((("WRITE_ACP", "users"),), "PutObjectAcl", True, False),
            ((("FULL_CONTROL", "all"),), "DeleteObject", False, False),
        ):
            self.put("box", "o", acl=self.acl(*grants))
            self.assertEqual(self.may(operation, "box", "o"), bob, (grants, operation))
            self.assertEqual(self.may(operation, "box", "o", user=""), nobody, (grants, operation))

    def test_owner_of_object(self) -> None:
        """Can see to its ACL, always, and has it by default."""
        self.put("box", "o", owner="bob")
        for operation in ("GetObject", "GetObjectAcl", "PutObjectAcl"):
            self.assertTrue(self.may(operation, "box", "o"), operation)
            self.assertFalse(self.may(operation, "box", "o", user="al"), operation)
        # The owner of the bucket has what the ACL grants, as everybody has; and can remove the object.
        for operation in ("GetObject", "GetObjectAcl", "PutObjectAcl"):
            self.assertFalse(self.may(operation, "box", "o", user="ann"), operation)
            self.assertTrue(self.may(operation, "box", "o", user="root"), operation)
        self.assertTrue(self.may("DeleteObject", "box", "o", user="ann"))
        self.put("box", "o", owner="bob", acl=self.acl(("READ", f"id:{canonical_id('ann')}")))
        self.assertTrue(self.may("GetObject", "box", "o", user="ann"))
        self.assertFalse(self.may("GetObjectAcl", "box", "o", user="ann"))
        self.put("box", "o", owner="bob", acl=self.acl(("READ", f"id:{canonical_id('al')}")))
        self.assertFalse(self.may("GetObject", "box", "o"))
        self.assertTrue(self.may("PutObjectAcl", "box", "o"))

    def test_enforced(self) -> None:
        """Where the bucket's owner has everything, no ACL counts."""
        self.bucket_acl(("FULL_CONTROL", "all"))
        self.put("box", "o", acl=self.acl(("FULL_CONTROL", "all")), owner="bob")
        self.done_by(self.made.access.set(self.store, "box", "ownership", b'{"ObjectOwnership":"BucketOwnerEnforced"}'))
        for operation, key in (("ListObjects", ""), ("GetObject", "o"), ("PutObjectAcl", "o"), ("PutObject", "o")):
            self.assertFalse(self.may(operation, "box", key), operation)

    def test_ignored(self) -> None:
        """What is granted to everybody does not count where that is ignored; the rest does."""
        self.bucket_acl(("READ", "all"), ("WRITE", f"id:{canonical_id('bob')}"))
        self.done_by(self.made.access.set(self.store, "box", "public-access-block", b'{"IgnorePublicAcls":true}'))
        self.assertFalse(self.may("ListObjects", "box"))
        self.assertTrue(self.may("PutObject", "box", "b"))
