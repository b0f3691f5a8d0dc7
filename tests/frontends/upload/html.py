"""Reads pages as a strict browser would: what is not closed, or closed twice, is an error."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["Node", "parse"]

_VOID = {"br", "hr", "img", "input", "link", "meta"}


class Node:
    """
    An element.

    @ivar children: elements and texts.
    """

    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Node | str] = []

    @property
    def text(self) -> str:
        """All text within."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, tag: str = "", **attributes: str) -> list[Node]:
        """The elements within of a tag and with these attributes, in order; C{class_} is C{class}."""
        found: list[Node] = []
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        for child in self.children:
            if isinstance(child, str):
                continue
            if tag in ("", child.tag) and all(child.attributes.get(name) == value for name, value in wanted.items()):
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def one(self, tag: str = "", **attributes: str) -> Node:
        """The only one."""
        found = self.all(tag, **attributes)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} times {tag} {attributes}")
        return found[0]


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Node("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if len({name for name, _ in attrs}) != len(attrs):
            raise AssertionError(f"an attribute twice: {attrs}")
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in _VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        if self.open.pop().tag != tag:
            raise AssertionError(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(data: bytes) -> Node:
    """A whole page."""
    parser = _Parser()
    parser.feed(data.decode())
    parser.close()
    if len(parser.open) != 1:
        raise AssertionError(f"not closed: {[node.tag for node in parser.open[1:]]}")
    return parser.open[0]
