"""
Temporary access keys by the protocol of AWS's Security Token Service, at the root of the door: a form that is signed for the
service C{sts}, and XML in return.

A role is the user's own, narrowed: C{arn:aws:iam::000000000000:role/NAME} is that of the user NAME, and nobody else can assume it.

Source: the API reference of AWS's Security Token Service, 2011-06-15, as the service model of botocore has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from storehouse.core.xmltext import XML, element, text
from storehouse.errors import BadRequest, SignInRefused, StorehouseError
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.http.request import DoorRequest
from storehouse.frontends.s3.access.owning import audit_change, audit_refused_signature
from storehouse.frontends.s3.access.policy import ACCOUNT, MOST_SESSION_POLICY, session_policy, user_arn
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error, s3_error
from storehouse.frontends.s3.signing.claims import shown_time
from storehouse.storage.accounts.interfaces import TemporaryKey, User

__all__ = ["is_for_sts", "respond"]

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_VERSION = "2011-06-15"

#: Bytes of a form, and its fields.
_MOST, _FIELDS = 32 << 10, 50

#: Seconds that a key lasts by default.
_USUAL = 3600

#: Codes and statuses of this service for codes of S3 that it calls otherwise.
_CODES: Mapping[str, tuple[str, int]] = {
    "InvalidAccessKeyId": ("InvalidClientTokenId", 403),
    "InvalidToken": ("InvalidClientTokenId", 403),
    "ExpiredToken": ("ExpiredToken", 403),
    "AuthorizationHeaderMalformed": ("IncompleteSignature", 400),
    "RequestTimeTooSkewed": ("SignatureDoesNotMatch", 403),
    "MalformedPolicy": ("MalformedPolicyDocument", 400),
    "InternalError": ("InternalFailure", 500),
    "SlowDown": ("Throttling", 400),
}


class _StsError(BadRequest):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def is_for_sts(request: DoorRequest) -> bool:
    """Whether a POST to the root is a form of this service."""
    given = (request.requestHeaders.getRawHeaders(b"Content-Type") or [b""])[-1]
    return given.partition(b";")[0].strip().lower() == b"application/x-www-form-urlencoded"


async def respond(call: Call) -> Reply:
    """Serve a request of this service; failures become its error documents."""
    try:
        data = await call.read_body(_MOST)
        try:
            signed = call.authenticator.authenticate_service(call.request, data, "sts")
        except S3Error as error:
            audit_refused_signature(call, error)
            raise
        if signed.user is None:
            raise _StsError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
        call.take_caller(signed)
        form = _form_of(data)
        action = form.pop("Action", "")
        found = _ACTIONS.get(action)
        if found is None or form.pop("Version", "") != _VERSION:
            raise _StsError("InvalidAction", f"Could not find operation {action[:100]} for version {_VERSION}")
        serve, parameters = found
        for name in form:
            if name not in parameters:
                # Ignoring it could give the key more rights than were asked for.
                raise _invalid(f"{name[:100]} is not a parameter of {action} here")
        result = serve(call, signed.user, form)
        parts = (element(f"{action}Result", result), element("ResponseMetadata", text("RequestId", call.request_id)))
        return Reply(200, _document(f"{action}Response", *parts), XML)
    except StorehouseError as error:
        code, status, message = _said(error)
        kind = "Sender" if status < 500 else "Receiver"
        shown = element("Error", text("Type", kind), text("Code", code), text("Message", message))
        return Reply(status, _document("ErrorResponse", shown, text("RequestId", call.request_id)), XML)


def _said(error: StorehouseError) -> tuple[str, int, str]:
    if isinstance(error, _StsError):
        return error.code, error.status, error.detail
    said = s3_error(error)
    code, status = _CODES.get(said.code, (said.code, said.status))
    return code, status, said.detail


def _document(name: str, *parts: str) -> bytes:
    return f'<{name} xmlns="{_NAMESPACE}">{"".join(parts)}</{name}>'.encode()


def _invalid(message: str) -> _StsError:
    return _StsError("ValidationError", message)


def _form_of(data: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            data.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_FIELDS
        )
    except ValueError:
        raise _invalid("The body is not a form in UTF-8") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _invalid("A parameter is there more than once")
    return form


def _duration(form: Mapping[str, str]) -> int:
    given = form.get("DurationSeconds", str(_USUAL))
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise _invalid("DurationSeconds must be a number")
    return int(given)


def _identity(call: Call, user: User, form: Mapping[str, str]) -> str:
    temporary = user.temporary
    arn, user_id = user_arn(user.name), user.name
    if temporary is not None and temporary.is_role:
        arn, user_id = _session_arn(user, temporary.name), f"{user.name}:{temporary.name}"
    return text("Arn", arn) + text("UserId", user_id) + text("Account", ACCOUNT)


def _session_arn(user: User, name: str) -> str:
    return f"arn:aws:sts::{ACCOUNT}:assumed-role/{user.name}/{name}"


def _session_token(call: Call, user: User, form: Mapping[str, str]) -> str:
    if user.temporary is not None:
        raise S3Error("AccessDenied", "Cannot call GetSessionToken with session credentials")
    return _issue(call, user, form)


def _assume_role(call: Call, user: User, form: Mapping[str, str]) -> str:
    name = form.get("RoleSessionName", "")
    if not name:
        raise _invalid("RoleSessionName is missing")
    own = f"arn:aws:iam::{ACCOUNT}:role/{user.name}"
    if form.get("RoleArn") != own:
        raise S3Error("AccessDenied", f"The user {user.name} is not authorized to assume any role but {own}")
    policy = form.get("Policy")
    if policy is not None:
        if len(policy) > MOST_SESSION_POLICY:
            raise _invalid(f"Policy has at most {MOST_SESSION_POLICY} characters")
        session_policy(policy)
    issued = _issue(call, user, form, name, policy)
    arn = text("Arn", _session_arn(user, name)) + text("AssumedRoleId", f"{user.name}:{name}")
    return issued + element("AssumedRoleUser", arn)


def _issue(call: Call, user: User, form: Mapping[str, str], name: str = "", policy: str | None = None) -> str:
    lifetime = _duration(form)
    try:
        key: TemporaryKey = call.door.accounts.issue_temporary(
            user, call.caller.key_id, lifetime, name, None, policy, bool(name)
        )
    except SignInRefused:
        raise
    except BadRequest as error:
        raise _invalid(error.detail) from None
    until = shown_time(key.expires)
    audit_change(call, "temporary-key", user.name, f"{key.key_id} until {until}{f', session {name}' if name else ''}")
    return element(
        "Credentials",
        text("AccessKeyId", key.key_id),
        text("SecretAccessKey", key.secret),
        text("SessionToken", key.token),
        text("Expiration", until),
    )


#: What serves each action, and the parameters that it takes.
_ACTIONS: Mapping[str, tuple[Callable[[Call, User, Mapping[str, str]], str], frozenset[str]]] = {
    "GetCallerIdentity": (_identity, frozenset()),
    "GetSessionToken": (_session_token, frozenset({"DurationSeconds"})),
    "AssumeRole": (_assume_role, frozenset({"DurationSeconds", "RoleArn", "RoleSessionName", "Policy"})),
}
