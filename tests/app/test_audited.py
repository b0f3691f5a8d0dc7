"""The audit has every change of access, by each door and each command."""

from __future__ import annotations

import hashlib
import json
import os
import time
from base64 import b64encode
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.app.local.accounts import JournaledAccounts
from storehouse.app.local.store import LocalStore
from storehouse.config.settings import ArchiveSettings, ConnectionSettings
from storehouse.core.jobs import InlineDisk
from storehouse.events import AccessChanged, AccessDecided
from storehouse.frontends.archive.door import ArchiveDoor
from storehouse.frontends.http.site import DoorSite
from storehouse.frontends.objects.door import ObjectsDoor
from storehouse.frontends.objects.users import _ACTIONS
from storehouse.frontends.s3.route import HANDLERS
from storehouse.frontends.sfsp.chunks import Chunks
from storehouse.storage.accounts.interfaces import IAccounts, Rights
from storehouse.storage.accounts.journal import ChangeJournal
from storehouse.storage.objects.interfaces import IObjectStore
from storehouse.testing.accounts import MemoryAccounts
from storehouse.testing.dataspace import MemoryDataSpace
from storehouse.testing.namespace import MemoryNamespace
from storehouse.testing.objects import memory_object_store
from tests.frontends.http.wire import Connection, request, split_answers
from tests.frontends.s3.access.playing import AccessCase
from tests.frontends.sfsp.doors import Door, listing, receive, send
from tests.storage.streams.rig import Room

#: Methods of accounts that change no access. The door that begins and ends sessions reports these itself, and the use of links.
UNCHANGING = {
    "realm",
    "list_users",
    "user_named",
    "write_url",
    "read_url",
    "user_of_key",
    "secret_of_key",
    "issue_temporary",
    "user_of_temporary",
    "user_of_certificate",
    "sign_in_by_token",
    "begin_session",
    "session_of",
    "end_session",
    "grant_of",
    "use_link",
}

#: The other methods: the action in the journal of commands, and arguments to call each with.
CHANGING: dict[str, tuple[str, tuple[Any, ...]]] = {
    "add_user": ("add-user", ("bob",)),
    "disable_user": ("disable", ("ann",)),
    "enable_user": ("enable", ("ann",)),
    "rotate_key": ("rotate", ("ann",)),
    "add_key": ("keys", ("ann",)),
    "remove_key": ("remove-key", ("ann", "KEY")),
    "grant": ("grant", ("ann", Rights(("read",), "box"))),
    "revoke": ("revoke", ("ann", None)),
    "make_sign_in_token": ("sign-in", ("ann", 60.0)),
    "sign_link": ("links", ("USER", "GET", "/download/a", "EXPIRES")),
    "sign_rights": ("links", ("USER", Rights(("read",), "box"), "EXPIRES")),
}

#: Bodies of requests to the objects door, by action.
BODIES: dict[str, Any] = {
    "keys": {},
    "remove-key": {"key_id": "KEY"},
    "grant": {"permissions": ["read"], "bucket": "box"},
    "revoke": {"all": True},
    "sign-in": {"lifetime": 60.0},
    "session": {"lifetime": 900.0},
    "links": {"method": "GET", "path": "/download/a", "expires": "EXPIRES"},
}


class CommandTests(SynchronousTestCase):
    """Commands, while no service runs."""

    def setUp(self) -> None:
        root = os.path.abspath(self.mktemp())
        os.mkdir(root)
        self.journal = ChangeJournal(root, time.time)

    def test_accounts(self) -> None:
        """Each method that changes access adds one entry to the journal."""
        self.assertEqual(set(IAccounts.names()), UNCHANGING | CHANGING.keys())
        memory = MemoryAccounts()
        user = self.successResultOf(memory.add_user("ann")).user
        given: dict[str, Any] = {
            "KEY": self.successResultOf(memory.add_key("ann")).key_id,
            "USER": user,
            "EXPIRES": time.time() + 60,
        }
        inner: Any = memory
        accounts = JournaledAccounts(inner, self.journal)
        done = []
        for name, (action, arguments) in CHANGING.items():
            words = [given.get(each, each) if isinstance(each, str) else each for each in arguments]
            result = getattr(accounts, name)(*words)
            if not isinstance(result, str):
                self.successResultOf(Deferred.fromCoroutine(result))
            done.append((action, "bob" if name == "add_user" else "ann"))
            changes, _ = self.journal.read()
            self.assertEqual([(each.action, each.resource) for each in changes], done)
            self.assertNotIn("perhaps", changes[-1].detail)
            self.assertNotIn("failed", changes[-1].detail)

    def test_publishing(self) -> None:
        space = MemoryDataSpace(Clock())
        space.start()
        store = LocalStore(space, MemoryNamespace(), InlineDisk())
        store.journal = self.journal
        store.start()
        self.addCleanup(lambda: self.successResultOf(store.stop()))
        self.successResultOf(store.create_bucket("box"))
        self.successResultOf(store.set_bucket_metadata("box", {"public": ["read"]}))
        (change,) = self.journal.read()[0]
        self.assertEqual((change.action, change.resource), ("set-bucket-metadata", "box"))
        self.assertIn("public=read", change.detail)


class ObjectsDoorTests(SynchronousTestCase):
    """The objects door, by which commands change what a service has."""

    def test_all(self) -> None:
        accounts = MemoryAccounts()
        store = memory_object_store()
        self.addCleanup(lambda: self.successResultOf(store.stop()))
        self.successResultOf(accounts.add_user("ann"))
        key = self.successResultOf(accounts.add_key("ann"))
        audited: list[Any] = []
        holds: Any = None
        door = ObjectsDoor(store, holds, lambda: succeed(accounts), audit=audited.append)
        site = DoorSite(door.resource, Clock(), ConnectionSettings(), name="objects")
        given = {"KEY": key.key_id, "EXPIRES": time.time() + 60}
        asked = [("POST /users", {"name": "bob"}, "add-user")]
        for action in sorted(_ACTIONS):
            body = {name: given.get(str(each), each) for name, each in BODIES.get(action, {}).items()}
            asked.append((f"POST /users/ann/{action}", body, action))
            asked.append(("POST /users/ann/enable", {}, "enable"))
        asked += [
            ("PUT /buckets/box", {"metadata": {"public": ["read"]}}, "create-bucket"),
            ("PUT /buckets/box/metadata", {"metadata": {}}, "set-bucket-metadata"),
            ("DELETE /buckets/box", None, "delete-bucket"),
        ]
        for line, content, action in asked:
            connection = Connection(site)
            connection.send(request(line, None if content is None else json.dumps(content).encode()))
            (answer,) = split_answers(connection.received, [line.split()[0]])
            self.assertEqual(answer.status, 200, (line, answer.body))
            change = audited.pop()
            self.assertIsInstance(change, AccessChanged)
            self.assertEqual((change.door, change.action, change.address), ("objects", action, "127.0.0.1"), line)
            self.assertEqual(audited, [])


class SourceTests(SynchronousTestCase):
    """Doors without authentication pass on the source of each request."""

    def test_sfsp(self) -> None:
        door = Door(os.path.abspath(self.mktemp()))
        self.addCleanup(door.close)
        sources: list[str] = []

        def permitted(source: str) -> IObjectStore:
            sources.append(source)
            return door.store

        door.factory.chunks = Chunks(door.store, door.disk, door.lists, permitted)
        for asked in (send(b"a", 1, b"x"), receive(b"a", 1), listing(b"a")):
            sources.clear()
            door.ask(asked)
            self.assertEqual(set(sources), {"127.0.0.1"})

    def test_archives(self) -> None:
        room = Room(self.mktemp())
        room.start()
        self.addCleanup(room.stop)
        asked: list[tuple[str, str, str]] = []

        def may(permission: str, name: str, source: str) -> bool:
            asked.append((permission, name, source))
            return False

        door = ArchiveDoor(room.streams, ArchiveSettings(), may)
        site = DoorSite(door.resource, room.reactor, ConnectionSettings(), name="archive")
        for line, permission, status in (
            ("POST /archive/a", "put-new", 403),
            ("GET /archive/a", "read", 403),
            ("GET /archive/a/archives", "list", 403),
            ("GET /archive", "list", 200),
        ):
            asked.clear()
            connection = Connection(site, settle=lambda: room.reactor.advance(0))
            connection.send(request(line, b"x" if line.startswith("POST") else None))
            (answer,) = split_answers(connection.received, [line.split()[0]])
            connection.close()
            self.assertEqual((answer.status, asked), (status, [(permission, "a", "127.0.0.1")]), line)


#: Operations of S3 that change the access to a bucket or an object.
CONFIGURING: dict[str, tuple[str, bytes | None, str]] = {
    "CreateBucket": ("PUT /new", None, "create-bucket"),
    "DeleteBucket": ("DELETE /new", None, "delete-bucket"),
    "PutBucketPolicy": (
        "PUT /box?policy",
        b'{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam:::user/bob"},"Action":"s3:GetObject",'
        b'"Resource":"arn:aws:s3:::box/*"}}',
        "policy",
    ),
    "PutBucketNotificationConfiguration": (
        "PUT /box?notification",
        b"<NotificationConfiguration/>",
        "remove-notification",
    ),
    "DeleteBucketPolicy": ("DELETE /box?policy", None, "remove-policy"),
    "PutBucketOwnershipControls": (
        "PUT /box?ownershipControls",
        b"<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>",
        "ownership",
    ),
    "PutBucketAcl": ("PUT /box?acl", None, "acl"),
    "PutObjectAcl": ("PUT /box/a?acl", None, "acl"),
    "DeleteBucketOwnershipControls": ("DELETE /box?ownershipControls", None, "remove-ownership"),
    "PutPublicAccessBlock": (
        "PUT /box?publicAccessBlock",
        b"<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>",
        "public-access-block",
    ),
    "DeletePublicAccessBlock": ("DELETE /box?publicAccessBlock", None, "remove-public-access-block"),
    "PutBucketCors": (
        "PUT /box?cors",
        b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>"
        b"</CORSConfiguration>",
        "cors",
    ),
    "DeleteBucketCors": ("DELETE /box?cors", None, "remove-cors"),
}

#: Those that change what is stored, or its name, but not access to it.
STORING = {
    "PutObject",
    "DeleteObject",
    "DeleteObjects",
    "CreateMultipartUpload",
    "PutObjectTagging",
    "DeleteObjectTagging",
    "PutBucketTagging",
    "DeleteBucketTagging",
}


class S3Tests(AccessCase):
    """The S3 door."""

    def test_all(self) -> None:
        """Each operation is a decision, and a change; a new one must be added to one of the lists."""
        changing = {name for name in HANDLERS if name.startswith(("Create", "Put", "Delete"))}
        self.assertEqual(changing - CONFIGURING.keys() - STORING, set())
        self.user("ann", Rights(("create",)))
        for operation, (line, body, action) in CONFIGURING.items():
            fields = ["x-amz-acl: private"] if line.endswith("acl") else []
            if body is not None:
                fields.append("Content-MD5: " + b64encode(hashlib.md5(body).digest()).decode())
            self.audited.clear()
            answer = self.ask(line, b"" if body is None and line.startswith("PUT") else body, *fields)
            self.assertIn(answer.status, (200, 204), (operation, answer.body))
            decided = [each for each in self.audited if isinstance(each, AccessDecided)]
            changed = [each for each in self.audited if isinstance(each, AccessChanged)]
            self.assertTrue(decided and all(each.is_allowed for each in decided), operation)
            self.assertEqual(
                [(each.action, each.user, each.address) for each in changed], [(action, "ann", "127.0.0.1")]
            )
            self.assertTrue(changed[0].request_id)

    def test_refused(self) -> None:
        """A refused operation is audited as a decision, and as no change."""
        for operation, (line, body, _) in CONFIGURING.items():
            if operation in ("CreateBucket", "DeleteBucket"):
                continue
            self.audited.clear()
            fields = ("x-amz-acl: private",) if line.endswith("acl") else ()
            content = b"" if body is None and line.startswith("PUT") else body
            for user in ("bob", ""):
                self.denied(line, content, *fields, user=user)
            self.assertEqual(
                [(type(each), getattr(each, "is_allowed", None)) for each in self.audited],
                [(AccessDecided, False)] * 2,
                operation,
            )
