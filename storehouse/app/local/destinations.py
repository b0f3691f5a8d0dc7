"""The destinations that a configuration file names, for commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storehouse.config import Settings
from storehouse.errors import InvalidSetting
from storehouse.storage.shipping.settings import Connecting, S3Settings, StoreSettings, SwiftSettings

__all__ = ["DestinationSettings", "find_destination"]

DestinationSettings = StoreSettings | S3Settings | SwiftSettings

_KINDS: dict[str, Any] = {"store": StoreSettings, "s3": S3Settings, "swift": SwiftSettings}


def find_destination(settings: Settings, name: str) -> tuple[DestinationSettings, Mapping[str, Any]]:
    """
    The destination of a name, and what its table says of how to ship there.

    @raise InvalidSetting: if there is none, or something in its table cannot be used.
    """
    tables = {each.name: each for each in settings.tables.destinations}
    table = tables.get(name)
    if table is None:
        raise InvalidSetting(
            f"there is no [destinations.{name}] in the configuration file; there are: {', '.join(sorted(tables)) or 'none'}"
        )
    try:
        connecting = {} if table.kind == "store" else {"connecting": Connecting(**table.connecting)}
        return _KINDS[table.kind](**table.values, **connecting), table.shipping
    except InvalidSetting as error:
        raise InvalidSetting(f"[destinations.{name}]: {error}") from None
