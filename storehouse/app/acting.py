"""
The doors that do not ask who one is, as users that are configured: what these have no right to, is refused there.

A part of L{storehouse.app.service}: it names concrete classes.
"""

from __future__ import annotations

from collections.abc import Callable

from storehouse.app.lifecycle import StorehouseService
from storehouse.config import Settings
from storehouse.errors import Forbidden, NoSuchUser, Unavailable
from storehouse.events import AccessDecided
from storehouse.storage.accounts.interfaces import IAccounts, User
from storehouse.storage.objects.interfaces import IObjectStore
from storehouse.storage.objects.permitted import PermittedStore, rights_of

__all__ = ["acting_doors", "managed", "permitted", "stream_rights"]

#: The bucket whose keys stand for streams: that of their archives.
_ARCHIVES = "archives"

_Audit = Callable[[object], object]


def acting_doors(settings: Settings) -> dict[str, str]:
    """The users as whom doors act, by the names of the doors."""
    users = {"archive": settings.archive.user, "sfsp": settings.sfsp.user, "objects": settings.objects.user}
    return {door: user for door, user in users.items() if user}


def permitted(
    service: StorehouseService, objects: IObjectStore, door: str, audit: _Audit
) -> Callable[[str], IObjectStore]:
    """
    The object store as the clients of a door may use it: all of it, unless the door acts as a user.

    @return: gives the store for a request; takes its source, for the audit.
    """
    name = acting_doors(service.settings).get(door)
    if name is None:
        return lambda source: objects
    may = rights_of(objects, lambda: _user(service, door, name))

    def store_for(source: str) -> IObjectStore:
        def decided(permission: str, bucket: str, key: str, is_allowed: bool) -> None:
            audit(AccessDecided(door, name, source, permission, f"{bucket}/{key}", is_allowed))

        return PermittedStore(objects, may, decided, name)

    return store_for


def managed(service: StorehouseService, door: str, audit: _Audit) -> Callable[[str, str], None] | None:
    """
    Checks that the user as whom a door acts is an administrator; C{None} if it acts as no user.

    @return: takes the name of the operation and the source of the request. Raises C{Forbidden} unless the user is an administrator.
    """
    name = acting_doors(service.settings).get(door)
    if name is None:
        return None

    def check_admin(what: str, source: str) -> None:
        is_allowed = _user(service, door, name).is_unlimited_admin
        audit(AccessDecided(door, name, source, what, "", is_allowed))
        if not is_allowed:
            raise Forbidden(f"{name} is not an administrator")

    return check_admin


def stream_rights(service: StorehouseService, audit: _Audit) -> Callable[[str, str, str], bool]:
    """
    Says whether the door of archives may do something with a stream.

    @return: takes a permission, the name of a stream, and the source of the request.
    """
    name = acting_doors(service.settings).get("archive")
    if name is None:
        return lambda permission, stream, source: True

    def may(permission: str, stream: str, source: str) -> bool:
        is_allowed = _user(service, "archive", name).may(permission, _ARCHIVES, f"{stream}/")
        audit(AccessDecided("archive", name, source, permission, f"{_ARCHIVES}/{stream}/", is_allowed))
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
