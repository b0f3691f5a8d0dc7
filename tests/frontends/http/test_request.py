"""Tests of L{storehouse.frontends.http.request}."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.budget import ByteBudget
from storehouse.core.streams import IByteStream, StreamClosed
from storehouse.errors import BadRequest, Overloaded
from storehouse.frontends.http.reply import AmbiguousFraming, ClientGone, MethodUnknown, VersionNotSpoken
from storehouse.frontends.http.request import BodyTooLarge, RequestBody, RequestLine, host_name, parse_line
from tests.conformance.streams import ByteStreamTests, begun


class ParseLineTests(SynchronousTestCase):
    """L{parse_line}."""

    def test_origin_form(self) -> None:
        for target in (b"/", b"/a?b=c", b"//a", b"/?", b"/a%20b", b'/|"<>^`{}\\', b"/http://x/y?http://z"):
            self.assertEqual(
                parse_line(b"GET " + target + b" HTTP/1.1"), RequestLine(b"GET", target, b"HTTP/1.1"), target
            )

    def test_absolute_form(self) -> None:
        for url, target, scheme, authority in (
            (b"http://x/a?b=c", b"/a?b=c", b"http", b"x"),
            (b"HTTPS://X.example:6445/a", b"/a", b"https", b"X.example:6445"),
            (b"http://x", b"/", b"http", b"x"),
            (b"http://x?a", b"/?a", b"http", b"x"),
            (b"http://[::1]:80/", b"/", b"http", b"[::1]:80"),
            (b"http://x:/a", b"/a", b"http", b"x:"),
            (b"http://x//a", b"//a", b"http", b"x"),
        ):
            found = parse_line(b"GET " + url + b" HTTP/1.1")
            self.assertEqual(found, RequestLine(b"GET", target, b"HTTP/1.1", scheme, authority), url)

    def test_asterisk_form(self) -> None:
        for url in (b"*", b"http://x"):
            self.assertEqual(parse_line(b"OPTIONS " + url + b" HTTP/1.1").target, b"*")
        self.assertEqual(parse_line(b"OPTIONS http://x/ HTTP/1.1").target, b"/")

    def test_versions(self) -> None:
        for version, read in ((b"1.0", b"1.0"), (b"1.1", b"1.1"), (b"1.2", b"1.1"), (b"1.9", b"1.1")):
            self.assertEqual(parse_line(b"GET / HTTP/" + version).version, b"HTTP/" + read)
        for version in (b"0.9", b"2.0", b"2.1", b"3.0", b"9.9"):
            self.assertRaises(VersionNotSpoken, parse_line, b"GET / HTTP/" + version)
        self.assertRaises(VersionNotSpoken, parse_line, b"PRI * HTTP/2.0")

    def test_tunnels(self) -> None:
        for target in (b"x:80", b"[::1]:443", b"a.example:65535"):
            self.assertRaises(MethodUnknown, parse_line, b"CONNECT " + target + b" HTTP/1.1")
        for target in (
            b"x",
            b"x:",
            b":80",
            b"x:0",
            b"x:65536",
            b"x:http",
            b"u@x:80",
            b"/",
            b"*",
            b"http://x:80/",
            b"::1:80",
        ):
            self.assertRaises(AmbiguousFraming, parse_line, b"CONNECT " + target + b" HTTP/1.1")

    def test_malformed(self) -> None:
        for line in (
            b"GET / HTTP/1.1 ",
            b" GET / HTTP/1.1",
            b"GET  / HTTP/1.1",
            b"GET\t/ HTTP/1.1",
            b"GET / HTTP/1.1\r",
            b"GET / HTTP/1.1\n",
            b"GET /",
            b"GET",
            b"GET / http/1.1",
            b"GET / HTTP/1.10",
            b"GET / HTTP/11.1",
            b"GET / HTTP/1",
            b"GET / HTTP/1.",
            b"GET / HTTP/+1.1",
            b"GET / HTTPS/1.1",
            b"G(T / HTTP/1.1",
            b"GET /a b HTTP/1.1",
            b"GET /a\x00 HTTP/1.1",
            b"GET /a\x7f HTTP/1.1",
            b"GET /a\x0b HTTP/1.1",
            b"GET /\xc3\xa9 HTTP/1.1",
            b"GET /a#b HTTP/1.1",
            b"GET /?a#b HTTP/1.1",
            b"GET http://x/#b HTTP/1.1",
            b"GET # HTTP/1.1",
            b"GET a HTTP/1.1",
            b"GET ?a HTTP/1.1",
            b"GET * HTTP/1.1",
            b"POST * HTTP/1.1",
            b"OPTIONS ** HTTP/1.1",
            b"GET x:80 HTTP/1.1",
            b"GET http:/a HTTP/1.1",
            b"GET http:///a HTTP/1.1",
            b"GET http://:80/a HTTP/1.1",
            b"GET http://u@x/a HTTP/1.1",
            b"GET http://u:p@x/a HTTP/1.1",
            b"GET http://x:a/ HTTP/1.1",
            b"GET http://x:99999/ HTTP/1.1",
            b"GET http://[::1/ HTTP/1.1",
            b"GET http://a,b c/ HTTP/1.1",
            b"GET ftp://x/a HTTP/1.1",
            b"GET mailto:x HTTP/1.1",
            b"GET ://x/ HTTP/1.1",
        ):
            self.assertRaises(AmbiguousFraming, parse_line, line)


class HostNameTests(SynchronousTestCase):
    """L{host_name}."""

    def test_names(self) -> None:
        for value, name in (
            (b"", b""),
            (b"x", b"x"),
            (b"LocalHost:8001", b"localhost"),
            (b"a.example.", b"a.example"),
            (b"a_b:", b"a_b"),
            (b"127.0.0.1:1", b"127.0.0.1"),
            (b"[::1]", b"::1"),
            (b"[0:0::1]:65535", b"::1"),
            (b"xn--bcher-kva.example", b"xn--bcher-kva.example"),
            (b"a%2Db", b"a%2db"),
        ):
            self.assertEqual(host_name(value), name, value)

    def test_malformed(self) -> None:
        for value in (
            b"a b",
            b" a",
            b"a\t",
            b":80",
            b"a:b",
            b"a:65536",
            b"a:123456",
            b"a:80:80",
            b"::1",
            b"[::1",
            b"[::g]",
            b"[]",
            b"[1:2:3:4:5:6:7:8:9]",
            b"u@a",
            b"a/b",
            b"a?b",
            b"a#b",
            b"http://a",
            b"a%2",
            b"a\x00",
            b"\xc3\xa9",
            b"a\\b",
            b'"a"',
            b"<a>",
            b"a\n",
        ):
            self.assertIsNone(host_name(value), value)


class _Source:
    """Notes what the body asks of its connection."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pause_body(self) -> None:
        self.asked.append("pause")

    def resume_body(self) -> None:
        self.asked.append("resume")

    def body_wanted(self) -> None:
        self.asked.append("wanted")


class RequestBodyTests(ByteStreamTests, SynchronousTestCase):
    """L{RequestBody} alone."""

    def setUp(self) -> None:
        self.source = _Source()

    def make_stream(self) -> IByteStream:
        body = self.body(len(self.DATA))
        body.received(self.DATA[:3])
        body.received(self.DATA[3:])
        body.finished()
        return body

    def body(self, length: int | None) -> RequestBody:
        return RequestBody(self.source, length)

    def read(self, body: RequestBody, limit: int) -> Deferred[bytes]:
        return Deferred.fromCoroutine(body.read_all(limit))

    def test_piece_by_piece(self) -> None:
        body = self.body(6)
        first = begun(body.read())
        self.assertNoResult(first)
        body.received(b"abc")
        self.assertEqual(self.successResultOf(first), b"abc")
        second, third = begun(body.read()), None
        body.received(b"def")
        self.assertEqual(self.successResultOf(second), b"def")
        third = begun(body.read())
        body.finished()
        self.assertEqual(self.successResultOf(third), b"")
        self.assertEqual((body.came, body.complete), (6, True))
        self.assertEqual(self.source.asked, ["wanted"])

    def test_empty(self) -> None:
        body = self.body(0)
        self.assertTrue(body.complete)
        self.assertEqual(self.successResultOf(self.read(body, 0)), b"")

    def test_waits_until_wanted(self) -> None:
        """What comes early waits with the peer, but for one piece."""
        body = self.body(6)
        body.received(b"abc")
        self.assertEqual(self.source.asked, ["pause"])
        self.assertEqual((body.waiting, body.untouched), (3, True))
        done = self.read(body, 6)
        self.assertEqual(self.source.asked, ["pause", "wanted", "resume"])
        self.assertEqual((body.waiting, body.untouched), (0, False))
        body.received(b"def")
        body.finished()
        self.assertEqual(self.successResultOf(done), b"abcdef")

    def test_whole_before_wanted(self) -> None:
        """A connection that was paused for a body goes on once the body is in."""
        body = self.body(3)
        body.received(b"abc")
        body.finished()
        self.assertEqual(self.source.asked, ["pause", "resume"])
        self.assertEqual(self.successResultOf(self.read(body, 3)), b"abc")
        self.assertEqual(self.source.asked, ["pause", "resume", "wanted"])

    def test_slow_reader(self) -> None:
        """The peer waits while nobody reads, and goes on when somebody does."""
        body = self.body(None)
        first = begun(body.read())
        for _ in range(2):
            body.received(b"abc")
        self.assertEqual(self.successResultOf(first), b"abc")
        self.assertEqual(self.source.asked, ["wanted", "pause"])
        self.assertEqual(self.successResultOf(begun(body.read())), b"abc")
        self.assertEqual(self.source.asked, ["wanted", "pause", "resume"])

    def test_suspended(self) -> None:
        """The peer waits as well if it is to, although somebody reads; and nobody is paused or resumed twice."""
        body = self.body(10)
        first = begun(body.read())
        body.suspend()
        body.suspend()
        body.received(b"on its way")
        self.assertEqual(self.successResultOf(first), b"on its way")
        body.received(b"more")
        self.assertEqual(self.source.asked, ["wanted", "pause"])
        self.assertEqual(self.successResultOf(begun(body.read())), b"more")
        self.assertEqual(self.source.asked, ["wanted", "pause"])
        body.proceed()
        body.proceed()
        self.assertEqual(self.source.asked, ["wanted", "pause", "resume"])

    def test_suspended_at_the_end(self) -> None:
        """A connection does not stay paused for a body that is in, or that nobody wants."""
        ends: list[Callable[[RequestBody], object]] = [RequestBody.finished, RequestBody.close]
        for end in ends:
            self.source.asked.clear()
            body = self.body(3)
            body.suspend()
            body.received(b"abc")
            end(body)
            body.proceed()
            body.suspend()
            self.assertEqual(self.source.asked, ["pause", "resume"])

    def test_account(self) -> None:
        """Waiting bytes are reported until they are read, or not wanted any more."""
        body = self.body(None)
        counts: list[int] = []
        body.account = counts.append
        body.received(b"abc")
        body.received(b"de")
        self.successResultOf(begun(body.read()))
        body.close()
        self.assertEqual(counts, [3, 2, -3, -2])

    def test_closed(self) -> None:
        """What comes then is thrown away, and the peer does not wait."""
        body = self.body(10)
        body.received(b"abc")
        self.successResultOf(body.close())
        for _ in range(10):
            body.received(b"def")
        body.finished()
        self.assertEqual(self.source.asked, ["pause", "resume"])
        self.failureResultOf(begun(body.read()), StreamClosed)

    def test_fails_later(self) -> None:
        body = self.body(10)
        done = self.read(body, 10)
        body.failed(ClientGone("gone"))
        self.failureResultOf(done, ClientGone)

    def test_failed_before(self) -> None:
        body = self.body(10)
        body.received(b"abc")
        body.failed(ClientGone("gone"))
        self.failureResultOf(self.read(body, 10), ClientGone)

    def test_read_bound(self) -> None:
        """An announced length is refused before a byte is asked for; another as soon as it is passed."""
        self.failureResultOf(self.read(self.body(11), 10), BodyTooLarge)
        self.assertEqual(self.source.asked, [])
        body = self.body(None)
        done = self.read(body, 10)
        body.received(b"x" * 10)
        self.assertNoResult(done)
        body.received(b"x")
        self.failureResultOf(done, BodyTooLarge)
        body.received(b"thrown away")
        self.assertEqual(body.waiting, 0)
        exact = self.body(None)
        done = self.read(exact, 10)
        exact.received(b"x" * 10)
        exact.finished()
        self.assertEqual(self.successResultOf(done), b"x" * 10)

    def test_early_bytes_beyond_the_bound(self) -> None:
        body = self.body(None)
        body.received(b"x" * 11)
        self.failureResultOf(self.read(body, 10), BodyTooLarge)

    def test_no_room(self) -> None:
        """While there is no room for more the peer waits; if its client leaves meanwhile, that is the error."""
        for is_lost in (False, True):
            self.source.asked.clear()
            budget = ByteBudget(4 << 20)
            body = self.body(None)
            with budget.hold(4 << 20) as other, budget.hold(1 << 20) as hold:
                other.count(4 << 20)
                done = Deferred.fromCoroutine(body.read_all(1 << 20, hold))
                body.received(b"x" * 200_000)
                self.assertNoResult(done)
                self.assertEqual(self.source.asked, ["wanted", "pause"])
                body.received(b"y" * 1000)
                self.source.asked.clear()
                if is_lost:
                    body.failed(ClientGone("gone"))
                    self.failureResultOf(done, ClientGone)
                    self.assertEqual(budget.waiting, 0)
                    continue
                other.count(-other.held)
                self.assertEqual(self.source.asked, ["resume"])
                body.finished()
                self.assertEqual(len(self.successResultOf(done)), 201_000)

    def test_no_room_at_all(self) -> None:
        body = self.body(None)
        with ByteBudget(1 << 20).hold(1 << 20) as hold:
            self.patch(hold, "take", lambda size: (_ for _ in ()).throw(Overloaded("full")))
            done = Deferred.fromCoroutine(body.read_all(1 << 20, hold))
            body.received(b"abc")
            self.failureResultOf(done, Overloaded)

    def test_drain(self) -> None:
        """What nobody wants is thrown away; it is over when it has come, or will not."""
        ends: list[Callable[[RequestBody], object]] = [
            RequestBody.finished,
            lambda body: body.failed(ClientGone("gone")),
        ]
        for end in ends:
            body = self.body(10)
            body.received(b"abc")
            done = Deferred.fromCoroutine(body.drain())
            self.assertNoResult(done)
            self.assertEqual((body.waiting, body.untouched, body.is_small), (0, False, True))
            end(body)
            self.successResultOf(done)
            self.successResultOf(Deferred.fromCoroutine(body.drain()))
        self.assertNotIn("wanted", self.source.asked)

    def test_errors_are_the_clients(self) -> None:
        self.assertTrue(issubclass(ClientGone, BadRequest))
