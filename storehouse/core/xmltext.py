"""
XML as S3 has it: written as plain text, read by expat.

Of what is read, document type declarations are refused (so no entities but XML's own five), and size, depth and number of
elements are bounded. Namespaces do not count, as with S3: names are without their prefixes, except for attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from xml.parsers import expat

import attrs

from storehouse.core.turns import breath
from storehouse.errors import StorehouseError

__all__ = [
    "DECLARATION",
    "NAMESPACE",
    "XML",
    "Node",
    "NotXML",
    "document",
    "document_in_turns",
    "element",
    "parse",
    "parse_in_turns",
    "text",
]

#: The type of documents.
XML = b"application/xml"

#: What a document begins with.
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

#: Of S3's documents.
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


# -- writing ---------------------------------------------------------------------------------------

# A carriage return would be read as a line feed. What XML 1.0 cannot say at all is written as S3 writes it: who has such keys
# asks for encoding-type=url.
_special = re.compile("[&<>\"'\x00-\x08\x0b-\x1f\x7f\ufffe\uffff\ud800-\udfff]")

_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}


def _reference(found: re.Match[str]) -> str:
    character = found[0]
    return _NAMED.get(character) or f"&#x{ord(character):x};"


def text(name: str, value: object) -> str:
    """An element with a text, or the text of a number; C{True} is C{true}."""
    if isinstance(value, bool):
        return f"<{name}>{'true' if value else 'false'}</{name}>"
    content = str(value)
    if _special.search(content):
        content = _special.sub(_reference, content)
    return f"<{name}>{content}</{name}>"


def element(name: str, *parts: str) -> str:
    """An element of what is written already."""
    return f"<{name}>{''.join(parts)}</{name}>"


def document(name: str, *parts: str) -> bytes:
    """A whole document in S3's namespace, of what is written already."""
    return f'{DECLARATION}<{name} xmlns="{NAMESPACE}">{"".join(parts)}</{name}>'.encode()


async def document_in_turns(name: str, parts: Iterable[str | bytes]) -> bytes:
    """
    L{document} of many parts, while others are served. Each is encoded by itself: one character of the wrong kind makes a text
    take four bytes for every other as well.
    """
    data = bytearray(f'{DECLARATION}<{name} xmlns="{NAMESPACE}">'.encode())
    for part in parts:
        data += part if isinstance(part, bytes) else part.encode()
        await breath()
    data += f"</{name}>".encode()
    return bytes(data)


# -- reading ---------------------------------------------------------------------------------------


class NotXML(StorehouseError):
    """A document is not what was to be read."""


_NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


@attrs.define(eq=False)
class Node:
    """
    An element.

    @ivar name: without a prefix.
    @ivar text: all characters that are directly in it.
    @ivar attributes: by their names as written, such as C{xsi:type}, without declarations of namespaces.
    """

    name: str
    text: str = ""
    children: list[Node] = attrs.Factory(list)
    attributes: Mapping[str, str] = _NO_ATTRIBUTES

    def child(self, name: str) -> Node | None:
        """The first of that name."""
        return next((each for each in self.children if each.name == name), None)

    def all(self, name: str) -> Iterator[Node]:
        """Those of that name."""
        return (each for each in self.children if each.name == name)

    def take_all(self) -> Iterator[Node]:
        """The children, which are taken out one by one: to free all elements of a long document at once takes long."""
        left = self.children[::-1]
        self.children.clear()
        while left:
            yield left.pop()

    def value(self, name: str, default: str = "") -> str:
        """The text of the first child of that name, without spaces around it."""
        found = self.child(name)
        return default if found is None else found.text.strip()

    def text_of(self, name: str) -> str:
        """The text of the first child of that name, as it is; empty without one."""
        found = self.child(name)
        return "" if found is None else found.text


class _Reader:
    def __init__(self, root: str, depth: int, nodes: int) -> None:
        self._root = root
        self._depth = depth
        self._left = nodes
        self._fed = 0
        self._path: list[Node] = []
        self._texts: list[list[str]] = []
        self.node: Node | None = None
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._doctype

    def feed(self, data: bytes, is_last: bool) -> None:
        try:
            self._parser.Parse(data, is_last)
            self._fed += len(data)
            if self._fed - self._parser.CurrentByteIndex > _TOKEN:
                raise NotXML("the document has a tag, or a comment, that is too long")
        except (expat.ExpatError, UnicodeError, LookupError, ValueError) as error:
            raise NotXML(f"the document is not well-formed XML: {error}") from None

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._left -= 1
        if self._left < 0 or len(self._path) >= self._depth:
            raise NotXML("the document has too many elements, or too many within each other")
        node = Node(name.rpartition(":")[2])
        if attributes:
            node.attributes = {key: value for key, value in attributes.items() if key.split(":")[0] != "xmlns"}
        if self._path:
            self._path[-1].children.append(node)
        elif self._root and node.name != self._root:
            raise NotXML(f"the document is of {node.name[:100]!r} and not of {self._root!r}")
        self._path.append(node)
        self._texts.append([])

    def _end(self, name: str) -> None:
        self.node = self._path.pop()
        self.node.text = "".join(self._texts.pop())

    def _characters(self, data: str) -> None:
        if self._texts:
            self._texts[-1].append(data)

    def _doctype(self, *ignored: object) -> None:
        raise NotXML("the document has a document type declaration, which is not taken")

    def finish(self) -> Node:
        if self.node is None:
            raise NotXML("the document is empty")
        return self.node


#: Of a document, at most: elements, and elements within each other.
_NODES, _DEPTH = 20_000, 16

#: Bytes that are read before others are served.
_SLICE = 8 << 10

#: Bytes of a tag, a comment or an instruction, which expat begins anew with each slice until it has the end.
_TOKEN = 128 << 10


def parse(data: bytes, root: str, depth: int = _DEPTH, nodes: int = _NODES) -> Node:
    """
    Read a document that is at most some 64 KiB.

    @param root: what its outermost element must be; empty for anything.
    @param depth: elements within each other, at most.
    @param nodes: elements, at most.
    @raise NotXML: if it is not well-formed, not of C{root}, or has more than it may. The table of errors has it as
        C{MalformedXML}.
    """
    reader = _Reader(root, depth, nodes)
    reader.feed(data, True)
    return reader.finish()


async def parse_in_turns(data: bytes, root: str, depth: int = _DEPTH, nodes: int = _NODES) -> Node:
    """L{parse} of a long document, while others are served."""
    reader = _Reader(root, depth, nodes)
    for start in range(0, len(data), _SLICE):
        reader.feed(data[start : start + _SLICE], False)
        await breath()
    reader.feed(b"", True)
    return reader.finish()
