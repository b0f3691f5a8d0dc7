"""Tests of L{storehouse.frontends.http.sending}."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from storehouse.errors import BadRequest, PreconditionFailed
from storehouse.frontends.http.sending import Validators, check_conditions, has_conditions, range_is_wanted

_names = st.sampled_from([b"If-Match", b"If-None-Match", b"If-Modified-Since", b"If-Unmodified-Since", b"If-Range"])
_values = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.sampled_from([b'"tag"', b'W/"tag"', b'"other"', b"*", b",", b" ", b"\t", b'"', b'"a,b"']), max_size=8
    ).map(b"".join),
    st.sampled_from([b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"]),
    st.lists(st.sampled_from([b"Sun", b",", b" ", b"06", b"-", b"Nov", b"1994", b"99999", b":", b"GMT"])).map(b"".join),
)


class _Request:
    """A head."""

    def __init__(self, method: bytes, fields: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.requestHeaders = Headers()
        for name, value in fields:
            self.requestHeaders.addRawHeader(name, value)


class AnyBytesTests(SynchronousTestCase):
    """Fields of any bytes."""

    @given(st.sampled_from([b"GET", b"HEAD", b"DELETE"]), st.lists(st.tuples(_names, _values), max_size=4))
    @example(b"GET", [(b"If-Match", b'"\xff"')])
    @example(b"GET", [(b"If-Modified-Since", b"\xff")])
    @example(b"GET", [(b"If-Unmodified-Since", b"Sun, 06 Nov 99999999999999999999 08:49:37 GMT")])
    def test_understood_or_refused(self, method: bytes, fields: list[tuple[bytes, bytes]]) -> None:
        """There is an answer to each, and it is one of those that there are."""
        request: Any = _Request(method, fields)
        validators = Validators("tag", 1_000_000)
        try:
            goes_on = check_conditions(request, validators)
        except (BadRequest, PreconditionFailed):
            self.assertTrue(has_conditions(request))
        else:
            self.assertTrue(goes_on or method != b"DELETE")
            self.assertTrue(goes_on or has_conditions(request))
        try:
            range_is_wanted(request, validators, 2_000_000.0)
        except BadRequest:
            self.assertGreater(len(request.requestHeaders.getRawHeaders(b"If-Range")), 1)

    @given(st.lists(st.tuples(st.booleans(), st.sampled_from(["tag", "a", "b,c", ""])), min_size=1, max_size=5),
           st.sampled_from([",", ", ", " ,\t", ",,"]))  # fmt: skip
    def test_lists(self, tags: list[tuple[bool, str]], separator: str) -> None:
        """Against a model: strong comparison for one field, weak for the other (RFC 9110, section 8.8.3.2)."""
        value = separator.join(f'{"W/" if is_weak else ""}"{tag}"' for is_weak, tag in tags).encode()
        validators = Validators("tag", 0)
        matching: Any = _Request(b"GET", [(b"If-Match", value)])
        if (False, "tag") in tags:
            self.assertTrue(check_conditions(matching, validators))
        else:
            self.assertRaises(PreconditionFailed, check_conditions, matching, validators)
        other: Any = _Request(b"GET", [(b"If-None-Match", value)])
        self.assertEqual(check_conditions(other, validators), "tag" not in [tag for _, tag in tags])
