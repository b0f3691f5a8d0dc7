"""What a start would refuse, told without one: for C{storehouse config check}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from twisted.internet.task import Clock

from storehouse.app.service import make_service
from storehouse.config import Settings
from storehouse.core.keys.masterkey import take_master_key
from storehouse.core.turns import Reactor
from storehouse.errors import StorehouseError

__all__ = ["find_refusal"]


def find_refusal(settings: Settings, environ: Mapping[str, str]) -> str:
    """
    Why a start with these settings would fail, as far as can be known without opening anything: certificates, the master
    key, endpoints, destinations and streams are looked at; ports and the root are not.

    @return: the first reason; empty if there is none.
    """
    try:
        master_key = take_master_key(dict(environ), settings.master_key_file)
        make_service(settings, cast(Reactor, Clock()), master_key=master_key).check()
    except StorehouseError as error:
        return error.detail
    return ""
