"""
Streams: bytes that are pulled, a piece at a time.

A slow reader reads later, so nothing has to be paused. What a transport pushes becomes a stream at its edge
(L{PushedStream}), and nowhere else. A stage does something with the bytes on their way: an async generator of a few lines
under L{stage}. What must not hold the bytes up, such as a hash or a write in a disk thread, runs L{Beside}.

Rules:

- B{Owner.} A stream that is passed on belongs to its receiver, which closes it, whatever happens. A stage owns what it
  reads from: closing the last stage closes all.
- B{Pieces} are C{bytes}, or C{memoryview}s of bytes, of any size but none; their bytes do not change as
  long as anything refers to them. The empty piece is the end, as often as it is read.
- B{Memory.} A stream holds one piece, or what its docstring says.
- B{Turns.} A piece that is at hand comes at once, without a turn of the reactor. A loop that may be long calls
  L{breath<storehouse.core.turns.breath>}.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from functools import wraps
from types import coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from storehouse.core.jobs import IDisk, over
from storehouse.errors import SizeMismatch, TooLarge

__all__ = [
    "PIECE",
    "Beside",
    "BytesStream",
    "GeneratorStream",
    "IByteStream",
    "Piece",
    "PieceBuffer",
    "PushedStream",
    "StreamClosed",
    "WholeStream",
    "awaiting",
    "beside",
    "closing",
    "counted",
    "cut",
    "exact",
    "joined",
    "limited",
    "read_all",
    "stage",
    "updating",
]

P = ParamSpec("P")
T = TypeVar("T")

#: Bytes of a piece of a stream from memory or a store, at most.
PIECE = 256 << 10

#: Bytes, which do not change as long as anybody has them. No bytes are the end.
Piece = bytes | memoryview


class StreamClosed(Exception):
    """A stream was read after it was closed, or closed while it was read."""


class IByteStream(Interface):
    """
    Bytes that can be read once, in order. One reader at a time.

    The two methods are for the innermost loops: C{read} gives an awaitable, most often a plain coroutine, in place of a
    Deferred, since a Deferred for each piece would cost several times what a stage does.
    """

    def read() -> Awaitable[Piece]:
        """
        The next piece; an empty one at the end, and again after it.

        Await it at once, and before the next call. It can be cancelled, by cancelling the Deferred that runs
        who awaits it. A read that fails or was cancelled ends the stream: part of what it was about may be lost, so that
        later reads fail with the same error, and C{close} is all that is left to do. A cancelled read fails at once, or
        when a thread that works for it is done.

        @raise StreamClosed: after C{close}; and in a read that waits while C{close} is called.
        """

    def close() -> Deferred[None]:
        """
        Give up what is left. Harmless at any time, and more than once.

        @return: fires when no files and no threads are in use any more. Never fails; cancelling it changes nothing.
        """


# -- what streams are made of ----------------------------------------------------------------------


@implementer(IByteStream)
class GeneratorStream:
    """
    The pieces of an async generator as a stream. See L{stage}, by which most are made.

    An async generator alone is none: Twisted installs no hooks for those that are left behind, C{aclose} raises while a
    piece is waited for, one that has failed looks as if it had ended, and one that never began runs no C{finally}. All
    of that is seen to here.

    @param pieces: the generator. It may yield empty pieces, which are left out.
    @param upstream: the streams that it reads from; they are closed after it.
    @param release: called once, when all of that is closed: to let go of what was there before the generator began. Fires
        when that is done; must not fail.
    """

    _log = Logger()

    def __init__(
        self,
        pieces: AsyncGenerator[Piece, None],
        *upstream: IByteStream,
        release: Callable[[], Deferred[None]] | None = None,
    ) -> None:
        self._pieces = pieces
        self._next = pieces.__anext__
        self._upstream = upstream
        self._release = release
        self._is_reading = False
        self._is_over = False
        self._error: BaseException | None = None  # what reads fail with
        self._awaited: Deferred[Any] | None = None  # what the read waits for
        self._closing: Deferred[None] | None = None
        self._read_over: Deferred[None] | None = None

    @coroutine
    def read(self) -> Generator[Deferred[object], object, Piece]:
        # Drives the generator by hand: that tells what it waits for, which close() must cancel.
        if self._error is not None:
            raise self._error
        if self._is_over:
            return b""
        if self._is_reading:
            raise RuntimeError("a stream has one reader at a time")
        self._is_reading = True
        try:
            while True:
                step: Any = self._next()
                try:
                    awaited = step.send(None)
                    while True:
                        self._awaited = awaited
                        try:
                            result = yield awaited
                        except BaseException as error:
                            awaited = step.throw(error)
                        else:
                            awaited = step.send(result)
                except StopIteration as stop:
                    if stop.value:
                        return stop.value  # type: ignore[no-any-return]
        except StopAsyncIteration:
            self._is_over = True
            return b""
        except BaseException as error:
            if self._error is not None:  # closed meanwhile: the generator was cancelled
                raise self._error from None
            self._error = error
            raise
        finally:
            self._is_reading = False
            self._awaited = None
            if self._read_over is not None:
                self._read_over.callback(None)

    def close(self) -> Deferred[None]:
        if self._closing is None:
            is_finished = self._is_over or self._error is not None
            self._error = StreamClosed("the stream was closed")
            # Before anything is done: a read that fails by it may have its reader close the stream, too.
            closing = self._closing = Deferred()
            if is_finished and not self._is_reading:
                # Most streams are read to their end, and then nothing has to be waited for.
                self._let_go(closing)
            else:
                Deferred.fromCoroutine(self._stop()).addCallback(lambda _: self._let_go(closing))
        return succeed(None) if self._closing.called else over(self._closing)

    async def _stop(self) -> None:
        if self._is_reading:
            self._read_over = Deferred()
            if self._awaited is not None:
                self._awaited.cancel()
            await self._read_over
        try:
            await self._pieces.aclose()
        except Exception:
            self._log.failure("while a stream was closed")

    def _let_go(self, closing: Deferred[None]) -> None:
        """Close what it reads from, then let go of the rest."""
        waiting = [closed for stream in self._upstream if not (closed := stream.close()).called]
        if waiting:
            gatherResults(waiting).addCallback(lambda _: self._released(closing))
        else:
            self._released(closing)

    def _released(self, closing: Deferred[None]) -> None:
        if self._release is None:
            closing.callback(None)
        else:
            self._release().chainDeferred(closing)


def stage(
    generator: Callable[Concatenate[IByteStream, P], AsyncGenerator[Piece, None]],
) -> Callable[Concatenate[IByteStream, P], IByteStream]:
    """
    An async generator function, which is given a stream first, as one that returns a stream and owns the one it is given::

        @stage
        async def shouted(stream: IByteStream) -> AsyncGenerator[Piece, None]:
            while piece := await stream.read():
                yield bytes(piece).upper()

    C{finally} within it runs when it is closed early, and may wait.
    """

    @wraps(generator)
    def staged(stream: IByteStream, /, *args: P.args, **kwargs: P.kwargs) -> IByteStream:
        return GeneratorStream(generator(stream, *args, **kwargs), stream)

    return staged


@implementer(IByteStream)
class BytesStream:
    """
    Bytes from memory.

    @param data: they are handed over in pieces of at most 256 KiB, views if there are several; or pieces, which are taken
        as they are read and handed over as they are.
    """

    def __init__(self, data: Piece | Iterable[Piece] = b"") -> None:
        self._pieces = iter(_pieces_of(data) if isinstance(data, bytes | memoryview) else data)
        self._error: BaseException | None = None

    async def read(self) -> Piece:
        if self._error is not None:
            raise self._error
        try:
            for piece in self._pieces:
                if piece:
                    return piece
        except BaseException as error:
            self._error = error
            raise
        return b""

    def close(self) -> Deferred[None]:
        self._pieces = iter(())
        self._error = StreamClosed("the stream was closed")
        return succeed(None)


@implementer(IByteStream)
class WholeStream:
    """
    A few bytes that are all there, and the steps that they go through when they are first read, in the reactor's thread. That is
    far less work than stages are.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._steps: list[Callable[[bytes], bytes]] = []
        self._error: BaseException | None = None

    def then(self, step: Callable[[bytes], bytes]) -> WholeStream:
        """Add a step: it gets the bytes, and returns those to be read. If it raises, so does the read. @return: this."""
        self._steps.append(step)
        return self

    async def read(self) -> Piece:
        if self._error is not None:
            raise self._error
        data, self._data = self._data, b""
        steps, self._steps = self._steps, []
        try:
            for step in steps:
                data = step(data)
        except BaseException as error:
            self._error = error
            raise
        return data

    def close(self) -> Deferred[None]:
        self._data = b""
        self._steps = []
        self._error = StreamClosed("the stream was closed")
        return succeed(None)


def _pieces_of(data: Piece) -> Iterable[Piece]:
    if len(data) <= PIECE:
        return (data,)
    view = memoryview(data)
    return (view[start : start + PIECE] for start in range(0, len(view), PIECE))


class closing:
    """C{async with closing(stream)}: it is closed at the end of the block, however that ends."""

    def __init__(self, stream: IByteStream) -> None:
        self._stream = stream

    async def __aenter__(self) -> IByteStream:
        return self._stream

    async def __aexit__(self, *error: object) -> None:
        await self._stream.close()


# -- the edge --------------------------------------------------------------------------------------

# What a waiting piece costs besides its bytes: many small ones must not take more memory than is counted.
_PIECE_COST = 64


@implementer(IByteStream)
class PushedStream:
    """
    What is pushed, by a transport or a parser of its bytes, as a stream: the one place where flow is controlled.

    Bytes that come while nobody reads wait here. Once there are more than C{bound} of them C{pause} is called, and
    C{resume} when a reader has taken enough; what was on its way at that moment still is taken.

    @param pause: have the peer wait.
    @param resume: let it continue.
    @param bound: bytes that may wait before it is paused. 0 pauses it whenever something waits.
    @param closed: called once if the stream is closed before its end: nothing more is wanted, what comes is dropped.
    @ivar waiting: bytes that wait.
    @ivar account: called with how many bytes more wait, or fewer if that is negative.
    """

    account: Callable[[int], object] | None = None

    def __init__(
        self,
        pause: Callable[[], object],
        resume: Callable[[], object],
        bound: int = 0,
        closed: Callable[[], object] | None = None,
    ) -> None:
        self.waiting = 0
        self._pause = pause
        self._resume = resume
        self._bound = bound
        self._on_closed = closed
        self._queue: deque[Piece] = deque()
        self._reader: Deferred[Piece] | None = None
        self._is_paused = False
        self._has_ended = False
        self._failure: BaseException | None = None  # why no more will come
        self._error: BaseException | None = None  # what reads fail with

    # For the side that pushes.

    def write(self, data: Piece) -> None:
        """Some bytes have come."""
        if not data or self._has_ended or self._failure is not None or self._error is not None:
            return
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(data)
            return
        self._queue.append(data)
        self._count(len(data))
        if not self._is_paused and self.waiting + len(self._queue) * _PIECE_COST > self._bound:
            self._is_paused = True
            self._pause()

    def end(self) -> None:
        """All of them have."""
        self._has_ended = True
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(b"")

    def fail(self, error: BaseException) -> None:
        """The rest will not come: the connection was lost, say. What waits is still read first."""
        if self._has_ended or self._failure is not None:
            return
        self._failure = error
        reader, self._reader = self._reader, None
        if reader is not None:
            self._error = error
            reader.errback(error)

    # For the reader.

    async def read(self) -> Piece:
        if self._error is not None:
            raise self._error
        if self._reader is not None:
            raise RuntimeError("a stream has one reader at a time")
        if self._queue:
            piece = self._queue.popleft()
            self._count(-len(piece))
            if self._is_paused and self.waiting + len(self._queue) * _PIECE_COST <= self._bound:
                self._go_on()
            return piece
        if self._has_ended:
            return b""
        if self._failure is not None:
            self._error = self._failure
            raise self._error
        reader: Deferred[Piece] = Deferred()
        self._reader = reader
        self._go_on()
        try:
            return await reader
        except BaseException as error:
            self._reader = None
            self._error = self._error or error
            raise self._error

    def close(self) -> Deferred[None]:
        if isinstance(self._error, StreamClosed):
            return succeed(None)
        is_early = not self._has_ended and self._failure is None
        self._error = StreamClosed("the stream was closed")
        self._queue.clear()
        self._count(-self.waiting)
        reader, self._reader = self._reader, None
        if is_early and self._on_closed is not None:
            self._on_closed()
        self._go_on()
        if reader is not None:
            reader.errback(self._error)
        return succeed(None)

    def _count(self, size: int) -> None:
        self.waiting += size
        if self.account is not None:
            self.account(size)

    def _go_on(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._resume()


async def read_all(stream: IByteStream, limit: int = 64 << 20) -> bytes:
    """
    All bytes of a stream, which is closed then.

    @raise TooLarge: if there are more than C{limit}; no more than that, and a piece, was in memory.
    """
    pieces: list[Piece] = []
    left = limit
    try:
        while piece := await stream.read():
            left -= len(piece)
            if left < 0:
                raise TooLarge(f"there are more than {limit} bytes")
            pieces.append(piece)
    finally:
        await stream.close()
    if len(pieces) == 1 and isinstance(pieces[0], bytes):
        return pieces[0]
    return b"".join(pieces)


# -- stages ----------------------------------------------------------------------------------------


class Hash(Protocol):
    """What L{updating} feeds: a hash of C{hashlib}, say."""

    def update(self, data: Piece, /) -> object: ...


@stage
async def counted(stream: IByteStream, count: Callable[[int], object]) -> AsyncGenerator[Piece, None]:
    """Call C{count} with the number of bytes of each piece, before it is passed on."""
    while piece := await stream.read():
        count(len(piece))
        yield piece


@stage
async def limited(stream: IByteStream, limit: int, error: Callable[[], Exception]) -> AsyncGenerator[Piece, None]:
    """Fail with the error that C{error} returns once there are more bytes than C{limit}."""
    left = limit
    while piece := await stream.read():
        left -= len(piece)
        if left < 0:
            raise error()
        yield piece


@stage
async def exact(stream: IByteStream, size: int) -> AsyncGenerator[Piece, None]:
    """Fail with C{SizeMismatch} if there are more or fewer bytes; before any is passed on that is too many."""
    left = size
    while piece := await stream.read():
        left -= len(piece)
        if left < 0:
            raise SizeMismatch(f"the body has more than the {size} bytes that were announced")
        yield piece
    if left:
        raise SizeMismatch(f"the body has {size - left} bytes; {size} were announced")


@stage
async def cut(stream: IByteStream, offset: int, length: int | None = None) -> AsyncGenerator[Piece, None]:
    """The bytes from C{offset} on, at most C{length} of them; what follows is not read."""
    left = length
    while (left is None or left > 0) and (piece := await stream.read()):
        if offset >= len(piece):
            offset -= len(piece)
            continue
        if offset or (left is not None and left < len(piece) - offset):
            piece = memoryview(piece)[offset : None if left is None else offset + left]
            offset = 0
        if left is not None:
            left -= len(piece)
        yield piece


def joined(opens: Iterable[Callable[[], Awaitable[IByteStream]]]) -> IByteStream:
    """
    Several streams, one after the other.

    @param opens: each opens one, when it is its turn.
    """

    async def pieces() -> AsyncGenerator[Piece, None]:
        for opened in opens:
            stream = await opened()
            try:
                while piece := await stream.read():
                    yield piece
            finally:
                await stream.close()

    return GeneratorStream(pieces())


# -- work that runs beside -------------------------------------------------------------------------


class Beside(Generic[T]):
    """
    One piece of work at a time that runs while its owner does something else: a call in a disk thread, most often.

    Cancelling who waits here does not touch the work, since a thread cannot be stopped. Its owner calls L{close} in a
    C{finally}, before it lets go of what the work uses.

    @param stream: what the owner may wait for meanwhile: it is closed when the work fails, so that its read ends with
        L{StreamClosed}, and L{result} raises the reason.
    @ivar is_running: whether there is work that has not ended.
    """

    def __init__(self, stream: IByteStream | None = None) -> None:
        self._stream = stream
        self.is_running = False
        self._outcome: T | Failure | None = None  # of what was started last, until L{result} returns it
        self._waiting: Deferred[None] | None = None

    async def start(self, begin: Callable[P, Deferred[T]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Wait for the work that runs, whose failure is raised and whose result is dropped; then begin this."""
        if self.is_running or self._outcome is not None:
            await self.result()
        self.is_running = True
        begin(*args, **kwargs).addBoth(self._ended)

    def watch(self, work: Deferred[T]) -> None:
        """Take work that has begun, when nothing else runs and no result is left."""
        self.is_running = True
        work.addBoth(self._ended)

    def run(self, work: Awaitable[T]) -> None:
        """
        Begin something that can be awaited, such as a read, when nothing runs and no result is left. One that does not
        wait is over then, and costs no Deferred.
        """
        steps: Any = work if hasattr(work, "throw") else _awaited(work)
        try:
            awaits = steps.send(None)
        except StopIteration as stop:
            self._outcome = stop.value
        except BaseException:
            self._ended(Failure())
        else:
            self.is_running = True
            Deferred.fromCoroutine(_continued(steps, awaits)).addBoth(self._ended)

    def _ended(self, outcome: T | Failure) -> None:
        self.is_running = False
        self._outcome = outcome
        if isinstance(outcome, Failure) and self._stream is not None:
            self._stream.close()
        self.wake()

    async def wait(self) -> None:
        """Wait for the running work, or until L{wake} is called; whatever the work comes to, L{result} has it."""
        if self.is_running:
            await self._turn()

    def wake(self) -> None:
        """End L{wait} although the work still runs."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def result(self) -> T | None:
        """Wait for the work that runs. @return: its result; C{None} if there is none. Its failure is raised."""
        while self.is_running:
            await self._turn()
        outcome, self._outcome = self._outcome, None
        if isinstance(outcome, Failure):
            outcome.raiseException()
        return outcome

    async def close(self) -> None:
        """Wait until no work runs, also if this is cancelled meanwhile. The outcome of the work is dropped."""
        while self.is_running:
            try:
                await self._turn()
            except CancelledError:
                pass
        self._outcome = None

    async def _turn(self) -> None:
        waiting: Deferred[None] = Deferred()
        self._waiting = waiting
        try:
            await waiting
        finally:
            self._waiting = None


async def _awaited(work: Awaitable[T]) -> T:
    return await work


@coroutine
def _continued(steps: Any, awaits: Any) -> Generator[Any, Any, Any]:
    """The rest of a coroutine that was begun by hand, and awaits something."""
    try:
        while True:
            try:
                result = yield awaits
            except BaseException as error:
                awaits = steps.throw(error)
            else:
                awaits = steps.send(result)
    except StopIteration as stop:
        return stop.value


@stage
async def beside(
    stream: IByteStream,
    disk: IDisk,
    work: Callable[[list[Piece]], object],
    batch: int = 1 << 20,
    at_end: Callable[[], object] | None = None,
) -> AsyncGenerator[Piece, None]:
    """
    Have work done with the bytes in a disk thread, such as hashing (L{updating}), while they pass and the next ones come.

    All of it is done before the stream ends; what it raises comes instead of the next piece, or of the end. Up to twice
    C{batch} bytes, and a piece, are in memory.

    @param work: called with some pieces, in order, one call after the other. For the last ones, if they have no more than
        64 KiB, it is called in the reactor's thread: that is faster than to ask a thread.
    @param batch: bytes that are given to it at once, at least, unless they come in more than 1024 pieces.
    """
    going: Beside[object] = Beside(stream)
    pieces: list[Piece] = []
    size = 0
    try:
        while piece := await stream.read():
            pieces.append(piece)
            size += len(piece)
            if size >= batch or len(pieces) >= _MOST_PIECES:
                await going.start(disk.run, work, pieces)
                pieces, size = [], 0
            yield piece
        await going.result()
        if size > _INLINE:
            await going.start(disk.run, work, pieces)
            await going.result()
        elif size:
            work(pieces)
        if at_end is not None:
            at_end()
    except StreamClosed:
        await going.result()  # perhaps it is why
        raise
    finally:
        await going.close()


# Pieces that are given to the work at once: small ones take far more memory than their bytes.
_MOST_PIECES = 1024

# Bytes that are worked with in the reactor's thread rather than in another: they take less time than to ask for a thread.
_INLINE = 64 << 10


def updating(*hashes: Hash) -> Callable[[list[Piece]], None]:
    """Work for L{beside}: hash the pieces."""

    def update(pieces: list[Piece]) -> None:
        # Joined: a loop over many small pieces would be busy in Python, and hold the interpreter's lock.
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        for each in hashes:
            each.update(data)

    return update


@stage
async def awaiting(stream: IByteStream, work: Deferred[None]) -> AsyncGenerator[Piece, None]:
    """
    Have the end wait for something else; if that fails, so does this, at once. Closing waits for it, too.
    """
    going: Beside[None] = Beside(stream)
    going.watch(work)
    try:
        while piece := await stream.read():
            yield piece
        await going.result()
    except StreamClosed:
        await going.result()  # perhaps it is why
        raise
    finally:
        await going.close()


class PieceBuffer:
    """
    Pieces that wait to be taken by numbers of bytes.

    @ivar size: bytes that there are.
    """

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[Piece] = []

    def add(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self.size += len(piece)

    def take(self, size: int | None = None) -> list[Piece]:
        """Remove so many bytes, no more than there are; C{None} for all. It takes longer the more pieces remain."""
        pieces, self._pieces = self._pieces, []
        surplus = 0 if size is None else self.size - size
        self.size = surplus
        while surplus:
            last = pieces.pop()
            if len(last) <= surplus:
                self._pieces.append(last)
                surplus -= len(last)
                continue
            view = memoryview(last)
            pieces.append(view[:-surplus])
            left = view[-surplus:]
            # A view keeps all of the piece: not for a few bytes of it.
            self._pieces.append(left if 2 * surplus >= memoryview(view.obj).nbytes else bytes(left))
            surplus = 0
        self._pieces.reverse()
        return pieces
