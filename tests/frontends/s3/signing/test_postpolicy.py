"""Tests of forms whose policy was signed."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.streams import BytesStream, read_all
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.authenticator import Signed
from storehouse.frontends.s3.signing.postpolicy import PostPolicy, read_policy
from tests.frontends.s3.signing.signers import NOW, REGION, SigningCase, shown_time, signed_policy

SOON = shown_time(NOW + 60)

CONDITIONS = [{"bucket": "box"}, ["starts-with", "$key", "user/"], {"acl": "private"}]
FIELDS = {"key": "user/a", "acl": "private"}


def packed(document: Any) -> str:
    text = document if isinstance(document, str) else json.dumps(document)
    return b64encode(text.encode()).decode()


class FormTests(SigningCase):
    """Forms that botocore has signed."""

    def form(self, conditions: list[Any] | None = None, expiration: str = SOON, **fields: str) -> dict[str, str]:
        made = signed_policy(self.key, CONDITIONS if conditions is None else conditions, expiration)
        return {**FIELDS, **{name.lower(): value for name, value in made.items()}, **fields}

    def allowed(self, fields: dict[str, str]) -> tuple[Signed, PostPolicy]:
        signed, policy = self.authenticator.authenticate_form(fields, "box")
        self.assertEqual((signed.user and signed.user.name, signed.kind), ("ann", "POST"))
        assert policy is not None
        return signed, policy

    def denied(self, code: str, fields: dict[str, str], part: str = "", bucket: str = "box") -> S3Error:
        error: S3Error = self.assertRaises(S3Error, self.authenticator.authenticate_form, fields, bucket)
        self.assertEqual(error.code, code, error)
        self.assertIn(part, error.detail)
        return error

    def test_signed(self) -> None:
        signed, policy = self.allowed(self.form())
        self.assertEqual((signed.key_id, signed.age, policy.most), (self.key.user.key_id, 0.0, None))
        self.clock.advance(30)
        self.assertEqual(self.allowed(self.form())[0].age, 0.0 + 30)

    def test_nobody(self) -> None:
        self.assertEqual(self.authenticator.authenticate_form({"key": "a"}, "box"), (Signed(), None))

    def test_signature(self) -> None:
        fields = self.form()
        other = self.successResultOf(self.accounts.add_user("bob"))
        for name, value in (
            ("x-amz-signature", "0" * 64),
            ("x-amz-signature", "\u20ac"),
            ("policy", packed({"expiration": SOON, "conditions": []})),
            ("policy", fields["policy"] + "\n"),
            ("x-amz-credential", fields["x-amz-credential"].replace(self.key.user.key_id, other.user.key_id)),
        ):
            self.denied("SignatureDoesNotMatch", {**fields, name: value})
        self.denied("InvalidAccessKeyId", {**fields, "x-amz-credential": f"NOBODY{fields['x-amz-credential'][20:]}"})
        self.successResultOf(self.accounts.disable_user("ann"))
        self.denied("InvalidAccessKeyId", fields)

    def test_malformed(self) -> None:
        fields = self.form()
        for name in ("policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"):
            for change in (lambda form, name: form.pop(name), lambda form, name: form.update({name: ""})):
                form = dict(fields)
                change(form, name)
                self.denied("InvalidArgument", form, f"must contain a field named '{name}'")
        for code, name, value in (
            ("InvalidRequest", "x-amz-algorithm", "AWS4-ECDSA-P256-SHA256"),
            ("InvalidArgument", "x-amz-date", "20260920"),
            ("InvalidArgument", "x-amz-date", "20260101T000000Z"),
            ("InvalidArgument", "x-amz-credential", "a/b"),
            ("InvalidArgument", "x-amz-credential", fields["x-amz-credential"].replace(REGION, "us-east-1")),
            ("InvalidToken", "x-amz-security-token", "abc"),
        ):
            self.denied(code, {**fields, name: value})

    def test_conditions(self) -> None:
        self.denied("AccessDenied", self.form(), "Policy Condition failed", bucket="other")
        for name, value in (("key", "other/a"), ("acl", "public-read")):
            error = self.denied("AccessDenied", self.form(**{name: value}), "Invalid according to Policy")
            self.assertIn(f"${name}", error.detail)
        form = self.form()
        del form["acl"]
        self.denied("AccessDenied", form, "Policy Condition failed")
        self.denied("AccessDenied", self.form(**{"x-amz-meta-a": "b"}), "Extra input fields: x-amz-meta-a")
        self.allowed(self.form(**{"x-ignore-a": "b", "file": ""}))

    def test_lists(self) -> None:
        conditions = [*CONDITIONS, ["starts-with", "$Content-Type", "image/"]]
        for value, is_allowed in (("image/png", True), ("image/png, image/gif", True), ("image/png,text/html", False)):
            form = self.form(conditions, **{"content-type": value})
            if is_allowed:
                self.allowed(form)
            else:
                self.denied("AccessDenied", form)
        self.allowed(self.form([*CONDITIONS, ["starts-with", "$x-amz-meta-a", ""]], **{"x-amz-meta-a": "anything"}))

    def test_expiration(self) -> None:
        self.clock.rightNow = NOW + 59
        self.allowed(self.form())
        self.clock.rightNow = NOW + 60
        self.denied("AccessDenied", self.form(), "Policy expired")

    def test_size(self) -> None:
        policy = self.allowed(self.form([*CONDITIONS, ["content-length-range", 2, 4]]))[1]
        for size in range(7):
            reading = Deferred.fromCoroutine(read_all(policy.sized(BytesStream(bytes(size)))))
            if 2 <= size <= 4:
                self.assertEqual(self.successResultOf(reading), bytes(size))
            else:
                error = self.failureResultOf(reading, S3Error).value
                self.assertEqual(error.code, "EntityTooSmall" if size < 2 else "EntityTooLarge")
                self.assertEqual(error.fields["ProposedSize"], str(size))
        body = BytesStream(b"data")
        self.assertIs(self.allowed(self.form())[1].sized(body), body)


class PolicyTests(SynchronousTestCase):
    """What a policy can be."""

    def test_read(self) -> None:
        policy = read_policy(
            packed(
                {
                    "expiration": "2026-09-21T14:13:20.500Z",
                    "conditions": [
                        {"Bucket": "box"},
                        ["EQ", "$Key", "a"],
                        ["content-length-range", "1", 100],
                        ["content-length-range", 0, 50],
                    ],
                }
            )
        )
        self.assertEqual(policy, PostPolicy(1_790_000_000.5, (("eq", "bucket", "box"), ("eq", "key", "a")), 1, 50))

    def test_refused(self) -> None:
        for text in (
            "no base64",
            "====",
            packed("{"),
            packed("[]"),
            packed("null"),
            packed("[" * 10000),
            packed("\u20ac"),
            packed(" " * 70000),
            *(
                packed(document)
                for document in (
                    {},
                    {"expiration": SOON},
                    {"conditions": []},
                    {"expiration": 1, "conditions": []},
                    {"expiration": "tomorrow T", "conditions": []},
                    {"expiration": "-1h", "conditions": []},
                    {"expiration": SOON, "conditions": {}},
                    {"expiration": SOON, "conditions": [], "more": 1},
                    *(
                        {"expiration": SOON, "conditions": [condition]}
                        for condition in (
                            1,
                            [],
                            ["eq", "$key"],
                            ["eq", "key", "a"],
                            ["eq", "$key", 1],
                            ["ends-with", "$key", "a"],
                            {"key": None},
                            [1, 2, 3],
                            ["content-length-range", -1, 5],
                            ["content-length-range", True, 5],
                            ["content-length-range", 1.5, 5],
                            ["content-length-range", "a", 5],
                            ["content-length-range", 1, 10**30],
                        )
                    ),
                    {"expiration": SOON, "conditions": [{"key": "a"}] * 1001},
                )
            ),
        ):
            error = self.assertRaises(S3Error, read_policy, text)
            self.assertEqual(error.code, "InvalidPolicyDocument")

    @settings(max_examples=200, deadline=None)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["eq", "$key", SOON]),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=12,
        )
    )
    def test_anything(self, conditions: Any) -> None:
        """A policy, or S3's error."""
        try:
            policy = read_policy(packed({"expiration": SOON, "conditions": conditions}))
            policy.check({"key": "a"}, "box", NOW)
        except S3Error as error:
            self.assertIn(error.code, ("InvalidPolicyDocument", "AccessDenied"))
