"""
L{Files<storehouse.core.files.Files>} that write down what they do, so that a L{World<tests.crash.disk.World>} can
replay it.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from storehouse.core.files import Files, read_exactly
from tests.crash.disk import World

__all__ = ["Killed", "Recorder", "RecordingFiles"]


class Killed(BaseException):
    """The process is no more."""


class Recorder:
    """
    The history of one run, or of several on the same machine.

    @ivar events: functions that bring a L{World}, and what else follows along, from one moment to the next; and what
        each is called.
    @ivar world: the state at the last moment: tells which inode a path has.
    """

    def __init__(self, world: World) -> None:
        self.start = world.clone()
        self.world = world
        self.events: list[tuple[str, Callable[[World], object] | Any]] = []
        self.lock = threading.RLock()

    def add(self, text: str, event: Callable[[World], object]) -> int:
        """A moment. @return: its index."""
        with self.lock:
            index = self.world.index
            event(self.world)
            self.world.index += 1
            self.events.append((text, event))
            return index

    def note(self, text: str, note: Any) -> None:
        """Something that happened beside the disk. It is told from a moment of the disk by not being callable."""
        assert not callable(note), note
        with self.lock:
            self.world.index += 1
            self.events.append((text, note))


class RecordingFiles(Files):
    """
    Real files below C{top}, without real syncs: these are recorded, and take a moment.

    @ivar kill_at: the number of the event before which the process dies, every thread of it.
    @ivar fail_at: the number of the event in place of which, once, a call fails.
    @ivar room: bytes that may still be added to files; C{None} for any number.
    """

    def __init__(self, top: str, recorder: Recorder, pause: float = 0.0) -> None:
        self.top = top
        self.recorder = recorder
        self.pause = pause
        self.kill_at: int | None = None
        self.fail_at: int | None = None
        self.fail_with = errno.EIO
        self.room: int | None = None
        self._inodes: dict[int, int] = {}
        self._live: set[int] = set()

    def _path(self, path: str) -> str:
        assert path.startswith(self.top), path
        return path[len(self.top) :].strip("/")

    @property
    def killed(self) -> bool:
        """Whether the process is dead."""
        return self.kill_at is not None and len(self.recorder.events) >= self.kill_at

    def _alive(self) -> None:
        if self.killed:
            raise Killed
        if self.fail_at is not None and len(self.recorder.events) >= self.fail_at:
            self.fail_at = None
            raise OSError(self.fail_with, os.strerror(self.fail_with))

    def _do(self, text: str, event: Callable[[World], object], call: Callable[[], Any]) -> Any:
        with self.recorder.lock:
            self._alive()
            result = call()
            self.recorder.add(text, event)
            return result

    def _name(self, fd: int) -> str:
        return os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), self.top)

    def abandon(self) -> None:
        """Close what a killed process left open."""
        for fd in list(self._live):
            os.close(fd)
        self._live.clear()

    # -- Files ---------------------------------------------------------------------------------

    def open(self, path: str, flags: int) -> int:
        with self.recorder.lock:
            self._alive()
            name = self._path(path)
            fresh = flags & os.O_CREAT and self.recorder.world.find(name) is None
            fd = super().open(path, flags)
            self._live.add(fd)
            if fresh:
                self.recorder.add(f"create {name}", lambda world: world.create(name))
            inode = self.recorder.world.find(name)
            assert inode is not None, path
            if flags & os.O_TRUNC and not fresh:
                self.recorder.add(f"truncate {name} 0", lambda world: world.truncate(inode, 0))
            self._inodes[fd] = inode
            return fd

    def close(self, fd: int) -> None:
        with self.recorder.lock:
            if self.killed:
                raise Killed
            self._live.discard(fd)
            self._inodes.pop(fd)
            super().close(fd)

    def write_at(self, fd: int, pieces: Sequence[bytes], offset: int) -> None:
        self._write(fd, b"".join(pieces), offset, "write")

    def copy_range(self, source_fd: int, target_fd: int, size: int, source_offset: int, target_offset: int) -> None:
        with self.recorder.lock:
            self._alive()
            data = read_exactly(source_fd, size, source_offset)
            self._write(target_fd, data, target_offset, f"copy {self._name(source_fd)} {source_offset} to")
        if len(data) < size:
            raise OSError(errno.EIO, f"the source of a copy ends {size - len(data)} bytes early")

    def _write(self, fd: int, data: bytes, offset: int, verb: str) -> None:
        with self.recorder.lock:
            self._alive()
            inode = self._inodes[fd]
            if self.room is not None:
                added = offset + len(data) - max(offset, os.fstat(fd).st_size)
                if added > self.room:
                    # Some of it fits.
                    fits = data[: len(data) - added + self.room]
                    self.room = 0
                    os.pwrite(fd, fits, offset)
                    self.recorder.add(
                        f"{verb} {self._name(fd)} {offset} {len(fits)} (full)",
                        lambda world: world.write(inode, offset, fits),
                    )
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self.room -= max(0, added)
            at = offset
            rest = memoryview(data)
            while rest:
                written = os.pwrite(fd, rest, at)
                at += written
                rest = rest[written:]
            if data:
                self.recorder.add(
                    f"{verb} {self._name(fd)} {offset} {len(data)}", lambda world: world.write(inode, offset, data)
                )

    def write_synced(self, fd: int, data: bytes, offset: int) -> None:
        inode = self._inodes[fd]
        with self.recorder.lock:
            name = self._name(fd)
            began = self.recorder.world.index
            self._do(
                f"write synced {name} {offset} {len(data)}",
                lambda world: world.write(inode, offset, data),
                lambda: os.pwrite(fd, data, offset),
            )
        self._wait()
        self._do(f"  synced {name}", lambda world: world.sync_range(inode, began, offset, len(data)), lambda: None)

    def truncate(self, fd: int, size: int) -> None:
        inode = self._inodes[fd]
        self._do(
            f"truncate {self._name(fd)} {size}",
            lambda world: world.truncate(inode, size),
            lambda: os.ftruncate(fd, size),
        )

    def sync_data(self, fd: int) -> None:
        inode = self._inodes[fd]
        began = self._begin(f"sync {self._name(fd)}")
        self._wait()
        self._do(f"  synced {self._name(fd)}", lambda world: world.sync(inode, began), lambda: None)

    def begin_writeback(self, fd: int) -> None:
        self._alive()

    def sync_all(self) -> None:
        began = self._begin("sync all")
        self._wait()
        self._do("  synced all", lambda world: world.sync_all(began), lambda: None)

    def sync_directory(self, path: str) -> None:
        if not path.startswith(self.top):
            return
        name = self._path(path)
        with self.recorder.lock:
            inode = self.recorder.world.find(name)
        assert inode is not None, path
        began = self._begin(f"sync directory {name}")
        self._wait()
        self._do(f"  synced directory {name}", lambda world: world.sync_directory(inode, began), lambda: None)

    def mkdir(self, path: str) -> None:
        name = self._path(path)
        with self.recorder.lock:
            self._alive()
            fresh = self.recorder.world.find(name) is None
            super().mkdir(path)
            if fresh:
                self.recorder.add(f"mkdir {name}", lambda world: world.mkdir(name))

    def rename(self, source: str, target: str) -> None:
        old, new = self._path(source), self._path(target)
        self._do(f"rename {old} {new}", lambda world: world.rename(old, new), lambda: os.rename(source, target))

    def exchange(self, first: str, second: str) -> None:
        one, two = self._path(first), self._path(second)
        self._do(
            f"exchange {one} {two}",
            lambda world: world.exchange(one, two),
            partial(super().exchange, first, second),
        )

    def link(self, source: str, target: str) -> None:
        old, new = self._path(source), self._path(target)
        self._do(f"link {old} {new}", lambda world: world.link(old, new), lambda: os.link(source, target))

    def symlink(self, target: str, path: str) -> None:
        name = self._path(path)
        self._do(
            f"symlink {target} {name}", lambda world: world.symlink(target, name), lambda: os.symlink(target, path)
        )

    def unlink(self, path: str) -> None:
        name = self._path(path)
        self._do(f"unlink {name}", lambda world: world.remove(name), lambda: os.unlink(path))

    def remove_directory(self, path: str) -> None:
        name = self._path(path)
        self._do(f"rmdir {name}", lambda world: world.remove(name), lambda: os.rmdir(path))

    def remove_tree(self, path: str) -> None:
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                self.remove_tree(entry.path)
            else:
                self.unlink(entry.path)
        name = self._path(path)
        self._do(f"rmdir {name}", lambda world: world.remove(name), lambda: os.rmdir(path))

    def _begin(self, text: str) -> int:
        with self.recorder.lock:
            self._alive()
            began = self.recorder.world.index
            self.recorder.note(text, None)
            return began

    def _wait(self) -> None:
        if self.pause:
            time.sleep(self.pause)
