"""Tests of L{storehouse.frontends.s3.cors}."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.streams import BytesStream
from storehouse.errors import Unavailable
from storehouse.frontends.s3.cors import CONFIGURATION, Rule
from tests.frontends.s3.playing import S3Case
from tests.frontends.s3.test_tagging import md5_of

RULES = b"""
<CORSConfiguration>
  <CORSRule>
    <ID>mine</ID>
    <AllowedOrigin>https://*.example.com</AllowedOrigin><AllowedOrigin>http://localhost:8080</AllowedOrigin>
    <AllowedMethod>PUT</AllowedMethod><AllowedMethod>DELETE</AllowedMethod>
    <AllowedHeader>x-amz-*</AllowedHeader><AllowedHeader>Content-Type</AllowedHeader>
    <ExposeHeader>ETag</ExposeHeader><ExposeHeader>x-amz-request-id</ExposeHeader>
    <MaxAgeSeconds>600</MaxAgeSeconds>
  </CORSRule>
  <CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>
</CORSConfiguration>
"""


class RuleTests(SynchronousTestCase):
    """What rules are for."""

    def test_allows(self) -> None:
        rule = Rule("", ("http://a*z", "http://b"), ("GET",), ("x-*", "*-id", "range"), (), None)
        for origin, method, headers, expected in (
            ("http://az", "GET", [], True),
            ("http://a.example.z", "GET", ["x-amz-date", "range", "request-id"], True),
            ("http://a", "GET", [], False),
            ("http://b", "GET", [], True),
            ("http://B", "GET", [], False),
            ("http://bc", "GET", [], False),
            ("http://b", "PUT", [], False),
            ("http://b", "GET", ["ranges"], False),
            ("http://b", "GET", ["range", "etag"], False),
        ):
            allows = self.successResultOf(Deferred.fromCoroutine(rule.allows(origin, method, headers)))
            self.assertEqual(allows, expected, (origin, method, headers))
        # The halves of a pattern do not overlap.
        rule = Rule("", ("aba*aba",), ("GET",), (), (), None)
        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(rule.allows("aba", "GET"))))


class ConfigurationTests(S3Case):
    """The rules of a bucket."""

    def setUp(self) -> None:
        S3Case.setUp(self)
        self.successResultOf(self.store.create_bucket("box"))

    def test_kept(self) -> None:
        self.refused("NoSuchCORSConfiguration", "GET /box?cors")
        self.done("PUT /box?cors", RULES, md5_of(RULES))
        first = self.read("CORSConfiguration", "GET /box?cors")
        one, two = first.children
        self.assertEqual([each.name for each in one.children].count("AllowedOrigin"), 2)
        self.assertEqual(
            [one.value(name) for name in ("ID", "MaxAgeSeconds", "AllowedHeader")], ["mine", "600", "x-amz-*"]
        )
        self.assertEqual([each.text for each in two.children], ["GET", "*"])
        self.assertEqual(
            self.successResultOf(self.store.bucket_config("box", "cors")),
            b'<?xml version="1.0" encoding="UTF-8"?>\n<CORSConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            b"<CORSRule><ID>mine</ID><AllowedMethod>PUT</AllowedMethod><AllowedMethod>DELETE</AllowedMethod>"
            b"<AllowedOrigin>https://*.example.com</AllowedOrigin><AllowedOrigin>http://localhost:8080</AllowedOrigin>"
            b"<AllowedHeader>x-amz-*</AllowedHeader><AllowedHeader>content-type</AllowedHeader>"
            b"<ExposeHeader>ETag</ExposeHeader><ExposeHeader>x-amz-request-id</ExposeHeader>"
            b"<MaxAgeSeconds>600</MaxAgeSeconds></CORSRule>"
            b"<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>",
        )
        # What is given can be put again, and is the same then.
        body = self.done("GET /box?cors").body
        self.done("PUT /box?cors", bytes(body), md5_of(bytes(body)))
        self.assertEqual(self.done("GET /box?cors").body, body)
        self.done("DELETE /box?cors", status=204)
        self.refused("NoSuchCORSConfiguration", "GET /box?cors")
        self.done("DELETE /box?cors", status=204)
        for method in ("GET", "DELETE"):
            self.refused("NoSuchBucket", f"{method} /nobox?cors")
        self.refused("NoSuchBucket", "PUT /nobox?cors", RULES, md5_of(RULES))

    def test_refused(self) -> None:
        def rule(*parts: str) -> bytes:
            return f"<CORSConfiguration><CORSRule>{''.join(parts)}</CORSRule></CORSConfiguration>".encode()

        origin, method = "<AllowedOrigin>*</AllowedOrigin>", "<AllowedMethod>GET</AllowedMethod>"
        for code, body in (
            ("MalformedXML", b"<CORSConfiguration/>"),
            ("MalformedXML", b"<CORSConfiguration><Rule/></CORSConfiguration>"),
            ("MalformedXML", rule(origin)),
            ("MalformedXML", rule(method)),
            ("MalformedXML", rule(origin, method, "<Colour>red</Colour>")),
            ("MalformedXML", rule(origin, method, "<MaxAgeSeconds>-1</MaxAgeSeconds>")),
            ("MalformedXML", rule(origin, method, "<ID>a</ID><ID>b</ID>")),
            ("InvalidRequest", rule(origin, "<AllowedMethod>PATCH</AllowedMethod>")),
            ("InvalidRequest", rule("<AllowedOrigin>*.*</AllowedOrigin>", method)),
            ("InvalidRequest", rule(origin, method, "<AllowedHeader>*-*</AllowedHeader>")),
            ("InvalidRequest", rule(origin, method, "<ExposeHeader>x-*</ExposeHeader>")),
            ("InvalidRequest", rule("<AllowedOrigin>http://&#228;</AllowedOrigin>", method)),
            ("InvalidRequest", rule(origin, method, f"<ID>{'x' * 256}</ID>")),
            ("MalformedXML", b"<CORSConfiguration>%b</CORSConfiguration>" % (rule(origin, method)[19:-20] * 101)),
        ):
            self.refused(code, "PUT /box?cors", body, md5_of(body))
        self.refused("InvalidRequest", "PUT /box?cors", RULES)
        self.refused("NoSuchCORSConfiguration", "GET /box?cors")


class PageTests(S3Case):
    """Requests that pages make."""

    def setUp(self) -> None:
        S3Case.setUp(self)
        for bucket in ("box", "bare"):
            self.successResultOf(self.store.create_bucket(bucket))
        self.done("PUT /box?cors", RULES, md5_of(RULES))
        self.successResultOf(self.store.put("box", "a", BytesStream(b"x"), 1))

    def test_preflight(self) -> None:
        """Nobody signs one."""
        answer = self.done(
            "OPTIONS /box/a",
            None,
            "Origin: https://app.example.com",
            "Access-Control-Request-Method: PUT",
            "Access-Control-Request-Headers: X-Amz-Date, content-type",
            user="",
        )
        said = {name: value for name, value in answer.fields.items() if name.startswith("access-control")}
        self.assertEqual(
            said,
            {
                "access-control-allow-origin": "https://app.example.com",
                "access-control-allow-methods": "PUT, DELETE",
                "access-control-allow-headers": "x-amz-date, content-type",
                "access-control-expose-headers": "ETag, x-amz-request-id",
                "access-control-max-age": "600",
                "access-control-allow-credentials": "true",
            },
        )
        self.assertIn("Origin", answer.fields["vary"])
        answer = self.done("OPTIONS /box", None, "Origin: http://any", "Access-Control-Request-Method: GET", user="")
        self.assertEqual(answer.fields["access-control-allow-origin"], "*")
        self.assertNotIn("access-control-allow-credentials", answer.fields)

    def test_preflight_refused(self) -> None:
        origin = "Origin: https://app.example.com"
        for code, path, fields in (
            ("BadRequest", "/box", ["Access-Control-Request-Method: GET"]),
            ("BadRequest", "/box", [origin]),
            ("BadRequest", "/box", [origin, "Access-Control-Request-Method: PATCH"]),
            (
                "BadRequest",
                "/box",
                [
                    origin,
                    "Access-Control-Request-Method: PUT",
                    f"Access-Control-Request-Headers: {','.join(f'x-amz-{number}' for number in range(101))}",
                ],
            ),
            ("AccessForbidden", "/box", ["Origin: http://any", "Access-Control-Request-Method: PUT"]),
            ("AccessForbidden", "/box", [origin, "Access-Control-Request-Method: POST"]),
            (
                "AccessForbidden",
                "/box/a",
                [origin, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-amz-a,authorization"],
            ),
            ("AccessForbidden", "/bare", [origin, "Access-Control-Request-Method: GET"]),
            ("AccessForbidden", "/nobox", [origin, "Access-Control-Request-Method: GET"]),
            ("AccessForbidden", "/", [origin, "Access-Control-Request-Method: GET"]),
        ):
            said = self.refused(code, f"OPTIONS {path}", None, *fields, user="")
            if path == "/box/a":
                self.assertEqual((said.value("Method"), said.value("ResourceType")), ("PUT", "OBJECT"))

    def test_responses(self) -> None:
        """Each response has the fields, errors too, to origins that are allowed."""
        for line, origin, status, allowed in (
            ("GET /box/a", "http://any", 200, "*"),
            ("GET /box/none", "http://any", 404, "*"),
            ("DELETE /box/none", "https://app.example.com", 204, "https://app.example.com"),
            ("DELETE /box/none", "http://any", 204, None),
            ("HEAD /box/a", "http://any", 200, None),
            ("GET /bare", "http://any", 200, None),
        ):
            answer = self.done(line, None, f"Origin: {origin}", status=status)
            self.assertEqual(answer.fields.get("access-control-allow-origin"), allowed, line)
            self.assertEqual("vary" in answer.fields, "/box" in line)
        answer = self.ask("GET /box/a", None, "Origin: http://any", user="")
        self.assertEqual((answer.status, answer.fields["access-control-allow-origin"]), (403, "*"))
        self.assertNotIn("vary", self.done("GET /box/a").fields)

    def test_failures(self) -> None:
        """If the rules cannot be read the request is served, and no page can read the response."""
        config = self.store.bucket_config

        def fails(bucket: str, kind: str) -> object:
            if kind == CONFIGURATION:
                raise Unavailable("not now")
            return config(bucket, kind)

        self.patch(self.store, "bucket_config", fails)
        answer = self.done("GET /box/a", None, "Origin: http://any")
        self.assertNotIn("access-control-allow-origin", answer.fields)
