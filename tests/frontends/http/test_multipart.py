"""Tests of L{storehouse.frontends.http.multipart} and L{storehouse.frontends.http.multipart}."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import MalformedBody, StorehouseError, TooLarge
from storehouse.frontends.http.multipart import Field, FormLimits, MultipartReader, PartBegun, PartEnded, boundary_of

B = b"frontier"


def part(data: bytes, disposition: str, *fields: str, boundary: bytes = B) -> bytes:
    """A part with the delimiter before it."""
    lines = [f"Content-Disposition: form-data{disposition}", *fields]
    head = "".join(line + "\r\n" for line in lines).encode()
    return b"\r\n--" + boundary + b"\r\n" + head + b"\r\n" + data


def whole(*parts: bytes, boundary: bytes = B) -> bytes:
    """A body, which begins without the line break."""
    return b"".join((*parts, b"\r\n--" + boundary + b"--\r\n"))[2:]


def read(pieces: Iterable[bytes], boundary: bytes = B, **given: Any) -> list[Any]:
    """What comes of a body: files as C{(name, filename, content type, bytes)}, fields as C{(name, value)}."""
    reader = MultipartReader(boundary, **given)
    found: list[Any] = []
    for event in chain(chain.from_iterable(map(reader.feed, pieces)), reader.finish()):
        if isinstance(event, PartBegun):
            found.append([event.name, event.filename, event.content_type, b"", False])
        elif isinstance(event, Field):
            found.append((event.name, event.value))
        elif isinstance(event, PartEnded):
            found[-1][4] = True
        else:
            assert event and found[-1][4] is False
            found[-1][3] += event
    assert all(each[4] for each in found if isinstance(each, list))
    return [tuple(each[:4]) if isinstance(each, list) else each for each in found]


def file(data: bytes, name: str = "f", filename: str = "a.txt") -> bytes:
    """A part that is a file."""
    return part(data, f'; name="{name}"; filename="{filename}"', "Content-Type: text/plain")


ALL = whole(
    part(b"one", '; name="csrf"'),
    file(b"\r\n--fronti\r\r\n\r\n-- a file\r\n--frontie"),
    file(b"", filename="empty"),
    part(b"", '; name="nothing"'),
    file(b"\r\n" * 20, filename="lines"),
)

FOUND = [
    ("csrf", "one"),
    ("f", "a.txt", "text/plain", b"\r\n--fronti\r\r\n\r\n-- a file\r\n--frontie"),
    ("f", "empty", "text/plain", b""),
    ("nothing", ""),
    ("f", "lines", "text/plain", b"\r\n" * 20),
]


class SplitTests(SynchronousTestCase):
    """However a body is cut, the same comes of it."""

    def test_every_split(self) -> None:
        for body in (
            ALL,
            b"a preamble\r\n\r\nof lines\r\n" + ALL,
            ALL + b"an epilogue\r\n--frontie\r\n --frontier\n",
            ALL[:-2],
        ):
            self.assertEqual(read([body]), FOUND)
            for at in range(1, len(body)):
                self.assertEqual(read([body[:at], body[at:]]), FOUND, at)
            for size in (1, 2, 3, 5, 7, 11, 64):
                pieces = [body[at : at + size] for at in range(0, len(body), size)]
                self.assertEqual(read(pieces), FOUND, size)

    def test_three_pieces(self) -> None:
        """The end of a file whose boundary comes in three pieces."""
        body = whole(file(b"data\r"))
        end = body.index(b"\r\r\n--frontier") - 1
        for one in range(end, len(body)):
            for other in range(one + 1, min(one + 16, len(body))):
                found = read([body[:one], body[one:other], body[other:]])
                self.assertEqual(found, [("f", "a.txt", "text/plain", b"data\r")])

    def test_padding(self) -> None:
        """Spaces and tabs behind boundaries, which some gateways add."""
        body = ALL.replace(b"--frontier\r\nContent", b"--frontier \t \r\nContent").replace(
            b"--frontier--", b"--frontier-- \t"
        )
        self.assertEqual(body.count(b"frontier \t \r\n"), 5)
        for ending in (b"", b"--frontie\r\nan epilogue"):
            for size in (len(body), *range(1, 16)):
                whole = body + ending
                self.assertEqual(read([whole[at : at + size] for at in range(0, len(whole), size)]), FOUND, size)
        self.assertEqual(read([body.removesuffix(b"\r\n")]), FOUND)

    def test_the_last_file_is_not_whole_before_its_boundary_is(self) -> None:
        """What comes behind two dashes may show that it is no boundary."""
        reader = MultipartReader(B)
        list(reader.feed(whole(file(b"1"))[: -len(b"\r\n")]))
        with self.assertRaisesRegex(MalformedBody, "more"):
            list(reader.feed(b"more\r\n"))
        self.assertIsNotNone(reader.part)

    def test_boundary_behind_the_last_one(self) -> None:
        """A file with the last boundary in it would be stored cut short, and those behind it not at all."""
        for inner in (b"--frontier--\r\n", b"x\r\n--frontier--\r\nmore", b"x\r\n--frontier-- \r\n\r\n"):
            body = whole(file(b"1\r\n" + inner), file(b"2"))
            for size in (len(body), 1, 3, 7):
                reader = MultipartReader(B)
                with self.assertRaisesRegex(MalformedBody, "boundary"):
                    for at in range(0, len(body), size):
                        for event in reader.feed(body[at : at + size]):
                            self.assertNotIsInstance(event, PartEnded)
                    list(reader.finish())

    def test_large_pieces_are_not_copied(self) -> None:
        """What has nothing of a boundary in it is handed on as it is."""
        reader = MultipartReader(B)
        list(reader.feed(whole(file(b""))[: -len(b"\r\n--frontier--\r\n")]))
        piece = b"x" * 100_000
        (event,) = reader.feed(piece)
        self.assertIs(event, piece)
        self.assertEqual(reader.held, 0)

    def test_lazily(self) -> None:
        """What comes after a part is not looked at before it is asked for."""
        reader = MultipartReader(B)
        events = reader.feed(whole(file(b"1")) + b"")
        self.assertIsInstance(next(events), PartBegun)
        self.assertIsNotNone(reader.part)
        self.assertEqual(next(events), b"1")
        self.assertEqual(list(events), [])
        events = reader.finish()
        self.assertIsNotNone(reader.part)
        self.assertIsInstance(next(events), PartEnded)
        self.assertIsNone(reader.part)
        self.assertEqual(list(events), [])

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_any(self, data: st.DataObject) -> None:
        """Bodies of anything, above all of what looks like a boundary, cut anywhere."""
        letters = "0123456789abcXYZ'()+_,-./:=? "
        boundary = data.draw(st.text(letters, min_size=1, max_size=70).filter(lambda text: text[-1] != " ")).encode()
        delimiter = b"\r\n--" + boundary
        morsels = st.one_of(
            st.binary(max_size=20),
            st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"--", delimiter[:-1], delimiter[1:], boundary]),
            st.integers(1, len(delimiter) - 1).map(lambda size: delimiter[:size]),
        )
        contents = st.lists(morsels, max_size=8).map(b"".join).filter(lambda content: delimiter not in content)
        # The text before a delimiter must not begin one with it.
        contents = contents.filter(lambda content: (content + delimiter).find(delimiter) == len(content))
        chosen = data.draw(st.lists(st.tuples(st.booleans(), contents), max_size=5))
        body = whole(
            *(
                part(content, f'; name="n{at}"' + ('; filename="x"' if is_file else ""), boundary=boundary)
                for at, (is_file, content) in enumerate(chosen)
            ),
            boundary=boundary,
        )
        cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True) if a < b]
        expected: list[Any] = []
        for at, (is_file, content) in enumerate(chosen):
            if is_file:
                expected.append((f"n{at}", "x", "", content))
            else:
                try:
                    expected.append((f"n{at}", content.decode()))
                except UnicodeDecodeError:
                    expected = None  # type: ignore[assignment]
                    break
        if expected is None:
            self.assertRaises(MalformedBody, read, pieces, boundary)
        else:
            self.assertEqual(read(pieces, boundary), expected)


class HeadTests(SynchronousTestCase):
    """What the head of a part says."""

    def name_of(self, parameters: bytes, before: bytes = b"") -> Any:
        body = before + b"\r\n--frontier\r\nContent-Disposition: form-data" + parameters + b"\r\n\r\nx\r\n--frontier--"
        (found,) = (each for each in read([body[2:]]) if len(each) == 4)
        return found[:2]

    def test_many_quotes(self) -> None:
        """They cost no more than other letters: looked at again and again, these would take minutes."""
        for end in ("", '"'):
            bodies = [whole(part(b"x", '; name="f"; filename="' + '\\"' * 7000 + end))] * 100
            for body in bodies:
                if end:
                    self.assertEqual(read([body]), [("f", '"' * 7000, "", b"x")])
                else:
                    self.assertRaises(MalformedBody, read, [body])

    def test_names(self) -> None:
        for parameters, name, filename in (
            (b'; name="f"; filename="a.txt"', "f", "a.txt"),
            (b"; name=f; filename=a.txt", "f", "a.txt"),
            (b';name="f";filename="a.txt"', "f", "a.txt"),
            (b'; filename="a.txt"; name="f"', "f", "a.txt"),
            (b'; filename="a.txt"', "", "a.txt"),
            (b'; name="f"; filename=""', "f", ""),
            ('; name="ä"; filename="käse \U0001f600.txt"'.encode(), "ä", "käse \U0001f600.txt"),
            (b'; name="a%22b"; filename="a%22b%0D%0Ac.txt"', 'a"b', 'a"b\r\nc.txt'),
            (b'; name="f"; filename="100%.txt"', "f", "100%.txt"),
            (b'; name="f"; filename="a%41.txt"', "f", "a%41.txt"),
            (b'; name="f"; filename="a\\"b.txt"', "f", 'a"b.txt'),
            (b'; name="f"; filename="C:\\home\\a.txt"', "f", "a.txt"),
            (b'; name="f"; filename="a; name=\\"x.txt"', "f", 'a; name="x.txt'),
            (b'; name="f"; filename="a;b=c.txt"', "f", "a;b=c.txt"),
            (b"; name=\"f\"; filename*=UTF-8''k%C3%A4se.txt", "f", "käse.txt"),
            (b'; name="f"; filename="kaese.txt"; filename*=utf-8\'de\'k%c3%a4se.txt', "f", "käse.txt"),
            (b"; name=\"f\"; filename*=UTF-8''k%C3%A4se.txt; filename=kaese.txt", "f", "käse.txt"),
            (b"; name=\"f\"; filename*=iso-8859-1''k%E4se.txt", "f", "käse.txt"),
            (b'; name="f"; filename="b"; filename*=UTF-8\'\'%FF', "f", "b"),
            (b'; name="f"; filename="b"; filename*=utf-7\'\'abc', "f", "b"),
            (b'; name="f"; filename="x filename*=UTF-8\'\'evil"', "f", "x filename*=UTF-8''evil"),
            (b"; name=file; filename=my holiday 1.jpg", "file", "my holiday 1.jpg"),
            (b"; name=file; filename=my holiday 1.jpg ", "file", "my holiday 1.jpg"),
            (b"; filename=IMG(1).jpg; name=file", "file", "IMG(1).jpg"),
            (b"; name=f; filename=a,b=c@d [1] 'e'.jpg", "f", "a,b=c@d [1] 'e'.jpg"),
            ("; name=f; filename=voil\u00e0; filename*=UTF-8''voil%C3%A0".encode(), "f", "voilà"),
            ("; name=f; filename=voil\u00e0".encode(), "f", "voilà"),
            (b"; name=f; filename=C:\\home dir\\a b.txt", "f", "a b.txt"),
            (b'; name="f"; filename="\\\\server\\my share\\a.txt"', "f", "a.txt"),
            (b'; name="f"; filename="a\\b.txt"', "f", "a\\b.txt"),
            (b'; name="f"; filename="a\\\\b.txt"', "f", "a\\\\b.txt"),
            (b'; name="f"; filename="5\\" disk.img"', "f", '5" disk.img'),
            (b'; name="f"; filename="5%22 disk.img"', "f", '5" disk.img'),
            (b'; name="f"; filename="a\\\\\\"b"', "f", 'a\\"b'),
            (b'; name="f"; filename="my\r\n holiday.jpg"', "f", "my holiday.jpg"),
            (b' ; NAME = "f" ;FileName= "a b.txt" ;', "f", "a b.txt"),
            (b"; name=f; filename*=\"UTF-8''k%C3%A4se.txt\"", "f", "käse.txt"),
            (b"; name*=UTF-8''%C3%A4; filename=x", "ä", "x"),
            (b'; name="f"; filename="a.txt"; size=5; handling=required', "f", "a.txt"),
        ):
            self.assertEqual(self.name_of(parameters), (name, filename), parameters)

    def test_names_that_are_not_whole(self) -> None:
        """What cannot be the whole name is refused: files with the same beginning would replace each other."""
        for parameters in (
            b'; name="f"; filename="5" disk.img"',
            b'; name="f"; filename="5"disk.img',
            b'; name="f"; filename=5" disk.img',
            b'; name="f"; filename=""5" disk.img"',
            b'; name="f"; filename="a',
            b"; name=f; filename=a; b.txt",
            b"; name=f; filename=a; size=3.txt",
            b"; name=f; filename=a\\; b.txt",
            b'; name="f"; filename="a.txt"; filename="b.txt"',
            b'; name="f"; filename="a.txt"; FILENAME=b.txt',
            b'; name="f"; name="g"; filename="a.txt"',
            b"; name=\"f\"; filename*=UTF-8''a; filename*=UTF-8''b",
            b"; name=\"f\"; filename*=UTF-8''my holiday.jpg",
            b"; name=\"f\"; filename*=UTF-8''k\xc3\xa4se",
            b"; name=\"f\"; filename*=UTF-8''" + b"%41" * 2000,
            b'; name="f"; filename="a.txt"' + b"; x=y" * 40,
            b"; name=f" + b";" * 10_000,
            b'; name="f"; filename="b"; filename*=UTF-8\'\'my holiday.jpg',
            b'; name="f"; filename*0="my "; filename*1="holiday.jpg"',
            b"; name=\"f\"; filename*0*=UTF-8''my%20; filename*1=holiday.jpg",
            b'; name="f"; filename="=?UTF-8?B?YS9i/2MudHh0?="',
            b'; name="f"; filename="=?iso-8859-1?q?a?= =?iso-8859-1?q?b?="',
            b'; name="f"; filename',
            b'; name="f"; file name="a.txt"',
            b' filename="a.txt"',
            b'x; filename="a.txt"',
            b', attachment; filename="a.txt"',
        ):
            with self.assertRaisesRegex(MalformedBody, "(?i)part 1.*(Content-Disposition|name)"):
                self.name_of(parameters)
        head = b'\r\n--frontier\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n%b'
        # A letter whose second half looks like a backslash, or like a space that is not one of ASCII's.
        for label, name in ((b"shift_jis", "表.txt"), (b"gbk", "乗"), (b"cp866", "мама"), (b"big5", "功")):
            data = name.encode(label.decode())
            for quote in (b'"', b""):
                found = self.name_of(b"; name=f; filename=" + quote + data + quote, head % label)
                self.assertEqual(found, ("f", name))
        with self.assertRaisesRegex(MalformedBody, "is not gbk"):
            self.name_of(b'; filename="a\xff\xff"', head % b"gbk")

    def test_extended_alone(self) -> None:
        for parameters in (b"; filename*=UTF-8''%FF", b"; filename*=abc", b"; filename*=utf-7''abc"):
            self.assertRaises(MalformedBody, self.name_of, parameters)

    def test_not_utf8(self) -> None:
        self.assertRaises(MalformedBody, self.name_of, b'; name="f"; filename="k\xe4se"')
        charset = b'\r\n--frontier\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n'
        for label, data in ((b"iso-8859-1", b"k\xe4se"), (b"windows-1252", b"k\xe4se"), (b"UTF-8", "käse".encode())):
            found = self.name_of(b'; name="f"; filename="' + data + b'"', charset + label)
            self.assertEqual(found, ("f", "käse"))
        for label in (b"rot13", b"zip", b"base64", b"idna", b"utf-7", b"", b"\0", b"x" * 50, b"utf-16"):
            with self.assertRaisesRegex(MalformedBody, "_charset_"):
                self.name_of(b'; filename="x"', charset + label)

    def test_value_by_charset(self) -> None:
        body = whole(part(b"koi8-r", '; name="_charset_"'), part(b"\xc1", '; name="v"'))
        self.assertEqual(read([body]), [("_charset_", "koi8-r"), ("v", "а")])
        self.assertRaises(MalformedBody, read, [whole(part(b"\xc1", '; name="v"'))])

    def test_encodings(self) -> None:
        for encoding in ("binary", "8bit", "7BIT", ""):
            body = whole(part(b"x", '; name="f"; filename="a"', f"Content-Transfer-Encoding: {encoding}"))
            self.assertEqual(read([body])[0][3], b"x")
        for encoding in ("base64", "quoted-printable", "x-own"):
            body = whole(part(b"x", '; name="f"; filename="a"', f"Content-Transfer-Encoding: {encoding}"))
            with self.assertRaisesRegex(MalformedBody, encoding):
                read([body])

    def test_nested(self) -> None:
        with self.assertRaisesRegex(MalformedBody, "multipart/mixed"):
            read([whole(part(b"x", '; name="f"', "Content-Type: multipart/mixed; boundary=inner"))])
        # A file may well be one.
        body = whole(part(b"x", '; name="f"; filename="mail"', "Content-Type: multipart/mixed; boundary=inner"))
        self.assertEqual(read([body])[0][3], b"x")

    def test_length_of_a_part(self) -> None:
        """A part may say how long it is; then it must be."""
        for length, right in ((4, True), (3, False), (5, False), (0, False)):
            body = whole(part(b"1234", '; name="f"; filename="a"', f"Content-Length: {length}"))
            for pieces in ([body], [body[at : at + 1] for at in range(len(body))]):
                if right:
                    self.assertEqual(read(pieces)[0][3], b"1234")
                else:
                    self.assertRaises(MalformedBody, read, pieces)

    def test_boundaries(self) -> None:
        for content_type, boundary in (
            (b"multipart/form-data; boundary=abc", b"abc"),
            (b"Multipart/Form-Data ;  BOUNDARY=abc ", b"abc"),
            (b'multipart/form-data; boundary="a b:c"', b"a b:c"),
            (b'multipart/form-data; charset=utf-8; boundary="abc"; x=y;', b"abc"),
            (b"multipart/form-data; boundary=----=_Part_1_2.3", b"----=_Part_1_2.3"),
            (b"multipart/form-data; boundary=" + b"x" * 70, b"x" * 70),
            (b'multipart/form-data; boundary="\'()+_,-./:=?"', b"'()+_,-./:=?"),
            (b'multipart/form-data; boundary="a\\bc"', b"abc"),
        ):
            self.assertEqual(boundary_of(content_type), boundary)
        for content_type in (
            b"",
            b"text/plain; boundary=abc",
            b"multipart/mixed; boundary=abc",
            b"multipart/form-data",
            b"multipart/form-data; boundary=",
            b'multipart/form-data; boundary=""',
            b'multipart/form-data; boundary="abc "',
            b"multipart/form-data; boundary=" + b"x" * 71,
            b"multipart/form-data; boundary=a; boundary=b",
            b'multipart/form-data; boundary="a',
            b"multipart/form-data; boundary=a\r\nb",
            b'multipart/form-data; boundary="a\nb"',
            b"multipart/form-data; boundary=\xe4",
            b"multipart/form-data boundary=abc",
            b"multipart/form-data; boundary*=UTF-8''abc",
            b"multipart/form-data; boundary*0=ab; boundary*1=c",
            b'multipart/form-data; boundary="a"b',
            b"multipart/form-data; boundary=a\xa0",
        ):
            self.assertRaises(MalformedBody, boundary_of, content_type)


DISPOSITION = b'Content-Disposition: form-data; name="f"; filename="a"'

#: Bodies that are none, and what is said of them.
MALFORMED: Sequence[tuple[bytes, str]] = (
    (b"", "boundary that its Content-Type"),
    (b"hello", "boundary that its Content-Type"),
    (b"--other\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--other--\r\n", "boundary that its Content-Type"),
    (b"--frontier", "boundary that its Content-Type"),
    (b"--frontier\r\n", "boundary that its Content-Type"),
    (b"--frontier\n" + DISPOSITION, "part 1 .* line break"),
    (b"x--frontier\r\n", "part 1 .* unexpected byte"),
    (b"--frontierx\r\n" + DISPOSITION, "part 1 .* unexpected byte"),
    (b"--frontier\r\n" + DISPOSITION + b"\n\nx\r\n--frontier--", "part 1 .* line break"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx", "ends within the file 'a'"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier", "ends within the file 'a'"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier\r\n", "without its last boundary"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier\r\nContent-", "without its last boundary"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier-x", "part 2 .* boundary"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier  \r\n", "without its last boundary"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier--more\r\n", "part 2 .* after a boundary.*more"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier-- more", "part 2 .* after a boundary.*more"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier--\nmore", "part 2 .* line break"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier --\r\n", "part 2 .* after a boundary"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier2\r\ny\r\n--frontier--", "part 2 .* after a boundary"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier\nX", "part 2 .* line break"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\n--frontier--\n", "ends within the file 'a'"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier" + b" " * 1100 + b"\r\n", "bytes after a boundary"),
    (b"--frontier-- x", "part 1 .* after a boundary|boundary that its Content-Type"),
    (b'--frontier\r\nContent-Disposition: form-data; name="f"\r\n\r\nx', "ends within the field 'f'"),
    (b"--frontier\r\n\r\nx\r\n--frontier--", "Content-Disposition"),
    (
        b"--frontier\r\n" + DISPOSITION + b"\r\nContent-Type: a/b\r\nCONTENT-TYPE: c/d\r\n\r\nx\r\n--frontier--",
        "2 Content-Type",
    ),
    (b"--frontier\r\nX: a\rContent-Type: b\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier--", "part 1 .* line break"),
    (b"--frontier\r\nContent-Type: text/plain\r\n\r\nx\r\n--frontier--", "content-Disposition"),
    (b"--frontier\r\nContent-Disposition: attachment; filename=a\r\n\r\nx\r\n--frontier--", "wrong type"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier--", "2 Content-Disposition"),
    (b"--frontier\r\nno colon\r\n\r\nx\r\n--frontier--", "part 1 .* header"),
    (b"--frontier\r\nbad name : x\r\n\r\nx\r\n--frontier--", "part 1 .* header"),
    (b"--frontier\r\n: x\r\n\r\nx\r\n--frontier--", "part 1 .* header"),
    (b"--frontier\r\n folded\r\n\r\nx\r\n--frontier--", "part 1 .* header"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\nContent-Length: -1\r\n\r\nx\r\n--frontier--", "Content-Length"),
    (b"--frontier\r\n" + DISPOSITION + b"\r\nContent-Length: 1e9\r\n\r\nx\r\n--frontier--", "Content-Length"),
)


class MalformedTests(SynchronousTestCase):
    """What is wrong is said, and however the body is cut the same is wrong with it."""

    def test_corpus(self) -> None:
        for body, said in MALFORMED:
            with self.assertRaisesRegex(MalformedBody, "(?i)" + said):
                read([body] if body else [])
            for size in (1, 3):
                with self.assertRaisesRegex(MalformedBody, "(?i)" + said):
                    read([body[at : at + size] for at in range(0, len(body), size)])

    def test_cut_off(self) -> None:
        """A body that ends early anywhere is refused, and has told of no more than was whole."""
        for end in range(ALL.rindex(b"--")):
            self.assertRaises(StorehouseError, read, [ALL[:end]])

    def test_preamble_that_ends_with_half_a_line_break(self) -> None:
        body = b"line\n--frontier\r\n" + DISPOSITION + b"\r\n\r\nx\r\n--frontier--"
        for size in (1, len(body)):
            with self.assertRaisesRegex(MalformedBody, "part 1 .* unexpected byte"):
                read([body[at : at + size] for at in range(0, len(body), size)])

    def test_wrong_boundary_is_found_early(self) -> None:
        reader = MultipartReader(B)
        with self.assertRaisesRegex(MalformedBody, "first 32 KiB"):
            for _ in range(100):
                list(reader.feed(b"line\r\n" * 200))
        self.assertLess(reader.held, 40_000)

    def test_empty_form(self) -> None:
        self.assertEqual(read([b"--frontier--\r\n"]), [])
        self.assertEqual(read([b"--frontier--"]), [])


class LimitTests(SynchronousTestCase):
    """What is too large is refused before it is held."""

    def refused(self, body: bytes, said: str, **limits: int) -> None:
        for size in (len(body), 1000, 7):
            reader = MultipartReader(B, FormLimits(**limits))
            with self.assertRaisesRegex(TooLarge, said):
                for at in range(0, len(body), size):
                    list(reader.feed(body[at : at + size]))
                    self.assertLess(reader.held, 40_000)

    def test_head(self) -> None:
        self.refused(whole(part(b"x", '; name="f"', "X-Long: " + "x" * 20_000)), "head of part 1")
        self.refused(whole(part(b"x", '; name="f"', *["X-Long: " + "x" * 2000] * 10)), "head of part 1")
        self.refused(whole(file(b"1"), part(b"x", '; name="f"', "X: " + "x" * 17_000)), "head of part 2")
        self.refused(whole(part(b"x", '; name="f"', *["X: y"] * 30)), "head of part 1")
        endless = whole(file(b"1"))[: -len(b"--\r\n")] + b"\r\nX-Endless: " + b"x" * 100_000
        self.refused(endless, "head of part 2")

    def test_field(self) -> None:
        self.refused(whole(part(b"x" * 1001, '; name="f"')), "field 'f' .* 1000 bytes", field=1000)
        self.assertEqual(
            read([whole(part(b"x" * 1000, '; name="f"'))], limits=FormLimits(field=1000))[0][1], "x" * 1000
        )

    def test_fields(self) -> None:
        body = whole(*(part(b"x" * 90, '; name="0123456789"') for _ in range(11)))
        self.refused(body, "1000 bytes together", fields=1000)
        read([body], limits=FormLimits(fields=1100))

    def test_which_was_first(self) -> None:
        """Of several bounds the one that is told is the one that was passed first, however the body is cut."""
        long_line = b"--" + B + b"\r\nX-Long: " + b"x" * 300 + b"\n\r\n"
        both = whole(part(b"x" * 40, '; name="0123456789"'), part(b"x" * 90, f'; name="{"y" * 40}"'))
        for body in (long_line, both):
            said = set()
            for size in (len(body), 50, 7, 1):
                reader = MultipartReader(B, FormLimits(head=200, field=60, fields=100))
                with self.assertRaises(TooLarge) as caught:
                    for at in range(0, len(body), size):
                        list(reader.feed(body[at : at + size]))
                said.add(caught.exception.detail)
            self.assertEqual(len(said), 1, said)

    def test_files_without_a_name(self) -> None:
        """Fields that are known to be files are, also without the name of one."""
        body = whole(part(b"\xff" * 70000, '; name="File"'), part(b"v", '; name="other"'))
        self.assertEqual(read([body], files=("file",)), [("File", None, "", b"\xff" * 70000), ("other", "v")])

    def test_unwanted_fields_are_not_held(self) -> None:
        body = whole(part(b"x" * 60_000, '; name="f"'), part(b"yes", '; name="csrf"'))
        reader = MultipartReader(B, wanted={"csrf"})
        found = []
        for at in range(0, len(body), 1000):
            found += reader.feed(body[at : at + 1000])
            self.assertLess(reader.held, 2000)
        found += reader.finish()
        self.assertEqual(found, [Field("csrf", "yes")])

    def test_parts(self) -> None:
        body = whole(*(file(b"x") for _ in range(4)))
        self.refused(body, "more than 3 files", parts=3)
        self.assertEqual(len(read([body], limits=FormLimits(parts=4))), 4)
