"""Tests of L{storehouse.frontends.s3.door}: from a request to its handler, and what is said of failures."""

from __future__ import annotations

from unittest import mock

import attrs
from twisted.internet.defer import fail
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings, S3Settings
from storehouse.core.budget import ByteBudget
from storehouse.core.xmltext import document, parse, text
from storehouse.errors import NoSpace, NoSuchKey, Overloaded, ShareUsedUp
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.route import HANDLERS
from tests.frontends.http.wire import Connection, request, split_answers
from tests.frontends.s3.playing import S3Case


async def show(call: Call) -> Reply:
    """What a handler sees."""
    if call.key == "missing":
        raise NoSuchKey("there is none")
    if call.key == "broken":
        raise ZeroDivisionError("inside")
    said = [text("Bucket", call.bucket), text("Key", call.key), text("User", call.caller.name)]
    return Reply(200, document("Shown", *said), b"application/xml")


async def read(call: Call) -> Reply:
    """The document that a client sends."""
    node = await call.read_document("Delete", 100)
    return Reply(200, node.value("Quiet").encode(), b"text/plain")


class DoorCase(S3Case):
    def setUp(self) -> None:
        super().setUp()
        shown = dict.fromkeys(("GetObject", "HeadObject", "ListObjects", "ListBuckets", "Preflight"), show)
        self.patch_handlers({**shown, "DeleteObjects": read})

    def patch_handlers(self, handlers: dict[str, object]) -> None:
        before = dict(HANDLERS)
        self.addCleanup(lambda: (HANDLERS.clear(), HANDLERS.update(before)))
        HANDLERS.update(handlers)  # type: ignore[arg-type]

    def shown(self, path: str, **more: str) -> tuple[str, str]:
        node = self.read("Shown", f"GET {path}", **more)
        return node.value("Bucket"), (node.child("Key") or node).text


class PathTests(DoorCase):
    """Path style, and hosts of buckets."""

    settings = S3Settings(domain=frozenset({"s3.example.com", "example.com"}))

    def test_path_style(self) -> None:
        for path, names in {
            "/": ("", ""),
            "/box": ("box", ""),
            "/box/": ("box", ""),
            "/box/a": ("box", "a"),
            "/box//a": ("box", "/a"),
            "/box/a/../b//": ("box", "a/../b//"),
            "/box/a+b%20c%2Fd%C3%A4?x=1": ("box", "a+b c/dä"),
        }.items():
            self.assertEqual(self.shown(path), names)
        self.refused("InvalidBucketName", "GET //a")
        for path in ("/box/%ff", "/%ff", "/box/a?prefix=%ff"):
            self.refused("InvalidURI", f"GET {path}")

    def test_hosts(self) -> None:
        for host, names in {
            "box.s3.example.com": ("box", "one/b"),
            "Box.S3.Example.com:9000": ("box", "one/b"),
            "a.b.s3.example.com": ("a.b", "one/b"),
            "other.example.com": ("other", "one/b"),
            "s3.example.com": ("one", "b"),
            "example.com": ("one", "b"),
            "elsewhere.org": ("one", "b"),
            "127.0.0.1:9000": ("one", "b"),
        }.items():
            self.assertEqual(self.shown("/one/b", host=host), names)
        self.assertEqual(self.shown("/", host="box.s3.example.com"), ("box", ""))


class RequestTests(DoorCase):
    """What happens to one."""

    def test_signed(self) -> None:
        self.assertEqual(self.read("Shown", "GET /box/a").value("User"), "ann")
        said = self.refused("AccessDenied", "GET /box/a", user="")
        self.assertEqual(said.value("Resource"), "/box/a")
        self.assertEqual(self.read("Shown", "OPTIONS /box/a", user="").value("User"), "")

    def test_refused(self) -> None:
        self.assertEqual(self.refused("NoSuchKey", "GET /box/missing").value("Key"), "missing")
        said = self.refused("NotImplemented", "POST /box/a?select&select-type=2", b"")
        self.assertIn("SelectObjectContent", said.value("Message"))
        self.refused("NoSuchVersion", "GET /box/a?versionId=1")
        self.refused("InvalidArgument", "GET /box/a?versionId=")
        self.read("Shown", "GET /box/a?versionId=null")
        self.assertEqual(self.ask("HEAD /box/missing").status, 404)
        lines: list[str] = []

        def observe(event: dict[str, object]) -> None:
            lines.append(str(formatEvent(event)))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        said = self.refused("InternalError", "GET /box/broken")
        self.assertIn(f"while responding to GET /box/broken {said.value('RequestId')}", lines)
        self.assertEqual([failure.type for failure in self.flushLoggedErrors()], [ZeroDivisionError])

    def test_expected(self) -> None:
        """What a client makes sure of."""
        self.read("Shown", "GET /box/a", None, "x-amz-expected-bucket-owner: 000000000000")
        self.refused("AccessDenied", "GET /box/a", None, "x-amz-expected-bucket-owner: 111122223333")
        said = self.refused("NotImplemented", "PUT /box/a", b"x", "x-amz-server-side-encryption: AES256")
        self.assertIn("master key", said.value("Message"))

    def test_of_http(self) -> None:
        """What never gets to be a request of ours is refused in XML as well."""
        self.refused("InvalidRequest", "GET /box?a=1&a=2")
        self.refused("BadRequest", "PUT /box/a", None, "Content-Length: 1", "Content-Length: 2", status=400)
        self.refused("MethodNotAllowed", "PATCH /box/a")
        for data, code, status in [
            (b"nonsense\r\n\r\n", "BadRequest", 400),
            (b"GET / HTTP/3.0\r\n\r\n", "HttpVersionNotSupported", 505),
            (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", "InvalidURI", 400),
            (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"x" * 20_000 + b"\r\n\r\n", "RequestHeaderSectionTooLarge", 400),
        ]:  # fmt: skip
            connection = Connection(self.site)
            connection.send(data)
            (answer,) = split_answers(connection.received)
            said = parse(answer.body, "Error")
            self.assertEqual((said.value("Code"), answer.status), (code, status))
            self.assertEqual(said.value("RequestId"), answer.fields["x-amz-request-id"])
            connection.close()

    def test_too_many(self) -> None:
        """Under load, responses say when to try again."""
        site = type(self.site)(self.door.resource, self.clock, attrs.evolve(ConnectionSettings(), max_connections=1))
        site.explain_refusal = self.door.explain_refusal
        first = Connection(site)
        second = Connection(site)
        (answer,) = split_answers(second.received)
        self.assertEqual((answer.status, answer.fields["x-amz-retry-after"]), (503, "1000"))
        self.assertEqual(parse(answer.body, "Error").value("Code"), "SlowDown")
        for connection in (first, second):
            connection.close()

    def test_access_log(self) -> None:
        """A line has the request ID of the response, the user, and no signature."""
        lines: list[str] = []

        def observe(event: dict[str, object]) -> None:
            lines.append(str(formatEvent(event)))

        self.site._access_log = True
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        answer = self.ask("GET /box/dir/a?X-Amz-Signature=abcdef0123456789&x-id=GetObject")
        (line,) = [each for each in lines if "GET" in each]
        self.assertIn(" ann GET /box/dir/a?", line)
        self.assertTrue(line.endswith(answer.fields["x-amz-request-id"]), line)
        self.assertNotIn("abcdef", line)
        self.ask("PATCH /box/a", user="")
        self.assertIn("s3: 127.0.0.1 - PATCH /box/a 405", lines[-1])

    def test_documents(self) -> None:
        good = b"<Delete><Quiet>true</Quiet></Delete>"
        self.assertEqual(self.done("POST /box?delete", good).body, b"true")
        self.refused("MalformedXML", "POST /box?delete", b"<Delete>")
        self.refused("MissingRequestBodyError", "POST /box?delete", b"")
        self.refused("MaxMessageLengthExceeded", "POST /box?delete", bytes(101))
        connection = Connection(self.site)
        head = request("POST /box?delete", None, "Transfer-Encoding: chunked", "Authorization: Test ann")
        connection.send(head + b"65\r\n" + bytes(101) + b"\r\n")
        (answer,) = split_answers(connection.received)
        self.assertEqual(parse(answer.body, "Error").value("Code"), "MaxMessageLengthExceeded")
        connection.close()

    def test_continue(self) -> None:
        """A client that waits for 100 gets it only when its body is wanted."""
        connection = Connection(self.site)
        connection.send(request("POST /box?delete", None, "Content-Length: 36", "Expect: 100-continue"))
        self.assertEqual([each.status for each in split_answers(connection.received)], [403])
        connection.close()
        connection = Connection(self.site)
        fields = ("Content-Length: 36", "Expect: 100-continue", "Authorization: Test ann")
        connection.send(request("POST /box?delete", None, *fields))
        self.assertEqual([each.status for each in split_answers(connection.received)], [100])
        connection.send(b"<Delete><Quiet>true</Quiet></Delete>")
        self.assertEqual([each.status for each in split_answers(connection.received)], [100, 200])
        connection.close()


class LoadTests(S3Case):
    """Clients that are slow, and too many."""

    def setUp(self) -> None:
        super().setUp()
        self.successResultOf(self.store.create_bucket("box", owner="ann"))

    def test_slow_readers(self) -> None:
        """What they do not read is bounded, and those who read are served."""
        self.done("PUT /box/large", bytes(3_000_000))
        self.done("PUT /box/small", bytes(50_000))
        for number in range(300):
            self.done(f"PUT /box/{'k' * 200}{number}", b"")
        budget = self.site.budget = ByteBudget(4 << 20, self.clock, 60.0)
        self.site.startFactory()
        self.addCleanup(self.site.connections.stop)
        for line, count in (
            ("GET /box/large", 60),
            ("GET /box/small", 200),
            ("GET /box", 60),
            ("GET /box?list-type=2", 60),
        ):
            readers = [Connection(self.site, window=1000) for _ in range(count)]
            for connection in readers:
                connection.send(request(line, None, "Authorization: Test ann"))
            self.assertLess(budget.used, 4 << 20)
            good = Connection(self.site)
            good.send(request(line, None, "Connection: close", "Authorization: Test ann"))
            for _ in range(30):
                self.clock.advance(1)
                for connection in (*readers, good):
                    connection.settle()
            self.assertEqual([answer.status for answer in split_answers(good.received)], [200])
            self.assertLess(budget.peak, 5 << 20)
            for connection in readers:
                connection.close()
            self.assertEqual((budget.used, budget.waiting), (0, 0))

    def test_overloaded(self) -> None:
        """What has no room now is asked again later, by the time that is said."""
        for error, status in ((Overloaded("full"), 503), (ShareUsedUp("full"), 503), (NoSpace("full"), 507)):
            with mock.patch.object(self.store, "put", lambda *given, error=error, **more: fail(error)):
                answer = self.ask("PUT /box/a", b"x")
            self.assertEqual(
                (answer.status, answer.fields.get("x-amz-retry-after")), (status, {503: "1000"}.get(status))
            )


class HeaderTests(SynchronousTestCase):
    """Fields of the head, as handlers ask for them."""

    def test_one_value(self) -> None:
        from twisted.web.http_headers import Headers

        class Request:
            requestHeaders = Headers({b"a": [b" x "], b"b": [b"1", b"2"], b"c": [b"\xff"], b"d": [b"\xc3\xa4"]})

        call = Call.__new__(Call)
        call._fields = None
        call.request = Request()  # type: ignore[assignment]
        self.assertEqual([call.header(name) for name in ("a", "A", "d", "none")], ["x", "x", "ä", None])
        for name in ("b", "c"):
            self.assertEqual(self.assertRaises(S3Error, call.header, name).code, "InvalidRequest")
