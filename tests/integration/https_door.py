"""
A door with TLS in a process of its own, put together as the service does it, with resources for tests.

C{python -m tests.integration.https_door OPTIONS} takes the options of C{twistd storehouse}, and prints the door's URL
when it listens.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import subprocess
import sys
from typing import Any

from storehouse.app.lifecycle import StorehouseService
from storehouse.config import load_settings
from storehouse.core.jobs import DiskThreads
from storehouse.core.root import RootLock
from storehouse.core.tls.contexts import peer_common_name
from storehouse.core.tls.server import ServerTLS, choose_source
from storehouse.errors import StartFailed, TooLarge
from storehouse.frontends.http.reply import OCTETS, Reply, json_reply, text_reply
from storehouse.frontends.http.request import Leaf, Root, StreamingRequest
from storehouse.frontends.http.site import DoorSite, security_fields
from tests.integration.process import CHECKOUT, PATIENCE

__all__ = ["HTTPSDoor"]

PIECE = bytes(range(256)) * 4096

#: glibc's C{malloc_trim}; other C libraries have none.
_trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)


class Upload(Leaf):
    """Takes anything, and keeps nothing."""

    takes_rest = True

    async def handle_PUT(self, request: StreamingRequest) -> Reply:
        sizes = []
        while piece := await request.body.read():
            sizes.append(len(piece))
        return json_reply({"size": sum(sizes), "pieces": len(sizes), "most": max(sizes, default=0)})


class Refuse(Leaf):
    """Takes nothing."""

    takes_rest = True

    async def handle_PUT(self, request: StreamingRequest) -> Reply:
        raise TooLarge("as large as it is, it is not taken")


class Download(Leaf):
    """Gives as many MiB as the path says."""

    takes_rest = True

    async def handle_GET(self, request: StreamingRequest) -> None:
        count = int(request.postpath[0])
        request.begin(200, OCTETS, (), count * len(PIECE))
        for _ in range(count):
            await request.send(PIECE)


class Who(Leaf):
    """Says who the client's certificate is for."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        return text_reply(peer_common_name(request.channel.transport) or "nobody")


class State(Leaf):
    """Connections, and the bytes of memory that the process needs."""

    def __init__(self, service: StorehouseService) -> None:
        Leaf.__init__(self)
        self._service = service

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        site = self._service.sites["https"]
        # What is free is given back first: how much of it the allocator keeps for later is its own affair.
        gc.collect()
        if _trim is not None:
            _trim(0)
        with open("/proc/self/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1]) * resource.getpagesize()
        return json_reply(
            {
                "connections": len(site.connections),
                "timed_out": site.connections.timed_out,
                "resident": resident,
                "kind": type(request.channel.transport).__name__,
            }
        )


def main(arguments: list[str]) -> None:
    """Serve until the standard input ends."""
    from storehouse.core.fast import reactor as fastreactor

    fastreactor.install()
    from twisted.internet import reactor as given
    from twisted.internet.protocol import Protocol
    from twisted.internet.stdio import StandardIO
    from twisted.python import log

    reactor: Any = given
    log.startLogging(sys.stderr, setStdout=False)
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    settings = load_settings({"append": "off", "sfsp": "off", "s3": "off", "admin": "off", **options})
    disk = DiskThreads(reactor)
    service = StorehouseService(settings, reactor, RootLock(settings.root), disk)
    source = choose_source(settings.https.endpoint, settings.tls_directory, settings.https.cert, settings.https.key)
    tls = service.tls["https"] = ServerTLS(source, reactor, disk, settings.https.client_ca)
    service.chores.append(tls)
    children = {b"up": Upload(), b"refuse": Refuse(), b"down": Download(), b"who": Who(), b"state": State(service)}
    service.sites["https"] = DoorSite(
        Root(children),
        reactor,
        settings.connections,
        fields=lambda: security_fields(tls.wants_https_only),
        name="https",
    )
    try:
        service.privilegedStartService()
        service.startService()
    except StartFailed as error:
        sys.exit(str(error.detail))
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)

    class End(Protocol):
        def connectionLost(self, reason: Any = None) -> None:
            reactor.stop()

    reactor.callWhenRunning(StandardIO, End())
    reactor.callWhenRunning(print, service.url("https"), flush=True)
    reactor.run()


class HTTPSDoor:
    """
    Starts such a process.

    @ivar port: where it listens.
    @ivar certificate: the file of the certificate that it made, if it did.
    """

    def __init__(self, directory: str, **options: str) -> None:
        os.makedirs(directory, exist_ok=True)
        root = os.path.join(directory, "root")
        self.directory = directory
        self.certificate = os.path.join(root, "tls", "certificate.pem")
        given = {"root": root, "https": "tcp:0:interface=127.0.0.1", **options}
        words = [word for name, value in given.items() for word in (name.replace("_", "-"), value)]
        path = os.pathsep.join(filter(None, [CHECKOUT, os.environ.get("PYTHONPATH")]))
        self._log = open(os.path.join(directory, "log"), "w", encoding="utf-8")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.https_door", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            self.stop()
            raise AssertionError(f"it did not start: {self.log}")
        self.port = int(self.url.rpartition(":")[2])

    @property
    def log(self) -> str:
        """What it has logged."""
        with open(os.path.join(self.directory, "log"), encoding="utf-8") as file:
            return file.read()

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._log.close()


if __name__ == "__main__":
    main(sys.argv[1:])
