"""Writing records to one archive after the other."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from twisted.logger import Logger

from storehouse.archive.chain import CallbackChain, Job
from storehouse.archive.clocks import now_ns_of, utc
from storehouse.archive.interfaces import Payload, Sync
from storehouse.archive.leftovers import (
    Leftover,
    Marker,
    find_leftovers,
    latest_of,
    note_last,
    recover_leftovers,
)
from storehouse.archive.names import check_template, make_name, numbered, template_pattern
from storehouse.archive.plugins import CHECKERS, make
from storehouse.archive.recovery import Recovered
from storehouse.archive.roll_checker import NeverRollChecker, quiet_size
from storehouse.archive.writer import BUFFER_SIZE, ArchiveWriter, parse_sync
from storehouse.core.compression import SUFFIXES
from storehouse.core.files import Files
from storehouse.errors import AlreadyExists, NoSpace, StorehouseError

__all__ = ["WritingRollManager"]


class WritingRollManager:
    """
    Writes records, and goes on to a new archive when its checker says so. An archive is made when its first record comes.

    When a record is safe is said by L{ArchiveWriter}, for each value of C{sync}; L{flush} and L{close} wait for what was
    written before.

    Any thread may call any method. Callbacks are called in the thread that rolls: by C{write}, C{roll}, C{poll} or
    C{close}, after the next archive may be written to; only C{on_open} is called before.

    @ivar recovered: what was done to archives that an earlier process left open.
    @ivar written_to: the archive that the last L{write_many} wrote to, and its path, also if it was closed at once;
        C{None} before the first.
    """

    _log = Logger()

    def __init__(
        self,
        filename_template: str,
        roll_checker: Any,
        directory: str = ".",
        destination_directory: str = ".",
        archive_class: Any = None,
        archive_callback: Any = None,
        roll_size_mb: Any = None,
        *,
        version: int = 2,
        compression: str | None = None,
        level: int | None = None,
        sync: Sync | str = Sync.ROLL,
        buffer_size: int = BUFFER_SIZE,
        callbacks: Iterable[Any] = (),
        attempts: int = 8,
        retry_delay: float = 1.0,
        dead_letter: str | None = None,
        recover: bool = True,
        leftovers: Iterable[str] = (),
        keep_order: bool = True,
        clock: Any = None,
        files: Files | None = None,
    ) -> None:
        """
        @param filename_template: as C{strftime} takes it, for the time in UTC; what is not safe in a name becomes an
            underscore. A name that is taken gets a number.
        @param roll_checker: an L{IRollChecker<storehouse.archive.interfaces.IRollChecker>}, or a name or
            mapping for L{make<storehouse.archive.plugins.make>}; C{None} never rolls.
        @param directory: where archives are made; it is made if need be.
        @param destination_directory: not used; taken as the first program took it, and so is C{roll_size_mb}.
        @param archive_class: makes an archive of a path, instead of L{ArchiveWriter}; has C{write} and C{close}.
        @param archive_callback: an L{IArchiveCallback<storehouse.archive.interfaces.IArchiveCallback>}.
        @param version: of archives, and so C{compression}, C{level}, C{sync} and C{buffer_size}: see L{ArchiveWriter}.
        @param callbacks: more callbacks, called after C{archive_callback}: see L{CallbackChain} for what becomes of
            those that fail, with C{attempts}, C{retry_delay} and C{dead_letter}.
        @param recover: look for what an earlier process left of this template in this directory.
        @param leftovers: paths of archives that it may have left elsewhere, or of another template.
        @param keep_order: note which archive was the last, for the next manager: the others may be elsewhere then.
        @param clock: has C{seconds()}; the system's if C{None}.
        @raise InvalidSetting: if an argument is not usable.
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
        self._quiet = 0.0  # the size of what is open below which the checker need not be asked
        self._active: Any = None
        self._active_filename: str | None = None
        self._base = ""
        self._number = 0
        self._marker: Marker | None = None
        self._markers: list[Marker] = []
        self._unsealed: list[Leftover] = []
        self._unnoted: list[Leftover] = []
        self.recovered: tuple[Recovered, ...] = ()
        self.written_to: tuple[Any, str] | None = None
        if not os.path.isdir(self.directory):
            self._files.make_directory(self.directory)
        self._pattern = template_pattern(self.filename_template)
        self._created, self._sequence = latest_of(self.directory, self.filename_template, self._pattern)
        if recover:
            count = len(self._chain.callbacks)
            self._recover(find_leftovers(self.directory, self._pattern, count, self._files, leftovers))

    # -- what is open --------------------------------------------------------------------------------------------------

    @property
    def active_archive(self) -> Any:
        """The archive that is written to; C{None} if there is none."""
        return self._active

    @property
    def active_filename(self) -> str | None:
        """Its path."""
        return self._active_filename

    @property
    def pending(self) -> tuple[Job, ...]:
        """Closed archives whose callbacks are not done."""
        return (*self._chain.pending, *(Job(each.path, [], lambda job: None) for each in self._unnoted))

    @property
    def unsealed(self) -> tuple[str, ...]:
        """Archives that nobody writes to any more, for whose end there is no room yet: L{poll} tries again."""
        return tuple(each.path for each in self._unsealed)

    def get_active_archive(self) -> Any:
        """The archive that is written to; it is made if there is none."""
        with self._lock:
            return self._active or self._open()

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self, metadata: Mapping[str, str], payload: Payload) -> None:
        """
        Write a record; roll afterwards if the checker says so.

        @param metadata: text to text.
        @param payload: text or bytes.
        @raise StorehouseError: as L{ArchiveWriter.write}; the record was not taken then.
        """
        # What a with statement does takes twice as long.
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
        Write records to one archive, all or none; roll afterwards if the checker says so.

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
        """Bring what was written to where C{sync} says: see L{ArchiveWriter.flush}."""
        with self._lock:
            if self._active is not None and hasattr(self._active, "flush"):
                self._active.flush()

    def roll(self) -> None:
        """
        Close the archive that is open, if there is one; the next record goes to a new one.

        @raise NoSpace: if there is no room for what it has in its buffer; it stays open.
        """
        with self._lock:
            closed = self._finish()
        self._hand_on(closed)

    def close(self) -> None:
        """
        L{roll}. Callbacks that failed are tried again as long as L{poll} is called, and otherwise by the next manager of
        this template and directory.
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
        Do what is due: hand over what waits in the buffer, roll if the checker says so, call again callbacks that failed.

        To be called every second or so: by L{RollTimer<storehouse.archive.timer.RollTimer>}, or a
        C{LoopingCall}.
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
            unsealed, self._unsealed = self._unsealed, []
            unnoted, self._unnoted = self._unnoted, []
        for each in (closed, *unnoted):
            self._hand_on(each)
        if unsealed:
            self._recover(unsealed)
        self._chain.poll()

    # -- from one to the next ------------------------------------------------------------------------------------------

    def _open(self) -> Any:
        now = self._now()
        base = make_name(self.filename_template, utc(now))
        # A callback may have taken the one before away, so what is there does not tell which names were used.
        self._number = self._number + 1 if base == self._base else 0
        self._base = base
        # Strictly later than all before, whatever the clock says: this is the order that readers go by.
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
        # Of the size of other classes nothing is known.
        return quiet_size(self.roll_checker, self._active) if self._how else 0

    def _is_full(self, archive: Any) -> bool:
        """Ask the checker."""
        if self.roll_checker.check(archive):
            self._quiet = 0.0  # until it is closed
            return True
        self._quiet = self._quiet_size()
        return False

    def _try_to_finish(self) -> Leftover | None:
        """L{_finish}; an archive for which there is no room stays open, and that is no fault of the record written."""
        try:
            return self._finish()
        except NoSpace as problem:
            self._log.warn("{path} cannot be closed: {problem}", path=self._active_filename, problem=problem.detail)
            return None

    def _finish(self) -> Leftover | None:
        """Close the archive that is open. @return: what is to be handed on."""
        archive, path, marker = self._active, self._active_filename, self._marker
        if archive is None or path is None or marker is None:
            return None
        try:
            archive.close()
        except NoSpace:
            raise
        except BaseException:
            # What is in it is not known: it is left for the next start.
            self._active = self._active_filename = self._marker = None
            marker.release()
            raise
        self._active = self._active_filename = self._marker = None
        if self._keep_order:
            note_last(self.directory, self.filename_template, self._created, self._sequence, self._files)
        if self._how and self._how["version"] == 2 and not archive.sealed:
            self._unsealed.append(Leftover(path, marker))
            return None
        return Leftover(path, marker, is_open=False)

    def _hand_on(self, closed: Leftover | None) -> None:
        """Have callbacks called for a closed archive."""
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
                marker.release()  # given up: the next start tries again
            else:
                marker.remove()
            with self._lock:
                if marker in self._markers:
                    self._markers.remove(marker)

        try:
            marker.note(closed.path, range(count) if closed.remaining is None else closed.remaining, count)
        except (OSError, StorehouseError) as problem:
            # Its records are stored. A callback may rename it, and then nobody would find what is left to do.
            self._log.warn("{path}: its callbacks have to wait: {problem}", path=closed.path, problem=str(problem))
            with self._lock:
                self._unnoted.append(closed)
            return
        with self._lock:
            self._markers.append(marker)
        self._chain.submit(closed.path, closed.remaining, noted)

    def _recover(self, leftovers: list[Leftover]) -> None:
        """Finish what was left."""
        if self.archive_class is ArchiveWriter:
            leftovers, recovered, waiting = recover_leftovers(leftovers, self._files)
            self.recovered += recovered
            self._unsealed += waiting
        for leftover in leftovers:
            self._hand_on(leftover)

    def __enter__(self) -> WritingRollManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
