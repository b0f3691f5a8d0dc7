"""What accounts do, wherever they are kept."""

from __future__ import annotations

import hmac
import math
import os
import secrets
import time
from collections.abc import Callable, Mapping

import attrs
from zope.interface import implementer

from storehouse.core.streams import deferred
from storehouse.errors import (
    BadRequest,
    Forbidden,
    LinkExpired,
    LinkUsed,
    NoSuchUser,
    NotSignedIn,
    SignInRefused,
)
from storehouse.storage.accounts import links
from storehouse.storage.accounts.interfaces import Grant, IAccounts, NewKey, Session, User
from storehouse.storage.accounts.keys import Keys, new_key_id, new_secret
from storehouse.storage.accounts.ledger import Account, Ledger, Token, hash_token
from storehouse.storage.accounts.names import canonical_path, check_user_name
from storehouse.storage.accounts.sessions import Ticket, read_cookie, request_token, write_cookie

__all__ = ["AccountSettings", "Accounts"]

#: The most that one use of a link may be said to store.
_MAX_BYTES = 1 << 60

_NO_KEY = "there is no such access key, or the secret is not its own"
_NO_TOKEN = "the sign-in link is not known, was used already, or its time is over: ask for another one"


@attrs.frozen
class AccountSettings:
    """
    @ivar session_lifetime: seconds for which a session is good.
    @ivar link_lifetime: seconds for which a link may be signed, at most.
    """

    session_lifetime: float = 43200.0
    link_lifetime: float = 604800.0


@implementer(IAccounts)
class Accounts:
    """
    All of L{IAccounts} but where it is kept: a base class.

    @param clock: tells the time, seconds since 1970 UTC.
    """

    def __init__(self, settings: AccountSettings | None = None, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings or AccountSettings()
        self._clock = clock

    # -- for subclasses ------------------------------------------------------------------------------------------------

    def _ledger(self) -> Ledger:
        """What is known now."""
        raise NotImplementedError

    def _keys(self) -> Keys:
        """The keys of the root."""
        raise NotImplementedError

    async def _change(self, step: Callable[[Ledger], Ledger]) -> Ledger:
        """
        Replace what is known by what C{step} makes of the newest, durably.

        @param step: pure; what it raises changes nothing. May be called in another thread.
        @return: what is known now.
        """
        raise NotImplementedError

    def _is_spent(self, kind: str, id: str) -> bool:
        """Whether L{_spend} was told of it."""
        raise NotImplementedError

    async def _spend(self, kind: str, id: str, expires: float, user: str) -> bool:
        """
        Remember something, durably, until it expires.

        @param kind: C{session} or C{link}.
        @param user: whose it is, or who signed it.
        @return: whether it was not known before.
        @raise ShareUsedUp: if as much is remembered of that user as may be.
        """
        raise NotImplementedError

    # -- users ---------------------------------------------------------------------------------------------------------

    @deferred
    async def add_user(self, name: str, is_admin: bool = False) -> NewKey:
        """See L{IAccounts.add_user}."""
        return await self._add(check_user_name(name), is_admin, is_claimed=True)

    async def _add(self, name: str, is_admin: bool, is_claimed: bool) -> NewKey:
        now, key_id, secret = self._clock(), new_key_id(), new_secret()
        user = User(name, key_id, is_admin, False, now, now)
        sealed = self._keys().seal_secret(name, key_id, secret)
        await self._change(lambda ledger: ledger.added(Account(user, sealed, 0, is_claimed)))
        return NewKey(user, secret)

    @deferred
    async def list_users(self) -> list[User]:
        """See L{IAccounts.list_users}."""
        return self._ledger().users()

    @deferred
    async def disable_user(self, name: str) -> User:
        """See L{IAccounts.disable_user}."""
        return await self._switch(name, True)

    @deferred
    async def enable_user(self, name: str) -> User:
        """See L{IAccounts.enable_user}."""
        return await self._switch(name, False)

    async def _switch(self, name: str, is_disabled: bool) -> User:
        def step(ledger: Ledger) -> Ledger:
            account = ledger.account(name)
            if account.user.is_disabled == is_disabled:
                return ledger
            user = attrs.evolve(account.user, is_disabled=is_disabled)
            # The sessions of one who is disabled do not come back with him.
            changed = attrs.evolve(account, user=user, generation=account.generation + is_disabled)
            return ledger.changed(changed).without_tokens(name)

        return (await self._change(step)).account(name).user

    @deferred
    async def rotate_key(self, name: str) -> NewKey:
        """See L{IAccounts.rotate_key}."""
        key_id, secret = new_key_id(), new_secret()
        sealed = self._keys().seal_secret(name, key_id, secret)

        def step(ledger: Ledger) -> Ledger:
            account = ledger.account(name)
            user = attrs.evolve(account.user, key_id=key_id, key_created=self._clock())
            # Nothing that was given out for this user before signs in any more.
            return ledger.changed(Account(user, sealed, account.generation + 1, True)).without_tokens(name)

        return NewKey((await self._change(step)).account(name).user, secret)

    def user_of_key(self, key_id: str, secret: str) -> User:
        """See L{IAccounts.user_of_key}."""
        account = self._ledger().by_key.get(key_id)
        # For an ID that is not known something is compared as well, so that it takes no less long.
        known = self._secret_of(account) if account is not None else new_secret()
        is_right = hmac.compare_digest(known.encode(), secret.encode("utf-8", "surrogatepass"))
        if account is None or not is_right or account.user.is_disabled:
            raise SignInRefused(_NO_KEY)
        return account.user

    def _secret_of(self, account: Account) -> str:
        return self._keys().open_secret(account.user.name, account.user.key_id, account.secret)

    def user_of_certificate(self, common_name: str) -> User:
        """See L{IAccounts.user_of_certificate}."""
        account = self._ledger().accounts.get(common_name)
        if account is None or account.user.is_disabled:
            raise SignInRefused(f"the certificate is for {common_name[:100]!r}, which is no user here")
        return account.user

    # -- sign-in tokens ------------------------------------------------------------------------------------------------

    @deferred
    async def make_sign_in_token(self, name: str, lifetime: float) -> str:
        """See L{IAccounts.make_sign_in_token}. The tokens that this user had before end."""
        if not (math.isfinite(lifetime) and lifetime > 0):
            raise BadRequest("a sign-in link has to be good for some time")
        token = secrets.token_urlsafe(32)

        def step(ledger: Ledger) -> Ledger:
            now = self._clock()
            if ledger.account(name).user.is_disabled:
                raise Forbidden(f"the user {name} is disabled")
            return ledger.with_token(Token(hash_token(token), name, now + lifetime), now)

        await self._change(step)
        return token

    @deferred
    async def sign_in_by_token(self, token: str) -> Session:
        """See L{IAccounts.sign_in_by_token}."""
        if self._ledger().find_token(token, self._clock()) is None:
            # Without the disk: anybody can ask.
            raise SignInRefused(_NO_TOKEN)
        names: list[str] = []

        def step(ledger: Ledger) -> Ledger:
            found = ledger.find_token(token, self._clock())
            account = ledger.accounts.get(found.user) if found is not None else None
            if account is None or account.user.is_disabled:
                raise SignInRefused(_NO_TOKEN)
            names.append(account.user.name)
            return ledger.changed(attrs.evolve(account, is_claimed=True)).without_tokens(account.user.name)

        ledger = await self._change(step)
        return self.begin_session(ledger.account(names[0]).user)

    # -- sessions ------------------------------------------------------------------------------------------------------

    @property
    def realm(self) -> str:
        """See L{IAccounts}."""
        return hmac.digest(self._keys().sessions, b"storehouse realm", "sha256").hex()[:8]

    def begin_session(self, user: User) -> Session:
        """See L{IAccounts.begin_session}."""
        account = self._ledger().accounts.get(user.name)
        if account is None or account.user.is_disabled:
            raise SignInRefused(f"{user.name} may not sign in")
        expires = int(self._clock() + self.settings.session_lifetime)
        ticket = Ticket(user.name, account.generation, expires, os.urandom(16))
        return self._session(account.user, ticket, write_cookie(self._keys().sessions, ticket))

    def session_of(self, cookie: str) -> Session:
        """See L{IAccounts.session_of}."""
        ticket = read_cookie(self._keys().sessions, cookie)
        account = self._ledger().accounts.get(ticket.user)
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
        """See L{IAccounts.end_session}."""
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
        """See L{IAccounts.sign_link}."""
        now, lifetime = self._clock(), self.settings.link_lifetime
        if method not in links.METHODS:
            raise BadRequest(f"a link is for one of {', '.join(links.METHODS)}")
        # A second, since the time is rounded, and it has passed since somebody asked.
        if not now < expires <= now + lifetime + 1:
            raise BadRequest(f"a link ends in the future, and within {lifetime:.0f} seconds")
        if max_bytes is not None and not 0 < max_bytes <= _MAX_BYTES:
            raise BadRequest(f"the most bytes of a link are 1 to {_MAX_BYTES}")
        if max_bytes is not None and method != "PUT":
            raise BadRequest("only a link to store has a bound of bytes")
        canonical = canonical_path(path)
        if is_prefix and not canonical.endswith("/"):
            raise BadRequest(f"what a link for several names begins with ends with a slash; {canonical!r} does not")
        account = self._ledger().account(user.name)
        if account.user.is_disabled:
            raise Forbidden(f"the user {user.name} is disabled")
        nonce = os.urandom(16).hex()
        grant = Grant(method, canonical, is_prefix, math.ceil(expires), max_bytes, once, nonce, user.name)
        return links.write_query(self._keys().links, grant)

    def grant_of(self, method: str, path: str, fields: Mapping[bytes, bytes], goes_on: bool = False) -> Grant:
        """See L{IAccounts.grant_of}."""
        grant = links.read_query(self._keys().links, fields)
        if self._clock() >= grant.expires:
            raise LinkExpired("the time of the link is over: ask for another one")
        if grant.once and not goes_on and self._is_spent("link", grant.nonce):
            raise LinkUsed("the link works once, and was used: ask for another one")
        try:
            is_disabled = self._ledger().account(grant.user).user.is_disabled
        except NoSuchUser:
            is_disabled = True
        if is_disabled:
            raise Forbidden("who signed the link may do nothing here any more: ask somebody else for another one")
        links.check_scope(grant, method, path)
        return grant

    @deferred
    async def use_link(self, grant: Grant) -> None:
        """See L{IAccounts.use_link}."""
        if grant.once and not await self._spend("link", grant.nonce, grant.expires, grant.user):
            raise LinkUsed("the link works once, and was used: ask for another one")
