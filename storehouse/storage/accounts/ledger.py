"""
All users and sign-in tokens of a root, as a value, and the file that it is kept in.

The file is one sealed JSON object (L{storehouse.core.checksummed})::

    {"format":"storehouse accounts","version":1,"sequence":7,
     "users":[{"name":"ann","key_id":"SH...","secret":"BASE64","is_admin":true,"is_disabled":false,"created":1790000000.0,
               "key_created":1790000000.0,"generation":0,"is_claimed":true}],
     "tokens":[{"hash":"64 hex","user":"ann","expires":1790003600}],"checksum":"..."}

C{secret} is the sealed secret of the access key (L{Keys.seal_secret<storehouse.storage.accounts.keys.Keys.seal_secret>}),
C{hash} the SHA-256 of a token. C{sequence} grows with every change.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from storehouse.core.checksummed import seal, unseal
from storehouse.errors import AlreadyExists, Damaged, NoSuchUser
from storehouse.storage.accounts.interfaces import User

__all__ = ["Account", "Ledger", "Token", "hash_token"]

_FORMAT = "storehouse accounts"
_VERSION = 1


@attrs.frozen
class Account:
    """
    What is kept of a user.

    @ivar secret: of the access key, sealed.
    @ivar generation: grows when sessions are to end: when the key is rotated, and when the user is disabled.
    @ivar is_claimed: whether somebody was given the key, or has used a sign-in token: until then the account made at the
        first start is nobody's.
    """

    user: User
    secret: bytes = attrs.field(repr=False)
    generation: int = 0
    is_claimed: bool = True


@attrs.frozen
class Token:
    """
    A token that signs in once.

    @ivar hash: SHA-256 of the token, in hex.
    @ivar expires: seconds since 1970 UTC.
    """

    hash: str
    user: str
    expires: float


def hash_token(token: str) -> str:
    """What is kept of a token. It is 256 random bits, so a plain hash gives nothing away."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


@attrs.frozen
class Ledger:
    """
    Users and tokens. Methods that change something give another one, a step later.

    @ivar accounts: by name.
    @ivar by_key: the same, by the ID of their access keys.
    """

    accounts: Mapping[str, Account] = attrs.field(factory=dict)
    tokens: tuple[Token, ...] = ()
    sequence: int = 0
    by_key: Mapping[str, Account] = attrs.field(init=False, eq=False, repr=False)

    @by_key.default
    def _index(self) -> Mapping[str, Account]:
        return {account.user.key_id: account for account in self.accounts.values()}

    def account(self, name: str) -> Account:
        """@raise NoSuchUser: if there is none of that name."""
        found = self.accounts.get(name)
        if found is None:
            raise NoSuchUser(f"there is no user {name[:100]!r}")
        return found

    def users(self) -> list[User]:
        """All, by name."""
        return [self.accounts[name].user for name in sorted(self.accounts)]

    def added(self, account: Account) -> Ledger:
        """With one more user. @raise AlreadyExists: if there is one of that name."""
        if account.user.name in self.accounts:
            raise AlreadyExists(f"there is a user {account.user.name!r} already")
        return self.changed(account)

    def changed(self, account: Account) -> Ledger:
        """With an account in place of the one of that name."""
        return self._next({**self.accounts, account.user.name: account}, self.tokens)

    def with_token(self, token: Token, now: float) -> Ledger:
        """With one more token; those that the user had before, and those whose time is over, are gone."""
        kept = (each for each in self.tokens if each.user != token.user and each.expires > now)
        return self._next(self.accounts, (*kept, token))

    def find_token(self, token: str, now: float) -> Token | None:
        """What is kept of a token, if it is good still."""
        wanted = hash_token(token)
        found = [each for each in self.tokens if hmac.compare_digest(each.hash, wanted)]
        return found[0] if found and found[0].expires > now else None

    def without_tokens(self, user: str) -> Ledger:
        """With no token of a user."""
        return self._next(self.accounts, tuple(each for each in self.tokens if each.user != user))

    def _next(self, accounts: Mapping[str, Account], tokens: Iterable[Token]) -> Ledger:
        return Ledger(accounts, tuple(tokens), self.sequence + 1)

    # -- the file ------------------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """The bytes of the file."""
        users = [_account_fields(self.accounts[name]) for name in sorted(self.accounts)]
        tokens = [attrs.asdict(token) for token in self.tokens]
        fields = {"format": _FORMAT, "version": _VERSION, "sequence": self.sequence, "users": users, "tokens": tokens}
        return seal(fields) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Ledger:
        """@raise Damaged: if these are not the bytes of such a file, or of another version."""
        try:
            fields, is_sealed = unseal(data.removesuffix(b"\n"))
            if not is_sealed or fields.get("format") != _FORMAT:
                raise ValueError("it is not a file of users with a checksum")
            if fields["version"] != _VERSION:
                raise ValueError(f"it is of version {fields['version']}, which is not known here")
            accounts = [_account_in(each) for each in fields["users"]]
            tokens = tuple(Token(**each) for each in fields["tokens"])
            return cls({account.user.name: account for account in accounts}, tokens, int(fields["sequence"]))
        except (ValueError, TypeError, KeyError) as problem:
            raise Damaged(str(problem)) from None


def _account_fields(account: Account) -> dict[str, Any]:
    return {
        **attrs.asdict(account.user),
        "secret": b64encode(account.secret).decode("ascii"),
        "generation": account.generation,
        "is_claimed": account.is_claimed,
    }


def _account_in(fields: dict[str, Any]) -> Account:
    known = dict(fields)
    secret = b64decode(known.pop("secret"), validate=True)
    generation, is_claimed = int(known.pop("generation")), bool(known.pop("is_claimed"))
    return Account(User(**known), secret, generation, is_claimed)
