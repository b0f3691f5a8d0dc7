"""
Who may use a door: users with access keys, sessions of people who signed in, and links that carry a permission.

Source: the second seed's list of things to do ("signed URLs, or signed cookies that give permission to do things such as
perform PUT/GET operations within a short timeframe"); docs/accounts.rst.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

__all__ = ["LINK_FIELDS", "Grant", "IAccounts", "NewKey", "Session", "User"]

#: The fields of the query of a signed link.
LINK_FIELDS = (b"method", b"path", b"prefix", b"expires", b"max-bytes", b"once", b"nonce", b"user", b"signature")


@attrs.frozen
class User:
    """
    Somebody who may use the doors that ask.

    @ivar name: 1 to 64 of a-z, 0-9, dots, hyphens and underscores.
    @ivar key_id: the ID of the user's access key, which is no secret.
    @ivar is_admin: whether this user may manage others.
    @ivar is_disabled: whether nothing is allowed to this user any more.
    @ivar created: seconds since 1970 UTC.
    @ivar key_created: when the access key was made.
    """

    name: str
    key_id: str
    is_admin: bool
    is_disabled: bool
    created: float
    key_created: float


@attrs.frozen
class NewKey:
    """
    An access key that was just made; its secret is shown once.

    @ivar secret: not part of what is printed of this object.
    """

    user: User
    secret: str = attrs.field(repr=False)


@attrs.frozen
class Session:
    """
    What a cookie stands for.

    @ivar expires: seconds since 1970 UTC.
    @ivar cookie: the value of the cookie: signed, and opaque to others.
    @ivar token: what a request that changes something has to repeat, so that no other site can have made it.
    """

    user: User
    expires: float
    cookie: str = attrs.field(repr=False)
    token: str = attrs.field(repr=False)


@attrs.frozen
class Grant:
    """
    What a signed link allows.

    @ivar method: C{PUT}, to store, or C{GET}, to read.
    @ivar path: the path of the URL that it is for, as it is written there: percent-encoded, from the root of the door.
    @ivar is_prefix: whether it is for all paths that begin with C{path}, which ends with a slash then.
    @ivar expires: seconds since 1970 UTC.
    @ivar max_bytes: the most that may be stored by one use; C{None} for as much as anybody may.
    @ivar once: whether it works once only.
    @ivar nonce: tells it from others for the same; 128 bits of hex.
    @ivar user: the name of who signed it; when that user is disabled, the link is, too.
    """

    method: str
    path: str
    is_prefix: bool
    expires: int
    max_bytes: int | None
    once: bool
    nonce: str
    user: str


class IAccounts(Interface):
    """
    All users of a root.

    What returns a Deferred reads or writes files: what it tells of is durable when it fires. All else is in memory, and
    constant in time where it compares secrets. Users that another process on the root adds, disables or rotates are
    known within a second.
    """

    realm = Attribute(
        """
        8 hex digits that tell these accounts from those of other roots, and stay: two services on one host, which browsers
        tell apart by nothing else, name their cookies by it.
        """
    )

    def add_user(name: str, is_admin: bool = False) -> Deferred[NewKey]:
        """Add a user. Fails with C{AlreadyExists}, C{InvalidName}."""

    def list_users() -> Deferred[list[User]]:
        """All, by name."""

    def disable_user(name: str) -> Deferred[User]:
        """Allow a user nothing any more: no key, session or link. Fails with C{NoSuchUser}."""

    def enable_user(name: str) -> Deferred[User]:
        """Undo that. Fails with C{NoSuchUser}."""

    def rotate_key(name: str) -> Deferred[NewKey]:
        """Give a user another access key; the old one, all sessions and sign-in links end. Fails with C{NoSuchUser}."""

    def user_of_key(key_id: str, secret: str) -> User:
        """Who has this access key. @raise SignInRefused: if nobody has, without a word on which half is wrong."""

    def user_of_certificate(common_name: str) -> User:
        """Who a verified client certificate is for. @raise SignInRefused: if there is no such user."""

    def make_sign_in_token(name: str, lifetime: float) -> Deferred[str]:
        """
        A token that signs a user in once: what the link of the first start has. The one that the user had before ends.
        Fails with C{NoSuchUser}, C{Forbidden} if the user is disabled, C{BadRequest}.

        @param lifetime: seconds for which it is good.
        """

    def sign_in_by_token(token: str) -> Deferred[Session]:
        """Use one up. Fails with C{SignInRefused}: unknown, expired, or used."""

    def begin_session(user: User) -> Session:
        """Sign a user in. @raise SignInRefused: if the user is disabled."""

    def session_of(cookie: str) -> Session:
        """What a cookie stands for. @raise NotSignedIn: if it is not ours, was changed, is expired or was ended."""

    def end_session(session: Session) -> Deferred[None]:
        """Sign out: the cookie is worth nothing any more, also after a restart."""

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

        @param expires: seconds since 1970 UTC; at most C{link-lifetime} from now.
        @raise BadRequest: if that is not possible: another method, a path that could be read in two ways, a prefix without
            a slash at its end, a time that is over or too far away, a bound that is none.
        @raise Forbidden: if the user is disabled.
        """

    def grant_of(method: str, path: str, fields: Mapping[bytes, bytes], goes_on: bool = False) -> Grant:
        """
        What a link allows that a request was made with.

        @param method: C{PUT} or C{GET}: what the request does (a HEAD reads; a POST of a file or a tus creation stores).
        @param path: the path of the request, as it came.
        @param fields: the fields of its query.
        @param goes_on: whether what the link was used for goes on: then one that works once is as good as before. Whoever
            says so makes sure that it was this link.
        @raise LinkTampered: if the signature is not right; looked at first.
        @raise LinkExpired: if its time is over.
        @raise LinkUsed: if it was used up.
        @raise Forbidden: if the user who signed it is disabled.
        @raise LinkOutOfScope: if it is for another method or path.
        """

    def use_link(grant: Grant) -> Deferred[None]:
        """
        Use up a link that works once; nothing for others. To be called before the first byte is stored or sent, by whoever
        is going to. Fails with C{LinkUsed} for all but the first.
        """
