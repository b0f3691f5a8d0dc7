"""Tests of L{storehouse.frontends.upload.listing} and L{storehouse.frontends.upload.finding}."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Sequence
from random import Random
from typing import Any
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import BadRequest, NoSuchKey
from storehouse.frontends.upload import finding
from storehouse.frontends.upload.finding import Found, Wanted, find
from storehouse.frontends.upload.gate import Visitor
from storehouse.storage.objects.interfaces import Listing, ObjectInfo
from tests.frontends.upload.downloads import STORED, DownloadCase

SORTS = [(sort, is_descending) for sort in ("name", "size", "created") for is_descending in (False, True)]


class Shelf:
    """
    What a list asks of a store, over keys that are in order once and for all.

    @ivar looked_at: how many keys were given out.
    """

    def __init__(self, infos: Sequence[ObjectInfo]) -> None:
        self._infos = {info.key: info for info in infos}
        # As the store has it: by UTF-8, which is the order of Python's texts but for surrogates, of which there are none.
        self._keys = sorted(self._infos)
        self.looked_at = 0

    def head(self, bucket: str, key: str) -> Deferred[ObjectInfo]:
        info = self._infos.get(key)
        assert info is not None or key == "gone", key
        return succeed(info) if info is not None else _fail(NoSuchKey(key))

    def list_keys(self, bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> Deferred[list[str]]:
        start = bisect_right(self._keys, after)
        found: list[str] = []
        for at in range(start, len(self._keys)):
            if len(found) == limit:
                break
            if self._keys[at].startswith(prefix):
                found.append(self._keys[at])
        self.looked_at += len(found)
        return succeed(found)

    def list_objects(
        self, bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Deferred[Listing]:
        objects: list[ObjectInfo] = []
        prefixes: list[str] = []
        last = ""
        for at in range(bisect_right(self._keys, after), len(self._keys)):
            key = self._keys[at]
            if not key.startswith(prefix):
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            common = key[: cut + 1] if cut >= 0 else ""
            if common and (common == after or common in prefixes[-1:]):
                continue
            if len(objects) + len(prefixes) == limit:
                return succeed(Listing(objects, prefixes, last))
            if common:
                prefixes.append(common)
            else:
                objects.append(self._infos[key])
            last = common or key
        self.looked_at += len(objects)
        return succeed(Listing(objects, prefixes, None))


def _fail(error: Exception) -> Deferred[Any]:
    done: Deferred[Any] = Deferred()
    done.errback(error)
    return done


def info_of(key: str, size: int = 0, created: int = 0) -> ObjectInfo:
    return ObjectInfo(key, "id", size, "etag", created, "", {})


class FindCase(SynchronousTestCase):
    """Goes through all pages of a list."""

    def find(self, shelf: Any, wanted: Wanted) -> Found:
        found: Found = self.successResultOf(Deferred.fromCoroutine(find(shelf, wanted)))
        return found

    def walk(self, shelf: Any, limit: int, **wanted: Any) -> tuple[list[str], list[str]]:
        """All files and all folders, page by page."""
        files: list[str] = []
        folders: list[str] = []
        after = ""
        while True:
            found = self.find(shelf, Wanted("b", after=after, limit=limit, **wanted))
            self.assertLessEqual(len(found.files) + len(found.folders), limit)
            files += [info.key for info in found.files]
            folders += found.folders
            if found.next_after is None:
                return files, folders
            self.assertNotEqual(found.next_after, after)
            after = found.next_after


class ManyTests(FindCase):
    """8,000 files."""

    def setUp(self) -> None:
        random = Random(7)
        self.infos = [
            info_of(f"{'Photo' if number % 3 else 'note'} {number:05d}", random.randrange(500), random.randrange(50))
            for number in range(8_000)
        ]
        self.shelf = Shelf(self.infos)

    def expected(self, sort: str, is_descending: bool, search: str = "") -> list[str]:
        chosen = [info for info in self.infos if search.casefold() in info.key.casefold()]
        chosen.sort(key=lambda info: info.key, reverse=sort == "name" and is_descending)
        if sort != "name":
            # The sort is stable: those that are alike stay in the order of their names.
            chosen.sort(key=lambda info: getattr(info, sort) * (-1 if is_descending else 1))
        return [info.key for info in chosen]

    def test_every_order(self) -> None:
        """Complete, without duplicates, in order."""
        for sort, is_descending in SORTS:
            files, folders = self.walk(self.shelf, 4000, sort=sort, is_descending=is_descending)
            self.assertEqual((files, folders), (self.expected(sort, is_descending), []))

    def test_search(self) -> None:
        for search in ("NOTE", "777", "nothing", "o 0199"):
            for sort, is_descending in SORTS:
                files, _ = self.walk(self.shelf, 3000, sort=sort, is_descending=is_descending, search=search)
                self.assertEqual(files, self.expected(sort, is_descending, search))

    def test_work_of_a_search_is_bounded(self) -> None:
        """A page may be empty; the next one goes on."""
        self.patch(finding, "MOST_SEARCHED", 3000)
        found = self.find(self.shelf, Wanted("b", search="photo 07999", limit=10))
        self.assertEqual((found.files, found.looked_at, self.shelf.looked_at), ([], 3000, 3000))
        files, _ = self.walk(self.shelf, 10, search="photo 07999")
        self.assertEqual(files, ["Photo 07999"])

    def test_work_of_sorting_is_bounded(self) -> None:
        """And it is said that not everything was looked at."""
        self.patch(finding, "MOST_SORTED", 5000)
        found = self.find(self.shelf, Wanted("b", sort="size", limit=10))
        self.assertEqual(found.looked_at, 5000)
        best = sorted(sorted(self.infos, key=lambda info: info.key)[:5000], key=lambda info: (info.size, info.key))
        self.assertEqual(found.files, best[:10])


_names = st.text(st.sampled_from("ab/\0é"), min_size=1, max_size=5)


class ModelTests(FindCase):
    """Few files, of any names."""

    @settings(deadline=None)
    @given(
        st.dictionaries(_names, st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12),
        st.sampled_from(SORTS),
        st.sampled_from(["", "a", "a/", "é"]),
        st.sampled_from(["", "", "b", "É"]),
        st.integers(1, 4),
        st.booleans(),
    )
    def test_pages(
        self,
        kept: dict[str, tuple[int, int]],
        order: tuple[str, bool],
        prefix: str,
        search: str,
        limit: int,
        is_recursive: bool,
    ) -> None:
        shelf = Shelf([info_of(key, *numbers) for key, numbers in kept.items()])
        sort, is_descending = order
        files, folders = self.walk(
            shelf, limit, sort=sort, is_descending=is_descending, prefix=prefix, search=search,
            is_recursive=is_recursive,
        )  # fmt: skip
        below = [key for key in kept if key.startswith(prefix)]
        if search:
            below = [key for key in below if search.casefold() in key[len(prefix) :].casefold()]
        rolled = [] if search or is_recursive else [key for key in below if "/" in key[len(prefix) :]]
        own = sorted(set(below) - set(rolled), reverse=is_descending and sort == "name")
        if sort != "name":
            own.sort(key=lambda key: kept[key][sort == "created"] * (-1 if is_descending else 1))
        self.assertEqual(files, own)
        commons = {prefix + key[len(prefix) :].partition("/")[0] + "/" for key in rolled}
        self.assertEqual(folders, sorted(commons, reverse=is_descending and sort == "name"))

    @given(st.text(max_size=60))
    def test_after(self, text: str) -> None:
        """What is no token is refused, and nothing else happens."""
        shelf = Shelf([info_of("a")])
        for sort, is_descending in SORTS[1:]:
            wanted = Wanted("b", sort=sort, is_descending=is_descending, after=text or "x")
            finding_it = Deferred.fromCoroutine(find(shelf, wanted))  # type: ignore[arg-type]
            result: list[Any] = []
            finding_it.addBoth(result.append)
            self.assertTrue(isinstance(result[0], Found) or result[0].check(BadRequest), result)

    def test_tokens_of_other_shapes(self) -> None:
        shelf: Any = Shelf([info_of("a")])
        for value in (
            None,
            1,
            [],
            [1, 2],
            [2, 0, "a"],
            [1, "x", "a"],
            [1, True, "a"],
            [1, 0, 5],
            [1, 1.5, "a"],
            "[[[[",
        ):
            token = urlsafe_b64encode(json.dumps(value).encode()).decode()
            for given_token in (token, token.rstrip("=")):
                wanted = Wanted("b", sort="size", after=given_token)
                self.failureResultOf(Deferred.fromCoroutine(find(shelf, wanted)), BadRequest)

    def test_normal_forms(self) -> None:
        """Letters with marks are found however they are written here and there, and in any case."""
        names = ["\u00dcbung.txt", "U\u0308bung 2.txt", "stra\u00dfe", "\u1e9b\u0323", "\ud55c\uae00", "uebung"]
        shelf = Shelf([info_of(name) for name in names])
        for search, found in (
            ("\u00dcbung", names[:2]),
            ("u\u0308BUNG", names[:2]),
            ("U\u0308bung 2", names[1:2]),
            ("STRASSE", names[2:3]),
            ("STRA\u1e9eE", names[2:3]),
            ("\u1e61\u0323", names[3:4]),
            ("\u1112\u1161\u11ab\uae00", names[4:5]),
            ("ubung", []),
            ("ebung", names[5:]),
        ):
            for sort in ("name", "size"):
                wanted = Wanted("b", search=search, sort=sort)
                self.assertEqual([info.key for info in self.find(shelf, wanted).files], sorted(found), search)

    def test_gone_meanwhile(self) -> None:
        """A file that is removed between its name and a look at it is not listed."""
        shelf: Any = Shelf([info_of("a"), info_of("b")])
        keys = shelf.list_keys
        shelf.list_keys = lambda *args: keys(*args).addCallback(lambda found: [*found, "gone"])
        self.assertEqual([info.key for info in self.find(shelf, Wanted("b", search="o")).files], [])


class DoorTests(DownloadCase):
    """On the wire."""

    def setUp(self) -> None:
        super().setUp()
        for number, key in enumerate(("a/1", "a/2", "b", "k\u00e4se <1>")):
            self.now = STORED + number
            self.put(key, b"x" * (9 - number), content_type="text/plain", metadata={"uploader": ["ann"]})

    def names(self, query: str = "") -> tuple[list[str], list[str]]:
        told = self.told(f"GET /download{query}")
        return [file["name"] for file in told["files"]], told["folders"]

    def test_json(self) -> None:
        told = self.told("GET /download?recursive=1&limit=1")
        (file,) = told["files"]
        etag = file.pop("etag")
        self.assertEqual(
            file,
            {
                "name": "a/1",
                "size": 9,
                "created": STORED,
                "content_type": "text/plain",
                "url": "/download/a/1",
                "uploader": "ann",
            },
        )
        self.assertEqual(self.ask("GET /download/a/1").fields["etag"], f'"{etag}"')
        self.assertEqual((told["bucket"], told["looked_at"]), ("uploads", None))
        for url in [file["url"] for file in self.told("GET /download?recursive=1")["files"]]:
            self.ask(f"GET {url}")

    def test_urls_of_odd_names(self) -> None:
        """No client makes another path of them."""
        for key in ("x/../y", "x//y", "./z", "z/"):
            self.put(key, key.encode())
        for file in self.told("GET /download?recursive=1&search=y")["files"]:
            self.assertNotIn("/", file["url"].removeprefix("/download/"))
            self.assertEqual(self.ask(f"GET {file['url']}").body.decode(), file["name"])

    def test_queries(self) -> None:
        last = "k\u00e4se <1>"
        for query, expected in [
            ("", (["b", last], ["a/"])),
            ("/", (["b", last], ["a/"])),
            ("?prefix=a/", (["a/1", "a/2"], [])),
            ("?recursive=1", (["a/1", "a/2", "b", last], [])),
            ("?sort=size", ([last, "b"], ["a/"])),
            ("?sort=size&order=desc&recursive=1", (["a/1", "a/2", "b", last], [])),
            ("?sort=created&order=desc", ([last, "b"], ["a/"])),
            ("?order=desc", ([last, "b"], ["a/"])),
            ("?search=1", (["a/1", last], [])),
            ("?search=K%C3%84", ([last], [])),
            ("?search=&sort=&order=&prefix=", (["b", last], ["a/"])),
        ]:
            self.assertEqual(self.names(query), expected, query)
        for query in ("limit=0", "limit=1001", "sort=etag", "order=up", "x=1", "recursive=yes", "format=xml",
                      "after=x&sort=size", "prefix=%ff", "search=a&search=b"):  # fmt: skip
            self.ask(f"GET /download?{query}", status=400)

    def test_pages(self) -> None:
        for order in ("", "&sort=size", "&order=desc", "&search=1"):
            whole = self.told(f"GET /download?recursive=1{order}")["files"]
            found, after = [], ""
            while after is not None:
                page = self.told(f"GET /download?recursive=1&limit=1{order}&after={quote(after)}")
                found += page["files"]
                after = page["next_after"]
            self.assertEqual(found, whole)

    def test_html(self) -> None:
        """For who asks for it; names are text there."""
        for line, field in (("GET /download", "Accept: text/html,*/*;q=0.8"), ("GET /download?format=html", "X: y")):
            answer = self.ask(line, field)
            self.assertEqual(answer.fields["content-type"], "text/html; charset=utf-8")
            self.assertIn("k\u00e4se &lt;1&gt;".encode(), answer.body)
            self.assertNotIn(b"<1>", answer.body)
        answer = self.ask("GET /download?format=json", "Accept: text/html")
        self.assertEqual(json.loads(answer.body)["folders"], ["a/"])
        self.assertEqual((answer.fields["vary"], answer.fields["cache-control"]), ("Accept", "private, no-store"))

    def test_next_page_of_html(self) -> None:
        """The link of the page leads on."""
        body = self.ask("GET /download?format=html&limit=1&sort=size&order=desc&recursive=1").body.decode()
        self.assertIn("Next page", body)
        self.patch(finding, "MOST_SORTED", 1)
        self.patch(finding, "_SLICE", 1)
        body = self.ask("GET /download?format=html&sort=size").body.decode()
        self.assertIn("Too many files to sort", body)
        self.patch(finding, "MOST_SEARCHED", 1)
        body = self.ask("GET /download?format=html&search=nothing").body.decode()
        self.assertIn("Searched 1 names", body)
        self.assertIn("Next page", body)

    def test_who(self) -> None:
        self.successResultOf(self.store.create_bucket("photos"))
        self.put("p", b"x", "photos")
        told = self.told("GET /download?bucket=photos", "Accept: text/html")
        self.assertEqual([file["url"] for file in told["files"]], ["/download/p?bucket=photos"])
        self.assertEqual(self.ask(f"GET {told['files'][0]['url']}").body, b"x")
        self.gate.visitor = None
        self.ask("GET /download", status=401)
        self.gate.public = {"uploads"}
        self.assertEqual(self.names("?prefix=a/"), (["a/1", "a/2"], []))
        body = self.ask("GET /download", "Accept: text/html").body
        self.assertNotIn(b"Delete", body)
        self.assertEqual(self.gate.asked[-1], ("list", "uploads"))
        self.assertIsInstance(self.successResultOf(Deferred.fromCoroutine(self.gate.admit(None, "list"))), Visitor)
