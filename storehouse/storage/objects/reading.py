"""A range of a key's object, open."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from storehouse.storage.objects.interfaces import IObjectReader, ObjectInfo

__all__ = ["ObjectReader"]


@implementer(IObjectReader)
class ObjectReader:
    """See L{IObjectReader}."""

    def __init__(self, info: ObjectInfo, reader: Any) -> None:
        self.info = info
        self.offset = reader.offset
        self.length = reader.length
        self.deliver = reader.deliver
        self.close = reader.close
