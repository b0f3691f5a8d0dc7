"""Tests of the SFSP door: what it answers, from a store on disk and from one in memory."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from twisted.internet.defer import Deferred

from storehouse.core import sfsp
from storehouse.core.sfsp import MAX_ID
from storehouse.core.streams import BytesStream, read_all
from storehouse.frontends.sfsp.chunks import FileName
from tests.frontends.sfsp.doors import OK, Door, DoorCase, bounds, listing, receive, send

LONG = bytes(range(256)) * 16


class RequestTests(DoorCase):
    """Each request, on a store on disk."""

    in_memory = False

    def setUp(self) -> None:
        self.door = self.make_door(in_memory=self.in_memory)

    def test_conversation(self) -> None:
        self.assertEqual(
            self.door.ask(
                receive(b"a", 1),
                listing(b"a"),
                send(b"a", 1, b"one"),
                send(b"a", MAX_ID, b"last"),
                send(b"a", 0, b""),
                send(b"b", 5, b"other"),
                listing(b"a"),
                receive(b"a", 1),
                receive(b"a", 0),
                receive(b"a", MAX_ID),
                receive(b"a", 5),
                receive(b"c", 1),
                listing(b"c"),
                send(b"a", 1, b"another"),
                receive(b"a", 1),
                listing(b"a"),
            ),
            [
                ("none",),
                ("ids", []),
                OK,
                OK,
                OK,
                OK,
                ("ids", [0, 1, MAX_ID]),
                ("chunk", b"a", 1, b"one"),
                ("chunk", b"a", 0, b""),
                ("chunk", b"a", MAX_ID, b"last"),
                ("none",),
                ("none",),
                ("ids", []),
                OK,
                ("chunk", b"a", 1, b"another"),
                ("ids", [0, 1, MAX_ID]),
            ],
        )

    def test_bytes(self) -> None:
        """The very bytes of answers."""
        peer = self.door.connect()
        peer.send(sfsp.encode_send(b"a", 258, 2) + b"hi" + sfsp.encode_receive(b"a", 258) + sfsp.encode_list(b"a"))
        peer.send(sfsp.encode_receive(b"a", 1))
        expected = (
            "0a00000000000000 0000000000000000"
            "0a00000000000000 0100000000000000 61 0201000000000000 0200000000000000 6869"
            "0a00000000000000 0100000000000000 0201000000000000"
            "1400000000000000"
        )
        self.assertEqual(peer.received.hex(), expected.replace(" ", ""))

    def test_cut_anywhere(self) -> None:
        """Requests that come in two pieces, cut at every byte, are answered as if they came at once."""
        requests = [
            send(b"cut", 1, b"data*/%"),
            receive(b"cut", 1),
            listing(b"cut"),
            receive(b"cut", 2),
            send(b"cut", 2, b""),
        ]
        expected = [OK, ("chunk", b"cut", 1, b"data*/%"), ("ids", [1]), ("none",), OK]
        data = b"".join(data for _, data in requests)
        for cut in range(len(data) + 1):
            peer = self.door.connect()
            peer.expect(*(kind for kind, _ in requests))
            peer.send(data[:cut])
            peer.send(data[cut:])
            self.assertEqual(peer.heard(), expected, cut)
            self.assertTrue(peer.is_in_order)
            peer.close()
            for key in ("cut/00000000000000000001", "cut/00000000000000000002"):
                self.successResultOf(self.door.store.delete("sfsp", key))

    def test_byte_by_byte(self) -> None:
        peer = self.door.connect()
        for request, answer in (
            (send(b"a", 1, b"data"), OK),
            (receive(b"a", 1), ("chunk", b"a", 1, b"data")),
            (listing(b"a"), ("ids", [1])),
        ):
            kind, data = request
            peer.expect(kind)
            for at in range(len(data)):
                self.assertEqual(peer.heard(), [])
                peer.send(data[at : at + 1])
            self.assertEqual(peer.heard(), [answer])

    def test_names(self) -> None:
        """Names of any bytes, short and long, and of one each of all bytes."""
        names = [bytes([byte]) for byte in range(256)]
        names += [LONG, b"x" * 4096, b"x" * 1003, b"x" * 1004, b"../../etc", b"a/b", b"a//b", b"..", b"a\nb\0"]
        names += [b"sha256:" + hashlib.sha256(LONG).hexdigest().encode(), b"sfsp"]
        for name in names:
            self.assertEqual(
                self.door.ask(
                    send(name, 7, b"in " + name), receive(name, 7), listing(name), receive(name + b"?"[:1], 7)
                )[:3],
                [OK, ("chunk", name, 7, b"in " + name), ("ids", [7])],
            )
        for name in names:
            self.assertEqual(self.door.ask(receive(name, 7)), [("chunk", name, 7, b"in " + name)])
        shown = self.successResultOf(self.door.store.list_objects("sfsp"))
        self.assertEqual(len(shown.objects), len(names))

    def test_prefixes(self) -> None:
        """A file whose name begins with another's is another file."""
        for name in (b"a", b"ab", b"a/", b"a/00000000000000000001", b"x" * 2000, b"x" * 2001):
            self.assertEqual(self.door.ask(send(name, len(name), b"1"), listing(name)), [OK, ("ids", [len(name)])])

    def test_many_ids(self) -> None:
        """More than a page of them, in ascending order as numbers."""
        ids = [number * 7919 % 1013 for number in range(1013)] + [2**63 + 10, 2**32, 10**19, MAX_ID]
        self.assertEqual(set(self.door.ask(*(send(b"a", id, b"") for id in ids))), {OK})
        self.assertEqual(self.door.ask(listing(b"a")), [("ids", sorted(ids))])

    # -- as objects ----------------------------------------------------------------------------

    def put(self, key: str, data: bytes, metadata: Any = None) -> None:
        """An object."""
        self.successResultOf(self.door.store.put("sfsp", key, BytesStream(data), len(data), "", metadata or {}))

    def test_sent_is_an_object(self) -> None:
        self.door.ask(send(b"a b", 42, b"data"))
        reader = self.successResultOf(self.door.store.get("sfsp", "a%20b/00000000000000000042"))
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(read_all(reader))), b"data")
        self.assertEqual((reader.info.content_type, reader.info.metadata), ("application/octet-stream", {}))

    def test_long_name_stands_in_the_metadata(self) -> None:
        self.door.ask(send(LONG, 1, b"data"))
        (info,) = self.successResultOf(self.door.store.list_objects("sfsp")).objects
        self.assertEqual(info.key, f"sha256:{hashlib.sha256(LONG).hexdigest()}/00000000000000000001")
        self.assertEqual(info.metadata, {"sfsp-name": [FileName.of(LONG).text]})

    def test_object_is_a_chunk(self) -> None:
        """What another door stored under such a key is received and listed."""
        self.door.ask(send(b"a", 1, b""))
        self.put("a/00000000000000000005", b"five")
        self.put("a/00000000000000000001", b"one")
        self.assertEqual(
            self.door.ask(listing(b"a"), receive(b"a", 5), receive(b"a", 1)),
            [("ids", [1, 5]), ("chunk", b"a", 5, b"five"), ("chunk", b"a", 1, b"one")],
        )

    def test_other_objects_are_none(self) -> None:
        """Keys that this door would not write are no chunks."""
        self.door.ask(send(b"a", 1, b""))
        for key in ("a/1", "a/", "a", "a/000000000000000000002", "a/99999999999999999999", "a/0000000000000000000x",
                    "a/00000000000000000002/3", "A/00000000000000000003", "%61/00000000000000000004"):  # fmt: skip
            self.put(key, b"none")
        self.assertEqual(
            self.door.ask(listing(b"a"), *(receive(b"a", id) for id in (2, 3, 4))), [("ids", [1]), *[("none",)] * 3]
        )

    def test_foreign_digest(self) -> None:
        """An object under the key of a long name that does not have the name is not one of its chunks."""
        file = FileName.of(LONG)
        self.door.ask(send(LONG, 1, b"mine"))
        self.put(file.key(2), b"foreign")
        self.put(file.key(3), b"foreign", {"sfsp-name": ["another"]})
        self.put(file.key(4), b"copied", {"sfsp-name": [file.text]})
        self.assertEqual(
            self.door.ask(listing(LONG), *(receive(LONG, id) for id in (2, 3, 4)), send(LONG, 2, b"now mine")),
            [("ids", [1, 4]), ("none",), ("none",), ("chunk", LONG, 4, b"copied"), OK],
        )
        self.assertEqual(self.door.ask(receive(LONG, 2)), [("chunk", LONG, 2, b"now mine")])

    def test_bucket_is_removed(self) -> None:
        """It is made anew: at the latest for the request behind the one that finds it gone."""
        self.assertEqual(self.door.ask(send(b"a", 1, b"1")), [OK])
        self.successResultOf(self.door.store.delete("sfsp", "a/00000000000000000001"))
        self.successResultOf(self.door.store.delete_bucket("sfsp"))
        self.assertEqual(self.door.ask(receive(b"a", 1), listing(b"a")), [("none",), ("ids", [])])
        peer = self.door.connect()
        for _ in range(2):
            peer.ask(send(b"a", 1, b"2"))
        last = peer.heard()
        self.assertEqual(last[-1], OK)
        self.assertIn(last[0][0], ("ok", "internal"))
        self.assertEqual(self.door.ask(receive(b"a", 1)), [("chunk", b"a", 1, b"2")])

    def test_bucket_is_there(self) -> None:
        """Somebody else may have made it."""
        self.successResultOf(self.door.store.create_bucket("sfsp"))
        self.assertEqual(self.door.ask(send(b"a", 1, b"1")), [OK])

    def test_replaced_while_it_is_read(self) -> None:
        """Who began to receive before gets the old bytes to the end; who begins afterwards, the new."""
        old, new = os.urandom(900_000), os.urandom(800_000)
        self.door.ask(send(b"a", 1, old))
        slow = self.door.connect(window=1000)
        slow.ask(receive(b"a", 1))
        self.assertEqual(len(slow.received), 1000)
        self.assertEqual(
            self.door.ask(send(b"a", 1, new), receive(b"a", 1), listing(b"a")),
            [OK, ("chunk", b"a", 1, new), ("ids", [1])],
        )
        while not slow.heard():
            slow.transport.take(100_000)
            slow.settle()
        self.assertEqual(slow.answers, [("chunk", b"a", 1, old)])


class MemoryRequestTests(RequestTests):
    """The same on a store in memory."""

    in_memory = True


class RestartTests(DoorCase):
    """What was answered is there for another process."""

    def test_restart(self) -> None:
        directory = os.path.abspath(self.mktemp())
        door = Door(directory)
        self.assertEqual(door.ask(send(b"a", 1, b"1"), send(LONG, 2, b"2")), [OK, OK])
        door.close()
        os.rmdir(door.lists)
        door = Door(directory)
        self.addCleanup(door.close)
        self.assertEqual(
            door.ask(receive(b"a", 1), receive(LONG, 2), listing(LONG)),
            [("chunk", b"a", 1, b"1"), ("chunk", LONG, 2, b"2"), ("ids", [2])],
        )


class LimitTests(DoorCase):
    """What is refused before it is taken."""

    def refused(self, data: bytes, *words: str, before: Any = (), **limits: Any) -> None:
        door = self.make_door(bounds(**limits))
        peer = door.connect()
        peer.ask(*before)
        peer.send(data)
        (kind, text) = peer.heard()[-1]
        self.assertEqual(kind, "invalid")
        for word in words:
            self.assertIn(word, text)
        self.assertTrue(peer.is_closed)

    def test_name(self) -> None:
        """With the size of it, and no byte."""
        for kind in b"*/%":
            self.refused(bytes([kind]) + (11).to_bytes(8, "little"), "file name", "11", "10", max_name=10)
            self.refused(bytes([kind]) + bytes(8), "file name is empty")

    def test_chunk(self) -> None:
        for size in (101, MAX_ID):
            self.refused(sfsp.encode_send(b"a", 1, size), "chunk", str(size), "100", max_chunk=100)

    def test_as_large_as_allowed(self) -> None:
        door = self.make_door(bounds(max_name=10, max_chunk=100))
        self.assertEqual(door.ask(send(b"x" * 10, 1, b"y" * 100)), [OK])

    def test_no_request(self) -> None:
        for byte in (0, 10, 71, 255):
            self.refused(bytes([byte]), f"0x{byte:02x}")
        self.refused(b"GET / HTTP/1.1\r\n\r\n", "0x47")

    def test_behind_others(self) -> None:
        """What came before is answered before."""
        door = self.make_door()
        peer = door.connect()
        peer.ask(send(b"a", 1, b"1"), receive(b"a", 1), settle=False)
        peer.send(b"?" + send(b"a", 2, b"2")[1])
        heard = peer.heard()
        self.assertEqual(heard[:2], [OK, ("chunk", b"a", 1, b"1")])
        self.assertEqual([answer[0] for answer in heard[2:]], ["invalid"])
        self.assertEqual(door.ask(listing(b"a")), [("ids", [1])])
