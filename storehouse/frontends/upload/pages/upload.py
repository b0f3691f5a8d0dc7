"""C{/upload}: a form; with scripts, one that can pause, and continue another day."""

from __future__ import annotations

from storehouse.frontends.http.reply import Reply
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.pages.frame import icon, page, token_field
from storehouse.frontends.upload.pages.markup import Markup, element
from storehouse.frontends.upload.pages.words import size_of

__all__ = ["upload"]


def upload(visitor: Visitor, max_size: int = 0, link_lifetime: float = 604800.0) -> Reply:
    """
    The page where files are chosen.

    @param max_size: the most bytes that a file may have; 0 for no bound.
    @param link_lifetime: the seconds for which a link may work, at most.
    """
    bound = f"Files may have up to {size_of(max_size)} each." if max_size else "Files may be of any size."
    return page(
        "Upload",
        element(
            "div",
            element("h1", "Upload"),
            element("p", bound, class_="hint"),
            class_="title",
        ),
        _form(visitor),
        element(
            "div",
            id="app",
            data_max_size=max_size,
            data_link_lifetime=int(link_lifetime),
        ),
        visitor=visitor,
        place="/upload",
        script="upload.js",
    )


def _form(visitor: Visitor) -> Markup:
    """The form that works everywhere; the script puts its own place to drop files there."""
    return element(
        "form",
        token_field(visitor),
        element(
            "div",
            icon("up"),
            element("label", "Choose one file or many", for_="files", class_="lead"),
            element("input", type="file", name="file", id="files", multiple=True, required=True),
            element("button", "Upload", class_="primary"),
            class_="drop",
        ),
        id="plain",
        method="post",
        action="/upload",
        enctype="multipart/form-data",
    )
