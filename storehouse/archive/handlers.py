"""
What is done with an archive that was closed: another name, another place, compression, removal; and the chain that calls
these callbacks.

Each callback works so that a crash at any point leaves the file under its old name or its new one, whole. After a crash it
can be called again with the path that the marker has noted: it continues with what it made of that file, if that is
provably the same file, and never with a file that another program put there (L{storehouse.archive.finding}).
"""

from __future__ import annotations

import inspect
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.archive.clocks import Clock, monotonic_of
from storehouse.archive.finding import find_again
from storehouse.archive.interfaces import IArchiveCallback
from storehouse.archive.names import numbered, numbered_pattern
from storehouse.archive.plugins import CALLBACKS, Callback, load_class, make
from storehouse.archive.sources import FileSource, is_compressed_file, same_content
from storehouse.core.compression import SUFFIXES, check_method, make_compressor
from storehouse.core.files import Files
from storehouse.errors import InvalidSetting

__all__ = [
    "ArchiveCallback",
    "CallbackChain",
    "CallbackList",
    "ChangeExtension",
    "ChangeExtensionCallback",
    "CompressFile",
    "DeleteFile",
    "DeleteFileCallback",
    "Job",
    "MoveFile",
    "MoveFileCallback",
    "check_compressed_once",
    "make_callback",
    "move_file",
]

_log = Logger()

_PIECE = 1 << 20


def _files_of(files: Files | None) -> Files:
    if files is not None and not isinstance(files, Files):
        raise InvalidSetting(f"files cannot be set in a configuration, and cannot be {files!r}")
    return Files() if files is None else files


@implementer(IArchiveCallback)
class ArchiveCallback:
    """Does nothing. A base class for others."""

    #: Whether L{on_close} removes the file for good.
    removes_file = False

    def __init__(self) -> None:
        pass

    def on_open(self, filename: str) -> object:
        """See L{IArchiveCallback.on_open}."""

    def on_close(self, filename: str) -> Deferred[str | None] | Deferred[str] | str | None:
        return filename


class ChangeExtension(ArchiveCallback):
    """C{filename.dat} becomes C{filename.dat.done}."""

    def __init__(self, *, new_extension: str = ".done", files: Files | None = None) -> None:
        super().__init__()
        self.new_extension = "." + new_extension.removeprefix(".")
        if "/" in new_extension or new_extension in ("", "."):
            raise InvalidSetting(f"new_extension cannot be {new_extension!r}: an extension is a name without slashes")
        self._files = _files_of(files)

    def on_close(self, filename: str) -> str:
        """Rename the file, and bring that to disk. @return: its new path."""
        return move_file(filename, filename + self.new_extension, self._files)


class MoveFile(ArchiveCallback):
    """Moves the file into another directory, also on another file system. The directory is made if it is not there."""

    def __init__(self, *, destination_folder: str = ".", files: Files | None = None) -> None:
        super().__init__()
        self.destination_folder = os.fspath(destination_folder)
        if not self.destination_folder:
            raise InvalidSetting("destination_folder is empty; it is the directory to move archives to")
        self._files = _files_of(files)

    def on_close(self, filename: str) -> str:
        """Move the file, and bring that to disk. @return: its new path."""
        self._files.make_directory(self.destination_folder)
        return move_file(filename, os.path.join(self.destination_folder, os.path.basename(filename)), self._files)


class DeleteFile(ArchiveCallback):
    """Deletes the file, once all callbacks before it have succeeded."""

    removes_file = True

    def __init__(self, *, files: Files | None = None) -> None:
        super().__init__()
        self._files = _files_of(files)

    def on_close(self, filename: str) -> None:
        """Delete the file, and bring that to disk."""
        try:
            self._files.unlink(filename)
        except FileNotFoundError:
            return
        self._files.sync_directory(os.path.dirname(filename) or ".")


class CompressFile(ArchiveCallback):
    """
    C{filename.dat} becomes C{filename.dat.gz} or C{filename.dat.zst}. Readers read both as they are.

    A file that is compressed already, by its first bytes, is left as it is, with its name.
    """

    #: Whether L{on_close} compresses the file: one callback of a chain may.
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
        """Compress the file, bring that to disk, and only then remove it. @return: the path of the compressed one."""
        files = self._files
        suffix = SUFFIXES[self.method]
        if not os.path.exists(filename):
            return find_again(filename, _there(filename, suffix))  # an earlier call has removed it
        if is_compressed_file(filename):
            return filename
        directory, name = os.path.split(filename)
        # Always the same name: a repeat after a crash writes over it, so nothing is left over.
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
            # Archives are found again by their time.
            os.utime(out, ns=(before.st_atime_ns, before.st_mtime_ns))
            files.sync_data(out)
        except BaseException:
            files.unlink(target)
            raise
        finally:
            files.close(out)


def check_compressed_once(callbacks: Iterable[Callback]) -> None:
    """
    @raise InvalidSetting: if two callbacks of a chain, or of chains in it, compress: the second would have nothing to do.
    """
    if sum(_compressions(callbacks)) > 1:
        raise InvalidSetting("two callbacks compress archives, and one of them would do nothing: remove it")


def _compressions(callbacks: Iterable[Callback]) -> Iterator[int]:
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
    """Those of L{_alternatives} that exist."""
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
    Remove one name of a file that is on disk under another one.

    If that cannot be synced, it is no failure: the file is where it should be, and a repeat would find no source.
    """
    files.unlink(path)
    try:
        files.sync_directory(os.path.dirname(path) or ".")
    except OSError as problem:
        _log.warn("{path} was removed, but may come back after a power cut: {problem}", path=path, problem=str(problem))


def move_file(source: str, target: str, files: Files) -> str:
    """
    Move a file, to another file system if need be, and bring that to disk. Nothing is overwritten: if the target's name is
    taken, it gets a number.

    @return: its new path. If the source is gone, an earlier call may have moved it: see L{find_again}.
    @raise OSError: if it cannot be moved; then it is where it was.
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
    """Give a file a second name, or, where that is not possible, copy it. @raise FileExistsError: if the name is taken."""
    try:
        files.link(source, target)
        return
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:
        pass  # another file system, or one without hard links
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


@attrs.define
class Job:
    """
    A closed archive on its way through the callbacks.

    @ivar filename: its path now; C{None} once it is gone.
    @ivar remaining: positions of the callbacks that have not succeeded.
    @ivar noted: called when any of these change.
    @ivar attempts: passes in which a callback failed.
    @ivar given_up: whether no attempts are left.
    @ivar buried: whether it was moved to the dead letters.
    @ivar done: whether nothing more is done with it.
    @ivar due: when the next pass may begin, in the chain's seconds.
    @ivar todo: positions of the callbacks that are left in this pass.
    @ivar failed: whether a callback failed in this pass.
    @ivar running: whether a pass is under way.
    @ivar finished: fires with the path at the end.
    """

    filename: str | None
    remaining: list[int]
    noted: Callable[[Job], object]
    attempts: int = 0
    given_up: bool = False
    buried: bool = False
    done: bool = False
    due: float = 0.0
    todo: list[int] = attrs.Factory(list)
    failed: bool = False
    running: bool = False
    finished: Deferred[str | None] | None = None


@implementer(IArchiveCallback)
class CallbackChain:
    """
    Calls callbacks in order, each with the path that the one before returned.

    A callback that fails, at once or through its Deferred, is logged. The others are called nevertheless, except those that
    remove the file for good (C{removes_file}): they wait until all before them have succeeded. Those that failed are called
    again by L{poll}, after C{delay} seconds, then twice that, and so on up to C{most_delay}. After C{attempts} passes the file
    is moved to C{dead_letter}, or stays where it is if that is C{None}, and that is logged.

    Any thread may call; Deferreds fire in their own.
    """

    _log = Logger()

    #: In a chain of chains: callbacks of this one that remove the file wait by themselves.
    removes_file = False

    def __init__(
        self,
        *,
        callbacks: Iterable[Callback] = (),
        attempts: int = 8,
        delay: float = 1.0,
        most_delay: float = 300.0,
        dead_letter: str | None = None,
        clock: Clock | None = None,
        files: Files | None = None,
    ) -> None:
        """
        @param callbacks: each as L{make<storehouse.archive.plugins.make>} takes it.
        @param clock: the system's monotonic one if C{None}.
        @raise InvalidSetting: if one cannot be made, or two compress.
        """
        if attempts < 1 or delay < 0 or most_delay < 0:
            raise InvalidSetting("attempts must be 1 or more, and delays 0 or more")
        self.callbacks = tuple(make(CALLBACKS, callback) for callback in callbacks)
        check_compressed_once(self.callbacks)
        self._attempts = attempts
        self._delay = delay
        self._most_delay = most_delay
        self._dead_letter = dead_letter
        self._seconds = monotonic_of(clock)
        self._files = Files() if files is None else files
        self._lock = threading.Lock()
        self._jobs: list[Job] = []

    @property
    def pending(self) -> tuple[Job, ...]:
        """Archives that wait for a Deferred, or for the next attempt."""
        with self._lock:
            return tuple(self._jobs)

    # -- as a callback -------------------------------------------------------------------------------------------------

    def on_open(self, filename: str) -> None:
        """Call all. Failures are logged."""
        for callback in self.callbacks:
            try:
                result = callback.on_open(filename)
            except Exception:
                self._log.failure("{callback} failed at the opening of {path}", callback=_name(callback), path=filename)
                continue
            if isinstance(result, Deferred):
                result.addErrback(self._opening_failed, callback, filename)

    def _opening_failed(self, failure: Failure, callback: IArchiveCallback, filename: str) -> None:
        self._log.failure(
            "{callback} failed at the opening of {path}", failure, callback=_name(callback), path=filename
        )

    def on_close(self, filename: str) -> Deferred[str | None] | Deferred[str] | str | None:
        """
        Call all.

        @return: the path of the file then, C{None} if it is gone; a Deferred of that, which never fails, if it takes longer.
        """
        finished: Deferred[str | None] = Deferred()
        job = self._submit(Job(filename, list(range(len(self.callbacks))), lambda job: None, finished=finished))
        return job.filename if job.done else finished

    def submit(
        self, filename: str, remaining: Iterable[int] | None = None, noted: Callable[[Job], object] = lambda job: None
    ) -> Job:
        """
        Begin to call callbacks for a file. When this returns, all up to the first that returned a Deferred were called once.

        @param remaining: positions of the callbacks to call; all if C{None}.
        @param noted: called whenever the file name or the remaining callbacks of the job change, and at its end.
        """
        every = range(len(self.callbacks))
        positions = list(every) if remaining is None else [at for at in remaining if at in every]
        return self._submit(Job(filename, positions, noted))

    def _submit(self, job: Job) -> Job:
        job.todo, job.running = job.remaining.copy(), True
        with self._lock:
            self._jobs.append(job)
        self._run(job)
        return job

    def poll(self) -> None:
        """Call again what failed and is due; also in those callbacks that are chains."""
        now = self._seconds()
        with self._lock:
            due = [job for job in self._jobs if not job.running and job.due <= now]
            for job in due:
                job.running, job.failed, job.todo = True, False, job.remaining.copy()
        for job in due:
            self._run(job)
        for callback in self.callbacks:
            poll = getattr(callback, "poll", None)
            if poll is not None:
                try:
                    poll()
                except Exception:
                    self._log.failure("{callback} failed", callback=_name(callback))

    def abandon(self) -> None:
        """Forget the jobs that wait for their next attempt."""
        with self._lock:
            self._jobs = [job for job in self._jobs if job.running]

    # -- a pass --------------------------------------------------------------------------------------------------------

    def _run(self, job: Job) -> None:
        """Call the callbacks of this pass, up to the first that returns a Deferred."""
        while job.todo and job.filename is not None:
            at = job.todo.pop(0)
            callback = self.callbacks[at]
            if job.failed and getattr(callback, "removes_file", False):
                continue
            try:
                result = callback.on_close(job.filename)
            except Exception:
                self._failed(Failure(), job, at)
                continue
            if isinstance(result, Deferred):
                result.addCallbacks(self._succeeded, self._failed, callbackArgs=(job, at), errbackArgs=(job, at))
                result.addCallback(lambda _: self._run(job))
                result.addErrback(lambda failure: self._log.failure("the callbacks failed", failure))
                return
            self._succeeded(result, job, at)
        self._pass_over(job)

    def _succeeded(self, result: object, job: Job, at: int) -> None:
        job.remaining.remove(at)
        if isinstance(result, (str, os.PathLike)):
            job.filename = os.fspath(result)
        elif job.filename is not None and not os.path.lexists(job.filename):
            job.filename = None
        self._note(job)

    def _failed(self, failure: Failure, job: Job, at: int) -> None:
        job.failed = True
        self._log.failure(
            "{callback} failed at the closing of {path} (attempt {attempt})",
            failure,
            callback=_name(self.callbacks[at]),
            path=job.filename,
            attempt=job.attempts + 1,
        )

    def _pass_over(self, job: Job) -> None:
        if job.filename is None or not job.remaining:
            if any(not getattr(self.callbacks[at], "is_note", False) for at in job.remaining):
                self._log.warn("a file is gone, and these callbacks have not succeeded: {left}", left=self._names(job))
            self._end(job)
            return
        job.attempts += 1
        if job.attempts < self._attempts:
            job.due = self._seconds() + min(self._most_delay, self._delay * 2 ** (job.attempts - 1))
            job.running = False
            return
        job.given_up = True
        if self._dead_letter is not None:
            try:
                self._files.make_directory(self._dead_letter)
                target = os.path.join(self._dead_letter, os.path.basename(job.filename))
                job.filename = move_file(job.filename, target, self._files)
                job.buried = True
            except OSError:
                self._log.failure("{path} cannot be moved to the dead letters", path=job.filename)
        self._log.error(
            "{path}: gave up after {attempts} attempts; callbacks that did not succeed: {left}",
            path=job.filename,
            attempts=job.attempts,
            left=self._names(job),
        )
        self._end(job)

    def _end(self, job: Job) -> None:
        job.done = True
        with self._lock:
            self._jobs.remove(job)
        self._note(job)
        if job.finished is not None:
            job.finished.callback(job.filename)

    def _note(self, job: Job) -> None:
        try:
            job.noted(job)
        except Exception:
            self._log.failure("the remaining callbacks of {path} cannot be recorded", path=job.filename)

    def _names(self, job: Job) -> str:
        return ", ".join(_name(self.callbacks[at]) for at in job.remaining)


def _name(callback: object) -> str:
    # The name of what a wrapper wraps.
    while (wrapped := getattr(callback, "wrapped", None)) is not None:
        callback = wrapped
    return type(callback).__name__


ChangeExtensionCallback = ChangeExtension
MoveFileCallback = MoveFile
DeleteFileCallback = DeleteFile


def make_callback(what: Callback, **arguments: object) -> IArchiveCallback:
    """A callback by name: see L{storehouse.archive.plugins}."""
    return make(CALLBACKS, what, arguments)


class CallbackList(CallbackChain):
    """
    A chain from a text, as in the first program's configuration: names separated by commas. Each callback gets those of the
    other arguments that it takes.
    """

    def __init__(self, *, callback_list: str = "", **config: object) -> None:
        names = [name.strip() for name in callback_list.split(",") if name.strip()]
        super().__init__(
            callbacks=[make(CALLBACKS, name, _taken(load_class(CALLBACKS, name), config)) for name in names]
        )


def _taken(maker: Callable[..., object], config: dict[str, object]) -> dict[str, object]:
    parameters = inspect.signature(maker).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return config
    return {parameter.name: config[parameter.name] for parameter in parameters if parameter.name in config}
