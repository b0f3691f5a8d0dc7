"""
Feeds bytes to L{storehouse.core.xmltext}, at once and in pieces: both must come to the same, and to what the standard library reads.

As a program it does so with atheris until it finds a difference, a failure that is not meant, or the end of its time;
C{python -m tests.fuzz.documents SECONDS DIRECTORY}.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from storehouse.core import xmltext
from storehouse.core.xmltext import Node, NotXML, element, parse, text
from tests.fuzz.running import run_fuzzer

__all__ = ["SEEDS", "try_bytes"]

_DEPTH, _NODES = 6, 30

#: What a fuzzer may begin with: a byte that says how it is cut, and a document.
SEEDS = [
    b"\0<Delete><Object><Key>a&amp;b</Key><VersionId>null</VersionId></Object><Quiet>true</Quiet></Delete>",
    b'\5<?xml version="1.0" encoding="UTF-8"?>\n<s:A xmlns:s="http://x/" xmlns="http://y/"><s:B a="1" s:c="2"/>x<!-- y --></s:A>',
    b"\3<A>\xc3\xa4<![CDATA[<]]>&#x10ffff;&#65;<?p q?></A>",
    b"\7<?xml version='1.0' encoding='latin-1'?><A>\xe4</A>",
    b"\2<!DOCTYPE A [<!ENTITY x 'y'>]><A>&x;</A>",
    b"\1" + "<A>x</A>".encode("utf-16"),
    b"\4" + b"<A>" * 6 + b"</A>" * 6,
]


def try_bytes(data: bytes) -> None:
    """@raise AssertionError: if they are not understood in one way only."""
    if not data:
        return
    size, data = data[0] % 16 + 1, data[1:]
    whole, pieces = _play([data]), _play([data[at : at + size] for at in range(0, len(data), size)])
    if (whole is None) != (pieces is None) or (whole and pieces and _content(whole) != _content(pieces)):
        raise AssertionError(f"in pieces of {size}: {whole} {pieces}")
    if whole is None:
        return
    if _counted(whole) > _NODES or _deep(whole) > _DEPTH:
        raise AssertionError("it is larger than it may be")
    try:
        found = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        # There prefixes are looked up; here they mean nothing.
        if b":" not in data and ":".encode("utf-16-le") not in data:
            raise AssertionError(f"it is refused elsewhere: {error}") from None
        return
    if _content(whole) != _content_elsewhere(found):
        raise AssertionError(f"{_content(whole)} is elsewhere {_content_elsewhere(found)}")
    written = _written(whole).encode()
    if _content(parse(written, whole.name)) != _content(whole):
        raise AssertionError(f"written and read again: {written!r}")


def _play(pieces: list[bytes]) -> Node | None:
    reader = xmltext._Reader("", _DEPTH, _NODES)
    try:
        for piece in pieces:
            reader.feed(piece, False)
        reader.feed(b"", True)
        return reader.finish()
    except NotXML:
        return None


def _content(node: Node) -> Any:
    return node.name, node.text, [_content(each) for each in node.children]


def _content_elsewhere(node: Any) -> Any:
    name = node.tag.rpartition("}")[2].rpartition(":")[2]
    own = (node.text or "") + "".join(each.tail or "" for each in node)
    return name, own, [_content_elsewhere(each) for each in node]


def _written(node: Node) -> str:
    return element(node.name, text("", node.text)[2:-3] if node.text else "", *map(_written, node.children))


def _counted(node: Node) -> int:
    return 1 + sum(map(_counted, node.children))


def _deep(node: Node) -> int:
    return 1 + max(map(_deep, node.children), default=0)


if __name__ == "__main__":
    run_fuzzer(try_bytes, [(xmltext._Reader, ("feed", "_start", "_end", "_characters", "finish"))], 1000)
