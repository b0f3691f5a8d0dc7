"""Public access blocks and ownership controls of buckets."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import S3Settings
from storehouse.errors import Damaged
from storehouse.frontends.s3.access.acl import Acl, decode_acl, encode_acl
from storehouse.frontends.s3.access.owning import new_bucket, new_object
from storehouse.frontends.s3.access.publicaccess import (
    Block,
    decode_block,
    decode_ownership,
    encode_block,
    encode_ownership,
)
from storehouse.frontends.s3.errors import S3Error
from storehouse.storage.accounts.interfaces import canonical_id
from tests.frontends.s3.access.test_authorize import AuthorizeCase

NAMES = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
PUBLIC = {"x-amz-acl": "public-read"}


def block(**flags: str) -> bytes:
    """A document."""
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in flags.items())
    return f"<PublicAccessBlockConfiguration>{inner}</PublicAccessBlockConfiguration>".encode()


def controls(*ownerships: str) -> bytes:
    """A document."""
    rules = "".join(f"<Rule><ObjectOwnership>{each}</ObjectOwnership></Rule>" for each in ownerships)
    return f"<OwnershipControls>{rules}</OwnershipControls>".encode()


class BlockTests(AuthorizeCase):
    """C{?publicAccessBlock}."""

    def test_kept(self) -> None:
        self.refused("NoSuchPublicAccessBlockConfiguration", "GET /box?publicAccessBlock")
        self.done("PUT /box?publicAccessBlock", block(BlockPublicAcls="true", BlockPublicPolicy="TRUE"))
        found = self.read("PublicAccessBlockConfiguration", "GET /box?publicAccessBlock")
        self.assertEqual([found.value(name) for name in NAMES], ["true", "false", "true", "false"])
        self.done("DELETE /box?publicAccessBlock", status=204)
        self.refused("NoSuchPublicAccessBlockConfiguration", "GET /box?publicAccessBlock")

    def test_wrong(self) -> None:
        self.refused("MalformedXML", "PUT /box?publicAccessBlock", block(BlockPublicAcls="yes"))
        self.refused("MalformedXML", "PUT /box?publicAccessBlock", b"<Other/>")
        self.refused("MissingRequestBodyError", "PUT /box?publicAccessBlock", b"")
        for method, body in (("GET", None), ("PUT", block()), ("DELETE", None)):
            self.denied(f"{method} /box?publicAccessBlock", body)


class ControlsTests(AuthorizeCase):
    """C{?ownershipControls}."""

    def test_kept(self) -> None:
        self.refused("OwnershipControlsNotFoundError", "GET /box?ownershipControls")
        for ownership in ("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"):
            self.done("PUT /box?ownershipControls", controls(ownership))
            (rule,) = self.read("OwnershipControls", "GET /box?ownershipControls").all("Rule")
            self.assertEqual(rule.value("ObjectOwnership"), ownership)
        self.done("DELETE /box?ownershipControls", status=204)
        self.refused("OwnershipControlsNotFoundError", "GET /box?ownershipControls")

    def test_wrong(self) -> None:
        for document in (controls(), controls("Everybody"), controls("ObjectWriter", "ObjectWriter"), b"<a/>"):
            self.refused("MalformedXML", "PUT /box?ownershipControls", document)
        for method, body in (("GET", None), ("PUT", controls("ObjectWriter")), ("DELETE", None)):
            self.denied(f"{method} /box?ownershipControls", body)

    def test_acl_in_the_way(self) -> None:
        """ACLs stop counting only where none is set."""
        self.done("PUT /box?acl", b"", "x-amz-acl: public-read")
        self.refused(
            "InvalidBucketAclWithObjectOwnership", "PUT /box?ownershipControls", controls("BucketOwnerEnforced")
        )
        self.done("PUT /box?acl", b"", "x-amz-acl: private")
        self.done("PUT /box?ownershipControls", controls("BucketOwnerEnforced"))


class KeptTests(SynchronousTestCase):
    """The bytes of what is kept."""

    def test_golden(self) -> None:
        acl = Acl((("FULL_CONTROL", f"id:{canonical_id('ann')}"), ("READ", "all")))
        data = '{"grants":[["FULL_CONTROL","id:eee02dc73827e9742f24f0fac78d8f932e1d4c39b0f3c9f7db34074a6f3cdf3b"],["READ","all"]]}'
        self.assertEqual(encode_acl(acl), data)
        self.assertEqual(decode_acl(data), acl)
        flags = Block(True, False, True, False)
        kept = (
            b'{"BlockPublicAcls":true,"IgnorePublicAcls":false,"BlockPublicPolicy":true,"RestrictPublicBuckets":false}'
        )
        self.assertEqual(encode_block(flags), kept)
        self.assertEqual(decode_block(kept), flags)
        self.assertEqual(encode_ownership("ObjectWriter"), b'{"ObjectOwnership":"ObjectWriter"}')
        self.assertEqual(decode_ownership(b'{"ObjectOwnership":"ObjectWriter"}'), "ObjectWriter")

    def test_damaged(self) -> None:
        for data in (b"", b"x", b"[]", b"{}", b'{"ObjectOwnership":"x"}'):
            self.assertRaises(Damaged, decode_ownership, data)
        for data in (b"", b"x", b"[]"):
            self.assertRaises(Damaged, decode_block, data)
        for data in (b"", b"x", b"[]", b"{}", b'{"grants":[1]}'):
            self.assertRaises(Damaged, decode_acl, data)


class NewTests(AuthorizeCase):
    """What is new is as the request and the settings say."""

    def refusal(self, work: object) -> str:
        """The code of what a coroutine fails with."""

        async def code() -> str:
            try:
                await work  # type: ignore[misc]
            except S3Error as error:
                return error.code
            return ""

        return str(self.done_by(code()))

    def test_bucket(self) -> None:
        """As on AWS: ACLs off, and public access blocked."""
        found = self.done_by(new_bucket(self.call("CreateBucket", "new")))
        self.assertEqual(set(found), {"ownership", "public-access-block"})
        self.assertIn(b"BucketOwnerEnforced", found["ownership"])
        self.assertEqual(found["public-access-block"].count(b"true"), 4)
        for fields, code in (
            ({"x-amz-acl": "private"}, ""),
            (PUBLIC, "InvalidBucketAclWithObjectOwnership"),
            (PUBLIC | {"x-amz-object-ownership": "ObjectWriter"}, "InvalidBucketAclWithBlockPublicAccessError"),
            ({"x-amz-object-ownership": "Nobody"}, "InvalidArgument"),
            ({"x-amz-acl": "public"}, "InvalidArgument"),
        ):
            self.assertEqual(self.refusal(new_bucket(self.call("CreateBucket", "new", fields=fields))), code, fields)

    def test_object(self) -> None:
        """Belongs to its writer, or to the bucket's owner; ACLs where they count."""
        self.assertEqual(self.done_by(new_object(self.call("PutObject", "box", "o"))), {"owner": "bob"})
        self.assertEqual(self.done_by(new_object(self.call("PutObject", "shared", "o"))), {})
        found = self.done_by(new_object(self.call("PutObject", "box", "o", fields=PUBLIC)))
        self.assertIn('["READ","all"]', found["acl"])
        full = {"x-amz-acl": "bucket-owner-full-control"}
        found = self.done_by(new_object(self.call("PutObject", "box", "o", fields=full)))
        self.assertEqual(found["owner"], "bob")
        self.assertIn(canonical_id("ann"), found["acl"])
        self.done("PUT /box?ownershipControls", controls("BucketOwnerPreferred"))
        found = self.done_by(new_object(self.call("PutObject", "box", "o", fields=full)))
        self.assertEqual(found, {"owner": "ann"})
        self.done("PUT /box?publicAccessBlock", block(BlockPublicAcls="true"))
        self.assertEqual(self.refusal(new_object(self.call("PutObject", "box", "o", fields=PUBLIC))), "AccessDenied")

    def test_object_enforced(self) -> None:
        self.done("PUT /box?ownershipControls", controls("BucketOwnerEnforced"))
        full = {"x-amz-grant-full-control": f'id="{canonical_id("ann")}"'}
        for fields in ({}, {"x-amz-acl": "bucket-owner-full-control"}, full):
            self.assertEqual(
                self.done_by(new_object(self.call("PutObject", "box", "o", fields=fields))), {"owner": "ann"}
            )
        for fields in ({"x-amz-acl": "private"}, PUBLIC, {"x-amz-grant-read": f'id="{canonical_id("ann")}"'}):
            call = self.call("PutObject", "box", "o", fields=fields)
            self.assertEqual(self.refusal(new_object(call)), "AccessControlListNotSupported", fields)


class ClassicTests(NewTests):
    """C{--s3-defaults classic}."""

    settings = S3Settings(defaults="classic")

    def test_bucket(self) -> None:
        """ACLs count, and nothing is blocked."""
        self.assertEqual(self.done_by(new_bucket(self.call("CreateBucket", "new"))), {})
        self.assertIn(
            b'["READ","all"]', self.done_by(new_bucket(self.call("CreateBucket", "new", fields=PUBLIC)))["acl"]
        )
        enforced = PUBLIC | {"x-amz-object-ownership": "BucketOwnerEnforced"}
        work = new_bucket(self.call("CreateBucket", "new", fields=enforced))
        self.assertEqual(self.refusal(work), "InvalidBucketAclWithObjectOwnership")
