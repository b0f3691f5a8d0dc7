"""C{/download}: what is stored, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import parse_qsl, quote, urlencode

import attrs

from storehouse.frontends.http.reply import Reply
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.pages.frame import icon, page, token_field
from storehouse.frontends.upload.pages.markup import Child, Markup, element, joined
from storehouse.frontends.upload.pages.words import day_and_time, machine_time, size_of

__all__ = ["ListedFile", "ListingPage", "listing", "listing_rows"]

#: What a list can be sorted by: the field, its heading, and the order that is meant by a first click.
_COLUMNS = (("name", "Name", "asc"), ("size", "Size", "desc"), ("created", "Stored", "desc"))

_USUAL = {"sort": "name", "order": "asc"}


@attrs.frozen
class ListedFile:
    """
    A file in a list.

    @ivar name: its key; slashes are folders.
    @ivar size: in bytes.
    @ivar created: seconds since 1970 UTC.
    """

    name: str
    size: int
    created: float
    content_type: str = ""


@attrs.frozen
class ListingPage:
    """
    A page of a list, and what was asked for: each C{str} of it is what the query has.

    @ivar files: the files of this page.
    @ivar folders: what names have in common up to the next slash after C{prefix}, which they end with.
    @ivar prefix: the folder that this is of; empty, or with a slash at its end.
    @ivar search: what names have to contain; empty for all.
    @ivar sort: C{name}, C{size} or C{created}.
    @ivar order: C{asc} or C{desc}.
    @ivar after: what this page comes after; empty for the first.
    @ivar next_after: what the next page comes after; C{None} if this is the last.
    @ivar limit: the C{limit} of the query; empty if it had none.
    @ivar note: something to be said above the list, such as that a file was deleted.
    @ivar link: the parameters of the link by which it is seen, for the URLs on it; empty without one.
    """

    files: Sequence[ListedFile]
    folders: Sequence[str] = ()
    prefix: str = ""
    search: str = ""
    sort: str = "name"
    order: str = "asc"
    after: str = ""
    next_after: str | None = None
    limit: str = ""
    note: str = ""
    link: str = ""

    def url(self, **changed: str) -> str:
        """The URL of this list with something else asked for; the names are those of the query."""
        fields = {
            "prefix": self.prefix,
            "search": self.search,
            "sort": self.sort,
            "order": self.order,
            "limit": self.limit,
            **changed,
        }
        # What goes without saying is not said.
        fields = {name: value for name, value in fields.items() if value and value != _USUAL.get(name)}
        query = "&".join(each for each in (urlencode(fields), self.link) if each)
        return f"/download?{query}" if query else "/download"


def listing(
    visitor: Visitor, what: ListingPage, link_lifetime: float = 604800.0, rows: Sequence[Markup] | None = None
) -> Reply:
    """
    The list.

    @param link_lifetime: the seconds for which a link may work, at most.
    @param rows: of L{listing_rows}, if they were made before.
    """
    if rows is None:
        rows = list(listing_rows(visitor, what))
    return page(
        "Files",
        element("div", element("h1", "Files"), _search(what), class_="title"),
        _way(what) if what.prefix else None,
        _folder_link(visitor, what) if what.prefix and visitor.user is not None else None,
        element("p", what.note, class_="notice good", role="status") if what.note else None,
        _table(what, rows) if rows else _nothing(what),
        _pages(what),
        element("div", id="app", data_link_lifetime=int(link_lifetime)),
        visitor=visitor,
        place="/download",
        script="listing.js",
    )


def _search(what: ListingPage) -> Markup:
    hidden = [("prefix", what.prefix), ("sort", what.sort), ("order", what.order), ("limit", what.limit)]
    hidden += parse_qsl(what.link)
    return element(
        "form",
        [element("input", type="hidden", name=name, value=value) for name, value in hidden if value],
        element("label", "Search names", for_="search", class_="unseen"),
        element(
            "input", type="search", id="search", name="search", value=what.search or None, placeholder="Search names"
        ),
        element("button", "Search"),
        role="search",
        method="get",
        action="/download",
        class_="search",
    )


def _way(what: ListingPage) -> Markup:
    """The folders above this one."""
    steps = what.prefix.rstrip("/").split("/")
    links: list[Child] = [element("a", "All files", href=what.url(prefix="", search=""))]
    for depth, step in enumerate(steps, 1):
        path = "/".join(steps[:depth]) + "/"
        is_here = depth == len(steps)
        links.append(" / ")
        links.append(
            element("span", step, aria_current="page")
            if is_here
            else element("a", step, href=what.url(prefix=path, search=""))
        )
    return element("nav", links, aria_label="Folders", class_="way")


def _folder_link(visitor: Visitor, what: ListingPage) -> Markup:
    """A form that makes a link by which others list and read all below this folder."""
    fields = (("permissions", "read,list"), ("name", what.prefix))
    return element(
        "form",
        token_field(visitor),
        [element("input", type="hidden", name=name, value=value) for name, value in fields],
        element(
            "button",
            icon("link"),
            element("span", "Link to this folder"),
            aria_label=f"Make a link to all files in {what.prefix}",
            class_="quiet",
        ),
        method="post",
        action="/links",
    )


def _nothing(what: ListingPage) -> Markup:
    if what.search:
        link: Child
        text: Child = f"No name contains “{what.search}”."
        link = element("a", "Show all files", href=what.url(search=""), class_="button")
    else:
        text, link = (
            "Nothing is stored here yet.",
            None if what.link else element("a", "Upload files", href="/upload", class_="button primary"),
        )
    return element("div", icon("box"), element("p", text), element("p", link), class_="empty")


def listing_rows(visitor: Visitor, what: ListingPage) -> Iterator[Markup]:
    """The rows of the list, one by one: each takes a while."""
    for name in what.folders:
        yield _folder(what, name)
    for file in what.files:
        yield _row(visitor, what, file, visitor.user is not None)


def _table(what: ListingPage, rows: Sequence[Markup]) -> Markup:
    headings = [
        element(
            "th",
            element("a", text, href=what.url(sort=field, order=_next_order(what, field, first))),
            scope="col",
            aria_sort=_sorted(what, field),
            class_=field,
        )
        for field, text, first in _COLUMNS
    ]
    return element(
        "table",
        element("caption", "Stored files", class_="unseen"),
        element(
            "thead", element("tr", headings, element("th", element("span", "Actions", class_="unseen"), scope="col"))
        ),
        element("tbody", list(rows)),
        class_="list",
    )


def _next_order(what: ListingPage, field: str, first: str) -> str:
    """The order that a click on a heading asks for."""
    if what.sort != field:
        return first
    return "desc" if what.order == "asc" else "asc"


def _sorted(what: ListingPage, field: str) -> str | None:
    if what.sort != field:
        return None
    return "ascending" if what.order == "asc" else "descending"


def _folder(what: ListingPage, name: str) -> Markup:
    short = name.removeprefix(what.prefix)
    link = element("a", icon("folder"), element("span", short), href=what.url(prefix=name, search=""), class_="name")
    return element("tr", element("th", link, scope="row"), element("td"), element("td"), element("td"))


def _row(visitor: Visitor, what: ListingPage, file: ListedFile, may_change: bool) -> Markup:
    path = f"/download/{quote(file.name, safe='/')}"
    href = f"{path}?{what.link}" if what.link else path
    short = file.name.removeprefix(what.prefix)
    when = element("time", day_and_time(file.created), datetime=machine_time(file.created))
    size = element("span", size_of(file.size), title=f"{file.size} bytes")
    return element(
        "tr",
        element("th", element("a", icon("file"), element("span", short), href=href, class_="name"), scope="row"),
        element("td", size, class_="number"),
        element("td", when, class_="when"),
        element("td", _actions(visitor, what, file, path) if may_change else None, class_="actions"),
        data_name=file.name,
    )


def _actions(visitor: Visitor, what: ListingPage, file: ListedFile, path: str) -> Markup:
    """Forms, which work without scripts; with them, a link is copied and a file deleted without leaving the page."""
    token = token_field(visitor)
    link = element(
        "form",
        token,
        element("input", type="hidden", name="method", value="GET"),
        element("input", type="hidden", name="name", value=file.name),
        element(
            "button", icon("link"), element("span", "Link"), aria_label=f"Make a link to {file.name}", class_="quiet"
        ),
        method="post",
        action="/links",
        data_action="link",
    )
    delete = element(
        "form",
        token,
        element("input", type="hidden", name="action", value="delete"),
        element("input", type="hidden", name="next", value=what.url(after=what.after)),
        element(
            "button", icon("bin"), element("span", "Delete"), aria_label=f"Delete {file.name}", class_="quiet danger"
        ),
        method="post",
        action=path,
        data_action="delete",
    )
    return joined(link, delete)


def _pages(what: ListingPage) -> Markup | None:
    if not what.after and what.next_after is None:
        return None
    return element(
        "nav",
        element("a", "First page", href=what.url(), class_="button") if what.after else None,
        element("a", "Next page", href=what.url(after=what.next_after), rel="next", class_="button")
        if what.next_after is not None
        else None,
        aria_label="Pages",
        class_="pages",
    )
