"""
Roll managers: they write records to one archive after the other, and read them back.

Source: the seed on shoebox. L{WritingRollManager} and L{ReadingRollManager} keep records in archives;
L{WritingJSONRollManager} writes payloads as lines of text files. Whatever rolls by time needs a call of C{poll} every second
or so: by a L{RollTimer}, or a L{LoopingCall<twisted.internet.task.LoopingCall>} in a program with a reactor.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from twisted.logger import Logger

from storehouse.archive.archive import BUFFER_SIZE, ArchiveReader, ArchiveWriter, Recovered, parse_sync
from storehouse.archive.clocks import Clock, now_ns_of, utc
from storehouse.archive.finding import find_matching, find_now
from storehouse.archive.handlers import CallbackChain, Job
from storehouse.archive.interfaces import Payload, ReadsRecords, Sync, WritesRecords
from storehouse.archive.leftovers import (
    Leftover,
    Marker,
    find_leftovers,
    latest_of,
    note_last,
    recover_leftovers,
)
from storehouse.archive.names import check_template, is_ours_beside, make_name, numbered, template_pattern
from storehouse.archive.plugins import CHECKERS, Callback, Checker, make
from storehouse.archive.roll_checker import NeverRollChecker, quiet_size
from storehouse.archive.scan import MAX_RECORD
from storehouse.archive.sources import is_compressed_file, open_source
from storehouse.core.compression import SUFFIXES, check_method, make_compressor
from storehouse.core.files import NO_SPACE, Files, open_stored
from storehouse.errors import (
    AlreadyExists,
    DamagedArchive,
    InvalidRecord,
    InvalidSetting,
    NoMoreFiles,
    NoSpace,
    NotFound,
    StorehouseError,
    UnknownArchiveFormat,
)

__all__ = ["NoMoreFiles", "ReadingRollManager", "RollTimer", "WritingJSONRollManager", "WritingRollManager"]


class WritingRollManager:
    """
    Writes records, and rolls over to a new archive when its checker says so. An archive is made by its first record.

    L{ArchiveWriter} says when a record is safe, for each value of C{sync}.

    Any thread may call any method. Callbacks are called in the thread that rolls, by C{write}, C{roll}, C{poll} or
    C{close}, without the lock: other threads may write to the next archive meanwhile. Only C{on_open} is called with it.

    @ivar recovered: archives that an earlier process left open, and what was done to each.
    @ivar written_to: the archive that the last L{write_many} wrote to, even if that closed it, and its path; C{None} before
        the first.
    """

    _log = Logger()

    def __init__(
        self,
        filename_template: str,
        roll_checker: Checker | None,
        directory: str = ".",
        destination_directory: str = ".",
        archive_class: Callable[[str], WritesRecords] | None = None,
        archive_callback: Callback | None = None,
        roll_size_mb: object = None,
        *,
        version: int = 2,
        compression: str | None = None,
        level: int | None = None,
        sync: Sync | str = Sync.ROLL,
        buffer_size: int = BUFFER_SIZE,
        callbacks: Iterable[Callback] = (),
        attempts: int = 8,
        retry_delay: float = 1.0,
        dead_letter: str | None = None,
        recover: bool = True,
        leftovers: Iterable[str] = (),
        keep_order: bool = True,
        clock: Clock | None = None,
        files: Files | None = None,
    ) -> None:
        """
        @param filename_template: for C{strftime}, with the time in UTC; spaces, colons, slashes and control characters become
            underscores. A name that is taken gets a number.
        @param roll_checker: as L{make<storehouse.archive.plugins.make>} takes it; C{None} never rolls.
        @param directory: of the archives; it is made if it is not there.
        @param destination_directory: ignored, as is C{roll_size_mb}: arguments of the first program.
        @param archive_class: makes an archive of a path, instead of L{ArchiveWriter}.
        @param archive_callback: as L{make<storehouse.archive.plugins.make>} takes it.
        @param version: see L{ArchiveWriter}, as for C{compression}, C{level}, C{sync} and C{buffer_size}.
        @param callbacks: called after C{archive_callback}. For those that fail, L{CallbackChain} explains C{attempts},
            C{retry_delay} (its C{delay}) and C{dead_letter}.
        @param recover: whether to finish what an earlier process left of this template in this directory.
        @param leftovers: paths of archives that it may have left elsewhere, or with another template.
        @param keep_order: whether to note the last archive for the next manager: callbacks may have moved all of them.
        @param clock: the system's if C{None}.
        @raise InvalidSetting: if an argument cannot be used.
        """
        self.filename_template = check_template(filename_template)
        self.directory = os.fspath(directory)
        self.destination_directory = destination_directory
        self.roll_checker = NeverRollChecker() if roll_checker is None else make(CHECKERS, roll_checker)
        self.archive_class = ArchiveWriter if archive_class is None else archive_class
        self.archive_callback = archive_callback
        self._files = Files() if files is None else files
        self._clock = clock
        self._now = now_ns_of(clock)
        # How an ArchiveWriter is made; empty for a class of the program's own.
        self._how: dict[str, Any] = {}
        if self.archive_class is ArchiveWriter:
            self._how = {"version": version, "compression": compression, "level": level, "sync": parse_sync(sync)}
            self._how |= {"buffer_size": buffer_size, "clock": clock, "files": self._files}
        self._chain = CallbackChain(
            callbacks=[*(() if archive_callback is None else (archive_callback,)), *callbacks],
            attempts=attempts,
            delay=retry_delay,
            dead_letter=dead_letter,
            clock=clock,
            files=self._files,
        )
        self._keep_order = keep_order and bool(self._how) and version == 2
        self._lock = threading.RLock()
        self._acquire, self._release = self._lock.acquire, self._lock.release
        self._quiet = 0.0  # the size of the open archive below which the checker need not be asked
        self._active: Any = None
        self._active_filename: str | None = None
        self._base = ""
        self._number = 0
        self._marker: Marker | None = None
        self._markers: list[Marker] = []
        self._incomplete: list[Leftover] = []
        self._unnoted: list[Leftover] = []
        self.recovered: tuple[Recovered, ...] = ()
        self.written_to: tuple[ArchiveWriter, str] | None = None
        if not os.path.isdir(self.directory):
            self._files.make_directory(self.directory)
        self._pattern = template_pattern(self.filename_template)
        self._created, self._sequence = latest_of(self.directory, self.filename_template, self._pattern)
        if recover:
            count = len(self._chain.callbacks)
            self._recover(find_leftovers(self.directory, self._pattern, count, self._files, leftovers))

    # -- what is open --------------------------------------------------------------------------------------------------

    @property
    def active_archive(self) -> ArchiveWriter | WritesRecords | None:
        """The archive that is open; C{None} if none is."""
        return self._active  # type: ignore[no-any-return]

    @property
    def active_filename(self) -> str | None:
        """The path of the open archive; C{None} if none is open."""
        return self._active_filename

    @property
    def pending(self) -> tuple[Job, ...]:
        """Closed archives whose callbacks have not all succeeded."""
        return (*self._chain.pending, *(Job(each.path, [], lambda job: None) for each in self._unnoted))

    @property
    def incomplete(self) -> tuple[str, ...]:
        """Closed archives that have no footer yet because the disk was full: L{poll} tries again."""
        return tuple(each.path for each in self._incomplete)

    def get_active_archive(self) -> ArchiveWriter | WritesRecords:
        """The archive that is open; it is made if there is none."""
        with self._lock:
            return self._active or self._open()  # type: ignore[no-any-return]

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self, metadata: Mapping[str, str], payload: Payload) -> None:
        """
        Write a record; then roll if the checker says so.

        @param metadata: text to text.
        @param payload: text or bytes.
        @raise StorehouseError: as L{ArchiveWriter.write}; the record was not taken.
        """
        # A with statement would take twice as long.
        self._acquire()
        try:
            archive = self._active
            if archive is None:
                archive = self._open()
            if self._how:
                if archive.add(metadata, payload) < self._quiet:
                    return
            else:
                archive.write(metadata, payload)
            if not self._is_full(archive):
                return
            closed = self._try_to_finish()
        finally:
            self._release()
        self._hand_on(closed)

    def write_many(self, records: Iterable[tuple[Mapping[str, str], Payload]]) -> int:
        """
        Write records to one archive, all or none; then roll if the checker says so.

        @return: how many.
        @raise StorehouseError: as L{ArchiveWriter.write_many}.
        """
        with self._lock:
            archive = self._active or self._open()
            count: int = archive.write_many(records)
            self.written_to = archive, str(self._active_filename)
            if not self._is_full(archive):
                return count
            closed = self._try_to_finish()
        self._hand_on(closed)
        return count

    def flush(self) -> None:
        with self._lock:
            if self._active is not None and hasattr(self._active, "flush"):
                self._active.flush()

    def roll(self) -> None:
        """
        Close the open archive, if there is one; the next record makes a new one.

        @raise NoSpace: if the disk is too full for its buffer; it stays open.
        """
        with self._lock:
            closed = self._finish()
        self._hand_on(closed)

    def close(self) -> None:
        """
        See L{roll}. Callbacks that failed are called again by L{poll}, and otherwise by the next manager of this template and
        directory.
        """
        self.roll()

    def stop(self) -> None:
        """L{close}, and leave callbacks that failed to the next manager of this template and directory."""
        self.close()
        self._chain.abandon()
        with self._lock:
            kept = self._markers + [each.marker for each in self._unnoted]
            self._unnoted = []
            running = {job.filename for job in self._chain.pending}
            self._markers = kept if running else []
        if not running:
            for marker in kept:
                marker.release()

    def poll(self) -> None:
        """
        Write the buffer to the file, roll if the checker says so, and call callbacks again that failed and are due. To be
        called every second or so.
        """
        closed = None
        with self._lock:
            if self._active is not None:
                try:
                    hand_over = getattr(self._active, "hand_over", None)
                    if hand_over is not None:
                        hand_over()
                except NoSpace as problem:
                    self._log.warn("{path}: {problem}", path=self._active_filename, problem=problem.detail)
                if self._is_full(self._active):
                    closed = self._try_to_finish()
            incomplete, self._incomplete = self._incomplete, []
            unnoted, self._unnoted = self._unnoted, []
        for each in (closed, *unnoted):
            self._hand_on(each)
        if incomplete:
            self._recover(incomplete)
        self._chain.poll()

    # -- rolling ------------------------------------------------------------------------------------------

    def _open(self) -> Any:
        now = self._now()
        base = make_name(self.filename_template, utc(now))
        # A callback may have moved the archive before: the directory does not show which names were used.
        self._number = self._number + 1 if base == self._base else 0
        self._base = base
        # Later than all before, whatever the clock says: readers sort archives by it.
        created = max(now, self._created + 1)
        while True:
            path = os.path.join(self.directory, numbered(base, self._number))
            taken = any(os.path.lexists(path + suffix) for suffix in ("", *SUFFIXES.values()))
            marker = None if taken else Marker.make(path, self._files)
            if marker is not None:
                try:
                    if self._how:
                        self._active = ArchiveWriter(path, created=created, sequence=self._sequence + 1, **self._how)
                    else:
                        self._active = self.archive_class(path)
                    break
                except AlreadyExists:
                    marker.remove()
                except BaseException:
                    marker.remove()
                    raise
            self._number += 1
        self._created = created
        self._sequence += 1
        self._active_filename = path
        self._marker = marker
        self._chain.on_open(path)
        self.roll_checker.start(self._active)
        self._quiet = self._quiet_size()
        return self._active

    def _quiet_size(self) -> float:
        # Archives of a class of the program's own may have no size.
        return quiet_size(self.roll_checker, self._active) if self._how else 0

    def _is_full(self, archive: Any) -> bool:
        """Whether the checker wants the archive closed."""
        if self.roll_checker.check(archive):
            self._quiet = 0.0  # until it is closed
            return True
        self._quiet = self._quiet_size()
        return False

    def _try_to_finish(self) -> Leftover | None:
        """L{_finish}. On a full disk the archive stays open, and the caller's record was written nevertheless."""
        try:
            return self._finish()
        except NoSpace as problem:
            self._log.warn("{path} cannot be closed: {problem}", path=self._active_filename, problem=problem.detail)
            return None

    def _finish(self) -> Leftover | None:
        """Close the open archive. @return: what to call callbacks for."""
        archive, path, marker = self._active, self._active_filename, self._marker
        if archive is None or path is None or marker is None:
            return None
        try:
            archive.close()
        except NoSpace:
            raise
        except BaseException:
            # What reached the disk is not known: the next start recovers it.
            self._active = self._active_filename = self._marker = None
            marker.release()
            raise
        self._active = self._active_filename = self._marker = None
        if self._keep_order:
            note_last(self.directory, self.filename_template, self._created, self._sequence, self._files)
        if self._how and self._how["version"] == 2 and not archive.complete:
            self._incomplete.append(Leftover(path, marker))
            return None
        return Leftover(path, marker, is_open=False)

    def _hand_on(self, closed: Leftover | None) -> None:
        """Call the callbacks for a closed archive."""
        if closed is None:
            return
        marker = closed.marker
        count = len(self._chain.callbacks)
        if not count:
            marker.remove()
            return

        def noted(job: Job) -> None:
            if job.filename is not None and job.remaining and not job.buried:
                marker.note(job.filename, job.remaining, count)
                if not job.done:
                    return
                marker.release()  # given up: the next process tries again
            else:
                marker.remove()
            with self._lock:
                if marker in self._markers:
                    self._markers.remove(marker)

        try:
            marker.note(closed.path, range(count) if closed.remaining is None else closed.remaining, count)
        except (OSError, StorehouseError) as problem:
            # Its records are stored. But without a note, a callback that renames it and then a crash would lose what is left
            # to do: poll tries again.
            self._log.warn(
                "{path}: its callbacks cannot be called yet: {problem}", path=closed.path, problem=str(problem)
            )
            with self._lock:
                self._unnoted.append(closed)
            return
        with self._lock:
            self._markers.append(marker)
        self._chain.submit(closed.path, closed.remaining, noted)

    def _recover(self, leftovers: list[Leftover]) -> None:
        """Finish leftovers of an earlier process."""
        if self.archive_class is ArchiveWriter:
            leftovers, recovered, waiting = recover_leftovers(leftovers, self._files)
            self.recovered += recovered
            self._incomplete += waiting
        for leftover in leftovers:
            self._hand_on(leftover)

    def __enter__(self) -> WritingRollManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


#: How often an archive is looked for again that is being moved.
_TRIES = 20

#: Takes the next decoded record, where there is none.
_NOTHING: Callable[[], tuple[dict[str, str], Payload]] = [].pop


class ReadingRollManager:
    """
    Reads the records of all archives that match a pattern, in the order in which they were written.

    The archives are listed once, when the manager is made. One that callbacks of its writer rename or compress meanwhile is
    found again; so is one that they move to C{destination_directory}, or have not finished with.

    @ivar files_to_read: paths of the archives that were not begun.
    @ivar torn: C{(path, bytes)} of archives with other bytes after the last whole record: their writer was killed, or still
        writes.
    @ivar damages: the damage that was skipped.
    """

    _log = Logger()

    def __init__(
        self,
        filename_template: str,
        directory: str = ".",
        destination_directory: str = ".",
        archive_class: Callable[[str], ReadsRecords] | None = None,
        archive_callback: Callback | None = None,
        roll_size_mb: object = None,
        *,
        skip_damaged: bool = False,
        max_record: int = MAX_RECORD,
        callbacks: Iterable[Callback] = (),
    ) -> None:
        """
        @param filename_template: a pattern with C{*}, C{?} and C{[...]}.
        @param destination_directory: where to look for archives that are moved before they are read.
        @param roll_size_mb: ignored: an argument of the first program.
        @param archive_class: makes a reader of a path, instead of L{ArchiveReader}.
        @param archive_callback: as L{make<storehouse.archive.plugins.make>} takes it; called when an archive is opened, and
            when it has been read to its end.
        @param skip_damaged: continue behind damage, and log it.
        @param max_record: a record that claims more bytes is damage.
        @param callbacks: called after C{archive_callback}.
        """
        self.filename_template = filename_template
        self.directory = os.fspath(directory)
        self.destination_directory = destination_directory
        self.archive_class = archive_class
        self.archive_callback = archive_callback
        self._seen = {seen.path: seen for seen in find_matching(filename_template, self.directory)}
        self.files_to_read = list(self._seen)
        self.active_archive: ArchiveReader | ReadsRecords | None = None
        self.active_filename: str | None = None
        self.torn: list[tuple[str, int]] = []
        self.damages: list[Exception] = []
        self._skip = skip_damaged
        self._max_record = max_record
        self._take: Callable[[], tuple[dict[str, str], Payload]] = _NOTHING
        self._chain = CallbackChain(
            callbacks=[*(() if archive_callback is None else (archive_callback,)), *callbacks], attempts=1
        )

    def read(self) -> tuple[dict[str, str], Payload]:
        """
        The next record: metadata and payload.

        @raise NoMoreFiles: if all archives have been read.
        @raise DamagedArchive: at damage, each time until L{skip_file} is called; or if a header is damaged: then the next
            call continues with the next file.
        @raise UnknownArchiveFormat: if a file is no archive; the next call continues with the next file.
        @raise NotFound: if an archive was moved before it was read, and is not found; likewise.
        """
        try:
            return self._take()
        except IndexError:
            pass  # none is decoded
        while True:
            archive = self.active_archive
            if archive is None:
                archive = self.get_active_archive()
            try:
                pair = archive.read()
            except EOFError:
                self._finish()
                continue
            if isinstance(archive, ArchiveReader):
                self._take = archive.take
            return pair

    def __iter__(self) -> Iterator[tuple[dict[str, str], Payload]]:
        """All further records."""
        while True:
            try:
                pair = self.read()
            except NoMoreFiles:
                return
            yield pair

    def get_active_archive(self) -> ArchiveReader | ReadsRecords:
        """The archive that is open; the next one is opened if none is. @raise NoMoreFiles: if there is no next one."""
        while self.active_archive is None:
            if not self.files_to_read:
                raise NoMoreFiles(f"all archives of {self.filename_template} have been read")
            path = self.files_to_read.pop(0)
            try:
                self.active_archive, path = self._open(path)
            except (DamagedArchive, UnknownArchiveFormat, NotFound) as problem:
                if not self._skip:
                    raise
                self.damages.append(problem)
                self._log.error("skipped: {damage}", damage=problem.detail)
                continue
            self.active_filename = path
            self._chain.on_open(path)
        return self.active_archive

    def _open(self, path: str) -> tuple[ArchiveReader | ReadsRecords, str]:
        seen = self._seen.pop(path, None)
        for _ in range(_TRIES):
            try:
                if self.archive_class is None:
                    return ArchiveReader(path, skip_damaged=self._skip, max_record=self._max_record), path
                return self.archive_class(path), path
            except FileNotFoundError:
                now = None if seen is None else find_now(seen, (self.destination_directory,))
                if now is None:
                    break
                self._log.info("{path} is now {now}", path=path, now=now)
                path = now
        raise NotFound(f"{path} was moved or removed before it was read, and was not found anywhere else")

    def skip_file(self) -> None:
        """Close the open archive, and continue with the next. Callbacks are not called: it was not read to its end."""
        archive, self.active_archive, self.active_filename = self.active_archive, None, None
        self._take = _NOTHING
        if archive is not None:
            archive.close()

    def close(self) -> None:
        """Close the open archive, if there is one. Callbacks are not called: it was not read to its end."""
        self.skip_file()

    def _finish(self) -> None:
        """Close the open archive, which was read to its end, and call callbacks."""
        archive, path = self.active_archive, self.active_filename
        if archive is None or path is None:
            return
        self.active_archive = self.active_filename = None
        self._take = _NOTHING
        archive.close()
        if isinstance(archive, ArchiveReader):
            if archive.torn:
                self.torn.append((path, archive.torn))
                self._log.warn("{path}: {torn} bytes follow its last whole record", path=path, torn=archive.torn)
            for damage in archive.damages:
                self.damages.append(damage)
                self._log.error("skipped: {damage}", damage=damage.detail)
        self._chain.on_close(path)

    def __enter__(self) -> ReadingRollManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_CRC, _TIMESTAMP = "[[CRC]]", "[[TIMESTAMP]]"
_PIECE = 1 << 20


class WritingJSONRollManager:
    """
    Writes each payload as a line of a working file. Once that is large or old enough, it is compressed into the destination
    directory and removed. Metadata is ignored.

    In the template C{[[CRC]]} is replaced by the SHA-256 of the content, and C{[[TIMESTAMP]]} by the time in seconds since
    1970. The name of a working file keeps C{[[CRC]]}.

    When L{write} returns, the line is in the page cache. The compressed file is brought to disk before the working file is
    removed. A new manager compresses the working files that an earlier process left, so two managers must not share a
    directory and a template at the same time. With C{[[CRC]]} in the template, a repeat after a crash makes no second file.
    """

    _log = Logger()

    def __init__(
        self,
        filename_template: str,
        directory: str = ".",
        destination_directory: str = ".",
        roll_size_mb: float = 1000,
        roll_minutes: float = 60,
        *,
        method: str = "gzip",
        level: int | None = None,
        all_leftovers: bool = False,
        clock: Clock | None = None,
        files: Files | None = None,
    ) -> None:
        """
        @param directory: of working files; it is made if it is not there, and so is C{destination_directory}.
        @param roll_size_mb: the size, in MiB, at which a working file rolls.
        @param roll_minutes: the age, in minutes, at which it rolls; while nothing is written, by L{poll}.
        @param method: C{"gzip"} or C{"zstd"}.
        @param all_leftovers: whether to compress all files of the directory at the start, as the first program does, and not
            only those with a name of the template.
        @param clock: the system's if C{None}.
        @raise InvalidSetting: if an argument cannot be used.
        """
        self.filename_template = check_template(filename_template)
        self.directory = os.fspath(directory)
        self.destination_directory = os.fspath(destination_directory)
        try:
            self.roll_size_mb = float(roll_size_mb)
            self.roll_minutes = float(roll_minutes)
        except (TypeError, ValueError):
            raise InvalidSetting("roll_size_mb and roll_minutes are numbers") from None
        if all_leftovers and os.path.realpath(self.directory) == os.path.realpath(self.destination_directory):
            raise InvalidSetting("all_leftovers needs a destination directory other than the working directory")
        self.method = check_method(method)
        self.level = level
        self.size = 0
        self._now = now_ns_of(clock)
        self._files = Files() if files is None else files
        self._lock = threading.RLock()
        self._fd = -1
        self._opened = 0
        self.filename: str | None = None
        for path in (self.directory, self.destination_directory):
            if not os.path.isdir(path):
                self._files.make_directory(path)
        self._all_leftovers = all_leftovers
        self.archive_leftovers()

    def write(self, metadata: Mapping[str, str], json_payload: Payload) -> None:
        """
        Write a payload as a line; then roll if the file is large or old enough. JSON is written without its line breaks.

        @param metadata: ignored.
        @raise InvalidRecord: if the payload is neither text nor bytes, or has line breaks and is not JSON.
        @raise NoSpace: if the disk is full; the line was not written.
        """
        line = _line(json_payload)
        with self._lock:
            if self._fd < 0:
                self._open()
            try:
                self._files.write_at(self._fd, (line,), self.size)
            except OSError as problem:
                self._files.truncate(self._fd, self.size)
                if problem.errno in NO_SPACE:
                    raise NoSpace(f"the disk is full: {self.filename} takes no more lines") from None
                raise
            self.size += len(line)
            if self._is_due():
                self.roll()

    def poll(self) -> None:
        """Roll if the file is large or old enough."""
        with self._lock:
            if self._fd >= 0 and self._is_due():
                self.roll()

    def roll(self) -> None:
        """
        Compress the working file, if there is one, into the destination directory.

        @raise NoSpace: if the disk is full; the next manager compresses the working file.
        """
        with self._lock:
            path = self.filename
            self.close()
            if path is not None and os.path.exists(path):
                self.filename = None
                self._archive(path)

    def close(self) -> None:
        """Close the working file and leave it where it is, as the first program does: the next manager compresses it."""
        with self._lock:
            if self._fd >= 0:
                try:
                    self._files.sync_data(self._fd)
                finally:
                    self._files.close(self._fd)
                    self._fd = -1

    def _is_due(self) -> bool:
        age = (self._now() - self._opened) / 60e9
        return self.size >= self.roll_size_mb * (1 << 20) or (self.size > 0 and age >= self.roll_minutes)

    def _name(self, crc: str) -> str:
        now = self._now()
        stamp = f"{now // 1_000_000_000}.{now % 1_000_000_000 // 1000:06d}"
        name = make_name(self.filename_template, utc(now))
        return name.replace(_CRC, crc).replace(_TIMESTAMP, stamp)

    def _open(self) -> None:
        name = self._name(_CRC)
        number = 0
        while True:
            path = os.path.join(self.directory, numbered(name, number))
            try:
                self._fd = self._files.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                break
            except FileExistsError:
                number += 1
        self.filename = path
        self.size = 0
        self._opened = self._now()

    # -- rolling -------------------------------------------------------------------------------------------------------

    def archive_leftovers(self) -> None:
        """Compress the working files that earlier processes, or L{close}, left."""
        every = self._all_leftovers
        pattern = template_pattern(self.filename_template.replace(_TIMESTAMP, "%s"))
        for name in sorted(os.listdir(self.directory)):
            path = os.path.join(self.directory, name)
            ours = every or (pattern.fullmatch(name) is not None and not is_ours_beside(name))
            if ours and os.path.isfile(path) and not (self._fd >= 0 and path == self.filename):
                if is_compressed_file(path):
                    self._log.warn("{path} is compressed, so it is not a working file, and stays as it is", path=path)
                    continue
                self._log.info("{path} was left by an earlier process, and is compressed now", path=path)
                self._archive(path)

    def _archive(self, path: str) -> str:
        """Compress a working file, bring that to disk, remove the working file. @return: the new path."""
        files = self._files
        digest = hashlib.sha256()
        suffix = SUFFIXES[self.method]
        temporary = os.path.join(self.destination_directory, f".{os.path.basename(path)}{suffix}.tmp")
        out = files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            compressor = make_compressor(self.method, self.level)
            at = 0
            with open_stored(path, follow=True) as source:
                while piece := source.read(_PIECE):
                    digest.update(piece)
                    data = compressor.compress(piece)
                    files.write_at(out, (data,), at)
                    at += len(data)
            files.write_at(out, (compressor.flush(),), at)
            files.sync_data(out)
        except OSError as problem:
            files.unlink(temporary)
            if problem.errno in NO_SPACE:
                raise NoSpace(f"the disk is full: {path} cannot be compressed, and stays as it is") from None
            raise
        finally:
            files.close(out)
        crc = digest.hexdigest()
        target = self._same(crc, suffix) if _CRC in self.filename_template else None
        if target is None:
            target = self._place(temporary, self._name(crc), suffix)
        if os.path.lexists(temporary):
            files.unlink(temporary)
        files.sync_directory(self.destination_directory)
        files.unlink(path)
        files.sync_directory(self.directory)
        return target

    def _same(self, crc: str, suffix: str) -> str | None:
        """The compressed file of the same content, if it was made before a crash."""
        for name in os.listdir(self.destination_directory):
            if crc in name and name.endswith(suffix) and not name.startswith("."):
                path = os.path.join(self.destination_directory, name)
                if _digest_of(path) == crc:
                    return path
        return None

    def _place(self, temporary: str, name: str, suffix: str) -> str:
        number = 0
        while True:
            target = os.path.join(self.destination_directory, numbered(name, number) + suffix)
            try:
                self._files.name(temporary, target)
                return target
            except FileExistsError:
                number += 1

    def __enter__(self) -> WritingJSONRollManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _line(payload: Payload) -> bytes:
    try:
        line = payload.encode() if isinstance(payload, str) else bytes(memoryview(payload))
    except (TypeError, UnicodeEncodeError, AttributeError) as problem:
        raise InvalidRecord(f"a payload must be text or bytes: {problem}") from None
    if b"\n" in line:
        try:
            line = json.dumps(json.loads(line), ensure_ascii=False).encode()
        except ValueError:
            raise InvalidRecord("a payload with line breaks must be JSON, to be written as one line") from None
    return line + b"\n"


def _digest_of(path: str) -> str | None:
    source = open_source(path)
    digest = hashlib.sha256()
    try:
        at = 0
        while piece := source.pread(at, _PIECE):
            digest.update(piece)
            at += len(piece)
    except DamagedArchive:
        return None
    finally:
        source.close()
    return digest.hexdigest()


class RollTimer:
    """
    A thread that polls managers, for programs without a reactor. Also a context manager.
    """

    _log = Logger()

    def __init__(self, *managers: WritingRollManager | WritingJSONRollManager, interval: float = 1.0) -> None:
        """@param interval: seconds between two polls."""
        self._managers = managers
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="archive-roll-timer", daemon=True)

    def start(self) -> RollTimer:
        """Start the thread. @return: itself."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop the thread, and wait for a poll that is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(self._interval):
            for manager in self._managers:
                try:
                    manager.poll()
                except Exception:
                    self._log.failure("a poll of {manager!r} failed", manager=manager)

    def __enter__(self) -> RollTimer:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()
