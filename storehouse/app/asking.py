"""
What the doors share that ask who one is: the users of the root, the certificate, and what the first start tells.

A part of L{storehouse.app.service}: it names concrete classes.
"""

from __future__ import annotations

from typing import cast

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.app.lifecycle import StorehouseService
from storehouse.app.sealing import make_accounts
from storehouse.config import Settings
from storehouse.core.jobs import IDisk, deferred, settled
from storehouse.core.keys.vault import Vault
from storehouse.core.turns import Reactor
from storehouse.storage.accounts.local import LocalAccounts, show_first_key, show_sign_in_link

__all__ = ["add_accounts", "add_tls"]


class _Welcome:
    """Writes down where the door of uploads is, and lets in who starts a storehouse for the first time."""

    _log = Logger()

    def __init__(self, accounts: LocalAccounts, service: StorehouseService) -> None:
        self._accounts = accounts
        self._service = service
        self._telling: Deferred[None] | None = None

    def start(self) -> None:
        """Check in the background whether anybody can sign in, and show a link and a key if nobody can."""
        self._telling = Deferred.fromCoroutine(self._tell())
        self._telling.addErrback(
            lambda failure: self._log.failure("while checking whether anybody can sign in", failure=failure)
        )

    async def _tell(self) -> None:
        ports = self._service.ports
        if "https" in ports:
            url = self._service.settings.https.url.rstrip("/") or self._service.url("https")
            await self._accounts.write_url(url)
            await show_sign_in_link(self._accounts, url)
        if "s3" in ports:
            await show_first_key(self._accounts, self._service.suggestion("s3"))

    @deferred
    async def stop(self) -> None:
        """Wait for that."""
        if self._telling is not None:
            await settled(self._telling)


def add_accounts(
    service: StorehouseService, settings: Settings, disk: IDisk, vault: Vault | None, welcomes: bool
) -> LocalAccounts:
    """
    Add the users.

    @param vault: the keys by which their secret is encrypted; C{None} to leave it plain.
    @param welcomes: whether the first start lets in who starts it.
    """
    accounts = make_accounts(settings, disk, None if vault is None else lambda: vault.keyring)
    service.stores["accounts"] = accounts
    if welcomes:
        welcome = _Welcome(accounts, service)
        service.chores.append(welcome)
        service.opening.chores.append((welcome, ("accounts",), ""))
    return accounts


def add_tls(
    service: StorehouseService, settings: Settings, reactor: Reactor, disk: IDisk, registry: CollectorRegistry
) -> None:
    """Add TLS to the doors that want it: they have one certificate, since they are one host."""
    wanting = [name for name in ("https", "s3") if name in settings.doors and (name == "https" or settings.s3.tls)]
    if not wanting:
        return
    # Imported here: a door without it does not pay for it.
    from storehouse.core.tls.server import ServerTLS, choose_source

    domains = settings.s3.domain if "s3" in wanting else ()
    source = choose_source(
        settings.doors[wanting[0]],
        settings.tls_directory,
        settings.https.cert,
        settings.https.key,
        settings.https.url,
        [name for domain in domains for name in (domain.removeprefix("*."), f"*.{domain.removeprefix('*.')}")],
    )
    tls = ServerTLS(source, reactor, disk, settings.https.client_ca if "https" in wanting else "")
    service.tls.update(dict.fromkeys(wanting, tls))
    service.chores.append(tls)
    # With a door of its own it is only as needed as that is.
    service.opening.chores.append((tls, (), wanting[0] if len(wanting) == 1 else ""))
    registry.register(cast(Collector, tls))
