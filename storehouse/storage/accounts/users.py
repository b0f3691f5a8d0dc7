"""
The users and sign-in tokens of a root, as a value, and the bytes of C{users.json}.

The file is one JSON object with a checksum (L{storehouse.core.checksummed})::

    {"format":"storehouse accounts","version":1,"sequence":7,
     "users":[{"name":"ann","key_id":"SH...","secret":"BASE64","is_admin":true,"is_disabled":false,"created":1790000000.0,
               "key_created":1790000000.0,"generation":0,"is_claimed":true}],
     "tokens":[{"hash":"64 hex","user":"ann","expires":1790003600}],"checksum":"..."}

A user can have C{"rights":[{"permissions":["read"],"bucket":"photos","prefix":"2026/"}]}; without, it has those of users made
before there were rights (L{EARLIER<storehouse.core.permissions.EARLIER>}). And C{"keys"}, the further access keys, each with
C{id}, C{secret}, C{created}, C{limits} (rights, or null) and C{note}.

C{secret} is the sealed secret of the access key
(L{Keys.seal_secret<storehouse.storage.accounts.accounts.Keys.seal_secret>}), C{hash} the SHA-256 of a token. C{sequence}
grows with every change.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.permissions import EARLIER
from storehouse.errors import AlreadyExists, BadRequest, Damaged, InvalidName, NoSuchUser
from storehouse.storage.accounts.interfaces import AccessKey, User

__all__ = ["Account", "Token", "Users", "check_user_name", "hash_token"]

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
