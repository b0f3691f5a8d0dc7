"""
What users, keys and links have a right to: permissions on a bucket and on the keys that begin with a prefix.

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
L{User.may<storehouse.storage.accounts.interfaces.User.may>}. Source: docs/accounts.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs

from storehouse.errors import BadRequest

__all__ = [
    "EARLIER",
    "PERMISSIONS",
    "SHARED",
    "USUAL",
    "Rights",
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
