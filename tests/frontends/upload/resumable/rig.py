"""The doors of resumable uploads on a store in memory, for tests."""

from __future__ import annotations

import os
from functools import cache, partial
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings
from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import read_all
from storehouse.frontends.http.request import Root
from storehouse.frontends.http.site import DoorSite
from storehouse.frontends.upload.gate import Gate
from storehouse.frontends.upload.intake import Activity, Intake, UploadMemory
from storehouse.frontends.upload.resumable.ietf.door import IETFUploads
from storehouse.frontends.upload.resumable.tus import TusUploads
from storehouse.frontends.upload.upload import FormUpload, Upload
from storehouse.storage.resumable.local import LocalResumableUploads, ResumableSettings
from storehouse.testing import memory_object_store
from storehouse.testing.accounts import MemoryAccounts
from tests.frontends.http.wire import Answer, Connection, request, split_answers

__all__ = ["ResumableDoorCase"]


_START = 1_700_000_000


@cache
def _people() -> tuple[Any, dict[str, Any]]:
    """Accounts, and the keys of their users. To make a key is slow, on purpose: so it is done once."""
    accounts: Any = MemoryAccounts(clock=lambda: _START)
    keys: dict[str, Any] = {}
    for name in ("root", "ann", "bob"):
        accounts.add_user(name, is_admin=name == "root").addCallback(partial(keys.__setitem__, name))
    return accounts, keys


class ResumableDoorCase(SynchronousTestCase):
    """
    A door with users C{ann}, C{bob}, and C{root} who is an administrator.

    @ivar as_user: the user whose access key requests are made with; empty for nobody's.
    """

    max_size = 0
    expiry = 1000.0
    sessions = 100
    names = "rename"

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(_START)
        self.store: Any = memory_object_store(clock=self.clock)
        self.successResultOf(self.store.create_bucket("uploads"))
        self.accounts, self.keys = _people()
        self.as_user = "ann"
        self.gate = Gate(self.accounts, self.store, common_name=lambda transport: "")
        self.memory = UploadMemory(64 << 20, self.sessions)
        self.activity = Activity(self.clock)
        settings = ResumableSettings(
            os.path.abspath(self.mktemp()),
            names=self.names,
            max_size=self.max_size,
            expiry=self.expiry,
            durable=False,
        )
        self.uploads: Any = LocalResumableUploads(self.store, InlineDisk(), self.clock, settings)
        self.uploads.start()
        self.addCleanup(lambda: self.successResultOf(self.uploads.stop()))
        intake = Intake(self.store, self.memory, self.gate, self.activity, InlineDisk(), self.max_size, self.names)
        ietf = IETFUploads(self.gate, self.uploads, intake, self.max_size, self.expiry)
        form = FormUpload(self.gate, intake)
        root = Root(
            {
                b"upload": Upload(self.gate, form, intake, ietf),
                b"tus": TusUploads(self.gate, self.uploads, intake, self.max_size),
                b"resumable": ietf,
            }
        )
        self.site = DoorSite(root, self.clock, ConnectionSettings(), name="upload")
        self.site.startFactory()

    # -- talking to it -------------------------------------------------------------------------

    def fields(self) -> list[str]:
        """What every request has."""
        if not self.as_user:
            return []
        key = self.keys[self.as_user]
        return [f"Authorization: Bearer {key.user.key_id}.{key.secret}"]

    def begin(self, line: str, *fields: str, body: bytes | None = None) -> Connection:
        """Send a request, whole or not."""
        connection = Connection(self.site)
        connection.send(request(line, body, *self.fields(), *fields))
        return connection

    def answers(self, connection: Connection, method: str) -> list[Answer]:
        """All that came, interim answers too."""
        return split_answers(connection.received, [method])

    def ask(self, line: str, *fields: str, body: bytes | None = None, status: int = 200) -> Answer:
        """A request over a connection of its own, and its last answer."""
        connection = self.begin(line, *fields, body=body)
        *_, answer = self.answers(connection, line.split()[0])
        connection.close()
        self.assertEqual(answer.status, status, answer)
        return answer

    def link(self, path: str, **options: Any) -> str:
        """The query of a signed link to store something."""
        user = self.keys["ann"].user
        query: str = self.accounts.sign_link(user, "PUT", quote(path, safe="/"), self.clock.seconds() + 600, **options)
        return query

    # -- what is stored ------------------------------------------------------------------------

    def stored(self, key: str) -> bytes:
        """The bytes of an object."""

        async def get() -> bytes:
            return await read_all(await self.store.get("uploads", key))

        return self.successResultOf(Deferred.fromCoroutine(get()))

    def info(self, key: str) -> Any:
        return self.successResultOf(self.store.head("uploads", key))

    def keys_stored(self) -> list[str]:
        found: list[str] = self.successResultOf(self.store.list_keys("uploads"))
        return found
