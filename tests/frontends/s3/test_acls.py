"""ACLs of buckets and objects: C{?acl}."""

from __future__ import annotations

from storehouse.core.xmltext import Node
from storehouse.storage.accounts.interfaces import canonical_id
from tests.frontends.s3.access.playing import AccessCase

ANN, BOB = canonical_id("ann"), canonical_id("bob")
ALL = "http://acs.amazonaws.com/groups/global/AllUsers"
USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"


def grant(permission: str, kind: str, member: str, value: str) -> str:
    """A grant of a document."""
    return (
        f'<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="{kind}">'
        f"<{member}>{value}</{member}></Grantee><Permission>{permission}</Permission></Grant>"
    )


def acl(*grants: str, owner: str = ANN) -> bytes:
    """A document."""
    return (
        f"<AccessControlPolicy><Owner><ID>{owner}</ID></Owner>"
        f"<AccessControlList>{''.join(grants)}</AccessControlList></AccessControlPolicy>"
    ).encode()


def shown(found: Node) -> list[tuple[str, str]]:
    """The grants of a document: permissions and grantees."""
    lists = found.child("AccessControlList")
    assert lists is not None
    grants = []
    for each in lists.children:
        grantee = each.child("Grantee")
        assert grantee is not None
        grants.append((each.value("Permission"), grantee.value("ID") or grantee.value("URI")))
    return grants


class ACLTests(AccessCase):
    """The operations on ACLs."""

    def grants(self, path: str) -> list[tuple[str, str]]:
        """Those of a bucket or an object."""
        found = self.read("AccessControlPolicy", f"GET {path}?acl")
        owner = found.child("Owner")
        assert owner is not None
        self.assertEqual((owner.value("ID"), owner.value("DisplayName")), (ANN, "ann"))
        return shown(found)

    def test_canned(self) -> None:
        for path in ("/box", "/box/a"):
            self.assertEqual(self.grants(path), [("FULL_CONTROL", ANN)])
            for name, more in (
                ("public-read", [("READ", ALL)]),
                ("public-read-write", [("READ", ALL), ("WRITE", ALL)]),
                ("authenticated-read", [("READ", USERS)]),
                ("private", []),
            ):
                self.done(f"PUT {path}?acl", b"", f"x-amz-acl: {name}")
                self.assertEqual(self.grants(path), [("FULL_CONTROL", ANN), *more], name)
            self.refused("InvalidArgument", f"PUT {path}?acl", b"", "x-amz-acl: all")

    def test_fields(self) -> None:
        for path in ("/box", "/box/a"):
            self.done(
                f"PUT {path}?acl",
                b"",
                f'x-amz-grant-read: id="{BOB}", uri="{USERS}"',
                f"x-amz-grant-full-control: id={ANN}",
            )
            self.assertEqual(self.grants(path), [("FULL_CONTROL", ANN), ("READ", BOB), ("READ", USERS)])
            for code, *fields in (
                ("InvalidArgument", f"x-amz-grant-read: id={'0' * 64}"),
                ("InvalidArgument", "x-amz-grant-read: id=bob"),
                ("InvalidArgument", "x-amz-grant-read: bob"),
                ("InvalidArgument", "x-amz-grant-read: uri=http://example.org/"),
                ("UnresolvableGrantByEmailAddress", "x-amz-grant-read: emailAddress=bob@example.org"),
                ("InvalidRequest", f"x-amz-grant-read: id={BOB}", "x-amz-acl: private"),
                ("MissingSecurityHeader",),
            ):
                self.refused(code, f"PUT {path}?acl", b"", *fields)

    def test_documents(self) -> None:
        grants = [
            grant("FULL_CONTROL", "CanonicalUser", "ID", ANN),
            grant("READ", "CanonicalUser", "ID", BOB),
            grant("WRITE_ACP", "Group", "URI", USERS),
        ]
        for path in ("/box", "/box/a"):
            self.done(f"PUT {path}?acl", acl(*grants))
            self.assertEqual(self.grants(path), [("FULL_CONTROL", ANN), ("READ", BOB), ("WRITE_ACP", USERS)])
            # What is given back can be put again.
            answer = self.done(f"GET {path}?acl")
            self.done(f"PUT {path}?acl", answer.body)
            self.assertEqual(self.done(f"GET {path}?acl").body, answer.body)
            self.done(f"PUT {path}?acl", acl())
            self.assertEqual(self.grants(path), [])
            for code, document in (
                ("MalformedACLError", b"<AccessControlPolicy/>"),
                ("MalformedACLError", b"<Other/>"),
                ("MalformedACLError", b"x"),
                ("MalformedACLError", acl(grant("SOME", "CanonicalUser", "ID", ANN))),
                ("MalformedACLError", acl(grant("READ", "Other", "ID", ANN))),
                ("MalformedACLError", acl(*(grant("READ", "CanonicalUser", "ID", ANN),), "<Other/>")),
                ("AccessDenied", acl(owner=BOB)),
                ("InvalidArgument", acl(grant("READ", "CanonicalUser", "ID", "0" * 64))),
                ("InvalidArgument", acl(grant("READ", "Group", "URI", "x"))),
                ("UnresolvableGrantByEmailAddress", acl(grant("READ", "AmazonCustomerByEmail", "EmailAddress", "x"))),
            ):
                self.refused(code, f"PUT {path}?acl", document)
            self.refused("UnexpectedContent", f"PUT {path}?acl", acl(), "x-amz-acl: private")

    def test_missing(self) -> None:
        self.refused("NoSuchKey", "GET /box/none?acl")
        self.refused("NoSuchKey", "PUT /box/none?acl", b"", "x-amz-acl: private")
        self.refused("NoSuchBucket", "GET /none?acl")

    def test_who(self) -> None:
        """Who may, is what the ACL says."""
        for path in ("/box", "/box/a"):
            self.denied(f"GET {path}?acl")
            self.denied(f"PUT {path}?acl", b"", "x-amz-acl: public-read")
            self.done(f"PUT {path}?acl", acl(grant("READ_ACP", "CanonicalUser", "ID", BOB)))
            self.done(f"GET {path}?acl", user="bob")
            self.denied(f"PUT {path}?acl", b"", "x-amz-acl: public-read")
            self.denied(f"GET {path}?acl", user="")
            self.done(f"PUT {path}?acl", acl(grant("WRITE_ACP", "CanonicalUser", "ID", BOB)))
            self.done(f"PUT {path}?acl", b"", "x-amz-acl: public-read", user="bob")

    def test_enforced(self) -> None:
        """Where ACLs do not count, only what is so anyway can be put."""
        self.done("PUT /box/a?acl", b"", "x-amz-acl: public-read")
        document = b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>"
        self.done("PUT /box?ownershipControls", document)
        for path in ("/box", "/box/a"):
            self.assertEqual(self.grants(path), [("FULL_CONTROL", ANN)])
            for name in ("private", "public-read"):
                self.refused("AccessControlListNotSupported", f"PUT {path}?acl", b"", f"x-amz-acl: {name}")
            self.done(f"PUT {path}?acl", acl(grant("FULL_CONTROL", "CanonicalUser", "ID", ANN)))

    def test_blocked(self) -> None:
        document = (
            b"<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>"
        )
        self.done("PUT /box?publicAccessBlock", document)
        for path in ("/box", "/box/a"):
            self.denied(f"PUT {path}?acl", b"", "x-amz-acl: public-read", user="ann")
            self.denied(f"PUT {path}?acl", acl(grant("READ", "Group", "URI", ALL)), user="ann")
            self.done(f"PUT {path}?acl", b"", f"x-amz-grant-read: id={BOB}")
