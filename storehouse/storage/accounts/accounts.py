"""
What accounts are and do, wherever they are kept: users, sign-in, sessions and signed links, and the keys that these need.

All that accounts sign or encrypt is done with keys derived from one secret of 32 random bytes by HKDF-SHA256 (RFC 5869, no
salt). Each key has a label of its own, so that what is signed for one purpose is worthless for another (docs/accounts.rst).

Users and sign-in tokens are a value, L{Users}, whose bytes are C{users.json}: one JSON object with a checksum
(L{storehouse.core.checksummed})::

    {"format":"storehouse accounts","version":1,"sequence":7,
     "users":[{"name":"ann","key_id":"SH...","secret":"BASE64","is_admin":true,"is_disabled":false,"created":1790000000.0,
               "key_created":1790000000.0,"generation":0,"is_claimed":true}],
     "tokens":[{"hash":"64 hex","user":"ann","expires":1790003600}],"checksum":"..."}

A user can have C{"rights":[{"permissions":["read"],"bucket":"photos","prefix":"2026/"}]}; without, it has those of users made
before there were rights (L{EARLIER<storehouse.storage.accounts.interfaces.EARLIER>}). And C{"keys"}, the further access keys,
each with C{id}, C{secret}, C{created}, C{limits} (rights, or null) and C{note}. C{secret} is the sealed secret of the access
key (L{Keys.seal_secret}), C{hash} the SHA-256 of a token. C{sequence} grows with every change.

The cookie of a session is the URL-safe base64, without padding, of these bytes::

    offset  size  content
    0       1     version, 1
    1       8     expiry: seconds since 1970 UTC, big-endian
    9       4     generation of the user's key, big-endian
    13      16    random ID of the session
    29      1..64 name of the user, ASCII
    -32     32    HMAC-SHA256 of all before it
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import re
import secrets
import time
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct
from typing import Any

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from twisted.internet.defer import Deferred
from zope.interface import implementer

from storehouse.config.settings import HTTPSSettings
from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.jobs import deferred
from storehouse.errors import (
    AlreadyExists,
    BadRequest,
    Damaged,
    Forbidden,
    InvalidName,
    LinkExpired,
    LinkUsed,
    NoSuchAccessKey,
    NoSuchUser,
    NotSignedIn,
    SignInRefused,
    TokenExpired,
    TokenInvalid,
)
from storehouse.storage.accounts import links, temporary
from storehouse.storage.accounts.interfaces import (
    EARLIER,
    USUAL,
    AccessKey,
    Grant,
    IAccounts,
    NewKey,
    Rights,
    Session,
    Temporary,
    TemporaryKey,
    User,
    read_rights,
    with_rights,
    without_rights,
)

__all__ = [
    "SECRET_SIZE",
    "Account",
    "Accounts",
    "Keys",
    "Ticket",
    "Token",
    "Users",
    "check_user_name",
    "hash_token",
    "read_cookie",
    "request_token",
    "write_cookie",
]


_FORMAT = "storehouse accounts"
_VERSION = 1

_user_name = re.compile(r"[a-z0-9._-]{1,64}\Z", re.ASCII).match


def check_user_name(name: str) -> str:
    """@raise InvalidName: unless it has 1 to 64 of a-z, 0-9, dots, hyphens and underscores."""
    if not _user_name(name):
        raise InvalidName(f"{name[:100]!r} is not a user name: use 1 to 64 of a-z, 0-9, dots, hyphens and underscores")
    return name


@attrs.frozen
class Account:
    """
    What is stored for a user.

    @ivar secret: of the first access key, sealed.
    @ivar generation: grows when sessions must end: when the key is rotated and when the user is disabled.
    @ivar is_claimed: whether anyone was given the key or has used a sign-in token. Until then the administrator that
        the first start has created belongs to nobody, and each start shows a sign-in link.
    @ivar more_secrets: of the further access keys, by their IDs, sealed.
    """

    user: User
    secret: bytes = attrs.field(repr=False)
    generation: int = 0
    is_claimed: bool = True
    more_secrets: Mapping[str, bytes] = attrs.field(factory=dict, repr=False)

    @property
    def keys(self) -> tuple[AccessKey, ...]:
        """All access keys, the first one first."""
        return AccessKey(self.user.key_id, self.user.key_created), *self.user.keys

    def secret_of(self, key: AccessKey) -> bytes:
        """The sealed secret of one of the keys."""
        return self.secret if key.id == self.user.key_id else self.more_secrets[key.id]


@attrs.frozen
class Token:
    """
    A token that signs a user in once.

    @ivar hash: SHA-256 of the token, in hex.
    @ivar expires: seconds since 1970 UTC.
    """

    hash: str
    user: str
    expires: float


def hash_token(token: str) -> str:
    """The form in which a token is stored. It has 256 random bits, so a plain hash cannot be searched."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


@attrs.frozen
class Users:
    """
    All users and tokens. The C{with} methods return a changed copy with the next sequence number.

    @ivar by_key: the same accounts, by the IDs of their access keys, each with the key.
    """

    by_name: Mapping[str, Account] = attrs.field(factory=dict)
    tokens: tuple[Token, ...] = ()
    sequence: int = 0
    by_key: Mapping[str, tuple[Account, AccessKey]] = attrs.field(init=False, eq=False, repr=False)

    @by_key.default
    def _index_keys(self) -> Mapping[str, tuple[Account, AccessKey]]:
        return {key.id: (account, key) for account in self.by_name.values() for key in account.keys}

    def get(self, name: str) -> Account:
        """@raise NoSuchUser: if there is no user of that name."""
        found = self.by_name.get(name)
        if found is None:
            raise NoSuchUser(f"there is no user {name[:100]!r}")
        return found

    def sorted(self) -> list[User]:
        """All users, by name."""
        return [self.by_name[name].user for name in sorted(self.by_name)]

    def with_new(self, account: Account) -> Users:
        """@raise AlreadyExists: if there is a user of that name."""
        if account.user.name in self.by_name:
            raise AlreadyExists(f"the user {account.user.name!r} already exists")
        return self.with_account(account)

    def with_account(self, account: Account) -> Users:
        """Add an account, or replace the one of that name."""
        return self._next({**self.by_name, account.user.name: account}, self.tokens)

    def with_token(self, token: Token, now: float) -> Users:
        """Add a token; drop the user's earlier tokens, and all that have expired."""
        kept = (each for each in self.tokens if each.user != token.user and each.expires > now)
        return self._next(self.by_name, (*kept, token))

    def find_token(self, token: str, now: float) -> Token | None:
        """The record of a token, C{None} if it is unknown or has expired. Compares in constant time."""
        wanted = hash_token(token)
        found = [each for each in self.tokens if hmac.compare_digest(each.hash, wanted)]
        return found[0] if found and found[0].expires > now else None

    def without_tokens(self, user: str) -> Users:
        """Drop the tokens of a user."""
        return self._next(self.by_name, tuple(each for each in self.tokens if each.user != user))

    def _next(self, by_name: Mapping[str, Account], tokens: Iterable[Token]) -> Users:
        return Users(by_name, tuple(tokens), self.sequence + 1)

    # -- the file ------------------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        users = [_encode_account(self.by_name[name]) for name in sorted(self.by_name)]
        tokens = [attrs.asdict(token) for token in self.tokens]
        fields = {"format": _FORMAT, "version": _VERSION, "sequence": self.sequence, "users": users, "tokens": tokens}
        return encode_checksummed(fields) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Users:
        """@raise Damaged: if these are not the bytes of such a file, or those of another version."""
        try:
            fields: Any
            fields, is_checked = decode_checksummed(data.removesuffix(b"\n"))
            if not is_checked or fields.get("format") != _FORMAT:
                raise ValueError("it is not a file of users with a checksum")
            if fields["version"] != _VERSION:
                raise ValueError(f"its version {fields['version']} is unknown here")
            accounts = [_decode_account(each) for each in fields["users"]]
            tokens = tuple(Token(**each) for each in fields["tokens"])
            return cls({account.user.name: account for account in accounts}, tokens, int(fields["sequence"]))
        except (ValueError, TypeError, KeyError, BadRequest) as problem:
            raise Damaged(str(problem)) from None


def _encode_account(account: Account) -> dict[str, object]:
    user = attrs.asdict(account.user)
    rights, keys, _ = user.pop("rights"), user.pop("keys"), user.pop("limits")
    del user["temporary"]
    fields = {
        **user,
        "secret": b64encode(account.secret).decode("ascii"),
        "generation": account.generation,
        "is_claimed": account.is_claimed,
    }
    if account.user.rights != EARLIER:
        fields["rights"] = rights
    if keys:
        fields["keys"] = [{**key, "secret": b64encode(account.more_secrets[key["id"]]).decode("ascii")} for key in keys]
    return fields


def _decode_account(fields: Mapping[str, Any]) -> Account:
    rest = dict(fields)
    secret = b64decode(rest.pop("secret"), validate=True)
    generation, is_claimed = int(rest.pop("generation")), bool(rest.pop("is_claimed"))
    keys = [dict(key) for key in rest.pop("keys", ())]
    secrets = {key["id"]: b64decode(key.pop("secret"), validate=True) for key in keys}
    return Account(User(**rest, keys=keys), secret, generation, is_claimed, secrets)


_COOKIE_VERSION = 1
_ID_SIZE = 16
_MAC_SIZE = 32

_head = Struct(f">BQI{_ID_SIZE}s")

#: Characters of the longest cookie: that of a name of 64 characters.
_MAX_COOKIE = -(-(_head.size + 64 + _MAC_SIZE) * 4 // 3)


@attrs.frozen
class Ticket:
    """
    The content of a cookie.

    @ivar generation: of the user's account: when the account's is another, the session has ended.
    @ivar expires: seconds since 1970 UTC.
    @ivar id: 128 random bits.
    """

    user: str
    generation: int
    expires: int
    id: bytes


def write_cookie(key: bytes, ticket: Ticket) -> str:
    head = _head.pack(_COOKIE_VERSION, ticket.expires, ticket.generation, ticket.id) + ticket.user.encode("ascii")
    return temporary.encode_text(head + _mac(key, head))


def read_cookie(key: bytes, cookie: str) -> Ticket:
    """@raise NotSignedIn: unless it is, to the last bit, what L{write_cookie} wrote with this key."""
    refused = NotSignedIn("the session is of another service: sign in again")
    if len(cookie) > _MAX_COOKIE:
        raise refused
    try:
        data = temporary.decode_text(cookie)
    except ValueError:
        raise refused from None
    head, mac = data[:-_MAC_SIZE], data[-_MAC_SIZE:]
    if not hmac.compare_digest(mac, _mac(key, head)) or len(head) <= _head.size:
        raise refused
    version, expires, generation, session_id = _head.unpack_from(head)
    if version != _COOKIE_VERSION:
        raise refused
    return Ticket(head[_head.size :].decode("ascii"), generation, expires, session_id)


def request_token(key: bytes, session_id: bytes) -> str:
    """
    The token that a session's requests repeat when they change something: HMAC-SHA256 of the session's ID, in hex.
    """
    return _mac(key, session_id).hex()


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


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
    @ivar temporary: seals the tokens of temporary access keys, and makes their secrets.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_SIZE:
            raise ValueError(f"a secret has {SECRET_SIZE} bytes, not {len(secret)}")
        self.sessions = _derive(secret, "sessions")
        self.requests = _derive(secret, "request tokens")
        self.links = _derive(secret, "links")
        self.temporary = temporary.Sealer(
            _derive(secret, "tokens of temporary keys"), _derive(secret, "secrets of temporary keys")
        )
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

    def issue_temporary(
        self,
        user: User,
        key_id: str,
        lifetime: float,
        name: str = "",
        rights: Sequence[Rights] | None = None,
        policy: str | None = None,
        is_role: bool = False,
    ) -> TemporaryKey:
        if not temporary.SHORTEST <= lifetime <= temporary.LONGEST:
            raise BadRequest(f"a temporary key lasts from {temporary.SHORTEST} to {temporary.LONGEST} seconds")
        if name:
            temporary.check_session_name(name)
        now = int(self._clock())
        before = user.temporary or Temporary(key_id, "", now, now + temporary.LONGEST)
        self._issuer(user.name, before.key_id)
        said = Temporary(
            before.key_id,
            name or before.name,
            now,
            # What is issued by a temporary key does not outlive it.
            min(now + int(lifetime), before.expires),
            before.rights if rights is None else (*before.rights, read_rights(rights)),
            before.policies if policy is None else (*before.policies, policy),
            is_role or before.is_role,
        )
        return self._keys().temporary.seal(user.name, said)

    def user_of_temporary(self, key_id: str, token: str) -> tuple[User, bytes]:
        name, said, secret = self._keys().temporary.open(key_id, token)
        if self._clock() >= said.expires:
            raise TokenExpired("the temporary access key has expired")
        return attrs.evolve(self._issuer(name, said.key_id), temporary=said), secret

    def _issuer(self, name: str, key_id: str) -> User:
        """The user, by a lasting key that is still there."""
        found = self._users().by_key.get(key_id)
        if found is None or found[0].user.name != name or found[0].user.is_disabled:
            raise TokenInvalid("the access key behind it has ended, or its user is disabled")
        return _limited(*found)

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
        if not user.is_unlimited:
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
        if method not in links.METHODS:
            raise BadRequest(f"the method of a link must be one of {', '.join(links.METHODS)}")
        canonical = links.canonical_path(path)
        if is_prefix and not canonical.endswith("/"):
            raise BadRequest(f"the path of a link for a folder must end with a slash; {canonical!r} does not")
        grant = Grant(method, canonical, is_prefix, 0, max_bytes, once, "", user.name)
        return self._sign(user, grant, expires, method == "PUT")

    def sign_rights(
        self, user: User, rights: Rights, expires: float, max_bytes: int | None = None, once: bool = False
    ) -> str:
        links.check_rights(rights)
        if once and not {"read", "put-new", "overwrite"}.issuperset(rights.permissions):
            raise BadRequest("a link that works once is to read or to store alone: it cannot list or delete")
        grant = Grant("", "", False, 0, max_bytes, once, "", user.name, rights)
        return self._sign(user, grant, expires, not {"put-new", "overwrite"}.isdisjoint(rights.permissions))

    def _sign(self, user: User, grant: Grant, expires: float, stores: bool) -> str:
        if not user.is_unlimited:
            raise Forbidden("this access key is limited, and cannot sign links")
        now, lifetime = self._clock(), self.settings.link_lifetime
        # One second more: the expiry is rounded up, and the caller has read the clock a moment before.
        if not now < expires <= now + lifetime + 1:
            raise BadRequest(f"a link must expire within the next {lifetime:.0f} seconds")
        if grant.max_bytes is not None and not 0 < grant.max_bytes <= _MAX_BYTES:
            raise BadRequest(f"max-bytes of a link must be from 1 to {_MAX_BYTES}")
        if grant.max_bytes is not None and not stores:
            raise BadRequest("max-bytes is only for links to store")
        if self._users().get(user.name).user.is_disabled:
            raise Forbidden(f"the user {user.name} is disabled")
        grant = attrs.evolve(grant, expires=math.ceil(expires), nonce=os.urandom(16).hex())
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
        if grant.rights is None:
            links.check_scope(grant, method, path)
        return grant

    @deferred
    async def use_link(self, grant: Grant) -> None:
        if grant.once and not await self._spend("link", grant.nonce, grant.expires, grant.user):
            raise LinkUsed(_USED_LINK)
