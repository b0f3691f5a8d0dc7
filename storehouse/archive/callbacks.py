"""
What can be done with an archive that was closed: another name, another place, compression, removal.

Each is done so that a crash at any point leaves the file under its old name or its new one, whole. After a crash each can
be called again with the path that the marker has noted: it goes on with what it made of that file, if it can be proved
that it is the same, and never with a file that somebody else put where it wanted to go
(L{storehouse.archive.identity}).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from storehouse.archive.identity import find_again
from storehouse.archive.interfaces import IArchiveCallback
from storehouse.archive.names import numbered, numbered_pattern
from storehouse.archive.sources import FileSource, is_compressed_file, same_content
from storehouse.core.compression import SUFFIXES, check_method, make_compressor
from storehouse.core.files import Files
from storehouse.errors import InvalidSetting

__all__ = ["ArchiveCallback", "ChangeExtension", "CompressFile", "DeleteFile", "MoveFile", "check_compressed_once"]
__all__ += ["move_file"]

_log = Logger()

_PIECE = 1 << 20


def _files_of(files: Files | None) -> Files:
    if files is not None and not isinstance(files, Files):
        raise InvalidSetting(f"files is no setting of a configuration, and cannot be {files!r}")
    return Files() if files is None else files


@implementer(IArchiveCallback)
class ArchiveCallback:
    """Does nothing. A base for others."""

    #: Whether L{on_close} takes the file away for good.
    removes_file = False

    def __init__(self) -> None:
        pass

    def on_open(self, filename: str) -> Any:
        """An archive was opened."""

    def on_close(self, filename: str) -> Any:
        """An archive was closed."""
        return filename


class ChangeExtension(ArchiveCallback):
    """C{filename.dat} becomes C{filename.dat.done}."""

    def __init__(self, *, new_extension: str = ".done", files: Files | None = None) -> None:
        super().__init__()
        self.new_extension = "." + new_extension.removeprefix(".")
        if "/" in new_extension or new_extension in ("", "."):
            raise InvalidSetting(f"{new_extension!r} is no extension")
        self._files = _files_of(files)

    def on_close(self, filename: str) -> str:
        """Rename it. @return: the new name."""
        return move_file(filename, filename + self.new_extension, self._files)


class MoveFile(ArchiveCallback):
    """Moves the file into another directory, which is made if need be; also to another file system."""

    def __init__(self, *, destination_folder: str = ".", files: Files | None = None) -> None:
        super().__init__()
        self.destination_folder = os.fspath(destination_folder)
        if not self.destination_folder:
            raise InvalidSetting("destination_folder is empty; it is the directory to move archives to")
        self._files = _files_of(files)

    def on_close(self, filename: str) -> str:
        """Move it. @return: where it is then."""
        self._files.make_directory(self.destination_folder)
        return move_file(filename, os.path.join(self.destination_folder, os.path.basename(filename)), self._files)


class DeleteFile(ArchiveCallback):
    """Deletes the file, once all callbacks before this one have succeeded."""

    removes_file = True

    def __init__(self, *, files: Files | None = None) -> None:
        super().__init__()
        self._files = _files_of(files)

    def on_close(self, filename: str) -> None:
        """Delete it."""
        try:
            self._files.unlink(filename)
        except FileNotFoundError:
            return
        self._files.sync_directory(os.path.dirname(filename) or ".")


class CompressFile(ArchiveCallback):
    """
    C{filename.dat} becomes C{filename.dat.gz} or C{filename.dat.zst}. Readers take both as they are.

    What is compressed already, as its first bytes tell, is left as it is, with its name.
    """

    #: Whether L{on_close} compresses the file: one callback of a row may.
    compresses_file = True

    def __init__(self, *, method: str = "gzip", level: int | None = None, files: Files | None = None) -> None:
        super().__init__()
        self.method = check_method(method)
        self.level = level
        self._files = _files_of(files)
        if isinstance(level, bool):
            raise InvalidSetting(f"level is a number, not {level!r}")
        try:
            make_compressor(method, level)
        except (ValueError, TypeError, OverflowError) as problem:
            raise InvalidSetting(f"{method} does not take the level {level!r}: {problem}") from None

    def on_close(self, filename: str) -> str:
        """Compress it, bring that to disk, and only then remove the file. @return: the new name."""
        files = self._files
        suffix = SUFFIXES[self.method]
        if not os.path.exists(filename):
            return find_again(filename, _there(filename, suffix))  # an earlier call came so far
        if is_compressed_file(filename):
            return filename
        directory, name = os.path.split(filename)
        # All of one name is made anew after a crash, so that nothing is left over.
        temporary = os.path.join(directory, f".{name}{suffix}.tmp")
        self._compress(filename, temporary)
        for target in _alternatives(filename, suffix):
            try:
                files.name(temporary, target)
                break
            except FileExistsError:
                if same_content(target, filename):
                    break  # a crash kept the earlier call from removing the original
        files.sync_directory(directory or ".")
        if os.path.lexists(temporary):
            files.unlink(temporary)
        _unlink(filename, files)
        return target

    def _compress(self, source: str, target: str) -> None:
        files = self._files
        before = os.stat(source)
        out = files.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            compressor = make_compressor(self.method, self.level)
            at = 0
            for piece in _pieces(source):
                data = compressor.compress(piece)
                if data:
                    files.write_at(out, (data,), at)
                    at += len(data)
            files.write_at(out, (compressor.flush(),), at)
            # Readers that go by it find the archive as old as it is.
            os.utime(out, ns=(before.st_atime_ns, before.st_mtime_ns))
            files.sync_data(out)
        except BaseException:
            files.unlink(target)
            raise
        finally:
            files.close(out)


def check_compressed_once(callbacks: Iterable[Any]) -> None:
    """
    @raise InvalidSetting: if two callbacks of a row, or of rows within it, compress: the second would do it over, or
        nothing.
    """
    if sum(_compressions(callbacks)) > 1:
        raise InvalidSetting("two callbacks compress archives; one of them would do nothing: leave it out")


def _compressions(callbacks: Iterable[Any]) -> Iterator[int]:
    for callback in callbacks:
        yield bool(getattr(callback, "compresses_file", False))
        yield from _compressions(getattr(callback, "callbacks", ()))


def _pieces(path: str) -> Iterator[bytes]:
    source = FileSource(path)
    try:
        at = 0
        while piece := source.pread(at, _PIECE):
            yield piece
            at += len(piece)
    finally:
        source.close()


def _alternatives(path: str, suffix: str = "") -> Iterator[str]:
    directory, name = os.path.split(path)
    for number in itertools.count():
        yield os.path.join(directory, numbered(name, number)) + suffix


def _there(path: str, suffix: str = "") -> list[str]:
    """Those of L{_alternatives} that are there, whether or not those before them are."""
    directory, name = os.path.split(path)
    pattern = numbered_pattern(name)
    try:
        names = sorted(os.listdir(directory or "."))
    except FileNotFoundError:
        return []
    found = (each for each in names if each.endswith(suffix) and pattern.fullmatch(each.removesuffix(suffix)))
    return [os.path.join(directory, each) for each in found]


def _unlink(path: str, files: Files) -> None:
    """
    Remove a name of what is on disk under another one.

    That this cannot be brought to disk is no failure: the file is where it was to go, and who tries again finds no source.
    """
    files.unlink(path)
    try:
        files.sync_directory(os.path.dirname(path) or ".")
    except OSError as problem:
        _log.warn("{path} was removed, but may be back after a power cut: {problem}", path=path, problem=str(problem))


def move_file(source: str, target: str, files: Files) -> str:
    """
    Move a file, across file systems if need be, and bring that to disk. Nothing is overwritten: if the target's name is
    taken, another is found.

    @return: where it is. If the source is gone, an earlier call may have moved it: see L{find_again}.
    @raise OSError: if it cannot be moved. It is where it was then.
    """
    if not os.path.exists(source):
        return find_again(source, _there(target))
    for candidate in _alternatives(target):
        try:
            _link_or_copy(source, candidate, files)
            break
        except FileExistsError:
            if os.path.samefile(source, candidate):
                break  # a crash kept an earlier call from removing the first name
    files.sync_directory(os.path.dirname(candidate) or ".")
    if os.path.abspath(source) != os.path.abspath(candidate):
        _unlink(source, files)
    return candidate


def _link_or_copy(source: str, target: str, files: Files) -> None:
    """Give a file a second name, or, where that is not possible, make a copy of it. The name must be free."""
    try:
        files.link(source, target)
        return
    except FileExistsError:
        raise
    except FileNotFoundError:
        raise
    except OSError:
        pass  # another file system, or one without links
    directory, name = os.path.split(target)
    temporary = os.path.join(directory, f".{name}.tmp")
    size = os.stat(source)
    descriptor = files.open(source, os.O_RDONLY)
    try:
        out = files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            files.copy_range(descriptor, out, size.st_size, 0, 0)
            os.utime(out, ns=(size.st_atime_ns, size.st_mtime_ns))
            files.sync_data(out)
        finally:
            files.close(out)
        if os.path.exists(target):
            raise FileExistsError(target)
        files.rename(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            files.unlink(temporary)
        raise
    finally:
        files.close(descriptor)
