"""What keys say of their objects, compared with the objects: on the files of a root, also beside a running service."""

from __future__ import annotations

from collections.abc import Iterator

from storehouse.errors import DamagedEntry, DamagedObject, NoSuchObject
from storehouse.storage.dataspace.checks import check_expected
from storehouse.storage.dataspace.layout import Layout
from storehouse.storage.dataspace.opened import OpenObject
from storehouse.storage.dataspace.scrub import Finding
from storehouse.storage.dataspace.sealed_format import is_sealed
from storehouse.storage.dataspace.wormer import WormerDataSpace
from storehouse.storage.namespace.interfaces import Entry
from storehouse.storage.namespace.tree import KeyPath, Tree
from storehouse.storage.objects.base import expected_of

__all__ = ["compare_keys"]


def compare_keys(namespace: str, objects: str) -> Iterator[Finding]:
    """
    Keys whose default version is not what its object is. Not among them: versions and objects that are damaged by
    themselves, and encrypted objects, whose size and tag only the keyring can tell.

    @param namespace: its directory, and that of the objects.
    """
    reader = Tree(namespace)
    layout = Layout(objects)
    for bucket in reader.bucket_names():
        for _, key in reader.walk(bucket):
            if key is None:
                continue
            key_path = reader.key_path(bucket, key, key.encode())
            entry = _current(reader, key_path)
            reason = "" if entry is None else _difference(layout, entry)
            # An object that is replaced or removed meanwhile has another entry, or none, before its bytes go.
            if entry is not None and reason and entry == _current(reader, key_path):
                yield Finding(entry.id, None, None, f"{bucket}/{key}: {reason}", "key")


def _current(reader: Tree, key_path: KeyPath) -> Entry | None:
    try:
        return reader.current(key_path)
    except DamagedEntry:
        return None


def _difference(layout: Layout, entry: Entry) -> str:
    try:
        opened = OpenObject(layout.object(entry.id), entry.id)
        opened.close()
    except NoSuchObject:
        return "its object is not there"
    except (DamagedObject, OSError):
        return ""
    if is_sealed(opened.info.metadata):
        return ""
    try:
        info = opened.info
        check_expected(entry.id, info.etag, info.size, expected_of(entry, WormerDataSpace.tags_by_content))
    except DamagedObject as error:
        return error.reason
    return ""
