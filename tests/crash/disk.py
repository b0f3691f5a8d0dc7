"""
A model of a disk below a page cache: what a power cut can leave of a recorded run.

L{World} takes the changing calls one by one.  It keeps for every file what a sync has covered, and behind it, in
order, what is in the page cache only, cut into blocks of 512 bytes.  L{World.after_cut} picks one of the states that
a cut at this moment could leave:

- each block holds what it held after its last covered write or after any later one, independent of all other blocks:
  writes are lost, torn and reordered;
- a file has its covered size or one that it had later;
- operations on names that no sync of their directory has covered are lost or kept, in order or not, each as a whole.

A block never goes back to an older write than one that is kept, since the page cache writes it as it is then. Nor does
a name: an operation that is kept brings those with it that changed the same names before.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from random import Random

__all__ = ["BLOCK", "Link", "Linked", "Tree", "World", "read_tree", "write_tree"]

BLOCK = 512


class Link(str):
    """A symbolic link, by what it says. It is made in one step, and never changed."""

    __slots__ = ()


#: A directory as C{{name: Tree, Link or bytes}}.
Tree = dict[str, "Tree | Link | bytes"]

_ZERO = bytes(BLOCK)


class Linked(bytes):
    """The content of a file with several names: the same object under each of them."""


class File:
    """
    One file, by its inode.

    @ivar data: what is on disk for certain.
    @ivar pieces: what is not, by block: C{(index, offset in the block, bytes)}.
    @ivar sizes: sizes that are not: C{(index, size)}.
    """

    __slots__ = ("data", "pieces", "size", "sizes")

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.size = len(data)
        self.pieces: dict[int, list[tuple[int, int, bytes]]] = {}
        self.sizes: list[tuple[int, int]] = []

    def clone(self) -> File:
        other = File(self.data)
        other.size = self.size
        other.pieces = {block: list(pieces) for block, pieces in self.pieces.items()}
        other.sizes = list(self.sizes)
        return other

    def write(self, index: int, offset: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            block, start = divmod(offset + at, BLOCK)
            piece = data[at : at + BLOCK - start]
            self.pieces.setdefault(block, []).append((index, start, piece))
            at += len(piece)
        if data and offset + len(data) > self.size:
            self._resize(index, offset + len(data))

    def truncate(self, index: int, size: int) -> None:
        if size < self.size:
            known = max(self.size, len(self.data))
            for block in range(size // BLOCK, -(-known // BLOCK)):
                start = max(0, size - block * BLOCK)
                self.pieces.setdefault(block, []).append((index, start, _ZERO[start:]))
        if size != self.size:
            self._resize(index, size)

    def _resize(self, index: int, size: int) -> None:
        self.size = size
        self.sizes.append((index, size))

    def _settle(self, block: int, before: int) -> None:
        pieces = self.pieces.pop(block)
        rest = [piece for piece in pieces if piece[0] >= before]
        for index, start, piece in pieces:
            if index < before:
                _put(self.data, block * BLOCK + start, piece)
        if rest:
            self.pieces[block] = rest

    def sync(self, before: int) -> None:
        """All that was written before C{before} is on disk."""
        for block in list(self.pieces):
            self._settle(block, before)
        covered = [size for index, size in self.sizes if index < before]
        if covered:
            self.sizes = [item for item in self.sizes if item[0] >= before]
            self._fit(covered[-1])

    def sync_range(self, index: int, offset: int, length: int) -> None:
        """
        One synced write is on disk, the blocks it touched with all that was in them, and the size to read it; nothing
        else.
        """
        for block in range(offset // BLOCK, -(-(offset + length) // BLOCK)):
            if block in self.pieces:
                self._settle(block, index + 1)
        if len(self.data) < offset + length:
            self._fit(offset + length)
        self.sizes = [item for item in self.sizes if item[0] > index or item[1] > offset + length]

    def _fit(self, size: int) -> None:
        if size < len(self.data):
            del self.data[size:]
        else:
            self.data.extend(bytes(size - len(self.data)))

    def content(self, version: Callable[[int, list[tuple[int, int, bytes]]], int], size: int) -> bytes:
        """
        What is left if of the pieces of a block the first C{version(block, pieces)} were written, and the file has
        C{size} bytes.
        """
        data = bytearray(self.data)
        for block, pieces in self.pieces.items():
            for _, start, piece in pieces[: version(block, pieces)]:
                _put(data, block * BLOCK + start, piece)
        if len(data) < size:
            data.extend(bytes(size - len(data)))
        return bytes(data[:size])


def _put(data: bytearray, at: int, piece: bytes) -> None:
    # Bytes behind the end are kept for now: the size is a matter of its own.
    if len(data) < at + len(piece):
        data.extend(bytes(at + len(piece) - len(data)))
    data[at : at + len(piece)] = piece


class World:
    """
    Inodes and names, on disk and in the page cache.  Directory 0 is the top.

    @ivar index: the number of calls so far.
    """

    def __init__(self, tree: Tree | None = None) -> None:
        self.index = 0
        self.files: dict[int, File] = {}
        self.links: dict[int, Link] = {}
        self.disk: dict[int, dict[str, int]] = {0: {}}
        self.live: dict[int, dict[str, int]] = {0: {}}
        #: C{(index, [(directory, name, inode or None)])}: what one call changes, in order.
        self.names: list[tuple[int, list[tuple[int, str, int | None]]]] = []
        self._inodes = 0
        self._load(0, tree or {}, {})

    def _load(self, directory: int, tree: Tree, linked: dict[int, int]) -> None:
        for name, content in tree.items():
            inode = linked.get(id(content)) or self._inode()
            self.disk[directory][name] = self.live[directory][name] = inode
            if isinstance(content, dict):
                self.disk[inode], self.live[inode] = {}, {}
                self._load(inode, content, linked)
            elif isinstance(content, Link):
                self.links[inode] = content
            elif inode not in self.files:
                self.files[inode] = File(content)
                if isinstance(content, Linked):
                    linked[id(content)] = inode

    def _inode(self) -> int:
        self._inodes += 1
        return self._inodes

    def clone(self) -> World:
        other = World()
        other.index, other._inodes = self.index, self._inodes
        other.files = {inode: file.clone() for inode, file in self.files.items()}
        other.links = dict(self.links)
        other.disk = {inode: dict(names) for inode, names in self.disk.items()}
        other.live = {inode: dict(names) for inode, names in self.live.items()}
        other.names = list(self.names)
        return other

    # -- the calls -----------------------------------------------------------------------------

    def find(self, path: str) -> int | None:
        """The inode that a path below the top leads to."""
        inode = 0
        for name in filter(None, path.split("/")):
            found = self.live.get(inode, {}).get(name)
            if found is None:
                return None
            inode = found
        return inode

    def _parent(self, path: str) -> tuple[int, str]:
        head, _, name = path.rpartition("/")
        parent = self.find(head)
        assert parent is not None, path
        return parent, name

    def _name(self, *changes: tuple[int, str, int | None]) -> None:
        self.names.append((self.index, list(changes)))
        for directory, name, inode in changes:
            if inode is None:
                del self.live[directory][name]
            else:
                self.live[directory][name] = inode

    def create(self, path: str) -> None:
        inode = self._inode()
        self.files[inode] = File()
        parent, name = self._parent(path)
        self._name((parent, name, inode))

    def symlink(self, target: str, path: str) -> None:
        inode = self._inode()
        self.links[inode] = Link(target)
        parent, name = self._parent(path)
        self._name((parent, name, inode))

    def mkdir(self, path: str) -> None:
        inode = self._inode()
        self.disk[inode], self.live[inode] = {}, {}
        parent, name = self._parent(path)
        self._name((parent, name, inode))

    def rename(self, source: str, target: str) -> None:
        (old, old_name), (new, new_name) = self._parent(source), self._parent(target)
        inode = self.live[old][old_name]
        # Of two names of one file, rename(2) leaves both.
        if self.live[new].get(new_name) != inode:
            self._name((old, old_name, None), (new, new_name, inode))

    def exchange(self, first: str, second: str) -> None:
        (one, one_name), (two, two_name) = self._parent(first), self._parent(second)
        self._name((one, one_name, self.live[two][two_name]), (two, two_name, self.live[one][one_name]))

    def link(self, source: str, target: str) -> None:
        inode = self.find(source)
        assert inode in self.files, source
        parent, name = self._parent(target)
        self._name((parent, name, inode))

    def remove(self, path: str) -> None:
        parent, name = self._parent(path)
        self._name((parent, name, None))

    def write(self, inode: int, offset: int, data: bytes) -> None:
        self.files[inode].write(self.index, offset, data)

    def truncate(self, inode: int, size: int) -> None:
        self.files[inode].truncate(self.index, size)

    def sync(self, inode: int, began: int) -> None:
        self.files[inode].sync(began)

    def sync_range(self, inode: int, began: int, offset: int, length: int) -> None:
        self.files[inode].sync_range(began, offset, length)

    def sync_directory(self, inode: int, began: int) -> None:
        self._sync_names(
            [index < began and any(directory == inode for directory, _, _ in changes) for index, changes in self.names]
        )

    def sync_all(self, began: int) -> None:
        for file in self.files.values():
            file.sync(began)
        self._sync_names([index < began for index, _ in self.names])

    def _sync_names(self, chosen: list[bool]) -> None:
        covered = self._with_earlier(chosen)
        rest = []
        for (index, changes), done in zip(self.names, covered, strict=True):
            if done:
                _apply(self.disk, changes)
            else:
                rest.append((index, changes))
        self.names = rest

    def _with_earlier(self, chosen: list[bool]) -> list[bool]:
        """Which of C{names} are on disk if those that are C{chosen} are: no name goes back, and none by halves."""
        places: set[tuple[int, str]] = set()
        found = []
        for (_, changes), there in zip(reversed(self.names), reversed(chosen), strict=True):
            touched = {(directory, name) for directory, name, _ in changes}
            there = there or not places.isdisjoint(touched)
            if there:
                places |= touched
            found.append(there)
        return found[::-1]

    # -- the cut -------------------------------------------------------------------------------

    def after_cut(self, random: Random, policy: str) -> Tree:
        """
        One of the states that a cut could leave now.

        @param policy: C{lost}, nothing that no sync covered; C{kept}, everything; C{files}, some files lose
            everything and others nothing; C{writes}, each file keeps the calls up to some one; C{blocks}, each block
            for itself; C{last}, everything but for the last write, which is torn; C{names}, as C{kept} but for the
            operations on names.
        """
        disk = {inode: dict(names) for inode, names in self.disk.items()}
        for changes in self._kept_names(random, policy):
            _apply(disk, changes)
        newest = max((pieces[-1][0] for file in self.files.values() for pieces in file.pieces.values()), default=-1)

        def content(file: File) -> bytes:
            base = len(file.data)
            sizes = [base, *(size for _, size in file.sizes)]
            kind = random.choice(("lost", "kept")) if policy == "files" else policy
            if kind in ("kept", "names"):
                return file.content(lambda block, pieces: len(pieces), sizes[-1])
            if kind == "lost":
                return file.content(lambda block, pieces: 0, base)
            if kind == "writes":
                calls = sorted(
                    {piece[0] for pieces in file.pieces.values() for piece in pieces}
                    | {index for index, _ in file.sizes}
                )
                limit = random.choice([*calls, self.index + 1])
                size = ([base] + [size for index, size in file.sizes if index < limit])[-1]
                return file.content(lambda block, pieces: sum(piece[0] < limit for piece in pieces), size)
            if kind == "last":
                return file.content(
                    lambda block, pieces: len(pieces) - (pieces[-1][0] == newest and random.random() < 0.5),
                    random.choice(sizes[-2:]),
                )
            size = random.choice((sizes[-1], random.choice(sizes)))
            share = random.choice((0.1, 0.5, 0.9))
            return file.content(
                lambda block, pieces: (
                    random.randint(0, len(pieces)) if random.random() < 0.3 else len(pieces) * (random.random() < share)
                ),
                size,
            )

        names: Counter[int] = Counter()

        def count(directory: int) -> None:
            for inode in disk.get(directory, {}).values():
                names[inode] += 1
                count(inode)

        count(0)
        linked: dict[int, Linked] = {}

        def found(inode: int) -> Tree | Link | bytes:
            if inode in self.links:
                return self.links[inode]
            if inode not in self.files:
                return tree(inode)
            if names[inode] == 1:
                return content(self.files[inode])
            if inode not in linked:
                linked[inode] = Linked(content(self.files[inode]))
            return linked[inode]

        def tree(directory: int) -> Tree:
            return {name: found(inode) for name, inode in sorted(disk.get(directory, {}).items())}

        return tree(0)

    def _kept_names(self, random: Random, policy: str) -> list[list[tuple[int, str, int | None]]]:
        changes = [changes for _, changes in self.names]
        if policy == "lost":
            return []
        if policy in ("kept", "last"):
            return changes
        if random.random() < 0.5:
            return changes[: random.randint(0, len(changes))]
        kept = self._with_earlier([random.random() < 0.5 for _ in changes])
        return [change for change, there in zip(changes, kept, strict=True) if there]

    def pending(self) -> bool:
        """Whether a cut now can leave more than one state."""
        return bool(self.names) or any(file.pieces or file.sizes for file in self.files.values())


def _apply(disk: dict[int, dict[str, int]], changes: list[tuple[int, str, int | None]]) -> None:
    for directory, name, inode in changes:
        if inode is None:
            disk[directory].pop(name, None)
        else:
            disk[directory][name] = inode


def write_tree(tree: Tree, path: str, linked: dict[int, str] | None = None) -> None:
    """
    Make the directory of a state.

    @param linked: for its own use: where files with several names already are, by the C{id} of their content.
    """
    if linked is None:
        linked = {}
    os.makedirs(path)
    for name, content in tree.items():
        target = os.path.join(path, name)
        if isinstance(content, dict):
            write_tree(content, target, linked)
        elif isinstance(content, Link):
            os.symlink(content, target)
        elif id(content) in linked:
            os.link(linked[id(content)], target)
        else:
            if isinstance(content, Linked):
                linked[id(content)] = target
            # Zeros are left out, so that preallocated space costs nothing.
            with open(target, "wb", buffering=0) as file:
                file.truncate(len(content))
                end = len(content.rstrip(b"\0"))
                for at in range(0, end, 1 << 16):
                    piece = content[at : min(at + (1 << 16), end)]
                    if piece.count(0) != len(piece):
                        os.pwrite(file.fileno(), piece, at)


def read_tree(path: str, linked: dict[int, Linked] | None = None) -> Tree:
    """
    The state of a directory.

    @param linked: for its own use: files with several names that were already met, by inode.
    """
    if linked is None:
        linked = {}
    tree: Tree = {}
    for entry in os.scandir(path):
        if entry.is_symlink():
            tree[entry.name] = Link(os.readlink(entry.path))
            continue
        if entry.is_dir():
            tree[entry.name] = read_tree(entry.path, linked)
            continue
        status = entry.stat()
        if status.st_ino in linked:
            tree[entry.name] = linked[status.st_ino]
            continue
        with open(entry.path, "rb") as file:
            data = file.read()
        if status.st_nlink > 1:
            data = linked[status.st_ino] = Linked(data)
        tree[entry.name] = data
    return tree
