"""The answer to a plain form: what was stored, and what was not."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import attrs

from storehouse.frontends.http.reply import Reply
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.pages.frame import page
from storehouse.frontends.upload.pages.markup import Child, element
from storehouse.frontends.upload.pages.words import size_of

__all__ = ["StoredFile", "stored"]


@attrs.frozen
class StoredFile:
    """
    A file that a form brought.

    @ivar given: its name as it was given.
    @ivar name: the name that it has now.
    @ivar checksums: by the name of the algorithm, in hex.
    """

    given: str
    name: str
    size: int
    checksums: Sequence[tuple[str, str]] = ()


def stored(visitor: Visitor | None, files: Sequence[StoredFile], problem: str = "", status: int = 200) -> Reply:
    """
    Which files are stored.

    @param problem: why the rest of the form is not; empty if all is.
    """
    count = f"{len(files)} file{'' if len(files) == 1 else 's'}"
    title = f"Stored {count}" if files or not problem else "Nothing was stored"
    warning: Child = None
    if problem:
        text = f"The files after {'it' if len(files) == 1 else 'them'} were not stored: {problem}" if files else problem
        warning = element("p", text, class_="notice bad", role="alert")
    return page(
        title,
        element("h1", title),
        warning,
        element("ul", [_item(file) for file in files], class_="files") if files else None,
        element(
            "p",
            element("a", "Upload more", href="/upload", class_="button primary"),
            " ",
            element("a", "All files", href="/download", class_="button"),
            class_="actions",
        ),
        visitor=visitor,
        place="/upload",
        status=status,
    )


def _item(file: StoredFile) -> Child:
    renamed = element("span", f"sent as {file.given}", class_="hint") if file.given != file.name else None
    return element(
        "li",
        element("a", file.name, href=f"/download/{quote(file.name, safe='/')}", class_="name"),
        element("span", size_of(file.size), class_="number"),
        renamed,
        [
            element("span", algorithm, " ", element("code", value), class_="checksum")
            for algorithm, value in file.checksums
        ],
    )
