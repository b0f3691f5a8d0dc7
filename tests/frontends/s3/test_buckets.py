"""Tests of L{storehouse.frontends.s3.buckets}."""

from __future__ import annotations

from storehouse.config.settings import S3Settings
from storehouse.core.xmltext import Node
from storehouse.frontends.s3.access.publicaccess import ENFORCED, Block, encode_block, encode_ownership
from storehouse.frontends.s3.access.state import BLOCK, OWNERSHIP
from storehouse.storage.accounts.interfaces import canonical_id
from tests.frontends.s3.playing import NOW, S3Case


class BucketTests(S3Case):
    """Made, found, removed."""

    reserved = frozenset({"chunks"})

    def test_create(self) -> None:
        answer = self.done("PUT /box", b"")
        self.assertEqual((answer.fields["location"], answer.body), ("/box", b""))
        self.assertEqual(self.successResultOf(self.store.get_bucket("box")).owner, "ann")
        self.refused("BucketAlreadyOwnedByYou", "PUT /box", b"")
        self.assertEqual(self.refused("BucketAlreadyExists", "PUT /box", b"", user="bob").value("BucketName"), "box")
        self.refused("BucketAlreadyExists", "PUT /box", b"", user="root")
        self.refused("AccessDenied", "PUT /other", b"", user="")
        for name in (
            "ab",
            "Upper",
            "a..b",
            "x" * 64,
            "192.168.0.1",
            "under_score",
            "-a-",
            "xn--a",
            "a-s3alias",
            "a.mrap",
            "%20%20%20",
        ):
            self.refused("InvalidBucketName", f"PUT /{name}", b"")
        self.done("PUT /box2/", None)

    def test_ownership(self) -> None:
        """New buckets are as Amazon makes them: without ACLs, and not public."""
        self.done("PUT /box", b"")
        kinds = {kind: self.successResultOf(self.store.bucket_config("box", kind)) for kind in (OWNERSHIP, BLOCK)}
        self.assertEqual(
            kinds, {OWNERSHIP: encode_ownership(ENFORCED), BLOCK: encode_block(Block(True, True, True, True))}
        )
        self.refused("InvalidBucketAclWithObjectOwnership", "PUT /public", b"", "x-amz-acl: public-read")
        self.refused("NoSuchBucket", "GET /public?location")

    def test_not_of_a_user(self) -> None:
        """What other doors have made is the administrators'."""
        self.successResultOf(self.store.create_bucket("uploads"))
        self.refused("BucketAlreadyExists", "PUT /uploads", b"")
        self.refused("BucketAlreadyOwnedByYou", "PUT /uploads", b"", user="root")

    def test_of_other_doors(self) -> None:
        """A user cannot make a bucket that another door will store in: its owner could read everything stored there."""
        self.refused("BucketAlreadyExists", "PUT /chunks", b"")
        self.refused("NoSuchBucket", "GET /chunks?location")
        self.done("PUT /chunks", b"", user="root")

    def test_location(self) -> None:
        def made(region: str) -> bytes:
            return f"<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>".encode()

        self.done("PUT /one", made("us-east-1"))
        self.done("PUT /two", made(""))
        self.done("PUT /three", b"<CreateBucketConfiguration/>")
        self.refused("InvalidLocationConstraint", "PUT /four", made("eu-west-1"))
        self.refused("MalformedXML", "PUT /four", b"<CreateBucketConfiguration>")
        self.refused("MalformedXML", "PUT /four", b"<Other/>")
        self.refused("NotImplemented", "PUT /four", b"<CreateBucketConfiguration><Bucket/></CreateBucketConfiguration>")
        self.refused("NotImplemented", "PUT /four", b"", "x-amz-bucket-object-lock-enabled: true")
        self.done("PUT /four", b"", "x-amz-bucket-object-lock-enabled: false")
        self.assertEqual(self.read("LocationConstraint", "GET /one?location").text, "")
        self.refused("NoSuchBucket", "GET /none?location")

    def test_tags(self) -> None:
        """A bucket is made with them in one step."""
        body = b"<CreateBucketConfiguration><Tags>%b</Tags></CreateBucketConfiguration>"
        tag = b"<Tag><Key>%b</Key><Value>1</Value></Tag>"
        self.done("PUT /box", body % (tag % b"a" + tag % b"b"), user="root")
        (tags,) = self.read("Tagging", "GET /box?tagging", user="root").all("TagSet")
        self.assertEqual([each.value("Key") for each in tags.children], ["a", "b"])
        for wrong in (b"<Tag/>", tag % b"a" * 2, tag % b"aws:x"):
            answer = self.ask("PUT /other", body % wrong, user="root")
            self.assertEqual(answer.status, 400)
        self.refused("NoSuchBucket", "GET /other?tagging", user="root")

    def test_head(self) -> None:
        self.done("PUT /box", b"")
        answer = self.done("HEAD /box")
        self.assertEqual(answer.fields["x-amz-bucket-region"], "us-east-1")
        self.assertEqual(answer.fields["x-amz-bucket-arn"], "arn:aws:s3:::box")
        self.assertEqual(self.ask("HEAD /none").status, 404)

    def test_delete(self) -> None:
        self.done("PUT /box", b"")
        self.done("PUT /box/a", b"x")
        self.refused("BucketNotEmpty", "DELETE /box")
        self.done("DELETE /box/a", status=204)
        answer = self.done("DELETE /box", status=204)
        self.assertNotIn("content-length", answer.fields)
        self.assertEqual(self.refused("NoSuchBucket", "DELETE /box").value("BucketName"), "box")


class RegionTests(S3Case):
    """A door of another region."""

    settings = S3Settings(region="eu-west-1")

    def test_region(self) -> None:
        self.done("PUT /box", b"")
        self.assertEqual(self.read("LocationConstraint", "GET /box?location").text, "eu-west-1")
        self.assertEqual(self.done("HEAD /box").fields["x-amz-bucket-region"], "eu-west-1")
        body = b"<CreateBucketConfiguration><LocationConstraint>%b</LocationConstraint></CreateBucketConfiguration>"
        self.done("PUT /box2", body % b"EU")
        self.refused("IllegalLocationConstraintException", "PUT /box3", body % b"us-west-2")


class AnyRegionTests(S3Case):
    """A door of every region."""

    settings = S3Settings(region="any")

    def test_region(self) -> None:
        body = b"<CreateBucketConfiguration><LocationConstraint>moon</LocationConstraint></CreateBucketConfiguration>"
        self.done("PUT /box", body)
        self.assertEqual(self.read("LocationConstraint", "GET /box?location").text, "")


class ListTests(S3Case):
    """ListBuckets."""

    def names(self, node: Node) -> list[str]:
        (buckets,) = node.all("Buckets")
        return [bucket.value("Name") for bucket in buckets.all("Bucket")]

    def listed(self, query: str = "", user: str = "ann") -> list[str]:
        return self.names(self.read("ListAllMyBucketsResult", f"GET /{query}", user=user))

    def test_own(self) -> None:
        for name, user in (("b-ann", "ann"), ("a-ann", "ann"), ("bob", "bob")):
            self.done(f"PUT /{name}", b"", user=user)
        self.successResultOf(self.store.create_bucket("uploads"))
        self.assertEqual(self.listed(user="root"), ["a-ann", "b-ann", "bob", "uploads"])
        self.assertEqual(self.listed(), ["a-ann", "b-ann"])
        self.assertEqual(self.listed("?prefix=b"), ["b-ann"])
        self.assertEqual(self.listed("?bucket-region=us-east-1&prefix=a"), ["a-ann"])
        self.assertEqual(self.listed("?bucket-region=us-west-1"), [])
        self.refused("AccessDenied", "GET /", user="")
        node = self.read("ListAllMyBucketsResult", "GET /")
        (owner,) = node.all("Owner")
        self.assertEqual((owner.value("ID"), owner.value("DisplayName")), (canonical_id("ann"), "ann"))
        first = next((node.child("Buckets") or node).all("Bucket"))
        self.assertEqual(first.value("BucketRegion"), "us-east-1")
        self.assertRegex(first.value("CreationDate"), r"\A20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
        self.assertGreater(NOW, 0)

    def test_pages(self) -> None:
        names = [f"box-{number}" for number in range(5)]
        for name in names:
            self.done(f"PUT /{name}", b"")
        found, token = [], ""
        while True:
            node = self.read("ListAllMyBucketsResult", f"GET /?max-buckets=2{token}")
            found.append(self.names(node))
            if not node.value("ContinuationToken"):
                break
            token = f"&continuation-token={node.value('ContinuationToken')}"
        self.assertEqual(found, [names[:2], names[2:4], names[4:]])
        for wrong in ("0", "10001", "-1", "x", ""):
            self.refused("InvalidArgument", f"GET /?max-buckets={wrong}")
        for wrong in ("", "x", "!!!", "YWJj="):
            self.refused("InvalidArgument", f"GET /?continuation-token={wrong}")
