"""The page of a request that failed."""

from __future__ import annotations

from storehouse.frontends.http.reply import REASONS, Reply
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.pages.frame import page
from storehouse.frontends.upload.pages.markup import element

__all__ = ["error"]


def error(
    status: int,
    title: str,
    detail: str,
    visitor: Visitor | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Reply:
    """
    What went wrong.

    @param status: the HTTP status, shown too.
    @param title: the same in a few words; empty for the status' own.
    @param detail: what exactly, and what to do.
    @param headers: further header fields of the answer, such as C{Retry-After}.
    """
    title = title or REASONS.get(status, b"Error").decode("ascii")
    return page(
        title,
        element("p", str(status), class_="code", aria_hidden="true"),
        element("h1", title),
        element("p", detail, class_="lead"),
        element("p", element("a", "Back to the files", href="/", class_="button")),
        visitor=visitor,
        status=status,
        is_narrow=True,
        headers=headers,
    )
