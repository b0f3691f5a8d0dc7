"""
What accounts do, wherever they are kept: users, sign-in, sessions and signed links, and the keys that these need.

All that accounts sign or encrypt is done with keys derived from one secret of 32 random bytes by HKDF-SHA256 (RFC 5869, no
salt). Each key has a label of its own, so that what is signed for one purpose is worthless for another (docs/accounts.rst).
"""

from __future__ import annotations

import hmac
import math
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.config.settings import HTTPSSettings
from storehouse.core.jobs import deferred
from storehouse.core.permissions import USUAL, Rights, read_rights, with_rights, without_rights
from storehouse.errors import (
    BadRequest,
    Damaged,
    Forbidden,
    LinkExpired,
    LinkUsed,
    NoSuchAccessKey,
    NoSuchUser,
    NotSignedIn,
    SignInRefused,
)
from storehouse.storage.accounts import links
from storehouse.storage.accounts.interfaces import AccessKey, Grant, IAccounts, NewKey, Session, User
from storehouse.storage.accounts.sessions import Ticket, read_cookie, request_token, write_cookie
from storehouse.storage.accounts.users import Account, Token, Users, check_user_name, hash_token

__all__ = ["SECRET_SIZE", "Accounts", "Keys"]

#: Bytes of the secret that all keys are derived from.
SECRET_SIZE = 32

_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_NONCE = 12

#: Further access keys that a user can have, and characters of a note.
_MAX_KEYS = 100
_MAX_NOTE = 200

#: The largest C{max-bytes} of a link.
_MAX_BYTES = 1 << 60

# One text for an unknown ID and a wrong secret: a response must not show which access keys exist.
_WRONG_KEY = "there is no such access key, or its secret is wrong"
_WRONG_TOKEN = "the sign-in link is unknown, used or expired: ask for a new one"
_USED_LINK = "the link works once, and was used: ask for a new one"


#: Secrets that are kept decrypted.
_OPENED = 1000


def _new_key_id() -> str:
    """The ID of an access key: C{SH} and 18 of A-Z and 2-7, which are 90 random bits."""
    return "SH" + "".join(secrets.choice(_ID_LETTERS) for _ in range(18))


def _new_secret() -> str:
    """The secret of an access key: 40 characters of URL-safe base64, 240 random bits."""
    return secrets.token_urlsafe(30)


class Keys:
    """
    The keys derived from the secret of a root.

    @ivar sessions: signs cookies.
    @ivar requests: makes the request tokens of sessions.
    @ivar links: signs links.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_SIZE:
            raise ValueError(f"a secret has {SECRET_SIZE} bytes, not {len(secret)}")
        self.sessions = _derive(secret, "sessions")
        self.requests = _derive(secret, "request tokens")
        self.links = _derive(secret, "links")
        self._access_keys = AESGCM(_derive(secret, "access keys"))
        self._opened: dict[tuple[str, str, bytes], str] = {}

    def seal_secret(self, name: str, key_id: str, secret: str) -> bytes:
        """
        Encrypt the secret of an access key for storage: a nonce of 12 bytes, then AES-256-GCM.

        It is encrypted, not hashed, since protocols that sign requests need the secret itself. User and key ID are
        authenticated with it: otherwise someone who can write the file could give a known secret to another user.
        """
        nonce = os.urandom(_NONCE)
        return nonce + self._access_keys.encrypt(nonce, secret.encode(), _associated(name, key_id))

    def open_secret(self, name: str, key_id: str, sealed: bytes) -> str:
        """@raise Damaged: unless it was encrypted for that user and ID with this root's secret."""
        known = self._opened.get((name, key_id, sealed))
        if known is not None:  # each request that is signed needs it
            return known
        try:
            text = self._access_keys.decrypt(sealed[:_NONCE], sealed[_NONCE:], _associated(name, key_id)).decode()
        except (InvalidTag, ValueError):
            raise Damaged(f"the access key of {name} is damaged, or was encrypted on another root: rotate it") from None
        if len(self._opened) >= _OPENED:
            self._opened.clear()
        self._opened[name, key_id, sealed] = text
        return text


def _limited(account: Account, key: AccessKey) -> User:
    return account.user if key.limits is None else attrs.evolve(account.user, limits=key.limits)


def _derive(secret: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), 32, None, f"storehouse accounts 1: {purpose}".encode()).derive(secret)


def _associated(name: str, key_id: str) -> bytes:
    return f"{name}\n{key_id}".encode()


@implementer(IAccounts)
class Accounts(ABC):
    """
    L{IAccounts} over a few hooks for storage, which subclasses define.

    @param clock: seconds since 1970 UTC.
    """

    def __init__(self, settings: HTTPSSettings | None = None, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings or HTTPSSettings()
        self._clock = clock

    # -- for subclasses ------------------------------------------------------------------------------------------------

    @abstractmethod
    def write_url(self, url: str) -> Deferred[None]: ...

    @abstractmethod
    def read_url(self) -> Deferred[str | None]: ...

    @abstractmethod
    def _users(self) -> Users:
        """The users as they are now, from memory."""

    @abstractmethod
    def _keys(self) -> Keys:
        """The keys derived from the root's secret."""

    @abstractmethod
    async def _change(self, step: Callable[[Users], Users]) -> Users:
        """
        Replace the users by what C{step} makes of the newest ones. Durable when it returns.

        @param step: pure; if it raises, nothing changes. May be called in another thread.
        @return: the users after the change.
        """

    @abstractmethod
    def _is_spent(self, kind: str, id: str) -> bool:
        """Whether L{_spend} was called for it and it has not expired."""

    @abstractmethod
    async def _spend(self, kind: str, id: str, expires: float, user: str) -> bool:
        """
        Record a used link or an ended session until it expires. Durable when it returns.

        @param kind: C{session} or C{link}.
        @param user: the owner of the session, or the signer of the link.
        @return: C{False} if it was recorded before.
        @raise ShareUsedUp: if too many are recorded for that user.
        """

    # -- users ---------------------------------------------------------------------------------------------------------

    @deferred
    async def add_user(self, name: str, is_admin: bool = False) -> NewKey:
        return await self._add_user(check_user_name(name), is_admin, is_claimed=True)

    async def _add_user(self, name: str, is_admin: bool, is_claimed: bool) -> NewKey:
        now, key_id, secret = self._clock(), _new_key_id(), _new_secret()
        user = User(name, key_id, is_admin, False, now, now, USUAL)
        sealed = self._keys().seal_secret(name, key_id, secret)
        await self._change(lambda users: users.with_new(Account(user, sealed, 0, is_claimed)))
        return NewKey(user, secret)

    @deferred
    async def list_users(self) -> list[User]:
        return self._users().sorted()

    @deferred
    async def disable_user(self, name: str) -> User:
        return await self._set_disabled(name, True)

    @deferred
    async def enable_user(self, name: str) -> User:
        return await self._set_disabled(name, False)

    async def _set_disabled(self, name: str, is_disabled: bool) -> User:
        def step(users: Users) -> Users:
            account = users.get(name)
            if account.user.is_disabled == is_disabled:
                return users
            user = attrs.evolve(account.user, is_disabled=is_disabled)
            # Sessions of a user who is disabled stay ended when the user is enabled again.
            changed = attrs.evolve(account, user=user, generation=account.generation + is_disabled)
            return users.with_account(changed).without_tokens(name)

        return (await self._change(step)).get(name).user

    @deferred
    async def rotate_key(self, name: str) -> NewKey:
        key_id, secret = _new_key_id(), _new_secret()
        sealed = self._keys().seal_secret(name, key_id, secret)

        def step(users: Users) -> Users:
            account = users.get(name)
            user = attrs.evolve(account.user, key_id=key_id, key_created=self._clock())
            # A key is rotated because it may be known to others: sessions and sign-in links made with it end as well.
            changed = attrs.evolve(
                account, user=user, secret=sealed, generation=account.generation + 1, is_claimed=True
            )
            return users.with_account(changed).without_tokens(name)

        return NewKey((await self._change(step)).get(name).user, secret)

    @deferred
    async def add_key(self, name: str, limits: Sequence[Rights] | None = None, note: str = "") -> NewKey:
        if len(note) > _MAX_NOTE or not note.isprintable():
            raise BadRequest(f"a note has at most {_MAX_NOTE} printable characters")
        key_id, secret = _new_key_id(), _new_secret()
        sealed = self._keys().seal_secret(name, key_id, secret)
        key = AccessKey(key_id, self._clock(), None if limits is None else read_rights(limits), note)

        def step(users: Users) -> Users:
            account = users.get(name)
            if len(account.user.keys) >= _MAX_KEYS:
                raise BadRequest(f"{name} has {_MAX_KEYS} further keys, the most there can be: remove one first")
            user = attrs.evolve(account.user, keys=(*account.user.keys, key))
            secrets_ = {**account.more_secrets, key_id: sealed}
            return users.with_account(attrs.evolve(account, user=user, more_secrets=secrets_, is_claimed=True))

        return NewKey((await self._change(step)).get(name).user, secret, key_id)

    @deferred
    async def remove_key(self, name: str, key_id: str) -> User:
        def step(users: Users) -> Users:
            account = users.get(name)
            if key_id == account.user.key_id:
                raise BadRequest(f"that is the first key of {name}, which 'user rotate' replaces")
            found = next((key for key in account.user.keys if key.id == key_id), None)
            if found is None:
                raise NoSuchAccessKey(f"{name} has no access key {key_id[:100]!r}")
            user = attrs.evolve(account.user, keys=[key for key in account.user.keys if key is not found])
            rest = {id: secret for id, secret in account.more_secrets.items() if id != key_id}
            # A key without limits may have begun sessions; as with a key that is rotated, they end with it.
            generation = account.generation + (found.limits is None)
            return users.with_account(attrs.evolve(account, user=user, more_secrets=rest, generation=generation))

        return (await self._change(step)).get(name).user

    @deferred
    async def grant(self, name: str, rights: Rights) -> User:
        return await self._change_rights(name, lambda before: with_rights(before, rights))

    @deferred
    async def revoke(self, name: str, rights: Rights | None) -> User:
        return await self._change_rights(name, lambda before: () if rights is None else without_rights(before, rights))

    async def _change_rights(self, name: str, change: Callable[[tuple[Rights, ...]], tuple[Rights, ...]]) -> User:
        def step(users: Users) -> Users:
            account = users.get(name)
            user = attrs.evolve(account.user, rights=change(account.user.rights))
            return users if user == account.user else users.with_account(attrs.evolve(account, user=user))

        return (await self._change(step)).get(name).user

    def user_named(self, name: str) -> User:
        return self._users().get(name).user

    def user_of_key(self, key_id: str, secret: str) -> User:
        found = self._users().by_key.get(key_id)
        # An unknown ID is compared with a random secret, so that it takes as long as a known one.
        expected = self._secret_of(*found) if found is not None else _new_secret()
        is_right = hmac.compare_digest(expected.encode(), secret.encode("utf-8", "surrogatepass"))
        if found is None or not is_right or found[0].user.is_disabled:
            raise SignInRefused(_WRONG_KEY)
        return _limited(*found)

    def secret_of_key(self, key_id: str) -> tuple[User, bytes]:
        found = self._users().by_key.get(key_id)
        if found is None or found[0].user.is_disabled:
            raise SignInRefused(_WRONG_KEY)
        return _limited(*found), self._secret_of(*found).encode()

    def _secret_of(self, account: Account, key: AccessKey) -> str:
        return self._keys().open_secret(account.user.name, key.id, account.secret_of(key))

    def user_of_certificate(self, common_name: str) -> User:
        account = self._users().by_name.get(common_name)
        if account is None or account.user.is_disabled:
            raise SignInRefused(f"the certificate is for {common_name[:100]!r}, who is not a user here")
        return account.user

    # -- sign-in tokens ------------------------------------------------------------------------------------------------

    @deferred
    async def make_sign_in_token(self, name: str, lifetime: float) -> str:
        if not (math.isfinite(lifetime) and lifetime > 0):
            raise BadRequest("the lifetime of a sign-in link must be more than 0 seconds")
        token = secrets.token_urlsafe(32)

        def step(users: Users) -> Users:
            now = self._clock()
            if users.get(name).user.is_disabled:
                raise Forbidden(f"the user {name} is disabled")
            return users.with_token(Token(hash_token(token), name, now + lifetime), now)

        await self._change(step)
        return token

    @deferred
    async def sign_in_by_token(self, token: str) -> Session:
        if self._users().find_token(token, self._clock()) is None:
            # Refused from memory: anyone can try tokens, and must not keep the disk and its lock busy.
            raise SignInRefused(_WRONG_TOKEN)
        names: list[str] = []

        def step(users: Users) -> Users:
            found = users.find_token(token, self._clock())
            account = users.by_name.get(found.user) if found is not None else None
            if account is None or account.user.is_disabled:
                raise SignInRefused(_WRONG_TOKEN)
            names.append(account.user.name)
            return users.with_account(attrs.evolve(account, is_claimed=True)).without_tokens(account.user.name)

        users = await self._change(step)
        return self.begin_session(users.get(names[0]).user)

    # -- sessions ------------------------------------------------------------------------------------------------------

    @property
    def realm(self) -> str:
        return hmac.digest(self._keys().sessions, b"storehouse realm", "sha256").hex()[:8]

    def begin_session(self, user: User) -> Session:
        account = self._users().by_name.get(user.name)
        if account is None or account.user.is_disabled:
            raise SignInRefused(f"{user.name} cannot sign in")
        if user.limits is not None:
            raise SignInRefused("this access key is limited, and cannot begin a session")
        expires = int(self._clock() + self.settings.session_lifetime)
        ticket = Ticket(user.name, account.generation, expires, os.urandom(16))
        return self._session(account.user, ticket, write_cookie(self._keys().sessions, ticket))

    def session_of(self, cookie: str) -> Session:
        ticket = read_cookie(self._keys().sessions, cookie)
        account = self._users().by_name.get(ticket.user)
        if (
            account is None
            or account.user.is_disabled
            or account.generation != ticket.generation
            or self._clock() >= ticket.expires
            or self._is_spent("session", ticket.id.hex())
        ):
            raise NotSignedIn("the session is over: sign in again")
        return self._session(account.user, ticket, cookie)

    def _session(self, user: User, ticket: Ticket, cookie: str) -> Session:
        return Session(user, ticket.expires, cookie, request_token(self._keys().requests, ticket.id))

    @deferred
    async def end_session(self, session: Session) -> None:
        ticket = read_cookie(self._keys().sessions, session.cookie)
        await self._spend("session", ticket.id.hex(), ticket.expires, ticket.user)

    # -- links ---------------------------------------------------------------------------------------------------------

    def sign_link(
        self,
        user: User,
        method: str,
        path: str,
        expires: float,
        max_bytes: int | None = None,
        once: bool = False,
        is_prefix: bool = False,
    ) -> str:
        if user.limits is not None:
            raise Forbidden("this access key is limited, and cannot sign links")
        now, lifetime = self._clock(), self.settings.link_lifetime
        if method not in links.METHODS:
            raise BadRequest(f"the method of a link must be one of {', '.join(links.METHODS)}")
        # One second more: the expiry is rounded up, and the caller has read the clock a moment before.
        if not now < expires <= now + lifetime + 1:
            raise BadRequest(f"a link must expire within the next {lifetime:.0f} seconds")
        if max_bytes is not None and not 0 < max_bytes <= _MAX_BYTES:
            raise BadRequest(f"max-bytes of a link must be from 1 to {_MAX_BYTES}")
        if max_bytes is not None and method != "PUT":
            raise BadRequest("max-bytes is only for links to store")
        canonical = links.canonical_path(path)
        if is_prefix and not canonical.endswith("/"):
            raise BadRequest(f"the path of a link for a folder must end with a slash; {canonical!r} does not")
        if self._users().get(user.name).user.is_disabled:
            raise Forbidden(f"the user {user.name} is disabled")
        nonce = os.urandom(16).hex()
        grant = Grant(method, canonical, is_prefix, math.ceil(expires), max_bytes, once, nonce, user.name)
        return links.write_query(self._keys().links, grant)

    def grant_of(self, method: str, path: str, query: Mapping[bytes, bytes], is_resumed: bool = False) -> Grant:
        grant = links.read_query(self._keys().links, query)
        if self._clock() >= grant.expires:
            raise LinkExpired("the link has expired: ask for a new one")
        if grant.once and not is_resumed and self._is_spent("link", grant.nonce):
            raise LinkUsed(_USED_LINK)
        try:
            is_disabled = self._users().get(grant.user).user.is_disabled
        except NoSuchUser:
            is_disabled = True
        if is_disabled:
            raise Forbidden("the user who signed the link is disabled: ask someone else for a new one")
        links.check_scope(grant, method, path)
        return grant

    @deferred
    async def use_link(self, grant: Grant) -> None:
        if grant.once and not await self._spend("link", grant.nonce, grant.expires, grant.user):
            raise LinkUsed(_USED_LINK)
