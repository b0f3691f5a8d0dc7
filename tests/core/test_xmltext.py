"""Tests of L{storehouse.core.xmltext}."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.xmltext import Node, NotXML, document, document_in_turns, element, parse, parse_in_turns, text

#: What XML 1.0 can say.
SAYABLE = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.sampled_from("\t\n\r\x7f")
)


class WriteTests(SynchronousTestCase):
    """Documents are plain text."""

    def test_bytes(self) -> None:
        self.assertEqual(
            document("A", text("B", "x<&>\"'\r"), element("C", text("D", True), text("E", 12))),
            b'<?xml version="1.0" encoding="UTF-8"?>\n<A xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            b"<B>x&lt;&amp;&gt;&quot;&apos;&#xd;</B><C><D>true</D><E>12</E></C></A>",
        )
        self.assertEqual(text("Key", "a\x01\uffff"), "<Key>a&#x1;&#xffff;</Key>")

    @given(SAYABLE)
    def test_read_by_others(self, value: str) -> None:
        found = ElementTree.fromstring(document("A", text("B", value)).decode())
        self.assertEqual(found[0].text or "", value)
        self.assertEqual(parse(document("A", text("B", value)), "A").children[0].text, value)

    @given(st.lists(SAYABLE))
    def test_in_turns(self, values: list[str]) -> None:
        """A long document is the same, whether its parts are encoded or not."""
        parts = [text("B", value) for value in values]
        for given_ in (parts, [part.encode() for part in parts]):
            written = self.successResultOf(Deferred.fromCoroutine(document_in_turns("A", given_)))
            self.assertEqual(written, document("A", *parts))


class ReadTests(SynchronousTestCase):
    """Documents of clients."""

    def test_nodes(self) -> None:
        node = parse(
            b'<?xml version="1.0"?><s:Delete xmlns:s="http://x/" xmlns="http://y/"><Quiet> true </Quiet>'
            b'<Object a="1" xsi:type="Group" xmlns:xsi="http://z/">x<Key>a&amp;<![CDATA[<]]></Key>y</Object><s:Object/></s:Delete>',
            "Delete",
        )
        self.assertEqual((node.name, node.value("Quiet"), node.value("None", "?")), ("Delete", "true", "?"))
        first, second = node.all("Object")
        self.assertEqual((first.text, first.attributes), ("xy", {"a": "1", "xsi:type": "Group"}))
        key = first.child("Key")
        self.assertEqual(key and key.text, "a&<")
        self.assertEqual((second.children, node.child("Key")), ([], None))

    def refused(self, data: bytes, said: str, **bounds: int) -> None:
        error = self.assertRaises(NotXML, parse, data, "A", **bounds)
        self.assertIn(said, error.detail)
        failed = self.failureResultOf(Deferred.fromCoroutine(parse_in_turns(data, "A", **bounds)), NotXML)
        self.assertIn(said, failed.value.detail)

    def test_refused(self) -> None:
        for data in (b"", b"  ", b"<A>", b"A", b"<A></B>", b"<A/><A/>", b"<A>&x;</A>", b"\xff<A/>", b"<A>\x01</A>"):
            self.refused(data, "")
        self.refused(b"<B/>", "'B'")
        self.refused(b"<!DOCTYPE A><A/>", "document type")
        self.refused(b'<!DOCTYPE A [<!ENTITY x "y">]><A>&x;</A>', "document type")
        self.refused(b'<!DOCTYPE A SYSTEM "file:///etc/passwd"><A/>', "document type")
        self.refused(b"<?xml version='1.0' encoding='no-such'?><A/>", "")
        self.refused(b"<A>" * 17 + b"</A>" * 17, "too many")
        self.refused(b"<A>" + b"<B/>" * 10 + b"</A>", "too many", nodes=10)
        self.assertEqual(len(parse(b"<A>" + b"<B/>" * 9 + b"</A>", "A", nodes=10).children), 9)

    def test_long(self) -> None:
        """A document of any length is read in slices, which may end anywhere."""
        data = document("A", *(element("B", text("C", "ä" * (number % 50))) for number in range(3000)))
        found: Node = self.successResultOf(Deferred.fromCoroutine(parse_in_turns(data, "A")))
        self.assertEqual([len(each.value("C")) for each in found.children], [number % 50 for number in range(3000)])
        self.assertEqual(repr(found), repr(parse(data, "A")))

    def test_take_all(self) -> None:
        node = parse(b"<A><B/><C/><D/></A>", "A")
        self.assertEqual([each.name for each in node.take_all()], ["B", "C", "D"])
        self.assertEqual((node.children, node.attributes), ([], {}))

    def test_long_tags(self) -> None:
        """What expat begins anew with each slice is bounded; characters are not, since they are taken as they come."""
        size = 1 << 20
        for data in (b"<A " + b" " * size, b"<A b='" + b"c" * size, b"<" + b"A" * size, b"<A><!--" + b"-a" * size):
            failed = self.failureResultOf(Deferred.fromCoroutine(parse_in_turns(data + b"></A>", "A")), NotXML)
            self.assertIn("too long", failed.value.detail)
        for data in (b"a" * size, b"&amp;" * 100_000, b"<![CDATA[" + b"a" * size + b"]]>", b"\n" * size):
            found = self.successResultOf(Deferred.fromCoroutine(parse_in_turns(b"<A>" + data + b"</A>", "A")))
            self.assertGreaterEqual(len(found.text), 100_000)

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        """Whatever comes is refused or read."""
        for prefix in (b"", b"<A>"):
            try:
                parse(prefix + data, "A")
            except NotXML:
                pass
