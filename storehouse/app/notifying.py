"""
Events put together: the spool, and the destinations.

A part of L{storehouse.app.service}: it names concrete classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from storehouse.config import Settings
from storehouse.core.jobs import IDisk
from storehouse.core.keys.masterkey import read_key_file
from storehouse.core.keys.vault import Vault
from storehouse.core.names import check_prefix
from storehouse.core.turns import Reactor
from storehouse.errors import InvalidName, InvalidSetting, StorehouseError
from storehouse.storage.appendlog.interfaces import IAppendLog
from storehouse.storage.notifications.interfaces import ITarget
from storehouse.storage.notifications.notices import Notices
from storehouse.storage.notifications.spool import Spool, SpoolFile
from storehouse.storage.sealed.formats import EVENTS, KeyringCipher
from storehouse.storage.streams.interfaces import IStreams

__all__ = ["make_notices", "make_targets"]


def make_notices(
    settings: Settings,
    disk: IDisk,
    vault: Vault | None,
    on_failure: Callable[[StorehouseError], None] = lambda error: None,
) -> Notices:
    """
    Make what announces changes of objects.

    @param vault: the keys by which the spool is encrypted; C{None} to leave it plain.
    """
    cipher = None if vault is None else KeyringCipher(lambda: vault.keyring, EVENTS)
    spool = Spool(SpoolFile(os.path.abspath(settings.events_path), cipher), disk, settings.notify.spool, on_failure)
    region = "us-east-1" if settings.s3.region == "any" else settings.s3.region
    return Notices(spool, [name for name, _ in settings.notify.destinations], region)


def make_targets(
    settings: Settings, reactor: Reactor, log: IAppendLog | None, streams: Callable[[], IStreams]
) -> dict[str, ITarget]:
    """
    The destinations, by name.

    @param streams: gives the streams, once they are open. @raise KeyError: if they are not.
    @raise InvalidSetting: if a secret cannot be read, or there is no such prefix or stream.
    """
    return {name: _target(settings, reactor, log, streams, name, where) for name, where in settings.notify.destinations}


def _target(
    settings: Settings, reactor: Reactor, log: IAppendLog | None, streams: Callable[[], IStreams], name: str, where: str
) -> ITarget:
    # Imported here: most services send no events, and the HTTP client would make each start slower.
    from storehouse.storage.notifications.targets import HTTPTarget, LogTarget, StreamTarget

    kind, _, rest = where.partition(":")
    if kind == "append":
        if log is None:
            raise InvalidSetting(f"notify cannot be {name}={where}: the append log is off")
        prefix, _, id = rest.partition("/")
        try:
            return LogTarget(log, check_prefix(prefix.encode()), id.encode())
        except InvalidName as error:
            raise InvalidSetting(f"notify cannot be {name}={where}: {error.detail}") from None
    if kind == "archive":
        if rest not in {stream.name for stream in settings.tables.streams}:
            raise InvalidSetting(
                f"notify cannot be {name}={where}: the configuration file has no [archive.streams.{rest}]"
            )
        return StreamTarget(streams, rest)
    return HTTPTarget(where, _secret(settings, name), reactor, settings.notify.timeout, settings.notify.ca)


def _secret(settings: Settings, name: str) -> bytes:
    paths = []
    if settings.notify.secrets:
        paths.append(os.path.join(settings.notify.secrets, name))
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials:
        paths.append(os.path.join(credentials, f"notify-{name}"))
    for path in paths:
        if os.path.exists(path):
            return read_key_file(path)
    raise InvalidSetting(
        f"notify has the HTTP endpoint {name}, and there is no secret that its requests are signed by: write one to a file {name} in "
        "the directory that notify-secrets names"
    )
