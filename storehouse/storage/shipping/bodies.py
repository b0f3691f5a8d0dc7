"""Local files as bodies of requests."""

from __future__ import annotations

from storehouse.core.httpclient import Body
from storehouse.core.jobs import IDisk
from storehouse.storage.shipping.files import read_file

__all__ = ["file_body"]


def file_body(disk: IDisk, path: str, offset: int, length: int) -> Body:
    """A range of a file as the body of a request: it is read anew for each try."""
    return Body(length, lambda: read_file(disk, path, offset, length))
