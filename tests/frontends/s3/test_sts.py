"""Temporary keys through the whole door: botocore signs the requests and reads the responses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from unittest import mock
from urllib.parse import urlencode

import botocore.session
from botocore.auth import HmacV1PostAuth, HmacV1QueryAuth, S3SigV4Auth, S3SigV4PostAuth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.parsers import QueryParser

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream
from storehouse.frontends.s3.access.authorize import authorize
from storehouse.frontends.s3.call import Door
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.signing.authenticator import Authenticator
from tests.frontends.http.wire import Answer
from tests.frontends.s3.playing import S3Case
from tests.frontends.s3.test_postform import TYPE, form

MODEL = botocore.session.get_session().get_service_model("sts")
ROLE = "arn:aws:iam::000000000000:role/ann"


class StsTests(S3Case):
    """An administrator's key, which only the policy narrows."""

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.key = self.successResultOf(self.accounts.add_user("ann", True))
        self.lasting = Credentials(self.key.key_id, self.key.secret)
        self.successResultOf(self.store.create_bucket("box"))
        for key in ("a/1", "b/1"):
            self.successResultOf(self.store.put("box", key, BytesStream(b"data"), 4))

    def make_door(self) -> S3Door:
        self.audited: list[Any] = []
        door = Door(
            self.store,
            self.accounts,
            self.settings,
            self.clock,
            InlineDisk(),
            audit=lambda event: self.audited.append(event),
        )
        return S3Door(door, Authenticator(self.accounts, self.clock.seconds, "any"), authorize)

    def sts(self, by: Credentials | None, action: str, service: str = "sts", **given: Any) -> dict[str, Any]:
        """What botocore reads in the answer."""
        body = urlencode({"Action": action, "Version": "2011-06-15", **given}).encode()
        kind = "application/x-www-form-urlencoded; charset=utf-8"
        made = AWSRequest("POST", "http://localhost/", {"Content-Type": kind}, body)
        self.sign(SigV4Auth(by, service, "us-east-1"), made, by)
        fields = [f"{name}: {value}" for name, value in made.headers.items()]
        answer = self.ask("POST /", body, *fields, user="")
        response = {"status_code": answer.status, "headers": {}, "body": answer.body}
        known = MODEL.operation_model(action if action in MODEL.operation_names else "GetCallerIdentity")
        return QueryParser().parse(response, known.output_shape)  # type: ignore[no-any-return]

    def sign(self, auth: Any, made: AWSRequest, by: Credentials | None) -> None:
        if by is None:
            return
        moment = datetime.fromtimestamp(self.clock.seconds(), UTC)
        with mock.patch("botocore.auth.get_current_datetime", lambda *_: moment, create=True):
            auth.add_auth(made)

    def issued(self, by: Credentials, action: str, **given: Any) -> Credentials:
        found = self.sts(by, action, **given)["Credentials"]
        return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])

    def s3(self, by: Credentials, line: str, presigned: bool = False) -> int | str:
        """The code of a request."""
        method, path = line.split()
        made = AWSRequest(method, f"http://localhost{path}")
        auth = (S3SigV4QueryAuth if presigned else S3SigV4Auth)(by, "s3", "us-east-1")
        self.sign(auth, made, by)
        fields = [f"{name}: {value}" for name, value in made.headers.items()]
        return self.coded(self.ask(f"{method} {made.url.removeprefix('http://localhost')}", None, *fields, user=""))

    def url_2(self, by: Credentials, path: str) -> int | str:
        """The code of a GET of a URL that is signed as clients of old do it."""
        made = AWSRequest("GET", f"http://localhost{path}")
        auth = HmacV1QueryAuth(by, expires=60)
        with mock.patch("botocore.auth.time.time", self.clock.seconds):
            auth.add_auth(made)
        return self.coded(self.ask(f"GET {made.url.removeprefix('http://localhost')}", None, user=""))

    def posted(self, by: Credentials, key: str, old: bool) -> int | str:
        """The code of a form, whose policy botocore signs."""
        until = datetime.fromtimestamp(self.clock.seconds() + 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions: list[Any] = [{"bucket": "box"}, {"key": key}]
        fields: dict[str, str] = {"key": key}
        made = AWSRequest("POST", "http://localhost/box")
        made.context["s3-presign-post-fields"] = fields
        made.context["s3-presign-post-policy"] = {"expiration": until, "conditions": conditions}
        self.sign(HmacV1PostAuth(by) if old else S3SigV4PostAuth(by, "s3", "us-east-1"), made, by)
        return self.coded(self.ask("POST /box", form(fields), TYPE, user=""))

    @staticmethod
    def coded(answer: Answer) -> int | str:
        return answer.status if answer.status < 300 else answer.body.partition(b"<Code>")[2].partition(b"<")[0].decode()

    def code(self, by: Credentials | None, action: str, **given: Any) -> str:
        return str(self.sts(by, action, **given).get("Error", {}).get("Code", ""))

    def test_session_token(self) -> None:
        found = self.issued(self.lasting, "GetSessionToken", DurationSeconds=900)
        self.assertRegex(found.access_key, "^ASIA")
        for presigned in (False, True):
            self.assertEqual(self.s3(found, "GET /box/a/1", presigned), 200)
        self.assertEqual(self.sts(found, "GetCallerIdentity")["Arn"], "arn:aws:iam::000000000000:user/ann")
        self.assertEqual(self.code(found, "GetSessionToken"), "AccessDenied")
        event = next(each for each in self.audited if each.action == "temporary-key")
        self.assertIn(found.access_key, event.detail)
        wrong = Credentials(found.access_key, found.secret_key, found.token[:-2] + "AA")
        other = self.issued(self.lasting, "GetSessionToken")
        mixed = Credentials(found.access_key, found.secret_key, other.token)
        bare = Credentials(found.access_key, found.secret_key)
        for presigned in (False, True):
            self.assertEqual(self.s3(wrong, "GET /box/a/1", presigned), "InvalidToken")
            self.assertEqual(self.s3(mixed, "GET /box/a/1", presigned), "InvalidToken")
            self.assertEqual(self.s3(bare, "GET /box/a/1", presigned), "InvalidAccessKeyId")
        lasting = Credentials(self.key.key_id, self.key.secret, found.token)
        self.assertEqual(self.s3(lasting, "GET /box/a/1"), "InvalidToken")
        stolen = Credentials(found.access_key, self.key.secret, found.token)
        self.assertEqual(self.s3(stolen, "GET /box/a/1"), "SignatureDoesNotMatch")
        self.clock.advance(900)
        self.assertEqual(self.s3(found, "GET /box/a/1"), "ExpiredToken")
        self.assertEqual(self.code(found, "GetCallerIdentity"), "ExpiredToken")
        self.successResultOf(self.accounts.disable_user("ann"))
        self.assertEqual(self.s3(other, "GET /box/a/1"), "InvalidToken")

    def policy(self, *actions: str, resource: str = "arn:aws:s3:::box/a/*", **more: Any) -> str:
        said = {"Effect": "Allow", "Action": list(actions), "Resource": resource, **more}
        return json.dumps({"Version": "2012-10-17", "Statement": [said]})

    def assume(self, by: Credentials, name: str, policy: str) -> Credentials:
        return self.issued(by, "AssumeRole", RoleArn=ROLE, RoleSessionName=name, Policy=policy)

    def test_role(self) -> None:
        """A policy leaves what it allows; the next narrows that once more."""
        found = self.assume(self.lasting, "ci", self.policy("s3:GetObject", "s3:PutObject"))
        self.assertEqual(self.sts(found, "GetCallerIdentity")["UserId"], "ann:ci")
        self.assertEqual(self.s3(found, "GET /box/a/1"), 200)
        for line in (
            "GET /box/b/1",
            "DELETE /box/a/1",
            "GET /box",
            "GET /",
            "PUT /new",
            "GET /box?policy",
            "GET /box/a/2",
        ):
            self.assertEqual(self.s3(found, line), "NoSuchKey" if line == "GET /box/a/2" else "AccessDenied", line)
        self.assertIn("ann/ci", {each.user for each in self.audited})
        wide = self.policy("s3:*", resource="*")
        narrower = self.assume(found, "job", wide)
        self.assertEqual(self.s3(narrower, "GET /box/a/1"), 200)
        self.assertEqual(self.s3(narrower, "GET /box/b/1"), "AccessDenied")
        condition = {
            "StringEquals": {"sts:RoleSessionName": "yes"},
            "DateGreaterThan": {"aws:TokenIssueTime": "2020-01-01T00:00:00Z"},
        }
        policy = self.policy("s3:GetObject", Condition=condition)
        self.assertEqual(self.s3(self.assume(self.lasting, "yes", policy), "GET /box/a/1"), 200)
        self.assertEqual(self.s3(self.assume(self.lasting, "no", policy), "GET /box/a/1"), "AccessDenied")

    def test_urls_and_forms(self) -> None:
        """A token is in the query of a URL of Signature Version 2, and a field of a form; a policy narrows both."""
        found = self.assume(self.lasting, "page", self.policy("s3:GetObject", "s3:PutObject"))
        other = self.issued(self.lasting, "GetSessionToken")
        mixed = Credentials(found.access_key, found.secret_key, other.token)
        bare = Credentials(found.access_key, found.secret_key)
        self.assertEqual(self.url_2(found, "/box/a/1"), 200)
        self.assertEqual(self.url_2(found, "/box/b/1"), "AccessDenied")
        self.assertEqual(self.url_2(mixed, "/box/a/1"), "InvalidToken")
        self.assertEqual(self.url_2(bare, "/box/a/1"), "InvalidAccessKeyId")
        for old in (False, True):
            self.assertEqual(self.posted(found, f"a/{old}", old), 204)
            self.assertEqual(self.posted(found, f"b/{old}", old), "AccessDenied")
            self.assertEqual(self.posted(mixed, "a/x", old), "InvalidToken")
            self.assertEqual(self.posted(bare, "a/x", old), "InvalidAccessKeyId")
        self.clock.advance(3600)
        self.assertEqual(self.url_2(found, "/box/a/1"), "ExpiredToken")
        for old in (False, True):
            self.assertEqual(self.posted(found, "a/x", old), "ExpiredToken")
        keys = self.successResultOf(self.store.list_keys("box"))
        self.assertEqual(sorted(keys), ["a/1", "a/False", "a/True", "b/1"])

    def test_refused(self) -> None:
        role = {"RoleArn": ROLE, "RoleSessionName": "ci"}
        for code, action, given in (
            ("ValidationError", "GetSessionToken", {"DurationSeconds": 899}),
            ("ValidationError", "GetSessionToken", {"DurationSeconds": "x"}),
            ("ValidationError", "GetSessionToken", {"TokenCode": "123456"}),
            ("AccessDenied", "AssumeRole", {**role, "RoleArn": ROLE + "e"}),
            ("ValidationError", "AssumeRole", {"RoleArn": ROLE}),
            ("ValidationError", "AssumeRole", {**role, "RoleSessionName": "a b"}),
            ("ValidationError", "AssumeRole", {**role, "Policy": " " * 2049}),
            ("MalformedPolicyDocument", "AssumeRole", {**role, "Policy": "{}"}),
            ("MalformedPolicyDocument", "AssumeRole", {**role, "Policy": self.policy("s3:GetObject", Principal="*")}),
            ("InvalidAction", "GetFederationToken", {}),
        ):
            self.assertEqual(self.code(self.lasting, action, **given), code, (action, given))
        self.assertEqual(self.code(None, "GetCallerIdentity"), "MissingAuthenticationToken")
        self.assertEqual(self.code(self.lasting, "GetCallerIdentity", service="s3"), "IncompleteSignature")
        wrong = Credentials(self.key.key_id, "x")
        self.assertEqual(self.code(wrong, "GetCallerIdentity"), "SignatureDoesNotMatch")
        unknown = Credentials("SHX", "x")
        self.assertEqual(self.code(unknown, "GetCallerIdentity"), "InvalidClientTokenId")
