"""How Swift lets somebody in: TempAuth's version 1, and passwords by Keystone's version 3."""

from __future__ import annotations

import json
from typing import Any

import attrs

from storehouse.config.shipping import SwiftSettings
from storehouse.errors import RemoteRefused, RemoteUnavailable
from storehouse.storage.shipping.http import Answer, RemoteClient

__all__ = ["Admission", "admit"]


@attrs.frozen
class Admission:
    """
    Where an account is, and what opens it.

    @ivar url: without a slash at its end.
    """

    url: str
    token: str = attrs.field(repr=False)


async def admit(client: RemoteClient, settings: SwiftSettings) -> Admission:
    """
    Ask for a token.

    @return: fails with C{RemoteRefused} for wrong credentials.
    """
    admission = await (_keystone(client, settings) if settings.auth == "v3" else _tempauth(client, settings))
    if settings.storage_url:
        admission = attrs.evolve(admission, url=settings.storage_url)
    if not admission.url or not admission.token:
        raise RemoteUnavailable(f"{settings.auth_url} lets us in, but does not say where to")
    return attrs.evolve(admission, url=admission.url.rstrip("/"))


def _check(answer: Answer, settings: SwiftSettings) -> None:
    if answer.status in (401, 403):
        raise RemoteRefused(f"{settings.auth_url} refuses the credentials of {settings.user}: {answer.status}")
    if not 200 <= answer.status < 300:
        raise RemoteRefused(f"{settings.auth_url} does not let anybody in: {answer.status}")


async def _tempauth(client: RemoteClient, settings: SwiftSettings) -> Admission:
    headers = {"x-auth-user": settings.user, "x-auth-key": settings.password}
    answer = await client.request("GET", settings.auth_url, lambda: headers)
    _check(answer, settings)
    return Admission(answer.header("x-storage-url"), answer.header("x-auth-token"))


async def _keystone(client: RemoteClient, settings: SwiftSettings) -> Admission:
    identity = {
        "methods": ["password"],
        "password": {
            "user": {
                "name": settings.user,
                "domain": {"name": settings.user_domain},
                "password": settings.password,
            }
        },
    }
    scope = {"project": {"name": settings.project, "domain": {"name": settings.project_domain}}}
    asked: dict[str, Any] = {"identity": identity}
    if settings.project:
        asked["scope"] = scope
    answer = await client.request(
        "POST",
        settings.auth_url.rstrip("/") + "/auth/tokens",
        lambda: {"content-type": "application/json"},
        json.dumps({"auth": asked}).encode(),
    )
    _check(answer, settings)
    try:
        catalog = json.loads(answer.body)["token"].get("catalog", [])
        urls = [
            endpoint["url"]
            for service in catalog
            if service["type"] == "object-store"
            for endpoint in service["endpoints"]
            if endpoint["interface"] == settings.interface
            and settings.region in ("", endpoint.get("region"), endpoint.get("region_id"))
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RemoteUnavailable(f"{settings.auth_url} gives an answer that is not Keystone's") from None
    if not urls and not settings.storage_url:
        raise RemoteRefused(f"{settings.auth_url} knows no {settings.interface} object store for {settings.user}")
    return Admission(urls[0] if urls else "", answer.header("x-subject-token"))
