"""The answer to a plain form that asks for a link."""

from __future__ import annotations

from storehouse.frontends.http.reply import Reply
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.pages.frame import page
from storehouse.frontends.upload.pages.markup import element
from storehouse.frontends.upload.pages.words import day_and_time

__all__ = ["link_made"]


def link_made(visitor: Visitor, name: str, url: str, expires: float, can: str = "read") -> Reply:
    """
    A signed link, to be copied.

    @param name: what it is a link to.
    @param can: what it allows, in words.
    @param expires: seconds since 1970 UTC.
    """
    return page(
        "Link",
        element("h1", "Link"),
        element("p", f"Anybody with this link can {can} {name} until {day_and_time(expires)}."),
        element("label", "Link", for_="link", class_="unseen"),
        element("textarea", url, id="link", readonly=True, rows=7, class_="link"),
        element("p", element("a", "Back to the files", href="/download", class_="button")),
        visitor=visitor,
        place="/download",
    )
