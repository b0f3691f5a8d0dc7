"""A new file that takes its place when it is whole, or never was."""

from __future__ import annotations

import os
import secrets
from types import TracebackType

from storehouse.app.local.archives import compress_file
from storehouse.archive.archive import ArchiveWriter
from storehouse.cli.errors import CommandError, reason_of
from storehouse.cli.output import TidyEnd
from storehouse.core.files import NO_SPACE, Files
from storehouse.errors import NoSpace

__all__ = ["Target"]


class Target:
    """
    An archive to be made.

    A context manager: leaving it removes what was not committed, also when the process is asked to end.

    @raise CommandError: if there is a file of that name, and C{force} is not set; or for what the disk says.
    """

    def __init__(self, path: str, force: bool) -> None:
        self._path = path
        self._force = force
        self._directory = os.path.dirname(path) or "."
        self._files = Files()
        self._temporary: list[str] = []
        self._writer: ArchiveWriter | None = None
        self._ending = TidyEnd()

    def __enter__(self) -> Target:
        if not self._force and os.path.lexists(self._path):
            raise self._exists()
        self._ending.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.abandon()
        for path in self._temporary:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
        self._ending.__exit__()
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            if error.errno in NO_SPACE:
                raise CommandError(f"no space for {self._path}") from None
            raise CommandError(f"cannot write {self._path}: {reason_of(error)}") from None
        if isinstance(error, NoSpace):
            # Its text names a file that the user does not know.
            raise CommandError(f"no space for {self._path}") from None

    def _exists(self) -> CommandError:
        return CommandError(f"{self._path} already exists; --force replaces it")

    def _new(self) -> str:
        # Readers leave out files that are called so.
        path = os.path.join(self._directory, f".storehouse-{secrets.token_hex(8)}.tmp")
        self._temporary.append(path)
        return path

    def write(
        self, version: int, compression: str | None, level: int | None, created: int, sequence: int
    ) -> ArchiveWriter:
        """The archive, to be written and closed."""
        self._writer = ArchiveWriter(
            self._new(),
            version=version,
            compression=compression,
            level=level if compression else None,
            created=created,
            sequence=sequence,
            files=self._files,
        )
        return self._writer

    def compress(self, method: str | None, level: int | None) -> str:
        """Compress it as a whole, unless C{method} is C{None}. @return: where it is."""
        if method is not None:
            plain = self._temporary[-1]
            compress_file(plain, self._new(), method, level, self._files)
            os.unlink(plain)
        return self._temporary[-1]

    def commit(self, like: str) -> int:
        """
        Give it its name; both are on disk then.

        @param like: the path of a file whose permissions it gets; empty for those of every new archive.
        @return: its bytes.
        """
        made = self._temporary[-1]
        if like:
            os.chmod(made, os.stat(like).st_mode & 0o777)
        size = os.stat(made).st_size
        if self._force:
            self._files.rename(made, self._path)
        else:
            self._name(made)
        self._files.sync_directory(self._directory)
        return size

    def _name(self, made: str) -> None:
        try:
            self._files.name(made, self._path)
        except FileExistsError:
            raise self._exists() from None
