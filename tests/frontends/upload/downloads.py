"""A door with nothing but downloads: an object store on a real disk, a network in memory."""

from __future__ import annotations

import json
import os
from email import message_from_bytes, policy
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.settings import ConnectionSettings
from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream
from storehouse.frontends.http.request import Root
from storehouse.frontends.http.site import DoorSite
from storehouse.frontends.upload.download import Downloads
from storehouse.frontends.upload.intake import Activity
from storehouse.frontends.upload.listing import Listings
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.storage.objects.interfaces import ObjectInfo
from storehouse.storage.objects.store import LocalObjectStore
from tests.frontends.http.wire import Answer, Connection, request, split_answers
from tests.frontends.upload.gates import OpenGate

__all__ = ["NOW", "DownloadCase", "parts_of"]

#: Seconds since 1970 UTC at the door.
NOW = 1_800_000_000

#: When objects are stored, unless a test says otherwise; as fields have it, too.
STORED = NOW - 1000


class DownloadCase(SynchronousTestCase):
    """A door whose gate lets a user in."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.now = float(STORED)
        self.directory = os.path.abspath(self.mktemp())
        disk = InlineDisk()
        settings = WormerSettings(os.path.join(self.directory, "objects"), block_size=1000, durable=False)
        space = WormerDataSpace(settings, disk)
        names = LocalNamespace(
            NamespaceSettings(os.path.join(self.directory, "namespace"), durable=False), self.clock, disk
        )
        self.store = LocalObjectStore(space, names, disk, clock=lambda: self.now)
        for part in (space, names, self.store):
            part.start()
        for part in (space, names, self.store):
            self.addCleanup(lambda part=part: self.successResultOf(part.stop()))
        self.gate: Any = OpenGate()
        self.activity = Activity(self.clock)
        self.site = self.make_site()
        self.successResultOf(self.store.create_bucket("uploads"))

    def make_site(self) -> DoorSite:
        """The door."""
        listings = Listings(self.store, self.gate)
        downloads = Downloads(self.store, self.gate, self.activity, listings)
        return DoorSite(Root({b"download": downloads}), self.clock, ConnectionSettings(), name="uploads")

    def put(self, key: str, data: bytes, bucket: str = "uploads", **options: Any) -> ObjectInfo:
        """Store an object."""
        return self.successResultOf(self.store.put(bucket, key, BytesStream(data), len(data), **options))

    def ask(self, line: str, *fields: str, status: int = 200, body: bytes | None = None) -> Answer:
        """A request over a connection of its own, and its answer."""
        connection = Connection(self.site)
        connection.send(request(line, body, *fields))
        (answer,) = split_answers(connection.received, [line.split()[0]])
        connection.close()
        self.assertEqual(answer.status, status, answer)
        return answer

    def told(self, line: str, *fields: str, status: int = 200, body: bytes | None = None) -> Any:
        """What an answer says in JSON."""
        return json.loads(self.ask(line, *fields, status=status, body=body).body)

    def damage(self, info: ObjectInfo, at: int) -> None:
        """Flip a byte of an object."""
        path = os.path.join(self.directory, "objects", "data", info.id[:2], info.id, "part.1")
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))


def parts_of(answer: Answer) -> list[tuple[str, str, bytes]]:
    """C{(Content-Range, Content-Type, bytes)} of each part of an answer, as Python's own parser reads it."""
    head = f"Content-Type: {answer.fields['content-type']}\r\n\r\n".encode()
    message: Any = message_from_bytes(head + answer.body, policy=policy.HTTP)
    assert message.get_content_type() == "multipart/byteranges", message.get_content_type()
    assert not message.defects, message.defects
    body = answer.body
    boundary = message.get_boundary().encode()
    parts = []
    # The email parser may change line ends: the bytes are taken from between the boundaries.
    for part, raw in zip(message.get_payload(), body.split(b"--" + boundary)[1:-1], strict=True):
        parts.append((part["Content-Range"], part["Content-Type"], raw.partition(b"\r\n\r\n")[2][:-2]))
    return parts
