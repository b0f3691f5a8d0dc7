"""
Authentication and authorization: users with access keys, sessions of people who signed in, signed links, and what each has a
right to: permissions on a bucket and on the keys that begin with a prefix.

==============  ====================================================================
Permission      Allows
==============  ====================================================================
C{read}         to read objects and what is known of them
C{list}         to list keys, and to see that the bucket exists
C{put-new}      to store an object under a key that has none
C{overwrite}    to replace an object, and to change what is known of it
C{delete}       to remove an object
C{create}       to make a bucket of that name, and to own it
==============  ====================================================================

The bucket of a L{Rights} is a name, the beginning of names followed by C{*}, or L{SHARED}. The decision itself is
L{User.may}.

Source: the second seed's list of things to do ("signed URLs, or signed cookies that give permission to do things such
as perform PUT/GET operations within a short timeframe"); docs/accounts.rst.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from zope.interface import Attribute, Interface

from storehouse.errors import BadRequest

if TYPE_CHECKING:  # commands that import a value from here need no reactor
    from twisted.internet.defer import Deferred

__all__ = [
    "EARLIER",
    "LINK_PARAMETERS",
    "PERMISSIONS",
    "SHARED",
    "USUAL",
    "AccessKey",
    "Grant",
    "IAccounts",
    "NewKey",
    "Rights",
    "Session",
    "Temporary",
    "TemporaryKey",
    "User",
    "canonical_id",
    "covers",
    "read_rights",
    "with_rights",
    "without_rights",
]


#: All of them, in the order in which they are shown.
PERMISSIONS = ("read", "list", "put-new", "overwrite", "delete", "create")

#: Stands for all buckets that belong to no user: those that the service, the command and the other doors have made.
SHARED = "@shared"

#: Bytes of the longest prefix, as of the longest key.
_MAX_PREFIX = 1024

#: Entries that a user or a key can have.
_MAX_ENTRIES = 200

_pattern = re.compile(r"\*|@shared|[a-z0-9][a-z0-9.-]{0,62}\*?", re.ASCII).fullmatch


def _ordered(permissions: Iterable[str]) -> tuple[str, ...]:
    if isinstance(permissions, str):
        raise BadRequest("permissions must be a list")
    given = list(permissions)
    for each in given:
        if each not in PERMISSIONS:
            raise BadRequest(f"{str(each)[:50]!r} is not a permission; there are {', '.join(PERMISSIONS)}")
    return tuple(each for each in PERMISSIONS if each in given)


@attrs.frozen
class Rights:
    """
    Some permissions on some keys.

    @ivar permissions: in the order of L{PERMISSIONS}, each once.
    @ivar bucket: the name of a bucket; the beginning of names and C{*}; or L{SHARED}.
    @ivar prefix: what the keys begin with.
    @raise BadRequest: if one of these cannot be one.
    """

    permissions: tuple[str, ...] = attrs.field(converter=_ordered)
    bucket: str = attrs.field(default="*")
    prefix: str = attrs.field(default="")

    @bucket.validator
    def _check_bucket(self, attribute: object, value: object) -> None:
        if not isinstance(value, str) or not _pattern(value):
            raise BadRequest(
                f"{str(value)[:80]!r} is no bucket: give a name, the beginning of names and *, or {SHARED} for all that no"
                " user owns"
            )

    @prefix.validator
    def _check_prefix(self, attribute: object, value: object) -> None:
        if not isinstance(value, str) or len(value.encode("utf-8", "surrogatepass")) > _MAX_PREFIX:
            raise BadRequest(f"a prefix has at most {_MAX_PREFIX} bytes of UTF-8")

    def covers(self, permission: str, bucket: str, key: str, owner: str) -> bool:
        """
        Whether this allows something.

        @param key: a key, or the prefix of what is listed; empty for the bucket as a whole.
        @param owner: the user who owns the bucket; empty if nobody does.
        """
        if permission not in self.permissions or not key.startswith(self.prefix):
            return False
        if self.bucket == SHARED:
            return not owner
        if self.bucket.endswith("*"):
            return bucket.startswith(self.bucket[:-1])
        return bucket == self.bucket

    def __str__(self) -> str:
        where = {"*": "all buckets", SHARED: "all shared buckets"}.get(self.bucket, f"the bucket {self.bucket}")
        return f"{', '.join(self.permissions) or 'nothing'} on {where}{f', keys {self.prefix}*' if self.prefix else ''}"


#: What users had a right to before there were permissions: to read and list all buckets, and to change uploaded files.
EARLIER = (Rights(("read", "list"), SHARED), Rights(("put-new", "overwrite", "delete"), "uploads"))

#: What a new user has a right to: the same, and to make buckets of one's own.
USUAL = (*EARLIER, Rights(("create",), "*"))


def covers(rights: Iterable[Rights], permission: str, bucket: str, key: str = "", owner: str = "") -> bool:
    """Whether one of some rights allows something. See L{Rights.covers}."""
    return any(each.covers(permission, bucket, key, owner) for each in rights)


def read_rights(values: object) -> tuple[Rights, ...]:
    """
    Rights from JSON, a list of objects, or as they are.

    @raise BadRequest: if these are none, or too many.
    """
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) > _MAX_ENTRIES:
        raise BadRequest(f"rights must be a list of at most {_MAX_ENTRIES} entries")
    try:
        return tuple(each if isinstance(each, Rights) else Rights(**each) for each in values)
    except TypeError:
        raise BadRequest("rights have permissions, a bucket and a prefix, and nothing else") from None


def with_rights(rights: Sequence[Rights], more: Rights) -> tuple[Rights, ...]:
    """Add permissions. @raise BadRequest: if there are too many entries then."""
    found = [each for each in rights if (each.bucket, each.prefix) == (more.bucket, more.prefix)]
    if not found:
        return read_rights((*rights, more))
    joined = attrs.evolve(more, permissions=(*found[0].permissions, *more.permissions))
    return tuple(joined if each is found[0] else each for each in rights)


def without_rights(rights: Sequence[Rights], less: Rights) -> tuple[Rights, ...]:
    """
    Take permissions away from the entry for the same bucket and prefix.

    @raise BadRequest: if no entry has all of them.
    """
    for index, each in enumerate(rights):
        if (each.bucket, each.prefix) == (less.bucket, less.prefix) and set(less.permissions) <= set(each.permissions):
            kept = attrs.evolve(each, permissions=[one for one in each.permissions if one not in less.permissions])
            return (*rights[:index], *((kept,) if kept.permissions else ()), *rights[index + 1 :])
    has = "; ".join(map(str, rights)) or "nothing"
    raise BadRequest(f"there is no right {less} to revoke, only {has}")


#: The parameters of the query of a signed link.
LINK_PARAMETERS = (
    b"method",
    b"path",
    b"prefix",
    b"rights",
    b"scope",
    b"expires",
    b"max-bytes",
    b"once",
    b"nonce",
    b"user",
    b"signature",
)


def canonical_id(name: str) -> str:
    """
    The canonical ID of a user, by which S3 names owners and grantees: 64 hex digits that are made of the name alone.

    @param name: empty for the owner of what no user owns.
    """
    return hashlib.sha256(b"storehouse user\n" + name.encode()).hexdigest()


def _limits(value: Any) -> tuple[Rights, ...] | None:
    return None if value is None else read_rights(value)


@attrs.frozen
class AccessKey:
    """
    A further access key of a user.

    @ivar id: the ID of the key, which is not secret.
    @ivar created: seconds since 1970 UTC.
    @ivar limits: all that requests by this key can do of what the user can; C{None} for all of it.
    @ivar note: what it is for, in the user's words.
    """

    id: str
    created: float
    limits: tuple[Rights, ...] | None = attrs.field(default=None, converter=_limits)
    note: str = ""


def _keys(values: Any) -> tuple[AccessKey, ...]:
    return tuple(each if isinstance(each, AccessKey) else AccessKey(**each) for each in values)


def _each_limits(values: Any) -> tuple[tuple[Rights, ...], ...]:
    return tuple(read_rights(each) for each in values)


def _texts(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(values)


@attrs.frozen
class Temporary:
    """
    What a temporary access key says of itself: its token has it, and nothing else does.

    @ivar key_id: of the access key by which it was issued, and ends with it.
    @ivar name: of the session, for the audit; empty without one.
    @ivar issued: seconds since 1970 UTC; so is C{expires}.
    @ivar rights: lists of rights: what is not covered by each of them is refused, whatever the user can do.
    @ivar policies: documents in JSON, each of which must allow what is done as well.
    @ivar is_role: whether it is of a role that was assumed.
    """

    key_id: str
    name: str
    issued: int
    expires: int
    rights: tuple[tuple[Rights, ...], ...] = attrs.field(default=(), converter=_each_limits)
    policies: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    is_role: bool = False


@attrs.frozen
class User:
    """
    @ivar name: 1 to 64 of a-z, 0-9, dots, hyphens and underscores.
    @ivar key_id: the ID of the user's access key, which is not secret.
    @ivar is_admin: whether this user can manage others, and can do everything with all buckets.
    @ivar is_disabled: whether this user's keys, sessions and links are refused.
    @ivar created: seconds since 1970 UTC.
    @ivar key_created: when the access key was created, likewise.
    @ivar rights: what this user can do, beside everything with buckets of the user's own.
    @ivar keys: further access keys.
    @ivar limits: of the access key by which a request was authenticated: what is not among them is refused, whatever
        the user can do. C{None} for a key without limits, and where no key is concerned.
    @ivar temporary: of the temporary access key by which a request was authenticated, if it was one.
    """

    name: str
    key_id: str
    is_admin: bool
    is_disabled: bool
    created: float
    key_created: float
    rights: tuple[Rights, ...] = attrs.field(default=EARLIER, converter=read_rights)
    keys: tuple[AccessKey, ...] = attrs.field(default=(), converter=_keys)
    limits: tuple[Rights, ...] | None = attrs.field(default=None, converter=_limits)
    temporary: Temporary | None = None

    def may(self, permission: str, bucket: str, key: str = "", owner: str = "") -> bool:
        """
        Whether this user may do something: the decision of all doors.

        @param permission: one of L{PERMISSIONS}.
        @param key: a key, or the prefix of what is listed; empty for the bucket as a whole.
        @param owner: the name of the user who owns the bucket; empty if nobody does.
        """
        if self.is_disabled or (self.limits is not None and not covers(self.limits, permission, bucket, key, owner)):
            return False
        if self.temporary is not None and not all(
            covers(each, permission, bucket, key, owner) for each in self.temporary.rights
        ):
            return False
        return (
            self.is_admin or (owner != "" and owner == self.name) or covers(self.rights, permission, bucket, key, owner)
        )

    @property
    def canonical_id(self) -> str:
        """See L{canonical_id}."""
        return canonical_id(self.name)

    @property
    def has_limits(self) -> bool:
        """Whether the access key by which a request was authenticated can do some things alone."""
        return self.limits is not None or (self.temporary is not None and bool(self.temporary.rights))

    @property
    def is_unlimited(self) -> bool:
        """Whether a lasting access key without limits is concerned, or none: only then sessions begin and links are signed."""
        return self.limits is None and self.temporary is None

    @property
    def is_unlimited_admin(self) -> bool:
        """Whether this is an administrator, by a lasting key without limits: only such a one manages the service."""
        return self.is_admin and not self.is_disabled and self.is_unlimited


@attrs.frozen
class NewKey:
    """
    A new access key. Its secret is shown once, and is not part of this object's C{repr}.

    @ivar key_id: its ID: by default that of the user's first key.
    """

    user: User
    secret: str = attrs.field(repr=False)
    key_id: str = attrs.field()

    @key_id.default
    def _first(self) -> str:
        return self.user.key_id


@attrs.frozen
class TemporaryKey:
    """
    A temporary access key: three values, of which nothing is stored.

    @ivar key_id: C{ASIA} and 16 of A-Z and 2-7.
    @ivar token: goes with every request that the key signs.
    @ivar expires: seconds since 1970 UTC.
    """

    key_id: str
    secret: str = attrs.field(repr=False)
    token: str = attrs.field(repr=False)
    expires: int


@attrs.frozen
class Session:
    """
    @ivar expires: seconds since 1970 UTC.
    @ivar cookie: the value of the cookie: signed, opaque to clients.
    @ivar token: must be repeated by requests that change something, which proves that no other site has made them.
    """

    user: User
    expires: float
    cookie: str = attrs.field(repr=False)
    token: str = attrs.field(repr=False)


@attrs.frozen
class Grant:
    """
    What a signed link allows: one method on a path, or rights.

    @ivar method: C{PUT}, to store, or C{GET}, to read.
    @ivar path: the path of the URL, as it is written there: percent-encoded, from the root of the door.
    @ivar is_prefix: whether it is for all paths that begin with C{path}, which then ends with a slash.
    @ivar expires: seconds since 1970 UTC.
    @ivar max_bytes: the most that one use can store; C{None} for the limits of the door.
    @ivar once: whether it works only once.
    @ivar nonce: 128 random bits in hex.
    @ivar user: the name of the user who signed it. When that user is disabled, the link is refused.
    @ivar rights: for a link that gives rights: what it allows, within the rights of that user; C{method} and C{path} are then
        empty.
    """

    method: str
    path: str
    is_prefix: bool
    expires: int
    max_bytes: int | None
    once: bool
    nonce: str
    user: str
    rights: Rights | None = None


class IAccounts(Interface):
    """
    All users of a root.

    Methods that return a Deferred read or write files: a change is durable when it fires. All others work in memory,
    and compare secrets in constant time. Changes that another process makes on the same root are seen by the next call.
    """

    realm = Attribute(
        """
        8 hex digits that identify the accounts of this root and never change. They are part of the cookie's name, since
        browsers do not keep cookies of two services on one host apart by their ports.
        """
    )

    def add_user(name: str, is_admin: bool = False) -> Deferred[NewKey]:
        """Fails with C{AlreadyExists}, C{InvalidName}."""

    def list_users() -> Deferred[list[User]]:
        """All users, by name."""

    def disable_user(name: str) -> Deferred[User]:
        """
        Refuse the user's key and links from now on, and end all sessions and sign-in links. Fails with C{NoSuchUser}.
        """

    def enable_user(name: str) -> Deferred[User]:
        """Undo L{disable_user}, except for sessions and sign-in links. Fails with C{NoSuchUser}."""

    def rotate_key(name: str) -> Deferred[NewKey]:
        """
        Make a new access key in place of the first; that one, all sessions and sign-in links end. Further keys stay. Fails
        with C{NoSuchUser}.
        """

    def add_key(name: str, limits: Sequence[Rights] | None = None, note: str = "") -> Deferred[NewKey]:
        """
        Make a further access key. Fails with C{NoSuchUser}, C{BadRequest} if the user has too many.

        @param limits: all that it can do of what the user can; C{None} for all of it.
        @param note: at most 200 characters.
        """

    def remove_key(name: str, key_id: str) -> Deferred[User]:
        """
        End a further access key, and, if it had no limits, all sessions. Fails with C{NoSuchUser}, C{NoSuchAccessKey},
        C{BadRequest} for the first key.
        """

    def grant(name: str, rights: Rights) -> Deferred[User]:
        """Give a user rights, beside those there are. Fails with C{NoSuchUser}, C{BadRequest}."""

    def revoke(name: str, rights: Rights | None) -> Deferred[User]:
        """
        Take rights away, from the entry for that very bucket and prefix; C{None}: all there are. Fails with
        C{NoSuchUser}, C{BadRequest} if the user does not have them.
        """

    def user_named(name: str) -> User:
        """@raise NoSuchUser: if there is no user of that name."""

    def write_url(url: str) -> Deferred[None]:
        """Store the URL by which clients reach the door of uploads, for commands that make links."""

    def read_url() -> Deferred[str | None]:
        """The URL that L{write_url} has stored last; C{None} if there is none."""

    def user_of_key(key_id: str, secret: str) -> User:
        """
        The user whose key it is, with the limits of the key.

        @raise SignInRefused: if the ID is unknown, the secret wrong, or the user disabled; the text does not say which.
        """

    def secret_of_key(key_id: str) -> tuple[User, bytes]:
        """
        The user whose key it is, with the limits of the key, and its secret, for protocols whose
        requests are signed. The secret is not for logs.

        @raise SignInRefused: if the ID is unknown, or the user disabled; the text does not say which.
        """

    def issue_temporary(
        user: User,
        key_id: str,
        lifetime: float,
        name: str = "",
        rights: Sequence[Rights] | None = None,
        policy: str | None = None,
        is_role: bool = False,
    ) -> TemporaryKey:
        """
        Make a temporary access key, which can do no more than the one that asks for it, and for no longer: it ends with the
        lasting key behind it, too. Nothing is stored.

        @param user: as the key that asks was authenticated.
        @param key_id: of the key that asks, if it is a lasting one.
        @param lifetime: seconds, from 900 to 43200.
        @param name: of the session: 2 to 64 of A-Z, a-z, 0-9 and C{_+=,.@-}; empty for none.
        @param rights: what it can do, within the rights of that key.
        @param policy: a document in JSON, already checked, which must also allow each request.
        @raise BadRequest: if one of these cannot be one, or it is too much.
        @raise SignInRefused: if the user is disabled, or the key is none of that user's.
        """

    def user_of_temporary(key_id: str, token: str) -> tuple[User, bytes]:
        """
        The user of a temporary access key, with its limits and those of the key by which it was issued, and its secret.

        @raise TokenInvalid: if it is not of that key and these accounts to the last bit, or was ended with its user or key.
        @raise TokenExpired: if its time is over.
        """

    def user_of_certificate(common_name: str) -> User:
        """
        The user that a verified client certificate names.

        @raise SignInRefused: if there is no such user, or the user is disabled.
        """

    def make_sign_in_token(name: str, lifetime: float) -> Deferred[str]:
        """
        A token that signs a user in once, as the link of the first start has it. The user's earlier tokens end. Fails
        with C{NoSuchUser}, C{Forbidden} if the user is disabled, C{BadRequest}.

        @param lifetime: seconds.
        """

    def sign_in_by_token(token: str) -> Deferred[Session]:
        """Fails with C{SignInRefused} if the token is unknown, expired or used."""

    def begin_session(user: User) -> Session:
        """@raise SignInRefused: if the user is disabled, or signs in by a key with limits, which a session has not."""

    def session_of(cookie: str) -> Session:
        """@raise NotSignedIn: if the cookie is not of these accounts, was changed, has expired or was ended."""

    def end_session(session: Session) -> Deferred[None]:
        """Sign out: the cookie is refused from now on, also after a restart."""

    def sign_link(
        user: User,
        method: str,
        path: str,
        expires: float,
        max_bytes: int | None = None,
        once: bool = False,
        is_prefix: bool = False,
    ) -> str:
        """
        The query of a link, without the question mark; the URL is the door's base, C{path}, C{?} and this.

        @param expires: seconds since 1970 UTC; at most C{https-link-lifetime} from now.
        @raise BadRequest: for another method, a path that can be read in two ways, a prefix without a slash at its
            end, an expiry in the past or too far away, or a bad C{max_bytes}.
        @raise Forbidden: if the user is disabled, or signs in by a key with limits, which a link has not.
        """

    def sign_rights(
        user: User, rights: Rights, expires: float, max_bytes: int | None = None, once: bool = False
    ) -> str:
        """
        The query of a link that gives its holder rights, of those that the user has when they are used, at any path.

        @param rights: any permissions but C{create}, on one bucket.
        @param expires: as for L{sign_link}; so what is raised.
        @param max_bytes: only with a permission to store.
        @param once: only with permissions to read or to store alone: these are uses that are recorded.
        """

    def grant_of(method: str, path: str, query: Mapping[bytes, bytes], is_resumed: bool = False) -> Grant:
        """
        What the link of a request allows. One that gives rights is for any method and path: the caller decides, by its C{rights}
        and those of its C{user}.

        @param method: C{PUT} or C{GET}: what the request does (a HEAD reads; a POST of a file or a tus creation
            stores).
        @param path: the path of the request, as received.
        @param query: the parameters of its query.
        @param is_resumed: whether the request resumes an upload that this very link began, as the caller has checked:
            then a link that works once is not refused as used.
        @raise LinkTampered: if the signature is wrong; checked first.
        @raise LinkExpired: if it has expired.
        @raise LinkUsed: if it works once and was used.
        @raise Forbidden: if the user who signed it is disabled.
        @raise LinkOutOfScope: if it is for another method or path.
        """

    def use_link(grant: Grant) -> Deferred[None]:
        """
        Record the use of a link that works once; does nothing for others. To be called before the first byte is stored
        or sent. Fails with C{LinkUsed} for all but the first call.
        """
