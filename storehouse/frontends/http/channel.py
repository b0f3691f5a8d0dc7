"""
A connection to a door: strict, with a fast lane at request boundaries, and with what the site's clock asks
for.

Like L{storehouse.core.fast.tcp} this touches private names of Twisted (C{HTTPChannel._buffer}, C{_dataBuffer},
C{_handlingRequest}, C{_networkProducer}, C{_waitingForTransport}, C{_receivedHeaderSize}), which
L{storehouse.frontends.http.strict} looks for. Without a lane, everything goes twisted.web's way.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone

from storehouse.core.connections import Backlog, IdleWatch, Pace
from storehouse.core.peers import network_of
from storehouse.core.sockets import has_left
from storehouse.core.turns import breath, is_spent
from storehouse.errors import RequestTimeout, StorehouseError
from storehouse.frontends.http.lane import DECLINED, MAX_HEAD, OWED, ILane, PlanCache
from storehouse.frontends.http.strict import StrictChannel

__all__ = ["DoorChannel"]

#: More answers than this may not be owed on one connection; then it waits.
_MOST_OWED = 256

#: Answers of the lane are sent together up to about this many bytes.
_GATHERED = 64 * 1024

#: A line that ends with LF alone, which is refused.
_bare_line = re.compile(rb"(?<!\r)\n").search


class _NoPlans:
    """Of a connection whose next request is its last: nothing takes the lane."""

    def get(self, whole: bytes) -> None:
        """Know no request."""

    learn = get


_NO_PLANS: Any = _NoPlans()


class DoorChannel(StrictChannel):
    """
    One connection to a door.

    @ivar lane: the door's fast lane, or C{None}.
    @ivar watch: times the peer, for the site.
    @ivar pace: of the body that comes, for the site.
    @ivar backlog: what it has in memory, of answers and for them.
    """

    def __init__(self, site: Any, lane: ILane | None) -> None:
        StrictChannel.__init__(self, site)
        self.lane = lane
        self._plans: PlanCache | None = None
        self._fast = lane is not None
        self._pieces: list[bytes] = []
        self._have = 0
        self._need = 0
        self._owed = 0
        self._held = False
        self._answers: list[bytes] = []
        self.watch = IdleWatch()
        self.pace = Pace()
        self.backlog: Backlog

    # -- connection --------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Join the site."""
        StrictChannel.connectionMade(self)
        self._plans = self.site.plans(self.at_loopback)
        address = self.site.address_of(self.transport.getPeer())
        holder = network_of(address) or None
        self.backlog = Backlog(self.site.budget, holder, self.transport, self.abort, self.has_left)
        self.site.connections.joined(self, address)

    def connectionLost(self, reason: Any = connectionDone) -> None:
        """Leave the site."""
        self.site.connections.left(self)
        self.backlog.close()
        self._pieces = []
        self.lane = None
        StrictChannel.connectionLost(self, reason)

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered."""
        return bool(self._owed or self.requests or self._have or self.lags or (self.line_mode and self._buffer))

    @property
    def in_head(self) -> bool:
        """Whether part of a request has come, and is waited for, that is not yet being served."""
        if self._failed or self.lags:
            return False
        if self._fast:
            return bool(self._have) and not (self._need or self._held or self._owed)
        return bool(self.line_mode and (self._buffer or self._receivedHeaderSize))

    @property
    def stalled(self) -> bool:
        """Whether the connection waits for its peer: to send the rest of a body, or to read an answer."""
        if self._body_paused or self.lags:
            return False
        if self._fast and self._need and not self._owed:
            return True
        return self._waitingForTransport or (bool(self.requests) and not self._handlingRequest)

    @property
    def closing(self) -> bool:
        """Whether all is said and the connection only waits to be closed. With TLS the peer may go on sending."""
        return bool(self.transport.disconnecting)

    def body_awaited(self) -> tuple[object, int, bool] | None:
        """
        The body that is the peer's turn to send: what it is, how many bytes of it have come, and whether it is one that is
        small by nature. C{None} if none is, or the connection does not read it just now.
        """
        if self._fast:
            # An answer that is owed comes first.
            return (self.lane, self._have, False) if self._need and not (self._held or self._owed) else None
        if not self.requests or self._body_paused or self._handlingRequest or self._failed or self._waitingForTransport:
            return None
        if self.lags:
            return None
        request = self.requests[-1]
        body = getattr(request, "body", None)
        if body is None or body.complete or body.untouched or request.finished:
            return None
        return body, body.came, body.is_small

    def has_left(self) -> bool:
        """Whether the peer has closed the connection, although it is not read just now."""
        body = getattr(self.requests[-1], "body", None) if self.requests else None
        missing = body.length - body.came if body is not None and body.length is not None else 0
        return has_left(self.transport, missing)

    def refuse_slow(self, what: str) -> None:
        """The body of a request comes too slowly: answer, and close."""
        self._refuse(RequestTimeout(what))

    def time_out(self, what: str) -> None:
        """The peer has taken too long."""
        if self._failed or self._waitingForTransport or self.transport.disconnecting:
            # What is written now, or was before the connection began to close, would wait for the peer
            # forever.
            self.abort()
        elif self.in_head:
            self._refuse(RequestTimeout(what))
        elif self.busy:
            self.abort()
        else:
            self.loseConnection()

    def finish_soon(self) -> None:
        """Close once what is being received or answered is out."""
        if self._have or self.lags or (self.line_mode and self._buffer):
            # What has begun to come is taken the plain way, which can say that it is the last.
            self._plans = _NO_PLANS
            return
        self.persistent = False
        self.lingering.hurry()
        if not self.busy:
            self.loseConnection()

    # -- receiving ---------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Take the lane, or twisted.web's way."""
        if not self._fast:
            StrictChannel.dataReceived(self, data)
            return
        self.active = True
        if self._have:
            self._pieces.append(data)
            self._have += len(data)
            self.backlog.keep(self._have)
            if self._have < self._need or self._held:
                return
            data = b"".join(self._pieces)
            self._pieces = []
            self._have = self._need = 0
            self.backlog.keep(0)
        self._take_lane(data)

    def _take_lane(self, data: bytes) -> None:
        lane, plans = self.lane, self._plans
        if lane is None or plans is None:
            return
        answers = self._answers
        at, size, served, gathered = 0, len(data), 0, 0
        while at < size:
            if self._owed > _MOST_OWED or self._waitingForTransport:
                break
            head_end = data.find(b"\r\n\r\n", at)
            if head_end < 0:
                if size - at > MAX_HEAD or not data.startswith(lane.prefixes, at) or _bare_line(data, at):
                    break
                self._keep(data[at:], 0)
                at = size
                break
            whole = data[at:head_end]
            plan = plans.get(whole) or plans.learn(whole)
            if plan is None or not self.persistent:
                break
            route, head = plan
            start = head_end + 4
            end = start + head.length
            if end > size:
                self._keep(data[at:], end - at)
                at = size
                break
            if self._owed and route.waits:
                break
            # Counted before, since a log that has stopped pays at once.
            self._owed += 1
            answer = lane.serve(route, head, data[start:end], self)
            if answer is not OWED:
                self._owed -= 1
                if answer is DECLINED:
                    break
                answers.append(answer)
                gathered += len(answer)
                if gathered > _GATHERED:
                    gathered = 0
                    self._send_answers()
            served += 1
            at = end
            # Nearly all have sent one request: they pay for no look at the clock.
            if at < size and is_spent():
                break
        if at:
            self.watch.reset()
            if served:
                self._has_answered = True
                self.site.laned += served
        if answers:
            self._send_answers()
        if at < size:
            rest = data[at:] if at else data
            waits = bool(self._owed or self._waitingForTransport)
            if waits or (served and is_spent()):
                # What follows must not overtake answers that are owed, nor pile up answers that the peer does
                # not take, nor keep others waiting.
                self._keep(rest, 0)
                self._held = True
                self._networkProducer.pauseProducing()
                if not waits:
                    Deferred.fromCoroutine(self._breathe()).addErrback(self._crashed)
            else:
                self._fast = False
                StrictChannel.dataReceived(self, rest)

    def _send_answers(self) -> None:
        answers = self._answers
        data = answers[0] if len(answers) == 1 else b"".join(answers)
        answers.clear()
        self.transport.write(data)

    def _keep(self, data: bytes, need: int) -> None:
        self._pieces = [data]
        self._have = len(data)
        self._need = need
        self.backlog.keep(len(data))

    def pay(self, answer: bytes) -> None:
        """Send an answer that the lane owed. To be called in the order of the requests."""
        self._owed -= 1
        if not self._owed and not self._answers:
            self.transport.write(answer)
        else:
            self._answers.append(answer)
            if not self._owed or len(self._answers) > 32:
                self._send_answers()
        if not self._owed:
            if self._held:
                self._go_on()
            if not self.persistent and not self.busy:
                self.loseConnection()
            elif self.input_ended:
                self.end_after_input()

    async def _breathe(self) -> None:
        await breath()
        if self._held and not (self._owed or self._waitingForTransport):
            self._go_on()
            if self.input_ended:
                self.end_after_input()

    def _go_on(self) -> None:
        self._held = False
        data = b"".join(self._pieces)
        self._pieces = []
        self._have = self._need = 0
        self.backlog.keep(0)
        if not self._waitingForTransport:
            self._networkProducer.resumeProducing()
        self._take_lane(data)

    def requestDone(self, request: Any) -> None:
        """A request of twisted.web's way is answered: at a clean boundary, back to the lane."""
        self.flush_head()
        self.watch.reset()
        StrictChannel.requestDone(self, request)
        if (
            self.lane is not None
            and self.line_mode
            and not (self.requests or self._buffer or self._dataBuffer or self._handlingRequest or self.lags)
        ):
            self._fast = True

    def pauseProducing(self) -> None:
        """The transport's buffer is full: the peer does not take what is written."""
        self.backlog.backed_up()
        StrictChannel.pauseProducing(self)

    def write(self, data: bytes) -> None:
        """Send."""
        StrictChannel.write(self, data)
        if self._waitingForTransport:
            self.backlog.wrote()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty again."""
        self.backlog.drained()
        StrictChannel.resumeProducing(self)
        if self._held:
            if self._owed:
                self._networkProducer.pauseProducing()
            else:
                self._go_on()
                if self.input_ended:
                    self.end_after_input()

    def readConnectionLost(self) -> None:
        """The peer sends no more."""
        if not self._fast:
            StrictChannel.readConnectionLost(self)
            return
        self.input_ended = True
        if self._have and not (self._has_answered or self._owed or self._held):
            self.abort()
        else:
            self.end_after_input()

    def end_after_input(self) -> None:
        """The peer sends no more, and what it sent was looked at."""
        if not self._owed and not self._held:
            StrictChannel.end_after_input(self)

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Whether the connection may go on."""
        return self._plans is not _NO_PLANS and StrictChannel.checkPersistence(self, request, version)

    def _refuse(self, error: StorehouseError) -> None:
        self._fast = False
        self._pieces = []
        self._have = self._need = 0
        StrictChannel._refuse(self, error)
