"""Tests of L{storehouse.frontends.sfsp.errors}."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse import errors
from storehouse.core.sfsp import Code
from storehouse.frontends.sfsp.errors import ends_connection, error_status

#: What must not be seen outside.
INSIDE = "/srv/secret/00ff.part"

#: Errors of this door itself, whose text is the answer.
OWN = {errors.InvalidRequest, errors.TooLarge, errors.RequestTimeout, errors.TooManyConnections, errors.ShareUsedUp}


def subclasses(kind: type[errors.StorehouseError]) -> Iterator[type[errors.StorehouseError]]:
    """The class and all below it, but for those of other doors and of tests."""
    yield kind
    for each in kind.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from subclasses(each)


def make(kind: type[errors.StorehouseError]) -> Any:
    """One of it, with something of the inside wherever it can be."""
    arguments: dict[type, tuple[Any, ...]] = {
        errors.InvalidRange: (0, None, 5),
        errors.OffsetMismatch: (5, 7),
        errors.DamagedRecord: (INSIDE, 5, INSIDE),
        errors.DeleteMarkerFound: ("bucket", INSIDE, INSIDE, 5, True),
        errors.DamagedEntry: ("bucket", INSIDE, INSIDE, INSIDE, INSIDE),
        errors.DamagedArchive: (INSIDE, 5, INSIDE),
        errors.DamagedObject: (INSIDE, INSIDE, 1, 2),
    }
    return kind(*arguments.get(kind, (INSIDE,)))


class ErrorTests(SynchronousTestCase):
    """L{error_status}."""

    def test_every_error(self) -> None:
        """Each has an answer: the absence of things is one, what the peer did is another, all else is ours."""
        kinds = set(subclasses(errors.StorehouseError))
        self.assertGreater(len(kinds), 30)
        for kind in kinds:
            status = error_status(make(kind))
            if issubclass(kind, errors.NotFound):
                self.assertEqual((status.code, status.message), (Code.NOT_FOUND, b""))
            elif kind in OWN:
                self.assertEqual((status.code, status.message), (Code.INVALID_REQ, INSIDE.encode()))
            else:
                self.assertEqual(status.code, Code.INTERNAL, kind)
                self.assertNotIn(b"secret", status.message)
                self.assertGreater(len(status.message), 10)
                self.assertTrue(status.message.decode("utf-8").isprintable())

    def test_what_helps(self) -> None:
        """A person can tell these from one another."""
        kinds = (errors.NoSpace, errors.DamagedObject, errors.Unavailable, errors.StorehouseError)
        texts = [error_status(make(kind)).message for kind in kinds]
        for text, word in zip(texts, (b"space", b"damaged", b"later", b"log"), strict=True):
            self.assertIn(word, text)
        self.assertEqual(len(set(texts)), len(texts))

    def test_unexpected(self) -> None:
        for error in (ValueError(INSIDE), KeyError(INSIDE), OSError(5, INSIDE, INSIDE), RuntimeError()):
            status = error_status(error)
            self.assertEqual(status.code, Code.INTERNAL)
            self.assertNotIn(b"secret", status.message)
            self.assertIn(b"unexpected", status.message)

    def test_which_end_the_connection(self) -> None:
        for kind in subclasses(errors.StorehouseError):
            self.assertEqual(ends_connection(error_status(make(kind))), kind in OWN)

    def test_odd_texts(self) -> None:
        """No text makes it fail."""
        self.assertEqual(error_status(errors.InvalidRequest("a\udc80")).message, b"a?")
