"""L{storehouse.frontends.s3.access.policy}, and its conditions."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import botocore
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.s3.access.actions import ACTIONS, actions_of
from storehouse.frontends.s3.access.policy import MOST_POLICY, Policy, Principal, Verdict, read_policy, user_arn
from storehouse.frontends.s3.errors import S3Error
from storehouse.storage.accounts.interfaces import canonical_id
from tests.cpu import assert_cpu, cpu_of

ANN = Principal("ann", canonical_id("ann"))
NOBODY = Principal(None)
OBJECTS = "arn:aws:s3:::box/*"
BOX = "arn:aws:s3:::box"


def statement(effect: str = "Allow", **more: Any) -> dict[str, Any]:
    """A statement that allows everybody to read objects, but for what is said otherwise."""
    found = {"Effect": effect, "Principal": "*", "Action": "s3:GetObject", "Resource": OBJECTS} | more
    return {name: value for name, value in found.items() if value is not None}


def policy(*statements: dict[str, Any], version: str = "2012-10-17") -> Policy:
    """A policy of them, of the bucket C{box}."""
    return read_policy(json.dumps({"Version": version, "Statement": list(statements)}).encode(), "box")


def verdict(
    of: Policy,
    values: Mapping[str, Sequence[str]] | None = None,
    principal: Principal = ANN,
    action: str = "s3:GetObject",
    arn: str = "arn:aws:s3:::box/a/b",
) -> Verdict:
    """What a policy says of a request."""
    return of.verdict(principal, action, arn, (values or {}).get)


def holds(operator: str, key: str, wanted: Any, found: Sequence[str] | None) -> bool:
    """Whether a condition holds."""
    made = policy(statement(Condition={operator: {key: wanted}}))
    return verdict(made, {} if found is None else {key.lower(): found}) == "allow"


class ReadingTests(SynchronousTestCase):
    """What is a policy."""

    def malformed(self, data: object, code: str = "MalformedPolicy") -> None:
        """It is refused."""
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.assertEqual(self.assertRaises(S3Error, read_policy, raw, "box").code, code, raw[:200])

    def test_malformed(self) -> None:
        for data in (
            b"",
            b"x",
            b"[]",
            b'"a"',
            b'{"Version":"2012-10-17"',
            b'{"Statement":[],"Statement":[]}',
            b"[" * 20000,
            {},
            {"Version": "2012-10-17"},
            {"Version": "2013-01-01", "Statement": statement()},
            {"Statement": []},
            {"Statement": ["x"]},
            {"Statement": statement(), "Other": 1},
            {"Statement": statement(), "Id": 1},
        ):
            self.malformed(data)

    def test_malformed_statements(self) -> None:
        for more in (
            {"Effect": None},
            {"Effect": "allow"},
            {"Principal": None},
            {"Principal": {}},
            {"Principal": "ann"},
            {"Principal": {"AWS": "ann"}},
            {"Principal": {"AWS": "arn:aws:iam::*:user/ann"}},
            {"Principal": {"Canonical": "x"}},
            {"Principal": {"CanonicalUser": "x"}},
            {"NotPrincipal": "*"},
            {"Action": None},
            {"Action": []},
            {"Action": 1},
            {"Action": "s3:Nothing"},
            {"Action": "ec2:*"},
            {"NotAction": "s3:*"},
            {"Resource": None},
            {"Resource": "arn:aws:s3:::other/*"},
            {"Resource": "arn:aws:s3:::boxes/*"},
            {"Resource": "arn:aws:sqs:::box/*"},
            {"Resource": "box"},
            {"Resource": BOX},
            {"Action": "s3:ListBucket"},
            {"Sid": 1},
            {"Other": 1},
            {"Condition": []},
            {"Condition": {"StringEquals": []}},
            {"Condition": {"StringEquals": {"aws:username": {}}}},
            {"Condition": {"StringSame": {"aws:username": "a"}}},
            {"Condition": {"NullIfExists": {"aws:username": "true"}}},
            {"Condition": {"StringEquals": {"aws:nothing": "a"}}},
            {"Condition": {"StringEquals": {"s3:ExistingObjectTag/": "a"}}},
            {"Condition": {"NumericEquals": {"s3:max-keys": "many"}}},
            {"Condition": {"DateLessThan": {"aws:CurrentTime": "soon"}}},
            {"Condition": {"Bool": {"aws:SecureTransport": "yes"}}},
            {"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/99"}}},
            {"Condition": {"Null": {"aws:username": "maybe"}}},
        ):
            self.malformed({"Statement": statement(**more)})
        self.malformed({"Statement": [statement(Sid="a"), statement(Sid="a")]})

    def test_size(self) -> None:
        self.malformed(b" " * MOST_POLICY + b"{}", "InvalidArgument")

    def test_kept(self) -> None:
        """It is given back as it came."""
        data = json.dumps({"Statement": statement()}, indent=2).encode()
        self.assertEqual(read_policy(data, "box").data, data)

    @given(st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=12)
        | st.sampled_from(["*", "Allow", "Deny", "s3:GetObject", "s3:*", OBJECTS, BOX, "${aws:username}"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["Version", "Statement", "Effect", "Principal", "Action", "Resource", "NotResource", "AWS",
                             "Condition", "StringLike", "ForAllValues:NumericEquals", "aws:username", "s3:prefix"]),
            inner, max_size=6),
        max_leaves=30,
    ))  # fmt: skip
    def test_junk(self, value: object) -> None:
        """A policy, or MalformedPolicy, and nothing else."""
        try:
            made = read_policy(json.dumps({"Statement": value}).encode(), "box")
        except S3Error as error:
            self.assertEqual(error.code, "MalformedPolicy")
        else:
            self.assertIn(verdict(made), ("allow", "deny", None))


class EvaluationTests(SynchronousTestCase):
    """What a policy says."""

    def test_principals(self) -> None:
        for given_, ann, bob, nobody in (
            ("*", True, True, True),
            ({"AWS": "*"}, True, True, True),
            ({"AWS": ["arn:aws:iam::000000000000:user/ann"]}, True, False, False),
            ({"AWS": "arn:aws:iam:::user/ann"}, True, False, False),
            ({"AWS": "arn:aws:iam::123456789012:user/ann"}, False, False, False),
            ({"AWS": "arn:aws:iam::000000000000:root"}, True, True, False),
            ({"AWS": "000000000000"}, True, True, False),
            ({"CanonicalUser": canonical_id("ann")}, True, False, False),
            ({"Service": "logging.s3.amazonaws.com"}, False, False, False),
        ):
            made = policy(statement(Principal=given_))
            bob_ = Principal("bob", canonical_id("bob"))
            for principal, is_allowed in ((ANN, ann), (bob_, bob), (NOBODY, nobody)):
                said = verdict(made, principal=principal)
                self.assertEqual(said, "allow" if is_allowed else None, (given_, principal))

    def test_not_principal(self) -> None:
        made = policy(statement("Deny", Principal=None, NotPrincipal={"AWS": user_arn("ann")}))
        self.assertIsNone(verdict(made))
        self.assertEqual(verdict(made, principal=NOBODY), "deny")

    def test_actions(self) -> None:
        for given_, action, is_allowed in (
            ("s3:GetObject", "s3:GetObject", True),
            ("S3:getobject", "s3:GetObject", True),
            ("s3:Get*", "s3:GetObjectAcl", True),
            ("s3:Get*", "s3:PutObject", False),
            ("s3:?etObject", "s3:GetObject", True),
            (["s3:PutObject", "s3:*Acl"], "s3:PutObjectAcl", True),
            ("*", "s3:DeleteObject", True),
        ):
            said = verdict(policy(statement(Action=given_)), action=action)
            self.assertEqual(said, "allow" if is_allowed else None, (given_, action))
        made = policy(statement(Action=None, NotAction="s3:Delete*"))
        self.assertIsNone(verdict(made, action="s3:DeleteObject"))
        self.assertEqual(verdict(made, action="s3:PutObject"), "allow")

    def test_resources(self) -> None:
        for given_, arn, is_allowed in (
            (OBJECTS, "arn:aws:s3:::box/a", True),
            ("arn:aws:s3:::box/a", "arn:aws:s3:::box/A", False),
            ("arn:aws:s3:::box/a/*", "arn:aws:s3:::box/ab", False),
            (["arn:aws:s3:::box/x", "arn:aws:s3:::box/a?"], "arn:aws:s3:::box/ab", True),
            ("arn:aws:s3:::box*", "arn:aws:s3:::box/a", True),
            ("*", "arn:aws:s3:::box/a", True),
        ):
            said = verdict(policy(statement(Resource=given_)), arn=arn)
            self.assertEqual(said, "allow" if is_allowed else None, (given_, arn))
        made = policy(statement("Deny", Resource=None, NotResource="arn:aws:s3:::box/public/*"))
        self.assertEqual(verdict(made), "deny")
        self.assertIsNone(verdict(made, arn="arn:aws:s3:::box/public/a"))

    def test_variables(self) -> None:
        """In resources and values, of the newer version only; what they stand for has no wildcards."""
        home = statement(Resource="arn:aws:s3:::box/home/${aws:username}/*")
        ann = {"aws:username": ["ann"]}
        self.assertEqual(verdict(policy(home), ann, arn="arn:aws:s3:::box/home/ann/a"), "allow")
        self.assertIsNone(verdict(policy(home), ann, arn="arn:aws:s3:::box/home/bob/a"))
        self.assertIsNone(verdict(policy(home), {"aws:username": ["*"]}, arn="arn:aws:s3:::box/home/bob/a"))
        self.assertIsNone(verdict(policy(home), {}, arn="arn:aws:s3:::box/home//a"))
        self.assertIsNone(verdict(policy(home, version="2008-10-17"), ann, arn="arn:aws:s3:::box/home/ann/a"))
        given_ = statement(Resource="arn:aws:s3:::box/${aws:username, 'all'}/${*}")
        self.assertEqual(verdict(policy(given_), {}, arn="arn:aws:s3:::box/all/*"), "allow")
        self.assertIsNone(verdict(policy(given_), {}, arn="arn:aws:s3:::box/all/x"))
        listing = statement(
            Action="s3:ListBucket", Resource=BOX, Condition={"StringLike": {"s3:prefix": "home/${aws:username}/*"}}
        )
        for prefix, is_allowed in (("home/ann/x", True), ("home/bob/x", False)):
            said = verdict(policy(listing), ann | {"s3:prefix": [prefix]}, action="s3:ListBucket", arn=BOX)
            self.assertEqual(said, "allow" if is_allowed else None)

    def test_deny_wins(self) -> None:
        allow, deny = statement(), statement("Deny")
        self.assertEqual(verdict(policy(allow, deny)), "deny")
        self.assertEqual(verdict(policy(deny, allow)), "deny")

    @given(st.lists(st.tuples(
        st.sampled_from(["Allow", "Deny"]),
        st.sampled_from(["s3:GetObject", "s3:*", "s3:PutObject", "s3:Get*"]),
        st.sampled_from([OBJECTS, "arn:aws:s3:::box/a/*", "arn:aws:s3:::box/b*", "*"]),
        st.sampled_from(["*", {"AWS": user_arn("ann")}, {"AWS": user_arn("bob")}]),
    ), min_size=1, max_size=6))  # fmt: skip
    def test_deny_always_wins(self, given_: list[tuple[str, str, str, Any]]) -> None:
        """What one of its statements alone denies is denied; without such, what one alone allows is allowed."""
        made = [statement(effect, Action=a, Resource=r, Principal=p) for effect, a, r, p in given_]
        alone = {verdict(policy(each)) for each in made}
        wanted = "deny" if "deny" in alone else "allow" if "allow" in alone else None
        self.assertEqual(verdict(policy(*made)), wanted)

    def test_public(self) -> None:
        """As S3 says what is public."""
        for more, is_public in (
            ({}, True),
            ({"Effect": "Deny"}, False),
            ({"Principal": {"AWS": user_arn("ann")}}, False),
            ({"Principal": None, "NotPrincipal": {"AWS": user_arn("ann")}}, True),
            ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, False),
            ({"Condition": {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "0.0.0.0/0"]}}}, True),
            ({"Condition": {"IpAddress": {"aws:SourceIp": "2001::/16"}}}, True),
            ({"Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, True),
            ({"Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}}, False),
            ({"Condition": {"StringLike": {"aws:SourceVpc": "vpc-*"}}}, True),
            ({"Condition": {"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}}}, True),
            ({"Condition": {"StringEquals": {"aws:UserAgent": "x"}}}, True),
        ):
            self.assertEqual(policy(statement(**more)).is_public, is_public, more)

    def test_time(self) -> None:
        """Policies that are made to be slow are not."""
        many = ["arn:aws:s3:::box/" + "a*?" * 30 + f"{number}b" for number in range(120)]
        agents = {"aws:useragent": ["a" * 8000], "aws:username": ["a" * 64]}
        for given_ in (
            statement(Resource=many, Condition={"StringLike": {"aws:UserAgent": "?*" * 800 + "x"}}),
            statement(Condition={"StringLike": {"aws:UserAgent": ["*?b"] * 2500}}),
            statement(Condition={"StringLike": {"aws:UserAgent": ["?*a?*c"] * 1800}}),
            statement(Resource=["arn:aws:s3:::box/*?b"] * 600),
            statement(Resource=["arn:aws:s3:::box/" + "${aws:username}" * 3 + "?b"] * 20),
        ):
            made = policy(given_)
            decide = partial(verdict, made, agents, arn="arn:aws:s3:::box/" + "a" * 1024)
            self.assertIsNone(decide())
            assert_cpu(0.2, partial(cpu_of, decide), str(given_)[:100])

    def test_too_long(self) -> None:
        """Where values make a text too long, it is not known what the policy says: it denies."""
        made = policy(statement(Resource="arn:aws:s3:::box/" + "${s3:prefix}" * 3))
        self.assertEqual(verdict(made, {"s3:prefix": ["a" * 1000]}), "deny")
        self.assertIsNone(verdict(made, {"s3:prefix": ["a" * 100]}))
        with self.assertRaises(S3Error):
            policy(statement(Resource="arn:aws:s3:::box/" + "${s3:prefix}" * 65))


class ConditionTests(SynchronousTestCase):
    """The operators."""

    def test_operators(self) -> None:
        for operator, key, wanted, found, is_held in (
            ("StringEquals", "aws:UserAgent", "a", "a", True),
            ("StringEquals", "aws:UserAgent", ["b", "a"], "a", True),
            ("StringEquals", "aws:UserAgent", "a*", "ab", False),
            ("StringEquals", "aws:UserAgent", "a*", "a*", True),
            ("StringEquals", "aws:UserAgent", "A", "a", False),
            ("StringNotEquals", "aws:UserAgent", ["a", "b"], "a", False),
            ("StringNotEquals", "aws:UserAgent", ["a", "b"], "c", True),
            ("StringEqualsIgnoreCase", "aws:UserAgent", "A", "a", True),
            ("StringNotEqualsIgnoreCase", "aws:UserAgent", "A", "a", False),
            ("StringLike", "aws:UserAgent", "a*?", "abc", True),
            ("StringLike", "aws:UserAgent", "a*?", "a", False),
            ("StringNotLike", "aws:UserAgent", "a*", "b", True),
            ("NumericEquals", "s3:max-keys", 10, "10.0", True),
            ("NumericNotEquals", "s3:max-keys", "10", "10", False),
            ("NumericLessThan", "s3:max-keys", "10", "9", True),
            ("NumericLessThanEquals", "s3:max-keys", "10", "10", True),
            ("NumericGreaterThan", "s3:max-keys", "10", "9", False),
            ("NumericGreaterThanEquals", "s3:max-keys", "-1", "0", True),
            ("NumericLessThan", "s3:max-keys", "10", "x", False),
            ("DateLessThan", "aws:CurrentTime", "2026-12-01T00:00:00Z", "2026-11-30T23:59:59Z", True),
            ("DateLessThan", "aws:CurrentTime", "2026-12-01", "2026-12-01T00:00:01Z", False),
            ("DateGreaterThan", "aws:CurrentTime", "2026-12-01T01:00:00+02:00", "2026-11-30T23:30:00Z", True),
            ("DateGreaterThanEquals", "aws:EpochTime", "1790000000", "1790000000", True),
            ("DateEquals", "aws:CurrentTime", "2026", "2026-01-01T00:00:00Z", True),
            ("Bool", "aws:SecureTransport", "true", "true", True),
            ("Bool", "aws:SecureTransport", False, "true", False),
            ("IpAddress", "aws:SourceIp", "10.0.0.0/8", "10.1.2.3", True),
            ("IpAddress", "aws:SourceIp", ["10.0.0.1", "2001:db8::/32"], "2001:db8::1", True),
            ("IpAddress", "aws:SourceIp", "10.0.0.0/8", "::ffff:10.1.2.3", True),
            ("IpAddress", "aws:SourceIp", "10.0.0.0/8", "11.0.0.1", False),
            ("IpAddress", "aws:SourceIp", "10.0.0.0/8", "?", False),
            ("NotIpAddress", "aws:SourceIp", "10.0.0.0/8", "11.0.0.1", True),
            ("ArnEquals", "aws:PrincipalArn", "arn:aws:iam::*:user/ann", user_arn("ann"), True),
            ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:user/b*", user_arn("ann"), False),
            ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:user/a*", user_arn("ann"), True),
            ("ArnNotLike", "aws:PrincipalArn", "arn:aws:iam::*:user/b*", user_arn("ann"), True),
            ("Null", "aws:SourceVpc", "true", None, True),
            ("Null", "aws:SourceVpc", True, "x", False),
            ("Null", "aws:SourceVpc", "false", "x", True),
            ("stringequals", "AWS:USERAGENT", "a", "a", True),
        ):
            given_ = None if found is None else [str(found)]
            self.assertEqual(holds(operator, key, wanted, given_), is_held, (operator, wanted, found))

    def test_missing(self) -> None:
        """A key that the request lacks."""
        for operator, is_held in (
            ("StringEquals", False),
            ("StringLike", False),
            ("StringNotEquals", True),
            ("StringNotLike", True),
            ("StringEqualsIfExists", True),
            ("StringNotEqualsIfExists", True),
            ("ForAnyValue:StringEquals", False),
            ("ForAnyValue:StringNotEquals", False),
            ("ForAllValues:StringEquals", True),
        ):
            self.assertEqual(holds(operator, "aws:UserAgent", "a", None), is_held, operator)

    def test_several_values(self) -> None:
        key = "s3:RequestObjectTagKeys"
        for operator, wanted, found, is_held in (
            ("ForAnyValue:StringEquals", ["a", "b"], ["a", "x"], True),
            ("ForAnyValue:StringEquals", ["a", "b"], ["x", "y"], False),
            ("ForAllValues:StringEquals", ["a", "b"], ["a", "b"], True),
            ("ForAllValues:StringEquals", ["a", "b"], ["a", "x"], False),
            ("ForAllValues:StringLike", ["a*"], ["a1", "a2"], True),
            ("ForAnyValue:StringNotEquals", ["a"], ["a", "b"], True),
            ("ForAllValues:StringNotEquals", ["a"], ["a", "b"], False),
        ):
            self.assertEqual(holds(operator, key, wanted, found), is_held, (operator, wanted, found))

    def test_tags(self) -> None:
        """The name of a tag counts as it is written."""
        made = policy(statement(Condition={"StringEquals": {"S3:ExistingObjectTag/Team": "a"}}))
        self.assertEqual(made.keys, {"s3:existingobjecttag/Team"})
        self.assertEqual(verdict(made, {"s3:existingobjecttag/Team": ["a"]}), "allow")

    def test_all_keys(self) -> None:
        """Each of several must hold."""
        both = {"StringEquals": {"aws:UserAgent": "a", "aws:Referer": "b"}, "Bool": {"aws:SecureTransport": "true"}}
        found = {"aws:useragent": ["a"], "aws:referer": ["b"], "aws:securetransport": ["true"]}
        self.assertEqual(verdict(policy(statement(Condition=both)), found), "allow")
        for key in found:
            self.assertIsNone(verdict(policy(statement(Condition=both)), found | {key: ["x"]}), key)


class ActionTests(SynchronousTestCase):
    """L{ACTIONS}."""

    def test_operations(self) -> None:
        """Every operation of S3 is an action that policies know."""
        operations = json.loads(
            gzip.decompress((Path(botocore.__file__).parent / "data/s3/2006-03-01/service-2.json.gz").read_bytes())
        )["operations"]
        self.assertGreater(len(operations), 100)
        for operation in [*operations, "PostObject", "AppendObject"]:
            for query in ({}, {"versionId": "null"}):
                for action in actions_of(operation, query, lambda name: "x"):
                    self.assertIn(action, ACTIONS, operation)

    def test_others(self) -> None:
        """What an operation does beside."""
        acl = {"x-amz-acl": "private", "x-amz-tagging": "a=b"}.get
        self.assertEqual(actions_of("PutObject", {}, acl), ("s3:PutObject", "s3:PutObjectTagging", "s3:PutObjectAcl"))
        self.assertEqual(actions_of("GetObject", {"versionId": "null"}, acl), ("s3:GetObjectVersion",))
        self.assertEqual(actions_of("CreateBucket", {}, acl), ("s3:CreateBucket", "s3:PutBucketAcl"))

    def test_form(self) -> None:
        for action, kind in ACTIONS.items():
            self.assertRegex(action, r"\As3:[A-Z]\w+\Z")
            self.assertIn(kind, ("service", "bucket", "object"))
