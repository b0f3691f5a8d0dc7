"""Tests of L{storehouse.frontends.upload.pages}."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.http.reply import Reply
from storehouse.frontends.upload import pages
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.pages.markup import element, joined
from storehouse.frontends.upload.pages.words import day_and_time, machine_time, size_of
from storehouse.storage.accounts.interfaces import Session
from tests.frontends.upload.gates import ANN
from tests.frontends.upload.html import Node, parse

SIGNED_IN = Visitor(ANN, "session", Session(ANN, 0.0, "cookie", 'to"ken'))
WITH_KEY = Visitor(ANN, "key")
NOBODY = Visitor(None, "public")

#: What would be markup if it were not escaped.
BAD = "<script>alert('x')</script>&amp;\"'"

FILE = pages.ListedFile("a/b c.txt", 1536, 1_000_000_000.0, "text/plain")


def listed(visitor: Visitor = SIGNED_IN, **fields: Any) -> Node:
    return parse(pages.listing(visitor, pages.ListingPage(**{"files": [FILE], **fields})).body)


def query(link: Node) -> dict[str, list[str]]:
    return parse_qs(urlsplit(link.attributes["href"] or "").query)


#: All pages, made of one text wherever they take one.
PAGES: dict[str, Callable[[str], Reply]] = {
    "upload": lambda text: pages.upload(SIGNED_IN),
    "sign_in": lambda text: pages.sign_in(text, text, text, 401),
    "sign_in_token": pages.sign_in_token,
    "listing": lambda text: pages.listing(
        SIGNED_IN,
        pages.ListingPage(
            [attrs.evolve(FILE, name=text + "x", content_type=text)],
            [text + "/"],
            prefix=text + "/",
            search=text,
            after=text,
            next_after=text,
            limit=text,
            note=text,
        ),
    ),
    "empty listing": lambda text: pages.listing(SIGNED_IN, pages.ListingPage([], search=text)),
    "stored": lambda text: pages.stored(SIGNED_IN, [pages.StoredFile(text, text + "x", 1, [(text, text)])], text, 400),
    "stats": lambda text: pages.stats(
        SIGNED_IN,
        pages.StatsPage(
            [pages.Figure(text, text, text, 0.5)],
            [pages.TransferRow(text, 1, 1.5, text, text, 0.0)],
            [pages.TransferRow(text, 1, 1.5, text, text, 0.0)],
        ),
    ),
    "link_made": lambda text: pages.link_made(SIGNED_IN, text, text, 0.0),
    "error": lambda text: pages.error(403, text, text, SIGNED_IN),
}


class AllPagesTests(SynchronousTestCase):
    """What is true of every page."""

    def test_policy(self) -> None:
        for name, make in PAGES.items():
            fields = dict(make("x").headers)
            policy = fields[b"Content-Security-Policy"]
            self.assertIn(b"default-src 'none'", policy, name)
            self.assertNotIn(b"unsafe", policy, name)
            self.assertEqual(fields[b"Cache-Control"], b"no-store", name)
            # With "no-referrer", browsers say "Origin: null" for our own forms.
            self.assertEqual(fields[b"Referrer-Policy"], b"same-origin", name)

    def test_nothing_inline_and_nothing_remote(self) -> None:
        for name, make in PAGES.items():
            page = parse(make("x").body)
            for node in page.all():
                wrong = [word for word in node.attributes if word == "style" or word.startswith("on")]
                self.assertEqual(wrong, [], name)
                self.assertNotEqual(node.tag, "style", name)
                if node.tag == "script":
                    self.assertEqual(node.text, "", name)
                for word in ("src", "href", "action"):
                    url = node.attributes.get(word)
                    if url is not None:
                        self.assertTrue(url.startswith("/") or url == "#content", (name, url))
                        self.assertFalse(url.startswith("//"), (name, url))

    def test_assets_are_there(self) -> None:
        from storehouse.frontends.upload.assets import load_assets

        served = load_assets().files
        for name, make in PAGES.items():
            page = parse(make("x").body)
            urls = [
                node.attributes.get("src") or node.attributes["href"] for node in page.all("script") + page.all("link")
            ]
            self.assertGreaterEqual(len(urls), 2, name)
            for url in urls:
                self.assertIn((url or "").removeprefix("/static/"), served)

    def test_people_who_do_not_see_it(self) -> None:
        for name, make in PAGES.items():
            page = parse(make("x").body)
            self.assertEqual(page.one("html").attributes["lang"], "en")
            self.assertEqual(len(page.all("h1")), 1, name)
            self.assertTrue(page.one("title").text, name)
            self.assertEqual(len(page.all("main")), 1, name)
            ids = [node.attributes["id"] for node in page.all() if "id" in node.attributes]
            self.assertEqual(len(ids), len(set(ids)), name)
            labels = {label.attributes["for"] for label in page.all("label")}
            for field in page.all("input") + page.all("textarea"):
                if field.attributes.get("type") != "hidden":
                    self.assertIn(field.attributes["id"], labels, name)
            for button in page.all("button"):
                self.assertTrue(button.text.strip() or button.attributes.get("aria-label"), name)

    def test_forms_have_the_token_first(self) -> None:
        for name, make in PAGES.items():
            for form in parse(make("x").body).all("form"):
                action = form.attributes["action"] or ""
                if form.attributes["method"] != "post" or action.startswith("/sign-in"):
                    continue
                first = form.all("input")[0]
                self.assertEqual((first.attributes["name"], first.attributes["value"]), ("csrf", 'to"ken'), name)

    @given(st.text(max_size=20))
    def test_any_text_is_text(self, text: str) -> None:
        for name, make in PAGES.items():
            parse(make(text).body)
            page = parse(make(BAD + text).body)
            self.assertEqual([node.attributes for node in page.all("script") if "src" not in node.attributes], [], name)

    def test_escaping(self) -> None:
        for name in ("sign_in", "listing", "stored", "stats", "link_made", "error"):
            self.assertIn(BAD, parse(PAGES[name](BAD).body).one("main").text, name)

    def test_text_that_utf8_cannot_say(self) -> None:
        self.assertIn(b"a?b", pages.error(404, "", "a\udc80b").body)


class MarkupTests(SynchronousTestCase):
    """Elements."""

    def test_attributes(self) -> None:
        made = element("a", "x", href='"<&', class_="c", aria_label="l", hidden=True, title=None, rel=False, tabindex=0)
        self.assertEqual(made, '<a href="&quot;&lt;&amp;" class="c" aria-label="l" hidden tabindex="0">x</a>')

    def test_children(self) -> None:
        made = element("p", "<", None, [element("b", "&"), ["x", None]], joined("a", element("br")))
        self.assertEqual(made, "<p>&lt;<b>&amp;</b>xa<br></p>")


class WordsTests(SynchronousTestCase):
    """Numbers and times."""

    def test_sizes(self) -> None:
        for count, text in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10234, "9.99 KiB"),
            (10240, "10.0 KiB"),
            (1023 * 1024, "1023 KiB"),
            (1048576 - 1, "1.00 MiB"),
            (300 << 20, "300 MiB"),
            (1 << 73, "8192 EiB"),
        ]:
            self.assertEqual(size_of(count), text)

    def test_times(self) -> None:
        self.assertEqual(machine_time(1_000_000_000.9), "2001-09-09T01:46:40Z")
        self.assertEqual(day_and_time(1_000_000_000.9), "2001-09-09 01:46 UTC")


class UploadPageTests(SynchronousTestCase):
    """C{upload}."""

    def test_form(self) -> None:
        page = parse(pages.upload(SIGNED_IN).body)
        form = page.one("form", id="plain")
        self.assertEqual(form.attributes["enctype"], "multipart/form-data")
        self.assertEqual((form.attributes["method"], form.attributes["action"]), ("post", "/upload"))
        self.assertEqual([node.attributes["name"] for node in form.all("input")], ["csrf", "file"])
        self.assertIn("any size", page.text)
        self.assertEqual(page.one("meta", name="csrf").attributes["content"], 'to"ken')

    def test_bounds(self) -> None:
        page = parse(pages.upload(SIGNED_IN, 5 << 20, 3600.0).body)
        self.assertIn("5.00 MiB", page.text)
        app = page.one("div", id="app").attributes
        self.assertEqual((app["data-max-size"], app["data-link-lifetime"]), (str(5 << 20), "3600"))

    def test_without_a_session(self) -> None:
        """A user with a certificate has no token, and cannot sign out."""
        page = parse(pages.upload(WITH_KEY).body)
        self.assertEqual(page.all("meta", name="csrf"), [])
        self.assertEqual([node.attributes["name"] for node in page.all("input")], ["file"])
        self.assertEqual(page.all("form", action="/sign-out"), [])


class SignInTests(SynchronousTestCase):
    """C{sign_in} and C{sign_in_token}."""

    def test_form(self) -> None:
        page = parse(pages.sign_in("/download?x=1").body)
        form = page.one("form")
        values = {node.attributes["name"]: node.attributes.get("value") for node in form.all("input")}
        self.assertEqual(values, {"next": "/download?x=1", "key_id": None, "secret": None})
        self.assertEqual(page.all("nav"), [])
        self.assertEqual(page.all(role="alert"), [])

    def test_refused(self) -> None:
        reply = pages.sign_in("/", "No.", "KEY", 401)
        page = parse(reply.body)
        self.assertEqual(reply.status, 401)
        self.assertEqual(page.one(role="alert").text, "No.")
        self.assertEqual(page.one("input", name="key_id").attributes["value"], "KEY")
        self.assertNotIn("value", page.one("input", name="secret").attributes)

    def test_token(self) -> None:
        form = parse(pages.sign_in_token("a/b?c").body).one("form")
        self.assertEqual((form.attributes["method"], form.attributes["action"]), ("post", "/sign-in/a%2Fb%3Fc"))
        self.assertEqual(len(form.all("button")), 1)


class ListingTests(SynchronousTestCase):
    """C{listing}."""

    def test_file(self) -> None:
        row = listed(folders=["a/"]).one("tr", data_name="a/b c.txt")
        link = row.all("a")[0]
        self.assertEqual((link.text, link.attributes["href"]), ("a/b c.txt", "/download/a/b%20c.txt"))
        self.assertIn("1.50 KiB", row.text)
        self.assertEqual(row.one("time").attributes["datetime"], "2001-09-09T01:46:40Z")
        delete = row.one("form", data_action="delete")
        self.assertEqual(delete.attributes["action"], "/download/a/b%20c.txt")
        self.assertEqual(delete.one("input", name="action").attributes["value"], "delete")
        share = row.one("form", data_action="link")
        self.assertEqual(share.one("input", name="name").attributes["value"], "a/b c.txt")
        self.assertIn("a/b c.txt", share.one("button").attributes["aria-label"] or "")

    def test_who_may_not(self) -> None:
        """What is public can be read, and nothing more."""
        page = listed(NOBODY)
        self.assertEqual([form.attributes["action"] for form in page.all("form")], ["/download"])
        self.assertEqual(page.all("nav"), [])

    def test_folders(self) -> None:
        page = listed(folders=["a/b/", "a/c/"], prefix="a/", search="", sort="size", order="desc")
        links = [link for row in page.all("tr") for link in row.all("a", class_="name")]
        self.assertEqual([link.text for link in links], ["b/", "c/", "b c.txt"])
        self.assertEqual(query(links[0]), {"prefix": ["a/b/"], "sort": ["size"], "order": ["desc"]})
        self.assertEqual(page.one("nav", aria_label="Folders").text, "All files / a")

    def test_sorting(self) -> None:
        page = listed(sort="size", order="desc", search="x")
        name, size, created, actions = page.one("thead").all("th")
        self.assertEqual(size.attributes["aria-sort"], "descending")
        self.assertNotIn("aria-sort", name.attributes)
        self.assertEqual(query(size.one("a")), {"sort": ["size"], "search": ["x"]})
        self.assertEqual(query(name.one("a")), {"search": ["x"]})
        self.assertEqual(query(created.one("a")), {"sort": ["created"], "order": ["desc"], "search": ["x"]})
        self.assertEqual(actions.text, "Actions")

    def test_search_keeps_the_rest(self) -> None:
        form = listed(search="x", prefix="a/", sort="size", order="desc", limit="5").one("form", role="search")
        values = {node.attributes["name"]: node.attributes["value"] for node in form.all("input")}
        self.assertEqual(values, {"prefix": "a/", "sort": "size", "order": "desc", "limit": "5", "search": "x"})

    def test_pages(self) -> None:
        self.assertEqual(listed().all("nav", aria_label="Pages"), [])
        first, following = listed(after="b", next_after="c&d", sort="size").one("nav", aria_label="Pages").all("a")
        self.assertEqual(query(first), {"sort": ["size"]})
        self.assertEqual(query(following), {"sort": ["size"], "after": ["c&d"]})

    def test_delete_comes_back(self) -> None:
        page = listed(after="b", search="x")
        self.assertEqual(page.one("input", name="next").attributes["value"], "/download?search=x&after=b")

    def test_nothing(self) -> None:
        page = listed(files=[])
        self.assertEqual(page.all("table"), [])
        self.assertEqual(page.one("div", class_="empty").one("a").attributes["href"], "/upload")
        self.assertIn("“x”", listed(files=[], search="x").text)

    def test_note(self) -> None:
        self.assertEqual(listed(note="a.txt was deleted.").one(role="status").text, "a.txt was deleted.")


class StoredTests(SynchronousTestCase):
    """C{stored}."""

    def test_all(self) -> None:
        reply = pages.stored(SIGNED_IN, [pages.StoredFile("a.txt", "a.txt", 3), pages.StoredFile("b", "b 2", 3)])
        page = parse(reply.body)
        self.assertEqual(reply.status, 200)
        self.assertEqual(page.one("h1").text, "Stored 2 files")
        self.assertEqual(page.all(role="alert"), [])
        self.assertEqual(page.text.count("sent as"), 1)
        self.assertEqual(page.one("ul").all("a")[1].attributes["href"], "/download/b%202")

    def test_some(self) -> None:
        page = parse(pages.stored(SIGNED_IN, [pages.StoredFile("a", "a", 3)], "it ended early", 400).body)
        self.assertEqual(page.one("h1").text, "Stored 1 file")
        self.assertEqual(page.one(role="alert").text, "The files after it were not stored: it ended early")

    def test_none(self) -> None:
        reply = pages.stored(SIGNED_IN, [], "it ended early", 400)
        page = parse(reply.body)
        self.assertEqual((reply.status, page.one("h1").text), (400, "Nothing was stored"))
        self.assertEqual(page.one(role="alert").text, "it ended early")
        self.assertEqual(parse(pages.stored(SIGNED_IN, []).body).one("h1").text, "Stored 0 files")


class StatsTests(SynchronousTestCase):
    """C{stats}."""

    def test_figures(self) -> None:
        figures = [pages.Figure("a", "1"), pages.Figure("b", "2", "of 3", 0.6667), pages.Figure("c", "9", "", 7.0)]
        page = parse(pages.stats(SIGNED_IN, pages.StatsPage(figures, [], [])).body)
        self.assertEqual([node.text for node in page.all("dt")], ["a", "b", "c"])
        self.assertEqual([meter.attributes["value"] for meter in page.all("meter")], ["0.667", "1.000"])
        self.assertIn("No transfers.", page.one("section", id="running").text)

    def test_tables(self) -> None:
        row = pages.TransferRow("a.txt", 1536, 2048.7, "ann", "tus", 1_000_000_000.0)
        page = parse(pages.stats(SIGNED_IN, pages.StatsPage([], [row], [row, row])).body)
        self.assertEqual(len(page.one("section", id="recent").one("tbody").all("tr")), 2)
        cells = [cell.text for cell in page.one("section", id="running").one("tbody").one("tr").all()]
        for text in ("a.txt", "1.50 KiB", "2.00 KiB/s", "ann", "tus", "2001-09-09 01:46 UTC"):
            self.assertIn(text, cells)


class ErrorTests(SynchronousTestCase):
    """C{error}."""

    def test_error(self) -> None:
        reply = pages.error(503, "", "Try again.", headers=((b"Retry-After", b"5"),))
        page = parse(reply.body)
        self.assertEqual((reply.status, page.one("h1").text), (503, "Service Unavailable"))
        self.assertIn((b"Retry-After", b"5"), reply.headers)
        self.assertIn("Try again.", page.text)
        self.assertEqual(parse(pages.error(403, "No", "x").body).one("h1").text, "No")

    def test_link_made(self) -> None:
        page = parse(pages.link_made(SIGNED_IN, "a.txt", "https://x/download/a.txt?signature=1", 1_000_000_000.0).body)
        self.assertEqual(page.one("textarea").text, "https://x/download/a.txt?signature=1")
        self.assertIn("a.txt until 2001-09-09 01:46 UTC", page.text)
