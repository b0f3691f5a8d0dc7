"""
Where events are sent: an HTTP endpoint, a prefix of the append log, a stream of archives.

Requests to endpoints are signed as Standard Webhooks specifies: C{webhook-id} (the same for each try),
C{webhook-timestamp}, and C{webhook-signature}, HMAC-SHA256 of the two and the body, with dots between.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from random import Random
from typing import cast
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from storehouse.core.httpclient import RemoteClient
from storehouse.core.jobs import deferred
from storehouse.core.turns import Reactor
from storehouse.errors import RemoteUnavailable, StorehouseError
from storehouse.storage.appendlog.interfaces import IAppendLog
from storehouse.storage.notifications.interfaces import ITarget
from storehouse.storage.streams.interfaces import IStreams

__all__ = ["HTTPTarget", "LogTarget", "StreamTarget", "key_of", "signature"]

_PREFIX = b"whsec_"


def key_of(secret: bytes) -> bytes:
    """The key that a secret is: C{whsec_} and base64, or any other bytes as they are."""
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret[len(_PREFIX) :], validate=True)
        except (binascii.Error, ValueError):
            pass
    return secret


def signature(key: bytes, id: str, timestamp: str, body: bytes) -> str:
    """The value of C{webhook-signature}."""
    digest = hmac.digest(key, b"%s.%s.%s" % (id.encode("ascii"), timestamp.encode("ascii"), body), "sha256")
    return f"v1,{base64.b64encode(digest).decode('ascii')}"


@implementer(ITarget)
class HTTPTarget:
    """
    An endpoint that gets a POST for each event. Any status of 2xx means that the event is delivered.

    @param secret: signs requests.
    @param timeout: seconds without progress; a request may take twice as long as a whole.
    @param ca_file: certificate authorities to trust, in PEM; empty for those of the system.
    """

    def __init__(self, url: str, secret: bytes, reactor: Reactor, timeout: float, ca_file: str = "") -> None:
        self._url = url
        # Some services have a secret in the path.
        parts = urlsplit(url)
        host = f"{parts.scheme}://{parts.netloc}"
        self._shown = f"{host}{parts.path}", f"{host}/..."
        self._key = key_of(secret)
        self._clock = cast(IReactorTime, reactor)
        self._timeout = timeout
        self._client = RemoteClient(reactor, Random(), timeout, min(timeout, 20.0), tries=1, ca_file=ca_file)

    @deferred
    async def send(self, number: int, body: bytes) -> None:
        sending = Deferred.fromCoroutine(self._send(f"{number:016X}", body))
        try:
            await sending.addTimeout(2 * self._timeout, self._clock)
        except TimeoutError:
            raise RemoteUnavailable(f"no response in {2 * self._timeout:g} seconds") from None
        except RemoteUnavailable as error:
            raise RemoteUnavailable(error.detail.replace(*self._shown)) from None

    async def _send(self, id: str, body: bytes) -> None:
        def fields() -> dict[str, str]:
            timestamp = str(int(self._clock.seconds()))
            return {
                "content-type": "application/json",
                "user-agent": "storehouse",
                "webhook-id": id,
                "webhook-timestamp": timestamp,
                "webhook-signature": signature(self._key, id, timestamp, body),
            }

        response = await self._client.request("POST", self._url, fields, body)
        if not 200 <= response.status < 300:
            raise RemoteUnavailable(f"the response was {response.status}")

    def close(self) -> Deferred[None]:
        return self._client.close()


@implementer(ITarget)
class LogTarget:
    """A prefix of the append log: a record an event."""

    def __init__(self, log: IAppendLog, prefix: str, id: bytes) -> None:
        self._log = log
        self._prefix = prefix
        self._id = id

    @deferred
    async def send(self, number: int, body: bytes) -> None:
        await self._log.append(self._prefix, self._id, [body])

    def close(self) -> Deferred[None]:
        return succeed(None)


@implementer(ITarget)
class StreamTarget:
    """
    A stream of archives: a record an event.

    @param streams: gives the streams, once they are open.
    """

    def __init__(self, streams: Callable[[], IStreams], name: str) -> None:
        self._streams = streams
        self._name = name

    @deferred
    async def send(self, number: int, body: bytes) -> None:
        try:
            stream = self._streams().stream(self._name)
        except KeyError as error:
            raise StorehouseError(f"the streams are not open: {error}") from None
        await stream.append([({}, body)])

    def close(self) -> Deferred[None]:
        return succeed(None)
