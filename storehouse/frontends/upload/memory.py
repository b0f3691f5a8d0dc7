"""
How much of the uploads on their way is in memory, and whose.

The second seed's hybrid: "keeps a reasonable amount of data in memory without ever writing it to disk, and flushes to disk
when a session is going to begin to use unfair amounts of memory".

The budget is for all sessions together. Three quarters of it are divided equally among those that are there: a file that
is whole before it exceeds its session's share is written once, and one that exceeds it goes to the store as it comes, what
was held first. As sessions join, shares shrink, and what exceeds them then begins to go to the store as well. The last
quarter is for what is on its way there: when half of that is taken, too, all clients wait until there is room. Shares are
given back by those that wait for nobody but the store, so that there is always room again, however slow the clients are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from storehouse.core.budget import Shares
from storehouse.core.streams import Piece
from storehouse.errors import TooManyUploads
from storehouse.frontends.http.body import RequestBody

__all__ = ["JOINED", "LINK", "SMALL", "Pieces", "UploadMemory", "UploadSession"]

#: The kind of holder that has half of the sessions at most: strangers have links.
LINK = "link"

#: No share is larger: more in memory makes nothing faster.
_LARGEST_SHARE = 8 << 20

#: Pieces of fewer bytes are joined: an object for each of few bytes takes many times as much memory as they do.
SMALL = 8 << 10

#: Bytes that are joined at most.
JOINED = 64 << 10


class Pieces:
    """Bytes that are held, in few objects."""

    def __init__(self) -> None:
        self._whole: list[Piece] = []
        self._small = bytearray()

    def add(self, data: Piece) -> None:
        """Hold these, too."""
        if len(data) >= SMALL:
            self._join()
            self._whole.append(data)
            return
        self._small += data
        if len(self._small) >= JOINED:
            self._join()

    def take(self) -> list[Piece]:
        """All of them, which are not held here any more."""
        self._join()
        whole, self._whole = self._whole, []
        return whole

    def _join(self) -> None:
        if self._small:
            self._whole.append(bytes(self._small))
            self._small = bytearray()


class UploadSession:
    """
    One request that brings files. For C{with}: it leaves at the end.

    @ivar held: bytes in memory that are this session's.
    @ivar holders: whose shares of the sessions it is in.
    @ivar spill: called when the session has to let go of what it holds; C{None} if nothing it holds can be let go of.
    """

    def __init__(
        self,
        memory: UploadMemory,
        stop: Callable[[], None],
        go_on: Callable[[], None],
        holders: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.held = 0
        self.holders = holders
        self.spill: Callable[[], None] | None = None
        self.stop = stop
        self.go_on = go_on
        self._memory = memory

    def __enter__(self) -> UploadSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()

    def hold(self, size: int) -> None:
        """Some bytes more are in memory; or less, if it is negative."""
        self.held += size
        self._memory.holds(size)

    def may_hold(self, size: int) -> bool:
        """Whether so many bytes more may stay in memory until the file is whole."""
        return self.held + size <= self._memory.share and not self._memory.is_full

    @property
    def is_half_full(self) -> bool:
        """Whether half of the session's share is held, or more."""
        return self.held * 2 >= self._memory.share

    @property
    def has_too_much(self) -> bool:
        """Whether more is held than the session's share."""
        return self.held > self._memory.share

    def stored(self, spilled: bool) -> None:
        """Count a file that was stored."""
        self._memory.count(spilled)

    def leave(self) -> None:
        """The request is over. Harmless when it is already."""
        self._memory.left(self)


class UploadMemory:
    """
    The budget and who has it.

    @param budget: bytes.
    @param most_sessions: sessions at once.
    @ivar held: bytes in memory now.
    @ivar peak: the most that there ever were.
    @ivar refused: sessions that were one too many.
    """

    def __init__(self, budget: int, most_sessions: int) -> None:
        self.budget = budget
        self.held = 0
        self.peak = 0
        self.refused = 0
        self._most_sessions = most_sessions
        self._sessions: dict[UploadSession, None] = {}
        self._shares: Shares[tuple[str, str]] = Shares(most_sessions)
        self._most_of_link = max(1, most_sessions // 2)
        self._divided = budget * 3 // 4
        self._full = budget * 7 // 8
        self._waiting = False
        self._files = {True: 0, False: 0}

    @property
    def sessions(self) -> int:
        """How many there are."""
        return len(self._sessions)

    @property
    def share(self) -> int:
        """Bytes that one session may hold."""
        return min(_LARGEST_SHARE, self.budget // 8, self._divided // max(1, len(self._sessions)))

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be held by anybody."""
        return self.held >= self._full

    def join(
        self,
        stop: Callable[[], None] = lambda: None,
        go_on: Callable[[], None] = lambda: None,
        holders: Sequence[tuple[str, str]] = (),
    ) -> UploadSession:
        """
        A request that brings files begins. To be called before any of its body is wanted.

        @param stop: has the client wait.
        @param go_on: undoes that.
        @param holders: whose shares of the sessions it is in: an address, a user, a link, each with its kind; see L{Shares}.
        @raise TooManyUploads: if there are as many as may be, or as one of the holders may have.
        """
        if len(self._sessions) >= self._most_sessions:
            self.refused += 1
            raise TooManyUploads(
                f"{self._most_sessions} uploads are being received, which is as many as are allowed: try again in a moment"
            )
        refused = next(
            (each for each in holders if each[0] == LINK and self._shares.count(each) >= self._most_of_link), None
        )
        refused = refused or self._shares.refused(holders)
        if refused is not None:
            self.refused += 1
            raise TooManyUploads(
                f"this {refused[0]} has as many uploads at once as it may have, so that others get in: try again in a moment"
            )
        self._shares.enter(holders)
        session = UploadSession(self, stop, go_on, holders)
        self._sessions[session] = None
        if self._waiting:
            stop()
        share = self.share
        if self.held > share:  # or else nobody has too much
            for other in list(self._sessions):
                if other.held > share and other.spill is not None:
                    other.spill()
        return session

    @asynccontextmanager
    async def receiving(
        self, body: RequestBody, holders: Sequence[tuple[str, str]] = ()
    ) -> AsyncIterator[UploadSession]:
        """
        A session for one request: what waits of its body is counted, and the client waits when the memory is full. The body
        is closed at the end.

        @raise TooManyUploads: as L{join} does.
        """
        with self.join(body.suspend, body.proceed, holders) as session:
            body.account = session.hold
            session.hold(body.waiting)
            try:
                yield session
            finally:
                await body.close()
                body.account = None

    # -- for sessions --------------------------------------------------------------------------

    def holds(self, size: int) -> None:
        """See L{UploadSession.hold}."""
        self.held += size
        if size > 0:
            self.peak = max(self.peak, self.held)
        if not self._waiting and self.held >= self._full:
            self._waiting = True
            for session in list(self._sessions):
                session.stop()
        elif self._waiting and self.held <= (self._divided + self._full) // 2:
            self._waiting = False
            for session in list(self._sessions):
                # The first ones may fill it again at once.
                if self._waiting:
                    break
                session.go_on()

    def count(self, spilled: bool) -> None:
        """See L{UploadSession.stored}."""
        self._files[spilled] += 1

    def left(self, session: UploadSession) -> None:
        """See L{UploadSession.leave}."""
        if self._sessions.pop(session, 0) is None:
            self._shares.leave(session.holders)
            session.spill = None
            session.hold(-session.held)

    # -- metrics -------------------------------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        """Metric families, for a C{prometheus_client} registry."""
        name = "storehouse_upload_memory"
        for suffix, text, value in (
            ("budget_bytes", "Bytes of uploads that may be in memory together.", self.budget),
            ("held_bytes", "Bytes of uploads that are in memory.", self.held),
            ("peak_bytes", "The most bytes of uploads that were in memory at once.", self.peak),
            ("share_bytes", "Bytes that each session may hold until its file is whole.", self.share),
        ):
            yield GaugeMetricFamily(f"{name}_{suffix}", text, value=value)
        yield GaugeMetricFamily("storehouse_upload_sessions", "Requests that bring files.", value=self.sessions)
        yield GaugeMetricFamily(
            "storehouse_upload_sessions_limit", "Requests that may bring files at once.", value=self._most_sessions
        )
        yield CounterMetricFamily(
            "storehouse_upload_sessions_refused", "Requests with files that were one too many.", value=self.refused
        )
        files = CounterMetricFamily(
            "storehouse_upload_files",
            "Files that were stored: from memory, whole, or as they came.",
            labels=["way"],
        )
        files.add_metric(["memory"], self._files[False])
        files.add_metric(["spilled"], self._files[True])
        yield files
