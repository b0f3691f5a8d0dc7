"""The destinations that a configuration file names, for commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storehouse.config import Settings
from storehouse.config.shipping import DestinationSettings
from storehouse.errors import InvalidSetting

__all__ = ["find_destination"]


def find_destination(settings: Settings, name: str) -> tuple[DestinationSettings, Mapping[str, Any]]:
    """
    The destination of a name, and what its table says of how to ship there.

    @raise InvalidSetting: if there is none.
    """
    tables = {each.name: each for each in settings.tables.destinations}
    table = tables.get(name)
    if table is None:
        raise InvalidSetting(
            f"there is no [destinations.{name}] in the configuration file; there are: {', '.join(sorted(tables)) or 'none'}"
        )
    return table.settings, table.shipping
