"""
Patterns with C{*} and C{?}, as policies have them, matched in a time that is bounded whatever pattern and text are.

A pattern is a sequence of literal texts and wildcards, so that what a variable stands for is never taken for a wildcard.
Without C{?} the literals are searched for one after the other. With C{?} all positions of the pattern at which the text read
so far could end are kept as the bits of one number: a character of the text costs a few operations on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["ANY", "ONE", "Glob", "tokens_of"]

#: Wildcards: any characters, and one character. No text of a pattern is one of these very objects.
ANY = object()
ONE = object()


def tokens_of(text: str) -> list[object]:
    """The literals and wildcards of a text in which C{*} and C{?} are wildcards."""
    tokens: list[object] = []
    start = 0
    for index, character in enumerate(text):
        if character in "*?":
            if index > start:
                tokens.append(text[start:index])
            tokens.append(ANY if character == "*" else ONE)
            start = index + 1
    if start < len(text):
        tokens.append(text[start:])
    return tokens


class Glob:
    """
    @param tokens: texts, L{ANY} and L{ONE}.
    @ivar is_literal: whether it matches one text only.
    """

    __slots__ = ("_loops", "_masks", "_segments", "_size", "_wild", "is_literal")

    def __init__(self, tokens: Iterable[object]) -> None:
        segments: list[list[object]] = [[]]
        for token in tokens:
            if token is ANY:
                segments.append([])
            else:
                segments[-1].append(token)
        self.is_literal = len(segments) == 1 and ONE not in segments[0]
        self._segments: Sequence[str] | None = None
        self._masks: dict[str, int] = {}
        self._loops = self._wild = self._size = 0
        if any(ONE in segment for segment in segments):
            self._compile(segments)
        else:
            self._segments = ["".join(map(str, segment)) for segment in segments]

    @classmethod
    def of(cls, text: str) -> Glob:
        """That of a text in which C{*} and C{?} are wildcards."""
        return cls(tokens_of(text))

    def _compile(self, segments: Sequence[Sequence[object]]) -> None:
        masks: dict[str, list[int]] = {}
        wild: list[int] = []
        loops: list[int] = []
        size = 0
        for number, segment in enumerate(segments):
            if number:
                loops.append(size)
            for token in segment:
                for character in (None,) if token is ONE else str(token):
                    (wild if character is None else masks.setdefault(character, [])).append(size)
                    size += 1
        self._size = size
        self._wild, self._loops = _number(wild), _number(loops)
        self._masks = {character: _number(bits) | self._wild for character, bits in masks.items()}

    def matches(self, text: str) -> bool:
        """Whether the whole text is as the pattern says."""
        if self._segments is not None:
            return _find_all(self._segments, text)
        states = 1
        for character in text:
            states = ((states & self._masks.get(character, self._wild)) << 1) | (states & self._loops)
            if not states:
                return False
        return bool(states >> self._size & 1)


def _number(bits: Iterable[int]) -> int:
    found = sorted(bits)
    if not found:
        return 0
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
