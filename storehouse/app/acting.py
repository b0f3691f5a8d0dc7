"""
The doors that do not ask who one is, as users that are configured: what these have no right to, is refused there.

A part of L{storehouse.app.service}: it names concrete classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from storehouse.app.lifecycle import StorehouseService
from storehouse.config import Settings
from storehouse.errors import Forbidden, NoSuchUser, Unavailable
from storehouse.events import AccessDecided
from storehouse.storage.accounts.interfaces import IAccounts, User
from storehouse.storage.objects.permitted import PermittedStore

__all__ = ["acting_doors", "permitted", "stream_rights"]

#: The bucket whose keys stand for streams: that of their archives.
_ARCHIVES = "archives"

_Audit = Callable[[object], object]


def acting_doors(settings: Settings) -> dict[str, str]:
    """The users as whom doors act, by the names of the doors."""
    users = {"archive": settings.archive.user, "sfsp": settings.sfsp.user, "objects": settings.objects.user}
    return {door: user for door, user in users.items() if user}


def permitted(service: StorehouseService, objects: Any, door: str, audit: _Audit) -> Any:
    """The object store as a door may use it: all of it, unless it acts as a user."""
    name = acting_doors(service.settings).get(door)
    if name is None:
        return objects

    def decided(permission: str, bucket: str, key: str, is_allowed: bool) -> None:
        audit(AccessDecided(door, str(name), "", permission, f"{bucket}/{key}", is_allowed))

    return PermittedStore(objects, lambda: _user(service, door, str(name)), decided)


def stream_rights(service: StorehouseService, audit: _Audit) -> Callable[[str, str], bool]:
    """Says whether the door of archives may do something with a stream."""
    name = acting_doors(service.settings).get("archive")
    if name is None:
        return lambda permission, stream: True

    def may(permission: str, stream: str) -> bool:
        is_allowed = _user(service, "archive", name).may(permission, _ARCHIVES, f"{stream}/")
        audit(AccessDecided("archive", name, "", permission, f"{_ARCHIVES}/{stream}/", is_allowed))
        return is_allowed

    return may


def _user(service: StorehouseService, door: str, name: str) -> User:
    if "accounts" not in service.stores:
        raise Unavailable("the accounts are not open")
    accounts: IAccounts = service.stores["accounts"]  # type: ignore[assignment]
    try:
        return accounts.user_named(name)
    except NoSuchUser:
        raise Forbidden(f"the {door} door acts as the user {name}, whom there is not") from None
