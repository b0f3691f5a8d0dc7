"""
The keys of conditions and variables, and their values in a request.

A key that makes no sense here, as those of accounts in an organization and of private networks, has no value.

Source: "AWS global condition context keys" of Amazon's IAM user guide; "Actions, resources, and condition keys for Amazon S3".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl, unquote

from storehouse.frontends.s3.access.policy import ACCOUNT, user_arn
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.signing.claims import shown_time

__all__ = ["RequestValues"]

#: Tags that a request can have, and one more, and bytes of the field that has them.
_MOST_TAGS = 51
_MOST_FIELD = 16 << 10

_CREATES = frozenset({"PutObject", "PostObject", "CopyObject", "CompleteMultipartUpload", "AppendObject"})


class RequestValues:
    """
    Gives the values of keys in a call.

    @param object_tags: of the object that is there; C{None} if there is none.
    @param request_tags: those that the request has in its body; C{None} for those of its header field.
    """

    def __init__(
        self,
        call: Call,
        object_tags: Mapping[str, str] | None = None,
        request_tags: Mapping[str, str] | None = None,
    ) -> None:
        self._call = call
        self._object_tags = object_tags or {}
        self._request_tags = request_tags
        self._found: dict[str, Sequence[str] | None] = {}

    def __call__(self, key: str) -> Sequence[str] | None:
        """The values of a key, whose name is in lower case; C{None} if it has none."""
        if key not in self._found:
            self._found[key] = self._values(key)
        return self._found[key]

    def _values(self, key: str) -> Sequence[str] | None:
        first, slash, name = key.partition("/")
        if slash:
            tags = {"s3:existingobjecttag": self._object_tags}.get(first)
            if first in ("s3:requestobjecttag", "aws:requesttag"):
                tags = self._tags()
            return [tags[name]] if tags is not None and name in tags else None
        if key in ("s3:requestobjecttagkeys", "aws:tagkeys"):
            return list(self._tags()) or None
        if key == "s3:x-amz-copy-source":
            return _sources(_field(self._call, key[3:]))
        make = _MAKERS.get(key)
        value = None
        if make is not None:
            value = make(self._call)
        elif key.startswith("s3:x-amz-") or key in ("s3:if-match", "s3:if-none-match"):
            value = _field(self._call, key[3:])
        return None if value is None else [value]

    def _tags(self) -> Mapping[str, str]:
        if self._request_tags is None:
            text = (_field(self._call, "x-amz-tagging") or "")[:_MOST_FIELD]
            self._request_tags = dict(parse_qsl(text, keep_blank_values=True)[:_MOST_TAGS])
        return self._request_tags


def _field(call: Call, name: str) -> str | None:
    """A header field, or that of a form; the last of several: a policy must see what is looked at."""
    if call.form is not None and name.startswith("x-amz-"):
        return call.form(name)
    values = call.request.requestHeaders.getRawHeaders(name.encode("ascii"), [])
    return values[-1].strip().decode("utf-8", "replace") if values else None


def _sources(value: str | None) -> Sequence[str] | None:
    """The source of a copy, decoded, without its version: with and without a slash before it, since policies are written either way."""
    if value is None:
        return None
    source = unquote(value.partition("?versionId=")[0]).lstrip("/")
    return [source, f"/{source}"]


def _now(call: Call) -> float:
    return call.door.clock.seconds()


def _is_signed(call: Call) -> bool:
    return call.caller.user is not None


def _role(call: Call) -> str | None:
    """The name of the session of a role that was assumed."""
    temporary = None if call.caller.user is None else call.caller.user.temporary
    return temporary.name if temporary is not None and temporary.is_role else None


def _issued(call: Call) -> str | None:
    temporary = None if call.caller.user is None else call.caller.user.temporary
    return None if temporary is None else shown_time(temporary.issued)


def _user_id(call: Call) -> str:
    if not _is_signed(call):
        return "anonymous"
    role = _role(call)
    return call.caller.name if role is None else f"{call.caller.name}:{role}"


_MAKERS: Mapping[str, Callable[[Call], str | None]] = {
    "aws:currenttime": lambda call: shown_time(_now(call)),
    "aws:epochtime": lambda call: str(int(_now(call))),
    "aws:principalaccount": lambda call: ACCOUNT if _is_signed(call) else None,
    "aws:principalarn": lambda call: user_arn(call.caller.name) if _is_signed(call) else None,
    "aws:principalisawsservice": lambda call: "false",
    "aws:principaltype": lambda call: "Anonymous" if not _is_signed(call) else "AssumedRole" if _role(call) else "User",
    "aws:referer": lambda call: _field(call, "referer"),
    "aws:requestedregion": lambda call: call.door.region,
    "aws:resourceaccount": lambda call: ACCOUNT,
    "aws:securetransport": lambda call: "true" if call.caller.is_secure else "false",
    "aws:sourceip": lambda call: call.caller.address or None,
    "aws:useragent": lambda call: _field(call, "user-agent"),
    "aws:tokenissuetime": _issued,
    "aws:userid": _user_id,
    "aws:username": lambda call: call.caller.name if _is_signed(call) else None,
    "aws:viaawsservice": lambda call: "false",
    "sts:rolesessionname": _role,
    "s3:authtype": lambda call: call.caller.kind or None,
    "s3:delimiter": lambda call: call.query.get("delimiter"),
    "s3:max-keys": lambda call: call.query.get("max-keys"),
    "s3:objectcreationoperation": lambda call: "true" if call.operation in _CREATES else "false",
    "s3:prefix": lambda call: call.query.get("prefix"),
    "s3:resourceaccount": lambda call: ACCOUNT,
    "s3:signatureage": lambda call: str(int(call.caller.age * 1000)) if _is_signed(call) else None,
    "s3:signatureversion": lambda call: call.caller.algorithm if _is_signed(call) else None,
    # The oldest that is spoken here.
    "s3:tlsversion": lambda call: "1.2" if call.caller.is_secure else None,
    "s3:x-amz-content-sha256": lambda call: call.caller.payload or None,
    "s3:versionid": lambda call: call.query.get("versionId"),
}
