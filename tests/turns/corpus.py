"""
The costliest inputs that each door admits at its default bounds.

Each is a function of a L{House}, which runs in a thread, and perhaps one that prepares it. Bytes are made before anything
is measured as far as possible: what a client does costs the reactor nothing but the interpreter's lock.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct
import time
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote

import attrs

from storehouse.core import sfsp
from tests.integration.process import PATIENCE
from tests.turns.house import House, head

__all__ = ["CORPUS", "KIB", "MIB", "Input", "add", "json_texts", "pipeline", "together"]

KIB, MIB = 1 << 10, 1 << 20
NDJSON = "Content-Type: application/x-ndjson"
BINARY = "Content-Type: application/x-storehouse-records"
HTML = "Accept: text/html"


@attrs.frozen
class Input:
    """
    What a client can do.

    @ivar name: of the input.
    @ivar do: does it. Answers that are not as they should be are C{AssertionError}s.
    @ivar prepare: what is not measured.
    @ivar is_quick: whether it is among the few that every run of the tests looks at.
    """

    name: str
    do: Callable[[House], object]
    prepare: Callable[[House], object] = lambda house: None
    is_quick: bool = False


CORPUS: list[Input] = []


def add(
    name: str, is_quick: bool = False, prepare: Callable[[House], object] = lambda house: None
) -> Callable[..., None]:
    """A function is an input."""

    def added(do: Callable[[House], object]) -> None:
        CORPUS.append(Input(name, do, prepare, is_quick))

    return added


def together(house: House, count: int, do: Callable[[House], object]) -> None:
    """Do something on some connections at a time."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(do, house) for _ in range(count)]:
            done.result()


# -- what all HTTP doors share ---------------------------------------------------------------------

DOORS = ("append", "archive", "https", "objects", "admin", "s3")


def _head_of(kind: str, size: int = 16_000) -> bytes:
    if kind == "fields":
        return head("GET /nothing", *[f"X-{n}: {'v' * 140}" for n in range(95)])
    if kind == "forwarded":
        each = 'for="[2001:db8::1]:4711";proto=https;by=_hidden;host="a.example", '
        return head(
            "GET /nothing",
            *[f"Forwarded: {each * 2}x" for _ in range(90)],
            "X-Forwarded-For: " + "1.2.3.4, " * 400 + "5",
        )
    if kind == "query":
        return head("GET /nothing?" + "&".join(f"{n:x}=%41" for n in range(1800)))
    if kind == "percent":
        return head("GET /" + "%41" * 5000)
    if kind == "slashes":
        return head("GET /" + "a/" * 8000)
    if kind == "cookies":
        return head("GET /nothing", *["Cookie: " + "; ".join(f"c{n}={n}" for n in range(300)) for _ in range(5)])
    if kind == "accept":
        return head("GET /nothing", "Accept: " + "text/html;q=0.1," * 950)
    if kind == "accept-language":
        return head("GET /nothing", "Accept-Language: " + "de;q=0.1," * 1700)
    if kind == "accept-encoding":
        return head("GET /nothing", "Accept-Encoding: " + "gzip;q=0.1," * 1400)
    if kind == "spaces":
        return head("GET /nothing", "X: " + " " * size + "x")
    if kind == "commas":
        return head("GET /nothing", "If-None-Match: " + ", " * (size // 2))
    raise AssertionError(kind)


def _many_heads(kind: str) -> Callable[[House], object]:
    def do(house: House) -> None:
        for door in DOORS:
            one = _head_of(kind)
            with house.connection(door) as connection:
                connection.sendall(one)
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                answer.read()

    return do


for _kind in (
    "fields", "forwarded", "query", "percent", "slashes", "cookies", "accept", "accept-language", "accept-encoding", "spaces", "commas",
):  # fmt: skip
    add(f"head: {_kind}", _kind in ("query", "commas"))(_many_heads(_kind))


def _read_all(connection: socket.socket) -> bytes:
    pieces = []
    try:
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    except OSError:
        pass
    return b"".join(pieces)


def pipeline(house: House, door: str, requests: bytes, answers: int) -> None:
    with house.connection(door) as connection, house.sending(connection, requests):
        found = 0
        tail = b""
        while found < answers:
            data = connection.recv(1 << 18)
            if not data:
                raise AssertionError(f"{door}: closed after {found} of {answers} answers")
            found += (tail + data).count(b"HTTP/1.1 ") - tail.count(b"HTTP/1.1 ")
            tail = (tail + data)[-8:]


@add("pipelined: nothing there")
def _(house: House) -> None:
    for door in DOORS:
        pipeline(house, door, b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3000, 3000)


@add("pipelined: appends", True)
def _(house: House) -> None:
    pipeline(
        house, "append", b"POST /append?id=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx" * 3000, 3000
    )


@add("pipelined: appends, the slow way")
def _(house: House) -> None:
    pipeline(
        house, "append", b"POST /append?id=a&x= HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx" * 3000, 3000
    )


@add("pipelined: gets")
def _(house: House) -> None:
    pipeline(house, "append", b"GET /get?id=a&offset=0 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3000, 3000)


@add("pipelined: pages")
def _(house: House) -> None:
    one = head("GET /upload", house.authorization, HTML)
    pipeline(house, "https", one * 300, 300)


@add("pipelined: keys that are wrong")
def _(house: House) -> None:
    wrong = b64encode(f"{house.key[:-3]}xxx".encode()).decode()
    one = head("GET /download/x", f"Authorization: Basic {wrong}")
    pipeline(house, "https", one * 15, 15)


@add("pipelined: cookies that are wrong")
def _(house: House) -> None:
    one = head("GET /download/x", f"Cookie: __Host-storehouse={house.cookie[:-3]}xxx")
    pipeline(house, "https", one * 300, 300)


@add("chunks of one byte", True)
def _(house: House) -> None:
    chunks = b"1\r\nx\r\n" * 60_000 + b"0\r\n\r\n"
    for door, line, fields in (
        ("append", "POST /append?id=a", ()),
        ("archive", "POST /archive/a", ()),
        ("objects", "PUT /objects/uploads/chunks", ()),
        ("https", "PUT /upload/chunks", (house.authorization,)),
    ):
        status, answer = house.ask(door, head(line, "Transfer-Encoding: chunked", *fields), chunks)
        if status not in (200, 201, 204):
            raise AssertionError(f"{door}: {status} {answer[:200]!r}")


@add("trailers")
def _(house: House) -> None:
    trailers = b"".join(b"X-%d: y\r\n" % n for n in range(6000))
    for door, line, fields in (("append", "POST /append?id=a", ()), ("https", "PUT /upload/t", (house.authorization,))):
        house.ask(door, head(line, "Transfer-Encoding: chunked", *fields), b"1\r\nx\r\n0\r\n" + trailers + b"\r\n")


# -- the append log --------------------------------------------------------------------------------

_RECORDS = 65536


@add("append: a batch of as many records as may be", True)
def _(house: House) -> None:
    house.request("append", "POST /appendMulti?id=a", body=b"\1\0\0\0x" * _RECORDS)


@add("append: as many lines as may be", True)
def _(house: House) -> None:
    house.request("append", "POST /appendMulti?id=a", NDJSON, body=b"0\n" * _RECORDS)


@add("append: more records than may be")
def _(house: House) -> None:
    house.request("append", "POST /appendMulti?id=a", body=b"\1\0\0\0x" * (16 * MIB // 5), status=413)
    house.request("append", "POST /appendMulti?id=a", NDJSON, body=b"0\n" * (8 * MIB), status=413)


@add("append: batches from many")
def _(house: House) -> None:
    for fields, body in (((), b"\1\0\0\0x" * 13000), ((NDJSON,), b"0\n" * 13000)):
        one = head("POST /appendMulti?id=a", *fields, length=len(body))
        # Some may be refused for want of memory.
        together(house, 40, lambda house, one=one, body=body: house.ask("append", one, body))  # type: ignore[misc]


@add("append: empty lines")
def _(house: House) -> None:
    house.request("append", "POST /appendMulti?id=a", NDJSON, body=b"\n" * (16 * MIB - 1) + b"1")


def json_texts(size: int) -> dict[str, bytes]:
    """Costly ones, of about so many bytes."""
    return {
        "zeros": b"[" + b"0," * (size // 2 - 2) + b"0]",
        "objects": b"[" + b"{}," * (size // 3 - 2) + b"0]",
        "texts": b"[" + b'"",' * (size // 3 - 2) + b"0]",
        "deep": b"[" * 499 + b"[]," * (size // 3 - 400) + b"0" + b"]" * 499,
        "nested": b"[" + b"[[[[]]]]," * (size // 9 - 2) + b"0]",
        "escapes": b'"' + b"\\u00e9" * (size // 6 - 2) + b'"',
        "digits": b"1" * (size - 2),
        "characters": b'"' + "é".encode() * (size // 2 - 2) + b'"',
        "space": b" " * (size - 2) + b"1",
        "names": b"{" + b",".join(b'"%x":0' % n for n in range(size // 12)) + b"}",
        "brackets": b"[" * (size - 2),
        "broken late": b"[" + b"0," * (size // 2 - 2) + b"NaN]",
    }


@add("append: long lines of JSON")
def _(house: House) -> None:
    for name, text in random.sample(sorted(json_texts(16 * MIB - 10).items()), 3):
        status = 413 if name == "nested" else 400 if name in ("brackets", "broken late", "digits", "space") else 200
        house.request("append", "POST /appendMulti?id=a", NDJSON, body=text, status=status)


@add("append: lines of JSON of middle length", True)
def _(house: House) -> None:
    for name, text in json_texts(64 * KIB).items():
        status = 400 if name in ("brackets", "broken late") else 200
        house.request("append", "POST /appendMulti?id=a", NDJSON, body=text + b"\n" + text, status=status)


@add("append: the longest record")
def _(house: House) -> None:
    house.request("append", "POST /append?id=a", body=bytes(64 * MIB))
    together(house, 3, lambda house: house.request("append", "POST /append?id=a", body=bytes(64 * MIB)))


def _many_records(house: House) -> None:
    for _ in range(4):
        house.request("append", "POST /appendMulti?id=many", body=b"\1\0\0\0x" * _RECORDS)


@add("append: as many offsets as may be", True, _many_records)
def _(house: House) -> None:
    offsets = [5 * n for n in range(_RECORDS)]
    house.request("append", "POST /getMulti?id=many", body=struct.pack(f"<{_RECORDS}Q", *offsets))
    random.Random(1).shuffle(offsets)
    house.request("append", "POST /getMulti?id=many", body=struct.pack(f"<{_RECORDS}Q", *offsets))


@add("append: offsets from many", False, _many_records)
def _(house: House) -> None:
    body = struct.pack("<20000Q", *[5 * n for n in range(20000)])
    together(house, 20, lambda house: house.request("append", "POST /getMulti?id=many", body=body))


@add("append: a scan of small records", False, _many_records)
def _(house: House) -> None:
    answer = house.request("append", "GET /scan?id=many")
    if len(answer) < 13 * 4 * _RECORDS:
        raise AssertionError(len(answer))
    together(house, 10, lambda house: house.request("append", "GET /scan?id=many&limit=20000"))


@add("append: a scan that finds nothing", False, _many_records)
def _(house: House) -> None:
    for _ in range(3):
        house.request("append", "GET /scan?id=other&limit=1")
    house.request("append", "GET /scan?id=many&offset=1300000")


@add("append: many followers")
def _(house: House) -> None:
    import contextlib

    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(house.connection("append")) for _ in range(500)]
        house.request("append", "POST /append?id=f", body=b"x")
        for connection in connections:
            connection.sendall(head("GET /scan?id=f&follow=1"))
        time.sleep(1)
        for _ in range(5):
            house.request("append", "POST /append?id=f", body=b"x")
        time.sleep(0.5)


@add("append: many prefixes")
def _(house: House) -> None:
    for number in range(4):
        house.request("append", f"POST /append?id=a&storagePrefix=p{number}", body=b"x")
    house.request("append", "GET /stat")
    for number in range(4):
        house.request("append", f"DELETE /prefix?storagePrefix=p{number}")


# -- archives --------------------------------------------------------------------------------------


@add("archive: a batch of as many records as may be", True)
def _(house: House) -> None:
    house.ask("archive", head("POST /archive/a", BINARY, length=8 * 65536), bytes(8 * 65536))


@add("archive: 16 MiB of the smallest records")
def _(house: House) -> None:
    house.ask("archive", head("POST /archive/a", BINARY, length=16 * MIB), bytes(16 * MIB))
    lines = b'{"payload":""}\n' * (16 * MIB // 15)
    house.ask("archive", head("POST /archive/z", NDJSON, length=len(lines)), lines)


@add("archive: batches from many")
def _(house: House) -> None:
    body = bytes(8 * 8192)
    together(house, 30, lambda house: house.ask("archive", head("POST /archive/a", BINARY, length=len(body)), body))


@add("archive: long lines of JSON")
def _(house: House) -> None:
    for text in random.sample(sorted(json_texts(16 * MIB - 100).values()), 2):
        for line in (
            b'{"payload":"","time":%b}' % text,
            b'{"payload":%b}' % text,
            b'{"payload_base64":%b}' % text,
            b'{"payload":"","metadata":%b}' % text,
        ):
            house.ask("archive", head("POST /archive/a", NDJSON, length=len(line)), line)


@add("archive: lines of JSON of middle length")
def _(house: House) -> None:
    for text in json_texts(64 * KIB).values():
        for line in (b'{"payload":"","time":%b}' % text, b'{"payload":"","metadata":%b}' % text):
            house.ask("archive", head("POST /archive/a", NDJSON, length=len(line)), line)


@add("archive: long base64")
def _(house: House) -> None:
    for payload in (b64encode(bytes(11 * MIB)), b"%%" * (7 * MIB), b"\\u0041" * (2 * MIB)):
        line = b'{"payload_base64":"%b"}' % payload
        house.ask("archive", head("POST /archive/a", NDJSON, length=len(line)), line)


@add("archive: metadata of many kinds")
def _(house: House) -> None:
    text = json.dumps({f"{n:x}": "" for n in range(900_000)}).encode()
    body = struct.pack("<I", len(text)) + text + struct.pack("<I", 0)
    house.ask("archive", head("POST /archive/a", BINARY, length=len(body)), body)
    small = json.dumps({f"{n:x}": "" for n in range(1000)}).encode()
    body = (struct.pack("<I", len(small)) + small + struct.pack("<I", 0)) * 900
    house.ask("archive", head("POST /archive/a", BINARY, length=len(body)), body)


@add("archive: long texts")
def _(house: House) -> None:
    body = "é".encode() * (8 * MIB)
    house.request("archive", "POST /archive/a", "Content-Type: text/plain", body=body)
    house.request("archive", "POST /archive/a", "Content-Type: text/plain", body=b"x" * (16 * MIB))
    house.request("archive", "POST /archive/z", "Content-Type: text/plain", body=body)


def _small_archived(house: House) -> None:
    for _ in range(10):
        house.request("archive", "POST /archive/a", BINARY, body=bytes(8 * 20000))
        house.request("archive", "POST /archive/z", BINARY, body=bytes(8 * 20000))


@add("archive: reading small records", False, _small_archived)
def _(house: House) -> None:
    for name in "az":
        house.request("archive", f"GET /archive/{name}")
        house.request("archive", f"GET /archive/{name}", f"Accept: {BINARY.partition(': ')[2]}")


def _long_archived(house: House) -> None:
    for kind in ("text/plain", "application/octet-stream"):
        house.request("archive", "POST /archive/a", f"Content-Type: {kind}", body=b"\n" * (16 * MIB))


@add("archive: reading long records", False, _long_archived)
def _(house: House) -> None:
    house.request("archive", "GET /archive/a")
    house.request("archive", "GET /archive/a", f"Accept: {BINARY.partition(': ')[2]}")


# -- SFSP ------------------------------------------------------------------------------------------


def _sfsp(house: House, data: bytes, least: int) -> None:
    with house.connection("sfsp") as connection, house.sending(connection, data):
        count = 0
        while count < least:
            piece = connection.recv(1 << 18)
            if not piece:
                raise AssertionError(f"closed after {count} bytes")
            count += len(piece)


def _many_chunks(house: House) -> None:
    _sfsp(house, b"".join(sfsp.encode_send(b"many", id, 0) for id in range(10_000)), 16 * 10_000)


@add("sfsp: small requests", True)
def _(house: House) -> None:
    _sfsp(house, sfsp.encode_receive(b"none", 1) * 5000, 8 * 5000)
    _sfsp(house, sfsp.encode_list(b"none") * 5000, 16 * 5000)


@add("sfsp: small chunks")
def _(house: House) -> None:
    _sfsp(house, b"".join(sfsp.encode_send(b"small", id, 1) + b"x" for id in range(5000)), 16 * 5000)


@add("sfsp: lists", False, _many_chunks)
def _(house: House) -> None:
    for _ in range(2):
        together(house, 20, lambda house: _sfsp(house, sfsp.encode_list(b"many") * 8, 8 * 80_000))


@add(
    "sfsp: long names",
    False,
    lambda house: _sfsp(house, b"".join(sfsp.encode_send(b"\xff" * 4096, id, 0) for id in range(3000)), 16 * 3000),
)
def _(house: House) -> None:
    _sfsp(house, sfsp.encode_list(b"\xff" * 4096) * 8, 8 * 8 * 3000)


@add("sfsp: chunks to read", False, _many_chunks)
def _(house: House) -> None:
    data = b"".join(sfsp.encode_receive(b"many", id) for id in range(3000))
    together(house, 10, lambda house: _sfsp(house, data, 36 * 3000))


# -- objects ---------------------------------------------------------------------------------------


def _many_objects(house: House) -> None:
    metadata = 'Metadata: {"a":["b","c"],"uploader":["somebody"]}'
    for first in range(0, 12_000, 1000):
        names = [f"{number:05d}-{'x' * 200}" for number in range(first, first + 1000)]
        requests = [head(f"PUT /objects/uploads/many/{name}", metadata, length=1) + b"x" for name in names]
        pipeline(house, "objects", b"".join(requests), 1000)


@add("objects: the longest page", False, _many_objects)
def _(house: House) -> None:
    house.request("objects", "GET /buckets/uploads/objects?limit=10000")
    house.request("objects", "GET /buckets/uploads/objects?limit=10000&delimiter=0")


@add("objects: metadata")
def _(house: House) -> None:
    metadata = json.dumps({f"{n:x}": [] for n in range(700)})
    house.ask("objects", head("PUT /objects/uploads/m", f"Metadata: {metadata}", length=0))
    for text in json_texts(MIB - 100).values():
        for body in (b'{"metadata":%b}' % text, text):
            house.ask("objects", head("PUT /buckets/uploads/metadata", length=len(body)), body)
            house.ask("objects", head("POST /copy", length=len(body)), body)


@add("objects: checks", False, _many_objects)
def _(house: House) -> None:
    house.request("objects", "POST /check")
    house.request("objects", "POST /reindex")


@add("objects: many buckets")
def _(house: House) -> None:
    for number in range(1000):
        house.request("objects", f"PUT /buckets/b{number:04d}")
    house.request("objects", "GET /buckets")
    house.request("admin", "GET /metrics")
    house.request("https", "GET /metrics")
    for number in range(1000):
        house.request("objects", f"DELETE /buckets/b{number:04d}")


# -- uploads and downloads -------------------------------------------------------------------------


@add("download: the longest pages", False, _many_objects)
def _(house: House) -> None:
    for query in ("", "&sort=name&order=desc", "&sort=size", "&search=x", "&search=999"):
        for fields in ((), (HTML,)):
            house.request("https", f"GET /download?prefix=many/&limit=1000{query}", *fields)


@add(
    "download: ranges",
    False,
    lambda house: house.request("https", "PUT /upload/ranges", body=bytes(4 * MIB), status=201),
)
def _(house: House) -> None:
    ranges = ",".join(f"{n * 1000}-{n * 1000 + 1}" for n in range(32))
    house.request("https", "GET /download/ranges", f"Range: bytes={ranges}", status=206)
    many = ",".join("0-0" for _ in range(3500))
    for value in (many, "," * 15000, "0" * 39 + "-", "0-" * 7000, " " * 14000 + "0-1"):
        house.ask("https", head("GET /download/ranges", house.authorization, f"Range: bytes={value}"))


@add("download: lists of tags", False, lambda house: house.request("https", "PUT /upload/tags", body=b"x", status=201))
def _(house: House) -> None:
    for value in ('"",' * 4500 + '"x"', "W/" * 7000, '"' + "x" * 14000 + '"', ", " * 7000, '"x" ' * 3500):
        for name in ("If-Match", "If-None-Match", "If-Range"):
            house.ask("https", head("GET /download/tags", house.authorization, f"{name}: {value}"))
            house.ask("https", head("PUT /upload/tags", house.authorization, f"{name}: {value}", length=1), b"x")


def _form(parts: list[bytes]) -> tuple[str, bytes]:
    return "Content-Type: multipart/form-data; boundary=b", b"--b\r\n" + b"\r\n--b\r\n".join(parts) + b"\r\n--b--\r\n"


@add("upload: as many files as may be")
def _(house: House) -> None:
    kind, body = _form([b'Content-Disposition: form-data; name="f"; filename="f%d"\r\n\r\nx' % n for n in range(1000)])
    house.request("https", "POST /upload", kind, body=body, status=201)


@add("upload: as many fields as may be")
def _(house: House) -> None:
    kind, body = _form([b'Content-Disposition: form-data; name="f%d"\r\n\r\nx' % n for n in range(1000)])
    house.ask("https", head("POST /upload", house.authorization, kind, length=len(body)), body)


@add("upload: forms that are bad")
def _(house: House) -> None:
    size = 4 * MIB
    for body in (
        b"--b\r\n" * (size // 5),
        b"\r\n--b" * (size // 5),
        b"\r\n" * (size // 2),
        b"--b\r\n" + b"a: b\r\n" * (size // 6),
        b"--b\r\n" + b":" * size,
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n' + b"\r\n--" * (size // 4),
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n' + b"\r" * size,
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n' + b"\r\n--b" * (size // 5),
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n' + b"\r\n--bx" * (size // 6),
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="' + b'\\"' * (size // 2),
        b"--b\r\nContent-Disposition: form-data" + b"; x=y" * (size // 5),
        b"--b\r\nContent-Disposition: form-data" + b";" * size,
        b"--b" + b" " * size,
    ):
        house.ask(
            "https",
            head(
                "POST /upload", house.authorization, "Content-Type: multipart/form-data; boundary=b", length=len(body)
            ),
            body,
        )


@add("upload: heads of parts")
def _(house: House) -> None:
    for parameters in (
        b"".join(b'; filename*%d="x"' % n for n in range(300)),
        b"; filename*=UTF-8''" + b"%41" * 1200,
        b'; filename="' + b"\\\\" * 1500 + b'"',
        b"; x=y" * 700,
        b"; " * 1700,
    ):
        kind, body = _form([b"Content-Disposition: form-data; name=f" + parameters + b"\r\n\r\nx"] * 900)
        house.ask("https", head("POST /upload", house.authorization, kind, length=len(body)), body)


@add("upload: boundaries")
def _(house: House) -> None:
    for boundary in ("x" * 70, '"' + "\\a" * 7000 + '"', ";" * 15000, " " * 15000, "=;" * 7000):
        house.ask(
            "https",
            head(
                "POST /upload", house.authorization, f"Content-Type: multipart/form-data; boundary={boundary}", length=4
            ),
            b"abcd",
        )


@add("upload: small files from many")
def _(house: House) -> None:
    def some(house: House) -> None:
        one = head("PUT /upload/same", house.authorization, length=1) + b"x"
        pipeline(house, "https", one * 100, 100)

    together(house, 30, some)


@add("upload: a large file")
def _(house: House) -> None:
    together(
        house,
        3,
        lambda house: house.ask(
            "https", head("PUT /upload/large", house.authorization, length=64 * MIB), bytes(64 * MIB)
        ),
    )


@add(
    "download: a large file",
    False,
    lambda house: house.ask("https", head("PUT /upload/large", house.authorization, length=64 * MIB), bytes(64 * MIB)),
)
def _(house: House) -> None:
    together(house, 3, lambda house: house.request("https", "GET /download/large"))


def _tus(house: House, length: int, *fields: str) -> str:
    with house.connection("https") as connection:
        connection.sendall(
            head(
                "POST /tus/", house.authorization, "Tus-Resumable: 1.0.0", f"Upload-Length: {length}", *fields, length=0
            )
        )
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        body = answer.read()
        if answer.status != 201:
            raise AssertionError(f"{answer.status} {body!r}")
        return str(answer.headers["Location"])


@add("tus: Upload-Metadata")
def _(house: House) -> None:
    for value in (
        ",".join(f"k{n} YQ==" for n in range(1200)),
        "filename " + b64encode(b"x" * 10000).decode(),
        "," * 15000,
        " " * 15000,
        "a " * 7000,
        "a " + "=" * 14000,
    ):
        house.ask(
            "https",
            head(
                "POST /tus/",
                house.authorization,
                "Tus-Resumable: 1.0.0",
                "Upload-Length: 1",
                f"Upload-Metadata: {value}",
                length=0,
            ),
        )


@add("tus: as many parts as may be")
def _(house: House) -> None:
    paths = []
    for _ in range(200):
        location = _tus(house, 1, "Upload-Concat: partial")
        path = "/" + location.partition("//")[2].partition("/")[2] if "//" in location else location
        paths.append(path)
        house.request(
            "https",
            f"PATCH {path}",
            "Tus-Resumable: 1.0.0",
            "Upload-Offset: 0",
            "Content-Type: application/offset+octet-stream",
            body=b"x",
            status=204,
        )
    value = "final;" + " ".join(paths)
    house.request("https", "POST /tus/", "Tus-Resumable: 1.0.0", f"Upload-Concat: {value[:15000]}", status=201)


@add("tus: many open uploads")
def _(house: House) -> None:
    for _ in range(1000):
        _tus(house, 5)
    house.request("https", "GET /uploads")
    house.request("https", "GET /stats")
    house.request("https", "GET /stats", HTML)


@add("ietf: structured fields")
def _(house: House) -> None:
    for name in (
        "Upload-Complete",
        "Upload-Length",
        "Upload-Offset",
        "Upload-Limit",
        "Upload-Draft-Interop-Version",
        "Repr-Digest",
        "Content-Digest",
        "Want-Repr-Digest",
        "Digest",
    ):
        for value in (
            "?1" + ";a" * 7000,
            "a=1," * 3500 + "b=2",
            "1" * 15000,
            "(" * 15000,
            '"' + "\\\\" * 7000 + '"',
            ":" + "A" * 14000 + ":",
            "sha-256=:" + "A" * 14000 + ":",
            " " * 15000,
            "," * 15000,
        ):
            house.ask(
                "https",
                head(
                    "POST /upload/s",
                    house.authorization,
                    "Upload-Complete: ?1" if name != "Upload-Complete" else "X: y",
                    f"{name}: {value}",
                    length=1,
                ),
                b"x",
            )


@add("pages")
def _(house: House) -> None:
    for path in ("/", "/upload", "/stats", "/sign-in", "/links", "/users", "/nothing"):
        house.ask("https", head(f"GET {path}", house.authorization, HTML))


@add("scrape", True)
def _(house: House) -> None:
    house.request("admin", "GET /metrics")
    house.request("https", "GET /metrics")


@add("sign-in and links")
def _(house: House) -> None:
    for body in (b"a=b&" * 4000, b"%41" * 5000, b"key_id=" + b"x" * 15000, b"+" * 16000, b"&" * 16000):
        house.ask(
            "https", head("POST /sign-in", "Content-Type: application/x-www-form-urlencoded", length=len(body)), body
        )
    for text in json_texts(60 * KIB).values():
        for body in (b'{"method":"GET","name":%b}' % text, text):
            house.ask("https", head("POST /links", house.authorization, length=len(body)), body)
    query = house.accounts.sign_link(house.user, "GET", "/download/ranges", time.time() + 600)
    for more in ("", "&x=y" * 2000, "&path=%2F" * 1000, "&" * 8000):
        house.ask("https", head(f"GET /download/ranges?{query}{more}"))
    for path in ("%2e" * 4000, "a/" * 6000, "%C3%A9" * 2000):
        house.ask("https", head(f"GET /download/{path}?{query}"))
        house.ask("https", head(f"PUT /upload/{path}", house.authorization, length=1), b"x")


@add("names")
def _(house: House) -> None:
    for name in ("é" * 500, "e\u0301" * 300, "\u1e9b\u0323" * 150, "a\u0300" + "\u0316\u0301" * 150):
        house.ask("https", head(f"PUT /upload/{quote(name)}", house.authorization, length=1), b"x")
        house.ask("https", head(f"GET /download?search={quote(name)}", house.authorization))


# -- many at a time --------------------------------------------------------------------------------


@add("connections: thousands opened and closed at once")
def _(house: House) -> None:
    for door in ("append", "admin", "sfsp"):
        connections = []
        for _ in range(1500):
            connections.append(socket.create_connection(("127.0.0.1", house.port(door)), PATIENCE))
        time.sleep(0.2)
        for connection in connections:
            connection.close()
        time.sleep(0.2)


@add("connections: thousands that ask at once")
def _(house: House) -> None:
    connections = [socket.create_connection(("127.0.0.1", house.port("append")), PATIENCE) for _ in range(1000)]
    time.sleep(0.2)
    one = head("POST /append?id=a", length=1) + b"x"
    for connection in connections:
        connection.sendall(one)
    for connection in connections:
        if not connection.recv(1000):
            raise AssertionError
    for connection in connections:
        connection.close()
    time.sleep(0.2)


@add("connections: handshakes of many")
def _(house: House) -> None:
    together(house, 50, lambda house: house.request("https", "GET /sign-in"))
