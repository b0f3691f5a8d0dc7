"""The S3 door in memory, with authorization."""

from __future__ import annotations

import json
from typing import Any

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream
from storehouse.frontends.s3.access.authorize import authorize
from storehouse.frontends.s3.call import Door
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.errors import S3Error
from storehouse.storage.accounts.interfaces import Rights, User
from tests.frontends.s3.playing import AnyAuthenticator, S3Case

__all__ = ["AccessCase"]


class KnownUsers(AnyAuthenticator):
    """Believes whom a request names, with the rights and limits that the user has in a test."""

    def __init__(self, users: dict[str, User]) -> None:
        self._users = users

    def authenticate(self, request: Any, query: Any, host_bucket: str = "") -> Any:
        """See the base."""
        if (request.requestHeaders.getRawHeaders(b"Authorization") or [b""])[0] == b"Test wrong":
            raise S3Error("SignatureDoesNotMatch")
        signed = super().authenticate(request, query, host_bucket)
        if signed.user is None:
            return signed
        return type(signed)(self._users.get(signed.user.name, signed.user), signed.key_id)


class AccessCase(S3Case):
    """
    A door with buckets: C{box} of C{ann}, and C{shared}, which nobody owns; each has an object C{a}.

    @ivar users: those that are not as a new user is.
    """

    def setUp(self) -> None:
        self.users: dict[str, User] = {}
        S3Case.setUp(self)
        for name in ("ann", "bob", "root"):
            self.successResultOf(self.accounts.add_user(name, name == "root"))
        self.make_bucket("box", "ann")
        self.make_bucket("shared")

    def make_door(self) -> S3Door:
        """With our own authorization."""
        self.audited: list[object] = []
        self.made = Door(self.store, self.accounts, self.settings, self.clock, InlineDisk(), audit=self.audited.append)
        return S3Door(self.made, KnownUsers(self.users), authorize)

    def make_bucket(self, name: str, owner: str = "", keys: tuple[str, ...] = ("a",)) -> None:
        """A bucket with objects."""
        self.successResultOf(self.store.create_bucket(name, {}, owner))
        for key in keys:
            self.put(name, key)

    def put(self, bucket: str, key: str, **system: str) -> None:
        """An object."""
        self.successResultOf(self.store.put(bucket, key, BytesStream([b"data"]), 4, "text/plain", {}, system=system))

    def user(
        self, name: str, *rights: Rights, limits: tuple[Rights, ...] | None = None, is_admin: bool = False
    ) -> None:
        """A user has these rights, and comes with a key of these limits."""
        self.users[name] = User(name, "SH", is_admin, False, 0.0, 0.0, rights, limits=limits)

    def policy(self, *statements: dict[str, Any], bucket: str = "box") -> None:
        """The owner gives a bucket a policy."""
        data = json.dumps({"Version": "2012-10-17", "Statement": list(statements)}).encode()
        self.done(f"PUT /{bucket}?policy", data, status=204)

    def denied(self, line: str, body: bytes | None = None, *fields: str, user: str = "bob") -> None:
        """A request is refused."""
        if line.startswith("HEAD "):
            self.assertEqual(self.ask(line, body, *fields, user=user).status, 403)
        else:
            self.refused("AccessDenied", line, body, *fields, user=user)
