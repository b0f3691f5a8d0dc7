"""C{/sign-in} and C{/sign-out}."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs
from twisted.logger import Logger

from storehouse.errors import BadRequest, NotSignedIn, SignInRefused
from storehouse.events import AccessChanged, AccessDecided
from storehouse.frontends.http.reply import Reply, error_reply, json_reply
from storehouse.frontends.http.request import Leaf, StreamingRequest, accepts_html, check_fields
from storehouse.frontends.upload import pages
from storehouse.frontends.upload.gate import TOKEN_FIELD, Attempts, Gate, Visitor
from storehouse.frontends.upload.smallforms import local_path, read_form, see_other
from storehouse.storage.accounts.interfaces import IAccounts, Session

__all__ = ["SignIn", "SignOut", "check_form_token"]

_NO_FIELDS: frozenset[bytes] = frozenset()
_NEXT = frozenset({b"next"})

_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Strict"

#: For programs that look what there is.
_HINT = {
    "sign_in": "POST key_id and secret as application/x-www-form-urlencoded; or send them with each request: Authorization: Basic",
    "fields": ["key_id", "secret", "next"],
}

#: The most characters of a sign-in token that is looked at.
_MOST_TOKEN = 200


class SignIn(Leaf):
    """
    C{/sign-in}: a form that takes an access key; C{/sign-in/TOKEN}: a button that uses up a token.

    Browsers are sent on, with a cookie; programs get the cookie, and the token of the session as JSON.

    @param clock: tells the time, seconds since 1970 UTC.
    """

    takes_rest = True
    logs_rest = False
    _log = Logger()

    def __init__(
        self,
        gate: Gate,
        accounts: IAccounts,
        clock: Callable[[], float] = time.time,
        attempts: Attempts | None = None,
    ) -> None:
        Leaf.__init__(self)
        self._gate = gate
        self._accounts = accounts
        self._clock = clock
        self._attempts = attempts or Attempts(clock)

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """A page. It uses nothing up: programs look at links before people do."""
        token = _token_in(request)
        if token is not None:
            check_fields(request, _NO_FIELDS)
            return pages.sign_in_token(token)
        check_fields(request, _NEXT)
        if not accepts_html(request):
            return json_reply(_HINT)
        return pages.sign_in(local_path(request.fields.get(b"next", b"").decode("utf-8", "replace")))

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        """Sign in by access key; sets the cookie of a new session."""
        check_fields(request, _NO_FIELDS)
        # Another site must not sign a user in as somebody else.
        self._gate.check_origin(request)
        token = _token_in(request)
        form = await read_form(request)
        next_path = local_path(form.get("next", ""))
        peer = request.address or "-"
        action = "sign-in" if token is None else "sign-in by link"
        try:
            session = await self._session(form) if token is None else await self._accounts.sign_in_by_token(token)
        except SignInRefused as error:
            self._gate.refused(request, error, action)
            # Not before: behind a proxy all have one address, and nobody's failures may keep out who has a right key.
            wait = self._attempts.wait(peer)
            if wait:
                return _too_often(request, next_path, wait)
            self._attempts.failed(peer)
            self._gate.refusals.sign_in(peer, form.get("key_id", "") if token is None else None)
            if not accepts_html(request):
                raise
            key_id = form.get("key_id", "") if token is None else ""
            reply = pages.sign_in(next_path, _sentence(error.detail), key_id[:100], status=401)
            return _with_headers(reply, *error_reply(error).headers)
        request.visitor = session.user.name
        self._log.info("{user} has signed in from {peer}", user=session.user.name, peer=peer)
        self._gate.audit(AccessDecided("https", session.user.name, request.source, action, "/sign-in", True))
        cookie = (b"Set-Cookie", self._cookie(session))
        if accepts_html(request):
            return see_other(next_path, cookie)
        told = {"user": session.user.name, "expires": session.expires, "token": session.token}
        return _with_headers(json_reply(told), cookie, (b"Cache-Control", b"no-store"))

    async def _session(self, form: dict[str, str]) -> Session:
        if "key_id" not in form or "secret" not in form:
            raise BadRequest("the form needs the fields key_id and secret")
        # As they are pasted.
        user = self._accounts.user_of_key(form["key_id"].strip(), form["secret"].strip())
        return self._accounts.begin_session(user)

    def _cookie(self, session: Session) -> bytes:
        age = max(0, int(session.expires - self._clock()))
        return self._gate.cookie + f"={session.cookie}; Max-Age={age}; {_ATTRIBUTES}".encode("ascii")


class SignOut(Leaf):
    """C{/sign-out}: ends the session, and takes the cookie away."""

    def __init__(self, gate: Gate, accounts: IAccounts) -> None:
        Leaf.__init__(self)
        self._gate = gate
        self._accounts = accounts

    async def handle_POST(self, request: StreamingRequest) -> Reply:
        """Sign out. The response is the same without a session."""
        check_fields(request, _NO_FIELDS)
        # Another site's request comes without the cookie, but the answer would take it away.
        self._gate.check_origin(request)
        form = await read_form(request)
        gone = {self._gate.cookie}
        try:
            visitor = await self._gate.admit(request, "manage", token_later=True)
        except NotSignedIn:
            pass  # expired or unknown: the cookie is removed all the same
        else:
            check_form_token(self._gate, visitor, request, form)
            if visitor.session is not None:
                # Another service on this host may have a cookie of the old name: that one stays.
                given = self._gate.cookies_of(request).items()
                gone.update(name for name, value in given if value == visitor.session.cookie)
                await self._accounts.end_session(visitor.session)
                self._gate.audit(AccessChanged("https", visitor.name, request.source, "sign-out", visitor.name))
        headers = [(b"Set-Cookie", name + f"=; Max-Age=0; {_ATTRIBUTES}".encode("ascii")) for name in sorted(gone)]
        if accepts_html(request):
            return see_other("/sign-in", *headers)
        return _with_headers(json_reply({"success": True}), *headers)


def check_form_token(gate: Gate, visitor: Visitor, request: StreamingRequest, form: dict[str, str]) -> None:
    """
    Make sure that a small form, or a request of a script, comes from our own page.

    @raise ForgedRequest: if neither the field C{csrf} nor the header field has the session's token.
    """
    given = request.requestHeaders.getRawHeaders(TOKEN_FIELD) or [form.get("csrf", "").encode()]
    gate.check_token(visitor, given[0].decode("latin-1"))


def _token_in(request: StreamingRequest) -> str | None:
    """The token of the path; C{None} if it is the plain one."""
    parts = request.postpath
    if not parts or parts == [b""]:
        return None
    if len(parts) > 1 or len(parts[0]) > _MOST_TOKEN:
        raise request.no_such_resource()
    return parts[0].decode("utf-8", "replace")


def _too_often(request: StreamingRequest, next_path: str, wait: int) -> Reply:
    problem = f"too many failed sign-ins from your address: try again in {wait} seconds"
    if accepts_html(request):
        reply = pages.sign_in(next_path, _sentence(problem), status=429)
    else:
        reply = json_reply({"error": "TooManyAttempts", "detail": problem}, 429)
    return _with_headers(reply, (b"Retry-After", b"%d" % wait))


def _sentence(detail: str) -> str:
    return detail[:1].upper() + detail[1:] + "."


def _with_headers(reply: Reply, *headers: tuple[bytes, bytes]) -> Reply:
    return attrs.evolve(reply, headers=(*reply.headers, *headers))
