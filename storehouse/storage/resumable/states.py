"""
The states of resumable uploads, their text, and their files: docs/formats/resumable.md. Methods of L{States} wait for the disk,
except where they say otherwise.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import attrs

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.files import Files, open_stored
from storehouse.core.names import NAME_RULES
from storehouse.errors import DamagedObject, NoSuchUpload, StartFailed, StoreUnusable
from storehouse.storage.sealed.interfaces import ICipher

__all__ = ["INDEXES", "Stage", "State", "States", "decode_state", "encode_state", "is_id"]


Stage = Literal["open", "complete", "gone"]


def _texts(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(values)


@attrs.frozen(kw_only=True)
class State:
    """What is kept of an upload, apart from its bytes. See the page for each."""

    id: str
    owner: str
    name: str
    names: str
    created: float
    touched: float
    grant: str = ""
    content_type: str = ""
    metadata: Mapping[str, str] = attrs.Factory(dict)
    object_metadata: Mapping[str, Sequence[str]] = attrs.Factory(dict)
    length: int | None = None
    max_bytes: int | None = None
    is_partial: bool = False
    awaits_end: bool = False
    pieces: Sequence[str] = attrs.field(default=(), converter=_texts)
    finals: Sequence[str] = attrs.field(default=(), converter=_texts)
    stage: Stage = "open"
    key: str = ""
    etag: str = ""
    size: int = 0


#: Those that are there only if they say something, so that what knows nothing of them can read the rest.
_OPTIONAL = {"awaitsEnd": "awaits_end"}

_FIELDS = {
    "id": "id",
    "owner": "owner",
    "grant": "grant",
    "name": "name",
    "names": "names",
    "contentType": "content_type",
    "metadata": "metadata",
    "objectMetadata": "object_metadata",
    "length": "length",
    "maxBytes": "max_bytes",
    "isPartial": "is_partial",
    "pieces": "pieces",
    "finals": "finals",
    "stage": "stage",
    "key": "key",
    "etag": "etag",
    "size": "size",
    "created": "created",
    "touched": "touched",
}


def encode_state(state: State) -> bytes:
    """Its text, which ends with a newline."""
    fields: dict[str, Any] = {}
    for name, attribute in _FIELDS.items():
        value = getattr(state, attribute)
        if attribute in ("pieces", "finals"):
            value = list(value)
        elif attribute == "metadata":
            value = dict(value)
        elif attribute == "object_metadata":
            value = {each: list(values) for each, values in value.items()}
        fields[name] = value
    fields |= {name: True for name, attribute in _OPTIONAL.items() if getattr(state, attribute)}
    return encode_checksummed(fields) + b"\n"


def decode_state(data: bytes) -> State:
    """@raise ValueError: saying what is wrong with it."""
    if not data.endswith(b"\n"):
        raise ValueError("it does not end with a newline")
    fields: Any
    fields, is_checked = decode_checksummed(data[:-1])
    if not is_checked:
        raise ValueError("it has no checksum")
    wrong = sorted(fields.keys() - _OPTIONAL.keys() ^ _FIELDS.keys())
    if wrong:
        raise ValueError(f"it has missing or unknown fields: {', '.join(wrong)[:200]}")
    for name, value in fields.items():
        if not _CHECKS[name](value):
            raise ValueError(f"{name} cannot be {str(value)[:50]!r}")
    return State(**{attribute: fields[name] for name, attribute in (_FIELDS | _OPTIONAL).items() if name in fields})


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_count_or_none(value: Any) -> bool:
    return value is None or _is_count(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_CHECKS = {
    "id": _is_text,
    "owner": _is_text,
    "grant": _is_text,
    "name": _is_text,
    "names": NAME_RULES.__contains__,
    "contentType": _is_text,
    "metadata": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
    "objectMetadata": lambda value: isinstance(value, dict) and all(map(_are_texts, value.values())),
    "length": _is_count_or_none,
    "maxBytes": _is_count_or_none,
    "isPartial": _is_flag,
    "awaitsEnd": _is_flag,
    "pieces": _are_texts,
    "finals": _are_texts,
    "stage": get_args(Stage).__contains__,
    "key": _is_text,
    "etag": _is_text,
    "size": _is_count,
    "created": _is_time,
    "touched": _is_time,
}


_FORMAT = b'{"format":"resumable","version":1}\n'

#: The names of the directories that states are in.
INDEXES = [f"{number:02x}" for number in range(256)]

# Bytes of a state that are read at most.
_MAX_STATE = 1 << 20

is_id = re.compile("[0-9a-f]{32}").fullmatch


class States:
    """
    The files.

    @param durable: whether what is written is synced.
    @param cipher: encrypts them; C{None} if there is no master key.
    """

    def __init__(self, directory: str, files: Files, durable: bool, cipher: ICipher | None = None) -> None:
        self._root = directory
        self._files = files
        self._durable = durable
        self._cipher = cipher

    def prepare(self) -> None:
        """
        Make the directories that are missing, and remove files that a process was writing when it ended.

        @raise StartFailed: naming what cannot be used.
        """
        try:
            self._files.make_directory(self._root)
            self._check_format()
            for name in ("states", "tmp"):
                self._files.make_directory(f"{self._root}/{name}")
            # Files of writes that a crash interrupted: no state has been renamed from them, so nothing names them.
            for name in os.listdir(f"{self._root}/tmp"):
                self._files.unlink(f"{self._root}/tmp/{name}")
            # All now, with one sync: a write then has to sync only the directory of its own state.
            for index in INDEXES:
                self._files.mkdir(f"{self._root}/states/{index}")
            if self._durable:
                self._files.sync_directory(f"{self._root}/states")
        except OSError as error:
            raise StartFailed(f"{self._root} cannot be used: {error.strerror or error}") from None

    def _check_format(self) -> None:
        path = f"{self._root}/format.json"
        try:
            with open_stored(path) as file:
                found = file.read(len(_FORMAT) + 1)
        except FileNotFoundError:
            self._write(path, _FORMAT, f"{path}.new")
            return
        if found != _FORMAT:
            raise StoreUnusable(f"{path} is not of a known version: {found[:100]!r}")

    def path(self, id: str) -> str:
        """Where a state is. Does not wait."""
        return f"{self._root}/states/{id[:2]}/{id}.json"

    def has(self, id: str) -> bool:
        """Whether there is a state."""
        return bool(is_id(id)) and os.path.exists(self.path(id))

    def write(self, state: State) -> None:
        """Write a state; replaces the one with that ID, in one step."""
        data = encode_state(state)
        if self._cipher is not None:
            data = self._cipher.encrypt(state.id, data)
        self._write(self.path(state.id), data, f"{self._root}/tmp/{state.id}.{secrets.token_hex(8)}")

    def _write(self, path: str, data: bytes, new: str) -> None:
        try:
            fd = self._files.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                self._files.write_at(fd, (data,), 0)
                if self._durable:
                    self._files.sync_data(fd)
            finally:
                self._files.close(fd)
            self._files.rename(new, path)
        except OSError:
            self._discard(new)
            raise
        if self._durable:
            self._files.sync_directory(os.path.dirname(path))

    def _discard(self, path: str) -> None:
        try:
            self._files.unlink(path)
        except OSError:
            pass  # the next start removes it

    def read(self, id: str) -> State:
        """
        @raise NoSuchUpload: if there is none.
        @raise DamagedObject: if it is not what was written.
        """
        try:
            with open_stored(self.path(id)) as file:
                data = file.read(_MAX_STATE)
        except FileNotFoundError:
            raise NoSuchUpload(f"there is no upload {id}") from None
        try:
            state = decode_state(data if self._cipher is None else self._cipher.decrypt(id, data))
            if state.id != id:
                raise ValueError(f"it is the state of {state.id[:50]!r}")
        except ValueError as error:
            raise DamagedObject(id, f"its state cannot be read: {error}") from None
        return state

    def remove(self, id: str) -> None:
        """Remove a state."""
        self._files.unlink(self.path(id))
        if self._durable:
            self._files.sync_directory(os.path.dirname(self.path(id)))

    def of_index(self, index: str) -> tuple[list[State], list[DamagedObject]]:
        """All states in one directory, and what is wrong with those that cannot be read."""
        states: list[State] = []
        damaged: list[DamagedObject] = []
        for id in self._ids(index):
            try:
                states.append(self.read(id))
            except NoSuchUpload:
                pass  # it was removed meanwhile
            except DamagedObject as error:
                damaged.append(error)
        return states, damaged

    def _ids(self, index: str) -> Iterator[str]:
        for name in sorted(os.listdir(f"{self._root}/states/{index}")):
            id, dot, ending = name.partition(".")
            if dot and ending == "json" and is_id(id):
                yield id
