"""
Work that may take longer than clients and proxies wait for a response: then the status goes out, and a space every now and
then, and at last the document. It is an error's, if the work fails after that: clients of S3 look for one.

Source: "CompleteMultipartUpload" of Amazon's S3 API reference.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.jobs import finished, started
from storehouse.core.xmltext import DECLARATION, XML
from storehouse.errors import StorehouseError
from storehouse.frontends.http.reply import ClientGone, Reply
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import error_reply

__all__ = ["lasting"]

_log = Logger()

#: Seconds after which something is sent.
_PATIENCE = 10.0


async def lasting(
    call: Call, work: Coroutine[Deferred[object], object, bytes], headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Reply | None:
    """
    Respond with the document that some work gives. The work continues to its end, also if the client leaves.

    @param headers: further fields of the response.
    @return: C{None} if the response was sent here.
    """
    going = started(work)
    try:
        if not await _is_over(call, going):
            call.request.begin(200, XML, headers)
            await call.request.send(DECLARATION.encode())
            while not await _is_over(call, going):
                await call.request.send(b" ")
    except ClientGone:
        await finished(going)
        raise
    if not call.request.startedWriting:
        return Reply(200, await finished(going), XML, headers)
    try:
        data = await finished(going)
    except Exception as error:
        if not isinstance(error, StorehouseError):
            _log.failure("while a client waits for {operation}", operation=call.operation)
        data = error_reply(error, unquote(call.request.path.decode("ascii", "replace")), call.request_id).body
    await call.request.send(data.removeprefix(DECLARATION.encode()))
    return None


async def _is_over(call: Call, work: Deferred[Any]) -> bool:
    """Wait for some work, or for as long as nothing need be sent; whether it is over."""
    if work.called and not work.paused:
        return True
    waiting: Deferred[bool] = Deferred()

    def fire(result: Any) -> Any:
        if not waiting.called:
            waiting.callback(True)
        return result

    work.addBoth(fire)
    delayed = call.door.clock.callLater(_PATIENCE, lambda: None if waiting.called else waiting.callback(False))
    try:
        return await waiting
    finally:
        if delayed.active():
            delayed.cancel()
