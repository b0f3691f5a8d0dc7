"""HTML from Python calls. What is text is escaped, always; only what was made here is markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

__all__ = ["Child", "Markup", "document", "element", "joined"]

#: Elements without content and without an end tag (HTML, 13.1.2).
_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Markup(str):
    """Text that is HTML already. Made by L{element} and L{joined} only."""

    __slots__ = ()


#: What may be within an element; C{None} is nothing, a C{str} is text.
Child: TypeAlias = "Markup | str | Iterable[Child] | None"


def joined(*children: Child) -> Markup:
    """Things that follow each other."""
    return Markup("".join(_pieces(children)))


def element(tag: str, *children: Child, **attributes: str | int | bool | None) -> Markup:
    """
    An element.

    @param attributes: those that are C{None} or C{False} are left out, C{True} is one without a value. Of a name,
        underscores become hyphens, and one at the end goes: C{class_}, C{aria_label}.
    """
    words = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        words.append(name if value is True else f'{name}="{escape(str(value))}"')
    start = f"<{' '.join(words)}>"
    if tag in _VOID:
        return Markup(start)
    return Markup("".join([start, *_pieces(children), f"</{tag}>"]))


def document(root: Markup) -> bytes:
    """A whole document in UTF-8. What UTF-8 cannot say becomes a question mark."""
    return b"<!doctype html>\n" + root.encode("utf-8", "replace")


def _pieces(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str):
            yield escape(child, quote=False)
        elif child is not None:
            yield from _pieces(child)
