"""
Random requests to an SFSP door, many in flight, in pieces, on disks that do their jobs in any order: answered as if
they were executed one after the other.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.sfsp import MAX_ID
from tests.frontends.sfsp.doors import OK, Door, ShuffledDisk, bounds, listing, receive, send
from tests.soak import SOAK, count, long_loop, rounds

# Few, so that requests concern one another.
_names = st.sampled_from([b"a", b"a", b"b", b"x" * 1500])
_ids = st.sampled_from([0, 1, 1, MAX_ID])
_data = st.one_of(
    st.binary(max_size=10), st.sampled_from([b"*/%" * 500, b"x" * 999, b"y" * 1000, b"z" * 3001, b"w" * 140_000])
)
_requests = st.lists(
    st.one_of(
        st.tuples(st.just("send"), _names, _ids, _data),
        st.tuples(st.just("receive"), _names, _ids),
        st.tuples(st.just("list"), _names),
    ),
    max_size=25,
)
_sizes = st.lists(st.one_of(st.integers(1, 50), st.integers(1, 200_000)), min_size=1, max_size=8)
_conversations = st.lists(_requests, min_size=1, max_size=3)


class Model:
    """What the protocol means."""

    def __init__(self) -> None:
        self.chunks: dict[tuple[bytes, int], bytes] = {}

    def execute(self, request: Any) -> Any:
        """Do it. @return: the answer."""
        kind, name, *rest = request
        if kind == "send":
            self.chunks[name, rest[0]] = rest[1]
            return OK
        if kind == "receive":
            data = self.chunks.get((name, rest[0]))
            return ("none",) if data is None else ("chunk", name, rest[0], data)
        return "ids", sorted(id for other, id in self.chunks if other == name)


def encode(request: Any) -> tuple[type, bytes]:
    """As the wire has it."""
    kind, *rest = request
    return {"send": send, "receive": receive, "list": listing}[kind](*rest)


class ModelTests(SynchronousTestCase):
    """The door against the model."""

    @given(_conversations, _sizes, st.integers(0, 2**32), st.booleans(), st.sampled_from([1, 1500, 1 << 20]))
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def converse(self, conversations: list[Any], sizes: list[int], seed: int, in_memory: bool, memory: int) -> None:
        """Whatever the pieces, the order of jobs, the pace of the reader, and the memory there is."""
        directory = os.path.abspath(self.mktemp())
        disk = ShuffledDisk(seed)
        door = Door(directory, bounds(memory=memory), in_memory=in_memory, disk=disk)
        try:
            model = Model()
            for requests in conversations:
                peer = door.connect(window=sizes[0])
                encoded = [encode(request) for request in requests]
                peer.expect(*(kind for kind, _ in encoded))
                data = b"".join(data for _, data in encoded)
                at = turn = 0
                # Megabytes in pieces of a byte take half a minute.
                least = 1 if SOAK else 1 + len(data) // 5000
                while at < len(data):
                    size = max(least, sizes[turn % len(sizes)])
                    peer.send(data[at : at + size], settle=False)
                    peer.transport.take(size)
                    disk.do_some()
                    at += size
                    turn += 1
                expected = [model.execute(request) for request in requests]
                while len(peer.answers) < len(expected) and (peer.unsent or disk.jobs or peer.transport.waiting):
                    peer.transport.take(50_000)
                    peer.settle()
                    peer.heard()
                peer.heard()
                self.assertEqual(peer.answers, expected)
                self.assertTrue(peer.is_in_order)
                self.assertEqual(door.factory._in_flight, 0)
                peer.close()
            disk.do_all()
            self.assertEqual(os.listdir(door.lists), [])
        finally:
            door.close()
            shutil.rmtree(directory)

    @long_loop
    def test_one_after_the_other(self) -> None:
        """See above."""
        for _ in rounds(1):
            self.converse()
            count("conversations", 40)
