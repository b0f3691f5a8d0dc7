"""
A storehouse that keeps nothing: the S3 door alone, on a root in memory that is gone with the process. For tests of other
people's programs (docs/testing.rst).
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, TextIO, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from storehouse.app.service import StorehouseService, make_service
from storehouse.config import load_settings
from storehouse.core.fast.reactor import make_reactor
from storehouse.core.temporary import temporary_directory
from storehouse.core.values import OFF
from storehouse.storage.accounts.interfaces import IAccounts

__all__ = ["Access", "log_to", "serve"]

#: The name of the user that there is.
USER = "tester"

#: No other door; and what is not kept need not be on disk, nor be verified.
_SETTINGS = {
    **dict.fromkeys(("append", "archive", "sfsp", "https", "admin"), OFF),
    "objects-sync": "os",
    "objects-scrub-rate": OFF,
    "shutdown-timeout": 1,
}


@attrs.frozen
class Access:
    """
    What a client needs to know.

    @ivar endpoint: the URL of the door.
    @ivar region: the one to sign for.
    @ivar access_key_id: of an administrator.
    @ivar secret_access_key: of the same.
    @ivar ca_bundle: with TLS, a PEM file with the door's certificate; else empty.
    @ivar root: the directory in which all is kept.
    @ivar socket: the socket file by which C{storehouse} commands reach the service.
    """

    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str = attrs.field(repr=False)
    ca_bundle: str
    root: str
    socket: str


def log_to(stream: TextIO, everything: bool) -> None:
    """Log to a stream: what is worth a warning, or everything."""
    level = LogLevel.info if everything else LogLevel.warn
    observer = FilteringLogObserver(textFileLogObserver(stream), [LogLevelFilterPredicate(level)])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def serve(
    directory: str,
    given: Mapping[str, object],
    started: Callable[[Access], object],
    input: int | None = None,
) -> None:
    """
    Serve until a signal ends the process.

    @param directory: where the root is made, best one in memory.
    @param given: settings, by name.
    @param started: called when the door answers.
    @param input: a file descriptor whose end is one more sign to stop; C{None} for none.
    @raise StorehouseError: if it cannot be started.
    @raise OSError: if the root cannot be made.
    """
    # Before there are threads.
    settings = load_settings({**_SETTINGS, **given, "root": temporary_directory(directory)})
    reactor: Any = make_reactor()
    service = make_service(settings, reactor, welcomes=False)
    failed: list[Failure] = []

    def stop(failure: Failure | None = None) -> None:
        if failure is not None:
            failed.append(failure)
        if reactor.running:
            reactor.stop()

    async def begin() -> None:
        service.privilegedStartService()
        service.startService()
        reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
        started(await _access(service))
        # What the start has made stays.
        gc.freeze()
        gc.enable()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(begin()).addErrback(stop))
    if input is not None:
        reactor.addReader(_End(input, stop))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *ignored: reactor.callFromThread(stop))
    reactor.run(installSignalHandlers=False)
    if failed:
        failed[0].raiseException()


async def _access(service: StorehouseService) -> Access:
    """Add the user."""
    settings = service.settings
    accounts = cast(IAccounts, service.stores["accounts"])
    key = await accounts.add_user(USER, is_admin=True)
    return Access(
        service.url("s3"),
        "us-east-1" if settings.s3.region == "any" else settings.s3.region,
        key.user.key_id,
        key.secret,
        service.tls["s3"].certificate_file if "s3" in service.tls else "",
        settings.root,
        settings.objects_socket,
    )


@implementer(IReadDescriptor)
class _End:
    """Waits for the end of the input."""

    def __init__(self, descriptor: int, ended: Callable[[], object]) -> None:
        self._descriptor = descriptor
        self._ended = ended

    def fileno(self) -> int:
        """See C{IFileDescriptor}."""
        return self._descriptor

    def logPrefix(self) -> str:
        """See C{ILoggingContext}."""
        return "input"

    def doRead(self) -> Failure | None:
        """What comes means nothing."""
        return None if os.read(self._descriptor, 4096) else Failure(ConnectionDone())

    def connectionLost(self, reason: Failure) -> None:
        """It has ended."""
        self._ended()
