"""Request lines and hosts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.http.errors import AmbiguousFraming, MethodUnknown, VersionNotSpoken
from storehouse.frontends.http.requestline import RequestLine, host_name, parse_line


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
