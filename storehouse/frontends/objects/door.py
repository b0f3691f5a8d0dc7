"""The objects door as a whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from storehouse.frontends.http.reply import Reply, text_reply
from storehouse.frontends.http.request import Leaf, Root, StreamingRequest, check_fields
from storehouse.frontends.objects.buckets import Buckets
from storehouse.frontends.objects.hold import Hold, IHolds
from storehouse.frontends.objects.objects import Copy, Info, Objects
from storehouse.frontends.objects.upkeep import Check, IRekeying, Reindex, Rekey
from storehouse.frontends.objects.users import Users
from storehouse.storage.accounts.interfaces import IAccounts
from storehouse.storage.objects.interfaces import IObjectStore

__all__ = ["ObjectsDoor"]

_INDEX = """storehouse: objects

GET    /buckets                       all buckets
PUT    /buckets/BUCKET                make a bucket
GET    /buckets/BUCKET                what is known of it
PUT    /buckets/BUCKET/metadata       give it other metadata
DELETE /buckets/BUCKET                remove it, if it is empty
GET    /buckets/BUCKET/usage          how many objects it has, and their bytes
GET    /buckets/BUCKET/objects        a page of its objects; prefix=, delimiter=, after=, limit=
PUT    /objects/BUCKET/KEY            the body is an object; md5=1
GET    /objects/BUCKET/KEY            an object, or a Range of it
DELETE /objects/BUCKET/KEY            remove an object
GET    /info/BUCKET/KEY               what is known of an object
POST   /copy                          store an object under another key
POST   /check                         compare keys, index and bytes; repair=1
POST   /reindex                       make the index of keys anew
POST   /rekey                         change the master key
POST   /hold                          keep the bytes of what is removed, for a backup
POST   /hold/NAME                     renew that: it ends after 60 seconds
DELETE /hold/NAME                     end it
GET    /users                         all users
POST   /users                         add one
POST   /users/NAME/disable            or enable, rotate, keys, remove-key, grant, revoke, sign-in, links: for one

If-Match: "ETAG" or *, and If-None-Match: * are conditions of PUT and DELETE; GET takes all that HTTP has.
"""


class _Index(Leaf):
    """What this is."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """Text for people."""
        check_fields(request, frozenset())
        return text_reply(_INDEX)


class _Managed(Leaf):
    """A resource for administrators."""

    def __init__(self, leaf: Leaf, what: str, check_admin: Callable[[str, str], object]) -> None:
        Leaf.__init__(self)
        self._leaf = leaf
        self._what = what
        self._check_admin = check_admin
        self.allowed, self.takes_rest, self.logs_rest = leaf.allowed, leaf.takes_rest, leaf.logs_rest

    async def respond(self, request: StreamingRequest) -> Reply | None:
        """See the base."""
        self._check_admin(self._what, request.source)
        return await self._leaf.respond(request)


class ObjectsDoor:
    """
    An object store, and the users of its root, over HTTP. It asks nobody who they are: not for a network.

    @param store: an C{IObjectStore} that is also C{IMaintained}.
    @param holds: keeps what is removed, while somebody wants that.
    @param accounts: gives the users of the root.
    @param rekeying: changes its master key; C{None} if nothing is encrypted.
    @param audit: takes in what was changed of users, keys and rights.
    @param permitted: gives the store for a request, by its source, limited to what the client is allowed; C{None} for no limits.
    @param check_admin: called before operations that manage the root, with the name of the operation and the source of the
        request; raises to refuse. C{None} to refuse nothing.
    @ivar resource: the top of its resource tree.
    """

    def __init__(
        self,
        store: IObjectStore,
        holds: IHolds,
        accounts: Callable[[], Awaitable[IAccounts]],
        rekeying: IRekeying | None = None,
        audit: Callable[[object], object] = lambda event: None,
        permitted: Callable[[str], IObjectStore] | None = None,
        check_admin: Callable[[str, str], object] | None = None,
    ) -> None:
        store_for: Callable[[str], IObjectStore] = permitted or (lambda source: store)

        def managed(leaf: Leaf, what: str) -> Leaf:
            return leaf if check_admin is None else _Managed(leaf, what, check_admin)

        self.resource = Root(
            {
                b"": _Index(),
                b"buckets": Buckets(store_for, audit),
                b"objects": Objects(store_for),
                b"info": Info(store_for),
                b"copy": Copy(store_for),
                b"check": managed(Check(store), "check"),
                b"reindex": managed(Reindex(store), "reindex"),
                b"rekey": managed(Rekey(rekeying), "rekey"),
                b"hold": managed(Hold(holds), "hold"),
                b"users": managed(Users(accounts, audit), "users"),
            }
        )
