"""States as text: docs/formats/resumable.md."""

from __future__ import annotations

import json

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.checksummed import encode_checksummed
from storehouse.storage.resumable.states import State, decode_state, encode_state

STATE = State(
    id="00112233445566778899aabbccddeeff",
    owner="ann",
    grant="n",
    name="a/\xe4.txt",
    names="rename",
    content_type="text/plain",
    metadata={"filename": "\xe4.txt"},
    object_metadata={"via": ["tus"]},
    length=10,
    finals=["ffeeddccbbaa99887766554433221100"],
    is_partial=True,
    created=1.5,
    touched=2.25,
)

GOLDEN = (
    '{"id":"00112233445566778899aabbccddeeff","owner":"ann","grant":"n","name":"a/\xe4.txt","names":"rename",'
    '"contentType":"text/plain","metadata":{"filename":"\xe4.txt"},"objectMetadata":{"via":["tus"]},"length":10,'
    '"maxBytes":null,"isPartial":true,"pieces":[],"finals":["ffeeddccbbaa99887766554433221100"],"stage":"open",'
    '"key":"","etag":"","size":0,"created":1.5,"touched":2.25,"checksum":"268b7561"}\n'
)

texts = st.text(st.characters(codec="utf-8"), max_size=20)
counts = st.integers(0, 1 << 60)
states = st.builds(
    State,
    id=texts,
    owner=texts,
    grant=texts,
    name=texts,
    names=st.sampled_from(["rename", "replace", "refuse"]),
    content_type=texts,
    metadata=st.dictionaries(texts, texts, max_size=3),
    object_metadata=st.dictionaries(texts, st.lists(texts, max_size=3), max_size=3),
    length=st.none() | counts,
    max_bytes=st.none() | counts,
    is_partial=st.booleans(),
    awaits_end=st.booleans(),
    pieces=st.lists(texts, max_size=3),
    finals=st.lists(texts, max_size=3),
    stage=st.sampled_from(["open", "complete", "gone"]),
    key=texts,
    etag=texts,
    size=counts,
    created=st.floats(0, 1e12),
    touched=st.floats(0, 1e12),
)


class FormatTests(SynchronousTestCase):
    """L{encode_state} and L{decode_state}."""

    def test_golden(self) -> None:
        self.assertEqual(encode_state(STATE), GOLDEN.encode())
        self.assertEqual(decode_state(GOLDEN.encode()), STATE)

    def test_awaits_end(self) -> None:
        """A field that is there only if it says something: what was written before it was known is read as ever."""
        data = encode_state(attrs.evolve(STATE, awaits_end=True))
        self.assertIn(b'"touched":2.25,"awaitsEnd":true,"checksum":', data)
        self.assertTrue(decode_state(data).awaits_end)
        self.assertRaises(ValueError, decode_state, encode_checksummed({**json.loads(GOLDEN), "awaitsEnd": 1}) + b"\n")

    @given(states)
    def test_round(self, state: State) -> None:
        self.assertEqual(decode_state(encode_state(state)), state)

    def test_damaged(self) -> None:
        """No byte can change, be missing or be added."""
        data = encode_state(STATE)
        for at in range(len(data)):
            changed = bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]])
            for wrong in (changed, data[:at], data[:at] + b"x" + data[at:]):
                self.assertRaises(ValueError, decode_state, wrong)

    def test_wrong_fields(self) -> None:
        fields = json.loads(encode_state(STATE))
        del fields["checksum"]
        self.assertEqual(encode_checksummed(fields) + b"\n", encode_state(STATE))
        for name in fields:
            without = {other: value for other, value in fields.items() if other != name}
            self.assertRaises(ValueError, decode_state, encode_checksummed(without) + b"\n")
            self.assertRaises(ValueError, decode_state, encode_checksummed({**fields, name: [1]}) + b"\n")
            self.assertRaises(ValueError, decode_state, encode_checksummed({**fields, name: -1}) + b"\n")
        self.assertRaises(ValueError, decode_state, encode_checksummed({**fields, "more": 1}) + b"\n")
        for name, value in (("length", True), ("size", 1.5), ("stage", "other"), ("names", "x"), ("isPartial", 1)):
            self.assertRaises(ValueError, decode_state, encode_checksummed({**fields, name: value}) + b"\n")
