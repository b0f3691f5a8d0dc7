"""
Authentication and authorization: users with access keys, sessions of people who signed in, and signed links.

Source: the second seed's list of things to do ("signed URLs, or signed cookies that give permission to do things such
as perform PUT/GET operations within a short timeframe"); docs/accounts.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
from zope.interface import Attribute, Interface

if TYPE_CHECKING:  # commands that import a value from here need no reactor
    from twisted.internet.defer import Deferred

__all__ = ["LINK_PARAMETERS", "Grant", "IAccounts", "NewKey", "Session", "User"]

#: The parameters of the query of a signed link.
LINK_PARAMETERS = (b"method", b"path", b"prefix", b"expires", b"max-bytes", b"once", b"nonce", b"user", b"signature")


@attrs.frozen
class User:
    """
    @ivar name: 1 to 64 of a-z, 0-9, dots, hyphens and underscores.
    @ivar key_id: the ID of the user's access key, which is not secret.
    @ivar is_admin: whether this user can manage others.
    @ivar is_disabled: whether this user's keys, sessions and links are refused.
    @ivar created: seconds since 1970 UTC.
    @ivar key_created: when the access key was created, likewise.
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
    A new access key. Its secret is shown once, and is not part of this object's C{repr}.
    """

    user: User
    secret: str = attrs.field(repr=False)


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
    What a signed link allows.

    @ivar method: C{PUT}, to store, or C{GET}, to read.
    @ivar path: the path of the URL, as it is written there: percent-encoded, from the root of the door.
    @ivar is_prefix: whether it is for all paths that begin with C{path}, which then ends with a slash.
    @ivar expires: seconds since 1970 UTC.
    @ivar max_bytes: the most that one use can store; C{None} for the limits of the door.
    @ivar once: whether it works only once.
    @ivar nonce: 128 random bits in hex.
    @ivar user: the name of the user who signed it. When that user is disabled, the link is refused.
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
        """Make a new access key; the old one, all sessions and sign-in links end. Fails with C{NoSuchUser}."""

    def write_url(url: str) -> Deferred[None]:
        """Store the URL by which clients reach the door of uploads, for commands that make links."""

    def read_url() -> Deferred[str | None]:
        """The URL that L{write_url} has stored last; C{None} if there is none."""

    def user_of_key(key_id: str, secret: str) -> User:
        """
        @raise SignInRefused: if the ID is unknown, the secret wrong, or the user disabled; the text does not say which.
        """

    def secret_of_key(key_id: str) -> tuple[User, bytes]:
        """
        The user of an access key and its secret, for protocols whose requests are signed. The secret is not for logs.

        @raise SignInRefused: if the ID is unknown, or the user disabled; the text does not say which.
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
        """@raise SignInRefused: if the user is disabled."""

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
        @raise Forbidden: if the user is disabled.
        """

    def grant_of(method: str, path: str, query: Mapping[bytes, bytes], is_resumed: bool = False) -> Grant:
        """
        What the link of a request allows.

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
