"""
What one storehouse process opens, in order, and closes in the reverse order. It knows neither rooms nor doors: it is
given them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import attrs
from twisted.application.service import IServiceCollection, Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IReactorCore,
    IReactorTime,
    IReactorUNIX,
    IStreamServerEndpoint,
)
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.python.log import callWithContext

from storehouse.config import Settings
from storehouse.core.addresses import Address, find_address
from storehouse.core.exits import Exits
from storehouse.core.fast.transports import accept_few, make_eager
from storehouse.core.filesystem import disk_troubles
from storehouse.core.jobs import DiskThreads
from storehouse.core.logs import JSONLinesObserver, line_writer
from storehouse.core.opening import Opening
from storehouse.core.platform import missing_features, raise_file_limit
from storehouse.core.root import RootLock
from storehouse.core.sockets import SocketPort, listen
from storehouse.core.tls.contexts import secured_endpoint, server_endpoint
from storehouse.core.turns import Reactor
from storehouse.errors import InvalidSetting, StartFailed, StorehouseError
from storehouse.events import StoreFailed

__all__ = ["Chore", "Store", "StorehouseService"]

_log = Logger()

P = ParamSpec("P")
T = TypeVar("T")

#: What each door is, for the log.
_titles = {
    "append": "append log",
    "archive": "archive door",
    "sfsp": "SFSP door",
    "objects": "objects door",
    "https": "upload door",
    "s3": "S3 door",
    "admin": "admin door",
}

#: What to try on each door.
_tries = {
    "append": "curl {curl}-d 'some text' '{base}/append?id=some_identifier'",
    "archive": "curl {curl}'{base}/archive'",
    "sfsp": "storehouse sfsp put FILE --server {base}",
    "objects": "storehouse mb photos --root {root}",
    "https": "{base}/upload in a browser, or curl {curl}-u KEY-ID:SECRET -T FILE '{base}/upload/'",
    "s3": "aws {aws}--endpoint-url {base} s3 ls",
    "admin": "curl {curl}'{base}/readyz'",
}

#: Addresses that are, or include, the loopback one.
_LOCAL = frozenset({"127.0.0.1", "::1", "0.0.0.0", "::"})

#: The schemes of URLs of doors that do not speak HTTP: without and with TLS.
_schemes = {"sfsp": {"http": "sfsp", "https": "sfsps"}}


class Store(Protocol):
    """What the service opens and closes for the doors."""

    @property
    def failed(self) -> Exception | None:
        """What it failed with for good."""

    def start(self) -> None:
        """Open, in the caller's time. Raises L{StorehouseError}s."""

    def stop(self) -> Deferred[None]:
        """Finish and close."""


class TLS(Protocol):
    """What adds TLS to a door: an C{IOpenSSLServerConnectionCreator}, too."""

    @property
    def certificate_file(self) -> str:
        """A certificate file for clients to trust; empty if they need none."""

    def check(self) -> None:
        """Look at what is given, before anything is opened. Raises L{StorehouseError}s."""


class Chore(Protocol):
    """What the service has done in the background."""

    def start(self) -> None:
        """Begin; does not wait. Called once the stores are open."""

    def stop(self) -> Deferred[None]:
        """End; fires when nothing is being done any more."""


class StorehouseService(Service):
    """
    Starts and stops what it is given.  L{storehouse.app.service.make_service} makes one that works.

    Everything is opened before the reactor runs, so nobody is answered before all is open, although the doors
    listen before the stores recover: a port that is taken is found out at once, and a client that comes early
    waits.  Only ports below 1024 are taken while the process still has the privileges of its starter; all
    files are made afterwards, so that they belong to the user that C{twistd --uid} names.

    A store that cannot be opened for a reason of this disk (L{is_local<storehouse.core.opening.is_local>}) stays shut until the next start, and so do the
    stores and doors that need it; the others are opened.

    @ivar state: C{starting}, C{ready}, C{stopping} or C{stopped}.
    @ivar stores: what the doors serve, by name, each after those that it is made of; closed after the doors, last first.
    @ivar chores: what works on the stores while they are open.
    @ivar opening: which stores a door, a store or a chore needs, and what is not open.
    @ivar sites: the protocol factory of each door, by the name of its option, or of its socket file.
    @ivar tls: what adds TLS to those doors that speak nothing else, by name.
    @ivar sockets: paths of the socket files of doors that only the user of the process can open, by name.
    @ivar optional: the doors without which the others are opened, if something else has their port.
    @ivar directories: where the stores write.
    @ivar ports: what listens now, by the name of its door.
    """

    name = "storehouse"

    def __init__(
        self, settings: Settings, reactor: Reactor, lock: RootLock, disk: DiskThreads, exits: Exits | None = None
    ) -> None:
        self.settings = settings
        self.state = "starting"
        self.stores: dict[str, Store] = {}
        self.chores: list[Chore] = []
        self.opening = Opening()
        self.sites: dict[str, Any] = {}
        self.tls: dict[str, TLS] = {}
        self.sockets: dict[str, str] = {}
        self.optional: set[str] = set()
        self.ports: dict[str, IListeningPort | SocketPort] = {}
        self.directories: list[str] = []
        self._reactor = reactor
        self._lock = lock
        self._disk = disk
        self._exits = exits
        self._addresses: dict[str, Address] = {}
        self._undo: list[Callable[[], object]] = []

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """With JSON logging, also tell the application to log that way."""
        Service.setServiceParent(self, parent)
        if self.settings.log.format == "json" and isinstance(parent, Componentized):
            observer = JSONLinesObserver(line_writer(self.settings.log.file))
            parent.setComponent(ILogObserver, observer)  # type: ignore[no-untyped-call]

    def parts(self) -> dict[str, str]:
        """Why each part is not ready, by its name; an empty text for one that is."""
        parts = {"service": "" if self.state == "ready" else self.state}
        for name, store in self.stores.items():
            parts[name] = getattr(store, "degraded", "") if store.failed is None else f"failed: {store.failed}"
        parts.update({name: f"not open: {reason}" for name, reason in self.opening.shut.items()})
        return parts | disk_troubles(self.directories)

    def degraded(self) -> dict[str, str]:
        """What single things cannot be served of parts that are ready, by name."""
        found = {name: getattr(store, "unserved", "") for name, store in self.stores.items()}
        return {name: what for name, what in found.items() if what}

    def privilegedStartService(self) -> None:
        """
        Check the doors, and take those ports that need privileges.

        @raise StartFailed: when the process cannot start; nothing stays open.
        """
        with self._all_or_nothing():
            self._check()
            for name, address in self._addresses.items():
                if 0 < address.port < 1024:
                    self._listen(name)

    def startService(self) -> None:
        """
        Open everything else: the root, the doors, the stores (which recover if need be).  Returns when the
        process is ready.

        @raise StartFailed: when the process cannot start; nothing stays open.
        """
        with self._all_or_nothing():
            if not self._addresses:
                self._check()
            for feature in missing_features():
                _log.warn("this system has no {feature}: a slower way is used", feature=feature)
            # The lock makes this file, and nothing removes it.
            is_first = not os.path.lexists(os.path.join(self.settings.root, "lock"))
            self._lock.acquire()
            self._undo.append(self._lock.release)
            raise_file_limit()
            for name in list(self.sites):
                if name in self.sockets:
                    self._listen_on_socket(name)
                elif name in self.optional:
                    self._try_to_listen(name)
                elif name not in self.ports:
                    self._listen(name)
            self._disk.start()
            self._undo.append(self._disk.stop)
            self.opening.open_stores(self.stores, self._undo)
            self.opening.start_chores(self.chores, self._undo)
            self._shut_doors()
        Service.startService(self)
        self._undo.clear()
        self.state = "ready"
        self._announce(is_first)

    def _shut_doors(self) -> None:
        """
        Those of stores that are not open.

        @raise StorehouseError: if no door is left that anything can be stored or read by.
        """
        for name in list(self.sites):
            if self.opening.is_shut(name, f"{name} door") or self.opening.is_shut(name, name):
                port = self.ports.pop(name, None)
                if port is not None:
                    maybeDeferred(port.stopListening)
                _log.critical("the {title} stays shut", title=_titles[name])
        for name in self.opening.shut:
            self.stores.pop(name, None)
        if self.opening.errors and not self.ports.keys() - {"admin", *self.sockets}:
            raise self.opening.errors[0]

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, let requests in flight finish for up to C{shutdown-timeout}, then bring all to disk
        and close.

        @return: fires when everything is closed.
        """
        Service.stopService(self)
        if self.state != "ready":
            return Deferred.fromCoroutine(_nothing())
        self.state = "stopping"
        return Deferred.fromCoroutine(self._stop())

    def store_failed(self, event: StoreFailed) -> None:
        """
        A store cannot go on: what it holds is safe only if nothing more is acknowledged, so the process ends,
        with status 1.
        """
        _log.critical("stopping, because the {store} failed: {reason}", store=event.store, reason=str(event.error))
        if self._exits is not None:
            self._exits.gave_up()
        try:
            cast(IReactorCore, self._reactor).stop()
        except ReactorNotRunning:  # it stops already
            pass

    async def _stop(self) -> None:
        _log.info("stopping: requests in flight have {seconds} s to finish", seconds=self.settings.shutdown_timeout)
        ports, self.ports = self.ports, {}
        await self._closed([maybeDeferred(port.stopListening) for port in ports.values()])
        await self._closed([maybeDeferred(site.drain, self.settings.shutdown_timeout) for site in self.sites.values()])
        await self._closed([maybeDeferred(chore.stop) for chore in self.chores])
        for store in reversed(self.stores.values()):
            await self._closed([maybeDeferred(store.stop)])
        self._disk.stop()
        self._lock.release()
        self.state = "stopped"
        _log.info("stopped")

    async def _closed(self, closing: list[Deferred[Any]]) -> None:
        for succeeded, result in await DeferredList(closing, consumeErrors=True):
            if not succeeded and isinstance(result, Failure):
                _log.failure("while stopping", failure=result)

    def _all_or_nothing(self) -> _AllOrNothing:
        return _AllOrNothing(self._undo, self._exits)

    def _check(self) -> None:
        in_background = self._exits is not None and self._exits.in_background
        if in_background and self.settings.log.format == "json" and not self.settings.log.file:
            raise InvalidSetting("log-format json needs log-file in the background: there is no standard output")
        for name, endpoint in self.settings.doors.items():
            try:
                address = find_address(endpoint)
            except ValueError as error:
                raise InvalidSetting(f"{name} cannot be {endpoint!r}: {error}") from None
            asks = name in self.settings.asking_doors
            if not address.is_local and not self.settings.allow_anonymous and not asks:
                raise InvalidSetting(
                    f"{name} cannot be {endpoint!r}: the {_titles[name]} would listen on {address.host_text}, which "
                    "other machines can reach, without authentication; give an interface such as 127.0.0.1, or "
                    "--allow-anonymous if everyone who reaches it may use it"
                )
            self._addresses[name] = address
        for tls in self.tls.values():
            tls.check()
        for name, path in self.sockets.items():
            self._addresses[name] = Address("unix", path)

    def _listen_on_socket(self, name: str) -> None:
        """The root is ours: a socket file that is there belonged to a process that is gone."""
        path = self.sockets[name]
        try:
            self._listening(name, _unsaid(listen, cast(IReactorUNIX, self._reactor), path, self.sites[name]))
        except (CannotListenError, OSError) as error:
            cause = getattr(error, "socketError", error)
            raise StartFailed(
                f"the {_titles[name]} cannot listen on {path}: {getattr(cause, 'strerror', None) or cause}"
            ) from None

    def check(self) -> None:
        """
        Look at all settings and files that can be looked at without opening anything.

        @raise InvalidSetting: naming the first of those that a start would refuse.
        """
        self._check()
        for name, endpoint in self.settings.doors.items():
            try:
                self._endpoint(name)
            except (ValueError, OverflowError) as error:
                raise InvalidSetting(f"{name} cannot be {endpoint!r}: {error}") from None

    def _endpoint(self, name: str) -> IStreamServerEndpoint:
        endpoint, trusted = self.settings.doors[name], self.settings.proxies
        made: IStreamServerEndpoint
        reactor = cast(IReactorTime, self._reactor)
        if name in self.tls:
            made = secured_endpoint(reactor, endpoint, cast(IOpenSSLServerConnectionCreator, self.tls[name]), trusted)
        else:
            made = server_endpoint(reactor, endpoint, self.settings.client_cas.get(name, ""), trusted)
        return made

    def _listen(self, name: str) -> None:
        endpoint = self.settings.doors[name]
        outcome: list[Any] = []
        try:
            where = self._endpoint(name)
            _unsaid(maybeDeferred, where.listen, self.sites[name]).addBoth(outcome.append)
        except (ValueError, OverflowError) as error:
            raise InvalidSetting(f"{name} cannot be {endpoint!r}: {error}") from None
        if not outcome:
            raise StartFailed(
                f"the {_titles[name]} cannot listen on {endpoint}: this kind of endpoint needs a running reactor"
            )
        port = outcome[0]
        if isinstance(port, Failure):
            if port.check(ValueError, OverflowError):
                raise InvalidSetting(f"{name} cannot be {endpoint!r}: {port.value}")
            port.trap(CannotListenError, OSError)
            cause = getattr(port.value, "socketError", port.value)
            raise StartFailed(
                f"the {_titles[name]} cannot listen on {endpoint}: {getattr(cause, 'strerror', None) or cause}"
            )
        if not hasattr(port, "stopListening"):
            raise InvalidSetting(f"{name} cannot be {endpoint!r}: this kind of endpoint does not listen")
        self._listening(name, port)

    def _try_to_listen(self, name: str) -> None:
        try:
            self._listen(name)
        except StartFailed as error:
            _log.warn("{reason}: it stays shut; give another one with --{name}", reason=error.detail, name=name)
            del self.sites[name]

    def _listening(self, name: str, port: IListeningPort | SocketPort) -> None:
        self.ports[name] = port
        self._undo.append(self.ports.clear)
        self._undo.append(port.stopListening)
        make_eager(port)
        accept_few(port)

    def url(self, name: str) -> str:
        """The base of the URLs of a door that listens, as this machine reaches it; or the name of its socket file."""
        address = self._addresses[name]
        host = self.ports[name].getHost()
        if isinstance(host, (IPv4Address, IPv6Address)):
            address = attrs.evolve(
                address, scheme=address.scheme or "http", host=address.host or host.host, port=host.port
            )
        scheme = address.scheme
        if name in self.tls and scheme in ("http", "https"):
            # Certificates are for names.
            scheme = "https"
            address = attrs.evolve(address, host="localhost" if address.host in _LOCAL else address.host)
        return attrs.evolve(address, scheme=_schemes.get(name, {}).get(scheme, scheme)).url

    def _announce(self, is_first: bool) -> None:
        """Say where the doors are; at the first start also what is kept where, and what to try. 15 lines are the most."""
        if is_first:
            parts = {
                "records": self.settings.append_directory if "append" in self.ports else "",
                "archives": self.settings.archives_directory if "archive" in self.ports else "",
                "objects": self.settings.objects_directory,
                "their names": self.settings.namespace_directory,
                "users": os.path.join(self.settings.root, "accounts") if "accounts" in self.stores else "",
            }
            where = ", ".join(f"{what} in {self._within_root(path)}" for what, path in parts.items() if path)
            _log.info("data is in {root}: {where}", root=os.path.abspath(self.settings.root), where=where)
            for name in self.ports:
                _log.info(
                    "{title} listens on {url}, try: {command}",
                    title=_titles[name],
                    url=self.url(name),
                    command=self.suggestion(name),
                )
        else:
            doors = ", ".join(f"{_titles[name]} on {self.url(name)}" for name in self.ports)
            _log.info("listening: {doors}", doors=doors)
        _log.info("ready")

    def _within_root(self, path: str) -> str:
        """A path, as seen from the root if it is in there."""
        root = os.path.join(os.path.abspath(self.settings.root), "")
        return os.path.abspath(path).removeprefix(root) + "/"

    def suggestion(self, name: str) -> str:
        """What to try on a door that listens: a command."""
        url = self.url(name)
        curl, aws, base = "", "", url
        if url.startswith("unix:"):
            curl = f"--unix-socket {shlex.quote(url.removeprefix('unix:'))} "
            base = url if name in _schemes else f"http{'s' if name in self.tls else ''}://localhost"
        if name in self.tls and self.tls[name].certificate_file:
            curl += f"--cacert {shlex.quote(self.tls[name].certificate_file)} "
            aws = f"--ca-bundle {shlex.quote(self.tls[name].certificate_file)} "
        return _tries[name].format(curl=curl, aws=aws, base=base, root=shlex.quote(os.path.abspath(self.settings.root)))


def _unsaid(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Call something while Twisted's older log says nothing: L{_announce} reports the ports, in words
    for users. An event with a format that gives no text is not written.
    """
    result: T = callWithContext({"log_format": ""}, function, *args, **kwargs)
    return result


class _AllOrNothing:
    """
    Undoes what was done, last first, when the block under it fails, and sees to it that the failure is a
    L{StartFailed} that the user gets to read.
    """

    def __init__(self, undo: list[Callable[[], object]], exits: Exits | None) -> None:
        self._undo = undo
        self._exits = exits

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            return
        while self._undo:
            maybeDeferred(self._undo.pop()).addErrback(
                lambda failure: _log.failure("while undoing a start", failure=failure)
            )
        if isinstance(error, StorehouseError):
            failed = error if isinstance(error, StartFailed) else StartFailed(error.detail)
            if self._exits is not None:
                self._exits.cannot_start(failed)
            if failed is not error:
                raise failed from error


async def _nothing() -> None:
    pass
