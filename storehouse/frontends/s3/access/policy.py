"""
Bucket policies: read from JSON, and evaluated.

Only what is understood is taken: a member, an element, an operator or a key that nobody here knows makes the policy malformed,
since a C{Deny} that is not understood would allow. Size and effort are bounded: a policy has at most 20 KiB, as S3 has it, and
what it costs to evaluate one grows no faster than its size times that of the request's values.

Source: "Grammar of the IAM JSON policy language" and "IAM JSON policy elements reference" of Amazon's IAM user guide;
"Bucket policies" and "The meaning of public" of the user guide of S3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import attrs

from storehouse.core.jsontext import take_json
from storehouse.core.turns import breath
from storehouse.frontends.s3.access.actions import ACTIONS, BUCKET
from storehouse.frontends.s3.access.conditions import (
    Condition,
    Texts,
    TooLong,
    Values,
    Variable,
    read_condition,
    text_tokens,
)
from storehouse.frontends.s3.access.glob import Globs, tokens_of
from storehouse.frontends.s3.errors import S3Error

__all__ = [
    "ACCOUNT",
    "MOST_POLICY",
    "MOST_SESSION_POLICY",
    "Policy",
    "Principal",
    "Verdict",
    "read_policy",
    "session_policy",
    "user_arn",
]

#: Bytes of a policy.
MOST_POLICY = 20 * 1024

#: Characters of a policy of a temporary key.
MOST_SESSION_POLICY = 2048

#: The account of all users, as ARNs name it; an ARN that leaves it out means the same.
ACCOUNT = "0" * 12

#: What a policy says: C{deny} beats C{allow}; C{None} is neither.
Verdict = Literal["allow", "deny"] | None

#: Variables in a policy.
_MOST_VARIABLES = 64

_VERSIONS = ("2008-10-17", "2012-10-17")
_MEMBERS = frozenset({"Version", "Id", "Statement"})
_ELEMENTS = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_KINDS = frozenset({"AWS", "CanonicalUser", "Federated", "Service"})

_account = re.compile(r"\d{12}\Z", re.ASCII).match
_arn = re.compile(r"arn:aws[a-z-]{0,20}:(iam|sts)::([^:*?]{0,128}):([^*?]{1,512})\Z").match
_canonical = re.compile(r"[0-9a-fA-F]{64}\Z").match

#: Keys and the operators with which fixed values of theirs make a statement not public.
_NARROWING = frozenset(
    [
        "aws:sourceip",
        "aws:sourcearn",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:sourceowner",
        "aws:sourceaccount",
        "aws:userid",
        "aws:principalarn",
        "aws:principalaccount",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:username",
        "s3:dataaccesspointarn",
        "s3:dataaccesspointaccount",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    ]
)
_FIXED = frozenset({"StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike", "IpAddress"})


def user_arn(name: str) -> str:
    """The ARN of a user."""
    return f"arn:aws:iam::{ACCOUNT}:user/{name}"


@attrs.frozen
class Principal:
    """
    The caller of a request, as policies name it.

    @ivar name: of the user; C{None} for a request that is not signed.
    @ivar canonical_id: of the user; empty for nobody.
    """

    name: str | None
    canonical_id: str = ""


@attrs.frozen
class _Principals:
    """
    @ivar everybody: also those whose requests are not signed.
    @ivar every_user: all users: the account.
    """

    everybody: bool = False
    every_user: bool = False
    names: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()

    def has(self, principal: Principal) -> bool:
        if self.everybody:
            return True
        if principal.name is None:
            return False
        return self.every_user or principal.name in self.names or principal.canonical_id in self.ids


@attrs.frozen(eq=False)
class _Statement:
    denies: bool
    principals: _Principals
    negates_principals: bool
    actions: frozenset[str]
    resources: Texts
    negates_resources: bool
    conditions: Sequence[Condition]

    def applies(self, principal: Principal, action: str, arn: str, values: Values) -> bool:
        return (
            action in self.actions
            and self.principals.has(principal) != self.negates_principals
            and self.resources.matches(arn, values) != self.negates_resources
            and all(each.holds(values) for each in self.conditions)
        )

    @property
    def is_public(self) -> bool:
        if self.denies or not (self.principals.everybody or self.negates_principals):
            return False
        return not any(_narrows(each) for each in self.conditions)


@attrs.frozen(eq=False)
class Policy:
    """
    @ivar data: as it was given.
    @ivar keys: those that its conditions and variables need, in lower case.
    """

    data: bytes
    keys: frozenset[str]
    _statements: Sequence[_Statement]

    def verdict(self, principal: Principal, action: str, arn: str, values: Values) -> Verdict:
        """
        What it says of an action.

        @param action: one of L{ACTIONS<storehouse.frontends.s3.access.actions.ACTIONS>}.
        @param arn: of the bucket, or of the object.
        @param values: gives the values of keys.
        """
        allows = False
        for said in self._said(principal, action, arn, values):
            if said == "deny":
                return said
            allows = allows or said == "allow"
        return "allow" if allows else None

    async def verdict_in_turns(self, principal: Principal, action: str, arn: str, values: Values) -> Verdict:
        """L{verdict}, while others are served: a statement that was made to be slow takes milliseconds."""
        allows = False
        for said in self._said(principal, action, arn, values):
            if said == "deny":
                return said
            allows = allows or said == "allow"
            await breath()
        return "allow" if allows else None

    def _said(self, principal: Principal, action: str, arn: str, values: Values) -> Iterator[Verdict]:
        """What each statement says."""
        for statement in self._statements:
            try:
                applies = statement.applies(principal, action, arn, values)
            except TooLong:
                # It cannot be known whether it denies.
                yield "deny"
            else:
                yield ("deny" if statement.denies else "allow") if applies else None

    @property
    def is_public(self) -> bool:
        """Whether it allows something to everybody, by S3's meaning of the word."""
        return any(each.is_public for each in self._statements)


def _narrows(condition: Condition) -> bool:
    """Whether only requests with fixed values of a key that says who makes them fulfil it."""
    if condition.key not in _NARROWING or condition.operator not in _FIXED:
        return False
    if condition.if_exists or condition.quantifier == "all":
        return False
    if condition.operator == "IpAddress":
        return all(_is_narrow_network(text) for text in condition.texts)
    return all(not re.search(r"[*?]|\$\{", text) for text in condition.texts)


def _is_narrow_network(text: str) -> bool:
    """S3 takes wider ranges for public."""
    _, slash, bits = text.strip().partition("/")
    return not slash or not bits.isdigit() or int(bits) >= (32 if ":" in text else 8)


# -- reading -------------------------------------------------------------------------------------------------------


def _malformed(what: str) -> S3Error:
    return S3Error("MalformedPolicy", what)


@lru_cache(maxsize=256)
def session_policy(text: str) -> Policy:
    """
    The policy of a temporary key, which names no principals: it is about who has the key.

    @raise S3Error: C{MalformedPolicy}, or C{InvalidArgument} if it is too large.
    """
    return read_policy(text.encode("utf-8", "surrogatepass"), None)


def read_policy(data: bytes, bucket: str | None) -> Policy:
    """
    @param bucket: whose policy it is to be; C{None} for one of a temporary key.
    @raise S3Error: C{MalformedPolicy}, or C{InvalidArgument} if it is too large.
    """
    if len(data) > MOST_POLICY:
        raise S3Error("InvalidArgument", "Normalized policy document exceeds the maximum allowed size of 20480 bytes")
    try:
        value = take_json(data)
    except ValueError:
        raise _malformed("Policies must be valid JSON and the first byte must be '{'") from None
    if not isinstance(value, dict) or not data.lstrip().startswith(b"{"):
        raise _malformed("Policies must be valid JSON and the first byte must be '{'")
    _check_members(value, _MEMBERS)
    version = value.get("Version", _VERSIONS[0])
    if version not in _VERSIONS:
        raise _malformed("The policy must contain a valid version string")
    if not isinstance(value.get("Id", ""), str):
        raise _malformed("The policy's Id must be a string")
    statements = value.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise _malformed("Missing required field Statement")
    _check_variables(value)
    keys: set[str] = set()
    names: set[str] = set()
    read = [_statement(each, bucket, version == _VERSIONS[1], keys, names) for each in statements]
    return Policy(bytes(data), frozenset(keys), read)


def _check_members(value: Mapping[str, object], known: frozenset[str]) -> None:
    for name in value:
        if name not in known:
            raise _malformed(f"Unknown field {name[:100]}")


def _texts(value: Any, what: str) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise _malformed(f"{what} must be a string or a list of strings")
    return value


def _one_of(value: Mapping[str, Any], name: str) -> tuple[Any, bool]:
    """The element, and whether it is the one that negates."""
    both = [each for each in (name, f"Not{name}") if each in value]
    if len(both) != 1:
        raise _malformed(f"Missing required field {name}" if not both else f"{name} and Not{name} exclude each other")
    return value[both[0]], both[0] != name


def _statement(value: Any, bucket: str | None, has_variables: bool, keys: set[str], names: set[str]) -> _Statement:
    if not isinstance(value, dict):
        raise _malformed("A statement must be an object")
    _check_members(value, _ELEMENTS)
    sid = value.get("Sid")
    if sid is not None:
        if not isinstance(sid, str) or (sid and sid in names):
            raise _malformed("Statement IDs (SID) in a single policy must be unique strings")
        names.add(sid)
    if "Effect" not in value:
        raise _malformed("Missing required field Effect")
    if value["Effect"] not in ("Allow", "Deny"):
        raise _malformed(f"Invalid effect: {str(value['Effect'])[:100]}")
    principals: Any = "*"
    negates_principals = False
    if bucket is not None:
        principals, negates_principals = _one_of(value, "Principal")
    elif "Principal" in value or "NotPrincipal" in value:
        raise _malformed("Policy document should not specify a principal.")
    actions, negates_actions = _one_of(value, "Action")
    resources, negates_resources = _one_of(value, "Resource")
    named = _actions(_texts(actions, "Action"))
    arns = _texts(resources, "Resource")
    for arn in arns if bucket is not None else ():
        _check_resource(arn, str(bucket))
    if bucket is not None and not negates_actions and not negates_resources:
        _check_match(_texts(actions, "Action"), arns)
    statement = _Statement(
        value["Effect"] == "Deny",
        _principals(principals),
        negates_principals,
        frozenset(ACTIONS) - named if negates_actions else named,
        Texts([text_tokens(arn, has_variables) for arn in arns]),
        negates_resources,
        _conditions(value.get("Condition", {}), has_variables),
    )
    for text in (*arns, *(text for each in statement.conditions for text in each.texts)):
        if has_variables and "${" in text:
            keys.update(token.key for token in text_tokens(text, True) if isinstance(token, Variable))
    keys.update(each.key for each in statement.conditions)
    return statement


def _check_variables(value: object) -> None:
    """What has variables is made anew for each request."""
    if json.dumps(value, ensure_ascii=False).count("${") > _MOST_VARIABLES:
        raise _malformed(f"A policy has at most {_MOST_VARIABLES} variables")


def _principals(value: Any) -> _Principals:
    if value == "*":
        return _Principals(everybody=True)
    if not isinstance(value, dict) or not value:
        raise _malformed("Invalid policy syntax.")
    _check_members(value, _KINDS)
    everybody = every_user = False
    names: set[str] = set()
    ids: set[str] = set()
    for kind, given in value.items():
        for text in _texts(given, "Principal"):
            if kind == "CanonicalUser":
                if not _canonical(text):
                    raise _malformed("Invalid principal in policy")
                ids.add(text.lower())
            elif kind == "AWS":
                if text == "*":
                    everybody = True
                elif _account(text):
                    every_user = every_user or text == ACCOUNT
                elif (found := _arn(text)) is not None:
                    is_ours = found[1] == "iam" and found[2] in ("", ACCOUNT)
                    if is_ours and found[3] == "root":
                        every_user = True
                    elif is_ours and found[3].startswith("user/"):
                        names.add(found[3].rpartition("/")[2])
                elif _canonical(text):
                    ids.add(text.lower())
                else:
                    raise _malformed("Invalid principal in policy")
            elif text == "*" and kind == "Service":
                raise _malformed("Invalid principal in policy")
    return _Principals(everybody, every_user, frozenset(names), frozenset(ids))


@lru_cache(maxsize=1024)
def _matching_actions(pattern: str) -> frozenset[str]:
    glob = Globs([tokens_of(pattern.lower())])
    return frozenset(action for action in ACTIONS if glob.matches(action.lower()))


def _actions(patterns: Sequence[str]) -> frozenset[str]:
    named: set[str] = set()
    for pattern in patterns:
        found = _matching_actions(pattern) if len(pattern) <= 256 else frozenset()
        if not found:
            raise _malformed("Policy has invalid action")
        named |= found
    return frozenset(named)


def _check_resource(arn: str, bucket: str) -> None:
    parts = arn.split(":", 5)
    if arn == "*" or arn.startswith(f"arn:aws:s3:::{bucket}/"):
        return
    if len(parts) != 6 or parts[0] != "arn" or not parts[1].startswith("aws") or parts[2:5] != ["s3", "", ""]:
        raise _malformed("Policy has invalid resource")
    name = parts[5].partition("/")[0]
    if not parts[5] or not _could_be(name, bucket, "/" in parts[5]):
        raise _malformed("Policy has invalid resource")


def _could_be(pattern: str, bucket: str, is_whole: bool) -> bool:
    """Whether a resource can be of the bucket: what is before its slash, or, without one, a beginning with wildcards."""
    if "${" in pattern:
        return True
    return Globs([tokens_of(pattern)]).matches(bucket) or (not is_whole and _begins(pattern, bucket))


def _begins(pattern: str, bucket: str) -> bool:
    """Whether a pattern without a slash matches an object's ARN: a C{*} has to stand for the slash."""
    star = pattern.find("*")
    return star >= 0 and Globs([tokens_of(pattern[: star + 1])]).matches(bucket)


def _check_match(patterns: Sequence[str], arns: Sequence[str]) -> None:
    """Each action must be one of buckets and there be a bucket, or of objects and there be objects."""
    has_buckets = any("/" not in arn or arn.rstrip("*").endswith(":") for arn in arns)
    has_objects = any("/" in arn or "*" in arn or "${" in arn for arn in arns)
    for pattern in patterns:
        kinds = {ACTIONS[action] for action in _matching_actions(pattern)}
        if not ((has_buckets and kinds & {BUCKET, "service"}) or (has_objects and "object" in kinds)):
            raise _malformed("Action does not apply to any resource(s) in statement")


def _conditions(value: Any, has_variables: bool) -> list[Condition]:
    if not isinstance(value, dict):
        raise _malformed("Condition must be an object")
    found = []
    for operator, keys in value.items():
        if not isinstance(keys, dict) or not keys:
            raise _malformed(f"The condition {operator[:100]} must be an object")
        for key, given in keys.items():
            values = [_scalar(each) for each in (given if isinstance(given, list) else [given])]
            try:
                found.append(read_condition(operator, key, values, has_variables))
            except KeyError as error:
                what = "condition operator" if error.args[0] == "operator" else "condition key"
                raise _malformed(f"Policy has an invalid {what}") from None
            except ValueError:
                raise _malformed(f"Policy has an invalid value for the condition {operator[:100]}") from None
    return found


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if not isinstance(value, str):
        raise _malformed("The values of a condition must be strings, numbers or booleans")
    return value
