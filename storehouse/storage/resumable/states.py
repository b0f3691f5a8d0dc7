"""States on disk: docs/formats/resumable.md. All methods wait for the disk, but for what says otherwise."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator

from storehouse.core.files import Files, open_stored
from storehouse.errors import DamagedObject, NoSuchUpload, StartFailed, StoreUnusable
from storehouse.storage.resumable.formats import State, decode_state, encode_state

__all__ = ["INDEXES", "IBox", "PlainBox", "States", "is_id"]

_FORMAT = b'{"format":"resumable","version":1}\n'

#: The names of the directories that states are in.
INDEXES = [f"{number:02x}" for number in range(256)]

# Bytes of the longest state that is read.
_LONGEST = 1 << 20

is_id = re.compile("[0-9a-f]{32}").fullmatch


class IBox:
    """What a state is kept in: a base class. Both methods are called in disk threads."""

    def close(self, id: str, data: bytes) -> bytes:
        """The bytes that are kept."""
        raise NotImplementedError

    def open(self, id: str, data: bytes) -> bytes:
        """@raise ValueError: if they are not what was kept for this ID."""
        raise NotImplementedError


class PlainBox(IBox):
    """As it is."""

    def close(self, id: str, data: bytes) -> bytes:
        """The same."""
        return data

    def open(self, id: str, data: bytes) -> bytes:
        """The same."""
        return data


class States:
    """
    The files.

    @param durable: whether what is written is brought to disk.
    """

    def __init__(self, directory: str, files: Files, durable: bool, box: IBox) -> None:
        self._root = directory
        self._files = files
        self._durable = durable
        self._box = box

    def prepare(self) -> None:
        """
        Make what is missing, and remove what was on its way in when a process ended.

        @raise StartFailed: naming what cannot be used.
        """
        try:
            self._files.make_directory(self._root)
            self._check_format()
            for name in ("states", "tmp"):
                self._files.make_directory(f"{self._root}/{name}")
            for name in os.listdir(f"{self._root}/tmp"):
                self._files.unlink(f"{self._root}/tmp/{name}")
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
            raise StoreUnusable(f"{path} is not that of this program: {found[:100]!r}")

    def path(self, id: str) -> str:
        """Where a state is. Does not wait."""
        return f"{self._root}/states/{id[:2]}/{id}.json"

    def has(self, id: str) -> bool:
        """Whether there is a state."""
        return bool(is_id(id)) and os.path.exists(self.path(id))

    def write(self, state: State) -> None:
        """Keep a state; replaces the one with that ID, in one step."""
        data = self._box.close(state.id, encode_state(state))
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
            self._forget(new)
            raise
        if self._durable:
            self._files.sync_directory(os.path.dirname(path))

    def _forget(self, path: str) -> None:
        try:
            self._files.unlink(path)
        except OSError:
            pass  # the next start does

    def read(self, id: str) -> State:
        """
        @raise NoSuchUpload: if there is none.
        @raise DamagedObject: if it is not what was written.
        """
        try:
            with open_stored(self.path(id)) as file:
                data = file.read(_LONGEST)
        except FileNotFoundError:
            raise NoSuchUpload(f"there is no upload {id}") from None
        try:
            state = decode_state(self._box.open(id, data))
            if state.id != id:
                raise ValueError(f"it is that of {state.id[:50]!r}")
        except ValueError as error:
            raise DamagedObject(id, f"its state cannot be read: {error}") from None
        return state

    def remove(self, id: str) -> None:
        """Forget a state."""
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
