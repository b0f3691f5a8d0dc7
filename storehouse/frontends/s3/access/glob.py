"""
Patterns with C{*} and C{?}, as policies have them, matched in a time that is bounded whatever pattern and text are.

A pattern is a sequence of literal texts and wildcards, so that what a variable stands for is never taken for a wildcard.
Without C{?} the literals are searched for one after the other. With C{?} all positions of the pattern at which the text read
so far could end are kept as the bits of one number: a character of the text costs a few operations on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["ANY", "ONE", "Globs", "tokens_of"]

#: Wildcards: any characters, and one character. No text of a pattern is one of these very objects.
ANY = object()
ONE = object()


_wildcard = re.compile("[*?]").finditer


def tokens_of(text: str) -> list[object]:
    """The literals and wildcards of a text in which C{*} and C{?} are wildcards."""
    tokens: list[object] = []
    at = 0
    for found in _wildcard(text):
        if found.start() > at:
            tokens.append(text[at : found.start()])
        tokens.append(ANY if found[0] == "*" else ONE)
        at = found.end()
    if at < len(text):
        tokens.append(text[at:])
    return tokens


class Globs:
    """
    Several patterns, of which one has to match. However many there are, those with C{?} are matched in one go.

    @param patterns: each of them a sequence of texts, L{ANY} and L{ONE}.
    """

    __slots__ = ("_ends", "_literals", "_loops", "_masks", "_segmented", "_starts", "_wild")

    def __init__(self, patterns: Iterable[Iterable[object]]) -> None:
        literals: set[str] = set()
        self._segmented: list[Sequence[str]] = []
        masks: dict[str, list[int]] = {}
        wild: list[int] = []
        loops: list[int] = []
        starts: list[int] = []
        ends: list[int] = []
        size = 0
        for pattern in patterns:
            tokens = list(pattern)
            if ONE not in tokens:
                segments = _segments(tokens)
                if len(segments) == 1:
                    literals.add(segments[0])
                else:
                    self._segmented.append(segments)
                continue
            starts.append(size)
            for token in tokens:
                if token is ANY:
                    loops.append(size)
                elif token is ONE:
                    wild.append(size)
                    size += 1
                else:
                    for character in str(token):
                        masks.setdefault(character, []).append(size)
                        size += 1
            # The position behind the last character, where nothing can follow.
            ends.append(size)
            size += 1
        self._literals = frozenset(literals)
        self._wild, self._loops = _number(wild), _number(loops)
        self._starts, self._ends = _number(starts), _number(ends)
        self._masks = {character: _number(bits) | self._wild for character, bits in masks.items()}

    def matches(self, text: str) -> bool:
        """Whether the whole text is as one of the patterns says."""
        if text in self._literals or any(_find_all(segments, text) for segments in self._segmented):
            return True
        states, masks, wild, loops = self._starts, self._masks, self._wild, self._loops
        if not states:
            return False
        for character in text:
            states = ((states & masks.get(character, wild)) << 1) | (states & loops)
            if not states:
                return False
        return bool(states & self._ends)


def _segments(tokens: Iterable[object]) -> Sequence[str]:
    """The literals between C{*}."""
    segments: list[list[str]] = [[]]
    for token in tokens:
        if token is ANY:
            segments.append([])
        else:
            segments[-1].append(str(token))
    return ["".join(segment) for segment in segments]


def _number(bits: Iterable[int]) -> int:
    found = sorted(bits)
    if not found:
        return 0
    if len(found) == 1:
        return 1 << found[0]
    data = bytearray(found[-1] // 8 + 1)
    for bit in found:
        data[bit >> 3] |= 1 << (bit & 7)
    return int.from_bytes(data, "little")


def _find_all(segments: Sequence[str], text: str) -> bool:
    first, last = segments[0], segments[-1]
    if len(segments) == 1:
        return text == first
    end = len(text) - len(last)
    at = len(first)
    if end < at or not text.startswith(first) or not text.endswith(last):
        return False
    for segment in segments[1:-1]:
        at = text.find(segment, at, end)
        if at < 0:
            return False
        at += len(segment)
    return True
