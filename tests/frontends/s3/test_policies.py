"""Policies of buckets: C{?policy} and C{?policyStatus}."""

from __future__ import annotations

import json

from twisted.logger import capturedLogs, formatEvent

from storehouse.core.proxies import TrustedProxies
from storehouse.events import AccessChanged, AccessDecided
from tests.frontends.s3.access.playing import AccessCase

READ = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/*"}


class PolicyTests(AccessCase):
    """The operations on the policy of a bucket."""

    def test_kept(self) -> None:
        """As it was given, until it is removed."""
        self.refused("NoSuchBucketPolicy", "GET /box?policy")
        self.refused("NoSuchBucketPolicy", "GET /box?policyStatus")
        data = json.dumps({"Version": "2012-10-17", "Statement": [READ]}, indent=1).encode()
        self.done("PUT /box?policy", data, status=204)
        answer = self.done("GET /box?policy")
        self.assertEqual((answer.body, answer.fields["content-type"]), (data, "application/json"))
        self.assertEqual(self.read("PolicyStatus", "GET /box?policyStatus").value("IsPublic"), "true")
        self.policy(READ | {"Principal": {"AWS": "arn:aws:iam:::user/bob"}})
        self.assertEqual(self.read("PolicyStatus", "GET /box?policyStatus").value("IsPublic"), "false")
        self.done("DELETE /box?policy", status=204)
        self.done("DELETE /box?policy", status=204)
        self.refused("NoSuchBucketPolicy", "GET /box?policy")

    def test_malformed(self) -> None:
        self.policy(READ)
        self.refused("MalformedPolicy", "PUT /box?policy", b"{}")
        self.refused("MalformedPolicy", "PUT /box?policy", b"<Policy/>")
        self.refused("MissingRequestBodyError", "PUT /box?policy", b"")
        self.refused("InvalidArgument", "PUT /box?policy", b" " * 21000 + b"{}")
        self.refused("MaxMessageLengthExceeded", "PUT /box?policy", b" " * 100_000)
        # What was there stays.
        self.assertEqual(self.read("PolicyStatus", "GET /box?policyStatus").value("IsPublic"), "true")

    def test_who(self) -> None:
        for line, body in (("GET", None), ("PUT", b"{}"), ("DELETE", None)):
            self.denied(f"{line} /box?policy", body)
            self.denied(f"{line} /box?policy", body, user="")
        self.refused("NoSuchBucket", "GET /none?policy")

    def test_audited(self) -> None:
        """Who, what and from where, of decisions and changes."""
        self.policy(READ)
        allowed, changed = self.audited[-2:]
        assert isinstance(allowed, AccessDecided) and isinstance(changed, AccessChanged)
        self.assertEqual((allowed.user, allowed.action, allowed.is_allowed), ("ann", "s3:PutBucketPolicy", True))
        self.assertEqual((changed.user, changed.action, changed.resource), ("ann", "policy", "box"))
        self.assertRegex(changed.request_id, r"\A[0-9A-F]{16}\Z")
        self.denied("DELETE /box?policy")
        refused = self.audited[-1]
        assert isinstance(refused, AccessDecided)
        self.assertEqual((refused.user, refused.key_id, refused.is_allowed), ("bob", "SHBOB", False))
        self.refused("SignatureDoesNotMatch", "GET /box/a?secret=1", user="wrong")
        refused = self.audited[-1]
        assert isinstance(refused, AccessDecided)
        self.assertEqual((refused.action, refused.resource), ("authenticate (SignatureDoesNotMatch)", "box/a"))

    def test_behind_a_proxy(self) -> None:
        """The address and TLS of the client are what a trusted proxy says, for requests without a signature, too; of others, nothing."""
        conditions = {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}, "Bool": {"aws:SecureTransport": "true"}}
        self.policy(READ | {"Condition": conditions})
        client = ("X-Forwarded-For: 203.0.113.1, 192.0.2.7", "X-Forwarded-Proto: https")
        self.denied("GET /box/a", None, *client, user="")
        self.site.trusted = TrustedProxies("127.0.0.1")
        with capturedLogs() as logged:
            self.site._access_log = True
            self.done("GET /box/a", None, *client, user="")
        self.assertTrue(any("192.0.2.7" in formatEvent(each) for each in logged), logged)
        self.done("GET /box/a", None, "Forwarded: for=192.0.2.7;proto=https", user="")
        for fields in (
            ("X-Forwarded-For: 192.0.2.7",),
            ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: http"),
            ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https, http"),
            ("X-Forwarded-For: 192.0.2.7, 203.0.113.1", "X-Forwarded-Proto: https"),
            ("Forwarded: for=192.0.2.7;proto=https, for=203.0.113.1;proto=https",),
        ):
            self.denied("GET /box/a", None, *fields, user="")
            refused = self.audited[-1]
            assert isinstance(refused, AccessDecided)
            self.assertEqual(refused.address, "203.0.113.1" if "203" in fields[0] else "192.0.2.7")
        # A signature that is not right has an address, too.
        self.refused("SignatureDoesNotMatch", "GET /box/a", None, *client, user="wrong")
        refused = self.audited[-1]
        assert isinstance(refused, AccessDecided)
        self.assertEqual((refused.user, refused.address), ("", "192.0.2.7"))

    def test_blocked(self) -> None:
        """A public one, where these are blocked."""
        block = b"<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>"
        self.done("PUT /box?publicAccessBlock", block)
        data = json.dumps({"Statement": READ}).encode()
        self.denied("PUT /box?policy", data, user="ann")
        self.policy(READ | {"Principal": {"AWS": "arn:aws:iam:::user/bob"}})
