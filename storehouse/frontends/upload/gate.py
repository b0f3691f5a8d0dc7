"""
Authorization: every resource of the upload door asks here before it does anything. Refusals are written to the log, at a bounded rate:
enough to see an attack, too few for one to fill the log.
"""

from __future__ import annotations

import hmac
import re
import time
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Callable, Sequence
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

import attrs
from twisted.internet.interfaces import ITransport
from twisted.logger import Logger

from storehouse.core.attempts import Attempts
from storehouse.core.budget import network_of
from storehouse.core.names import UPLOADS
from storehouse.core.tls.contexts import peer_common_name
from storehouse.errors import (
    BadRequest,
    Forbidden,
    ForgedRequest,
    LinkOutOfScope,
    LinkTampered,
    NoSuchBucket,
    NoSuchUser,
    NotSignedIn,
    SignInRefused,
)
from storehouse.events import AccessDecided
from storehouse.frontends.http.request import StreamingRequest, check_fields
from storehouse.frontends.http.shown import shown_name
from storehouse.storage.accounts.interfaces import LINK_PARAMETERS, Grant, IAccounts, Session, User
from storehouse.storage.objects.interfaces import Condition, IObjectStore

__all__ = ["COOKIE", "LINK", "TOKEN_FIELD", "Action", "Attempts", "Gate", "RefusalLog", "Visitor", "check_query"]


# -- refusals --------------------------------------------------------------------------------------


# As long as our key IDs, so that secrets, which have twice as many characters, are never shown.
_is_key_id = re.compile(r"[A-Za-z0-9._@-]{1,20}\Z").match


class RefusalLog:
    """
    Writes a line for a refusal, at a bounded rate for each address and for all together; what is left out is counted.

    Never what somebody gave as a secret, nor what might be one: people put them into the wrong field.

    @param clock: tells the time in seconds.
    """

    _log = Logger()

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._peers = Attempts(clock)
        self._all = Attempts(clock, burst=100, interval=1.0, size=1)
        self._left_out = 0

    def key(self, peer: str, key_id: str) -> None:
        """An access key was not right."""
        self._tell(
            peer,
            "access key {key_id} from {peer} refused{more}",
            key_id=key_id if _is_key_id(key_id) else "(malformed)",
        )

    def sign_in(self, peer: str, key_id: str | None) -> None:
        """A sign-in failed: by an access key, or, with C{None}, by a link."""
        shown = "by link" if key_id is None else f"by key {key_id if _is_key_id(key_id) else '(malformed)'}"
        self._tell(peer, "sign-in from {peer} refused, {how}{more}", how=shown)

    def certificate(self, peer: str, name: str) -> None:
        """A certificate is of nobody who is known."""
        self._tell(
            peer, "certificate of {name} from {peer} refused{more}", name=shown_name(name.encode("utf-8", "replace"))
        )

    def link(self, peer: str) -> None:
        """The signature of a link was not right."""
        self._tell(peer, "link with a wrong signature from {peer} refused{more}")

    def origin(self, peer: str, origin: bytes, host: bytes) -> None:
        """A page of another origin has made a request, or a proxy has changed the Host field."""
        self._tell(
            peer,
            "request from {peer} refused: a page of {origin} made it, and this server is called {host}; if a proxy"
            " changed the Host field, have it pass the field on, or set --https-url{more}",
            origin=shown_name(origin),
            host=shown_name(host),
        )

    def _tell(self, peer: str, text: str, **fields: Any) -> None:
        if self._peers.wait(peer) or self._all.wait(""):
            self._left_out += 1
            return
        self._peers.failed(peer)
        self._all.failed("")
        left_out, self._left_out = self._left_out, 0
        more = f" ({left_out} other refusals were not logged)" if left_out else ""
        self._log.warn(text, peer=peer, more=more, **fields)


# -- the gate --------------------------------------------------------------------------------------

#: What the name of a session's cookie begins with. Browsers take one of this prefix only over TLS, for this very host, for
#: all of it, whatever the port: the realm of the accounts follows, so that services on one host leave each other's alone. A
#: cookie without it is one of the first release, and taken as long as it is good.
COOKIE = b"__Host-storehouse"

#: The kind of holder of a link, of whom all together have half of the sessions at most: strangers have links.
LINK = "link"

#: The field of a request that repeats its session's token.
TOKEN_FIELD = b"X-CSRF-Token"

#: What is asked for: C{put} and C{get} of one name, C{list} names, C{delete} one, C{manage} what is one's own (links,
#: sessions, uploads), C{admin} what is everybody's.
Action = Literal["put", "get", "list", "delete", "manage", "admin"]

#: What a user must have for an action. Storing needs one of two, as the key is new or not: L{Gate.put_condition}.
_PERMISSION = {"get": "read", "list": "list", "delete": "delete"}

#: What a link for a method and a path is for, and what one that gives rights may be for.
_LINKED = {"put": "PUT", "get": "GET"}
_RIGHTFUL = frozenset({"put", "get", "list", "delete"})
_CHANGING = frozenset({b"POST", b"PUT", b"PATCH", b"DELETE"})


@attrs.frozen
class Visitor:
    """
    The user of a request, and the rights.

    @ivar user: the user; C{None} for the holder of a link, or a reader of public objects.
    @ivar how: how that is known: C{session}, C{key}, C{certificate}, C{link} or C{public}.
    @ivar session: the session, if it is one.
    @ivar grant: what the link allows, if it is one.
    @ivar link: the parameters of the link in the request's query, for URLs that it works at, too; empty unless it gives rights.
    @ivar address: the address of the client; empty if it has none.
    @ivar source: where the request comes from, for the audit.
    """

    user: User | None
    how: str
    session: Session | None = None
    grant: Grant | None = None
    address: str = ""
    link: str = ""
    source: str = ""

    @property
    def shares(self) -> tuple[tuple[str, str], ...]:
        """
        In whose shares an upload is: those of the address and the user; or of the link, and of all links that the same user
        has signed: what strangers do with them takes nothing from the user.
        """
        held = [("address", network_of(self.address)), ("user", self.user.name if self.user is not None else "")]
        if self.grant is not None:
            held += [(LINK, self.grant.nonce), ("signer of links", self.grant.user)]
        return tuple((kind, name) for kind, name in held if name)

    @property
    def name(self) -> str:
        """The name of the user, or of the user who signed the link; empty for nobody."""
        if self.user is not None:
            return self.user.name
        return self.grant.user if self.grant is not None else ""

    @property
    def max_bytes(self) -> int | None:
        """The most that may be stored at once; C{None} for as much as anybody may."""
        return self.grant.max_bytes if self.grant is not None else None


class Gate:
    """
    Lets in, or refuses.

    @param bucket: the bucket of those requests that name none.
    @param common_name: tells of a transport who its peer's verified certificate is for; an empty text for nobody.
    @param base_url: gives the URL by which others know the door, which is not the one that it sees behind a proxy.
    @ivar audit: takes in L{AccessDecided} and L{AccessChanged}.
    @ivar refusals: where refusals of keys, links and pages of other sites are written down.
    """

    def __init__(
        self,
        accounts: IAccounts,
        store: IObjectStore,
        bucket: str = UPLOADS,
        common_name: Callable[[ITransport | None], str] = peer_common_name,
        base_url: Callable[[], str] = str,
        refusals: RefusalLog | None = None,
        audit: Callable[[object], object] = lambda event: None,
    ) -> None:
        self.audit = audit
        self.refusals = refusals or RefusalLog()
        self._accounts = accounts
        self._store = store
        self._bucket = bucket
        self._common_name = common_name
        self._base_url = base_url

    @property
    def cookie(self) -> bytes:
        """The name of a session's cookie here."""
        return b"%b-%b" % (COOKIE, self._accounts.realm.encode("ascii"))

    def cookies_of(self, request: StreamingRequest) -> dict[bytes, str]:
        """The session's cookies that a request has, by their names; the one of our own name first."""
        found = _cookies_in(request, (self.cookie, COOKIE))
        return {name: found[name].decode("latin-1") for name in (self.cookie, COOKIE) if found.get(name)}

    async def admit(
        self,
        request: StreamingRequest,
        action: Action,
        path: str | None = None,
        bucket: str = "",
        token_later: bool = False,
        goes_on: bool = False,
        key: str = "",
    ) -> Visitor:
        """
        Find out who makes a request, and whether that one may. What is stored, and what is continued, is asked of L{put_condition}
        once its key is known.

        @param path: the path that a link must be for, percent-encoded; C{None} for that of the request.
        @param bucket: the bucket to be read; empty for the door's own.
        @param key: what is to be read or removed; for a list, what its keys begin with.
        @param token_later: the session's token is within the body: L{check_token} is called once it is read.
        @param goes_on: whether the request continues what the link was used for, see L{IAccounts.grant_of}.
        @raise NotSignedIn: if it is nobody who is known.
        @raise Forbidden: or a subclass, if the visitor is known and not authorized.
        """
        if b"signature" in request.fields:
            try:
                visitor = attrs.evolve(
                    self._with_link(request, action, path, goes_on), address=request.address, source=request.source
                )
            except Forbidden as error:
                self.refused(request, error, action)
                raise
            request.visitor = f"link:{visitor.name}"
            await self._check(visitor, action, bucket or self._bucket, key)
            return visitor
        try:
            visitor = attrs.evolve(self._known(request), address=request.address, source=request.source)
        except NotSignedIn as error:
            is_public = action in ("get", "list") and await self._is_public(bucket or self._bucket)
            if isinstance(error, SignInRefused) or not is_public:
                self.refused(request, error, action)
            if is_public:
                return Visitor(None, "public")
            raise
        request.visitor = visitor.name
        if visitor.how in ("session", "certificate") and request.method in _CHANGING:
            self.check_origin(request)
            if visitor.session is not None and not token_later:
                given = request.requestHeaders.getRawHeaders(TOKEN_FIELD) or [b""]
                self.check_token(visitor, given[0].decode("latin-1"))
        if action == "admin" and not (visitor.user and visitor.user.is_unlimited_admin):
            self._decided(visitor, action, "", False)
            raise Forbidden(f"{visitor.name} is not an administrator, or has a key with limits")
        await self._check(visitor, action, bucket or self._bucket, key)
        return visitor

    def refused(self, request: StreamingRequest, error: Exception, action: str, user: str = "") -> None:
        """Report that authentication was refused, or is missing; without the credentials, which may be secret."""
        what = f"{action} ({type(error).__name__})"
        self.audit(AccessDecided("https", user, request.source, what, _place(request), False))

    async def _check(self, visitor: Visitor, action: Action, bucket: str, key: str) -> None:
        permission = _PERMISSION.get(action)
        if permission is None:
            return
        (is_allowed,) = await self._may(visitor, bucket, key, permission)
        if not is_allowed and action in ("get", "list"):
            is_allowed = await self._is_public(bucket)
        self._decided(visitor, permission, f"{bucket}/{key}", is_allowed)
        if is_allowed:
            return
        if visitor.grant is not None and visitor.grant.rights is not None:
            raise LinkOutOfScope(f"the link, or who signed it, has no right to {permission} that")
        raise Forbidden(f"{visitor.name} has no right to {permission} {shown_name(f'{bucket}/{key}'.encode())}")

    def _decided(self, visitor: Visitor, action: str, resource: str, is_allowed: bool) -> None:
        who = f"link:{visitor.name}" if visitor.grant is not None else visitor.name
        self.audit(AccessDecided("https", who, visitor.source, action, resource, is_allowed))

    async def _may(self, visitor: Visitor, bucket: str, key: str, *permissions: str) -> list[bool]:
        """
        The decision of all doors, for each permission. A link can do what the user who signed it can; if it gives rights, only what
        these allow as well.
        """
        try:
            user = visitor.user or self._accounts.user_named(visitor.name)
        except NoSuchUser:
            return [False] * len(permissions)
        try:
            owner = (await self._store.get_bucket(bucket)).owner
        except (NoSuchBucket, BadRequest):
            owner = ""  # the store says so
        if visitor.grant is not None and visitor.grant.rights is not None:
            # As the limits of an access key.
            user = attrs.evolve(user, limits=[visitor.grant.rights])
        return [user.may(permission, bucket, key, owner) for permission in permissions]

    async def put_condition(self, visitor: Visitor, key: str, condition: Condition) -> Condition:
        """
        The condition by which a visitor can store an object in the door's own bucket: that of the request, and that the key has no
        object for those who cannot replace any, or that it has one for those who can do only that.

        @raise Forbidden: if nothing is left; for a condition on an etag by a user who cannot read the object: its result would tell
            about the content.
        """
        if condition.etag not in (None, "*") and visitor.user is not None:
            (can_read,) = await self._may(visitor, self._bucket, key, "read")
            if not (can_read or await self._is_public(self._bucket)):
                self._decided(visitor, "read", f"{self._bucket}/{key}", False)
                raise Forbidden(f"{visitor.name} has no right to read {shown_name(key.encode())}")
        new, replacing = await self._may(visitor, self._bucket, key, "put-new", "overwrite")
        narrowed = condition if new and replacing else condition.narrowed(new, replacing)
        permission = "put-new" if new or not replacing else "overwrite"
        self._decided(visitor, permission, f"{self._bucket}/{key}", narrowed is not None)
        if narrowed is None:
            raise Forbidden(
                f"{visitor.name} has no right to {'replace' if new else 'store'} {shown_name(key.encode())}"
            )
        return narrowed

    def check_token(self, visitor: Visitor, text: str) -> None:
        """
        Make sure that a form was made by our own page.

        @param text: what the form has as C{csrf}.
        @raise ForgedRequest: if it is not the session's token. Who came without a session needs none.
        """
        if visitor.session is None:
            return
        if not hmac.compare_digest(visitor.session.token.encode(), text.encode()):
            raise ForgedRequest(
                "the request lacks the session's token, so another site may have made it: reload the page, or send "
                "the X-CSRF-Token field"
            )

    async def use(self, visitor: Visitor) -> None:
        """
        To be called before the first byte is stored or sent: uses up a link that works once.

        @raise LinkUsed: if somebody else was faster.
        """
        if visitor.grant is not None:
            await self._accounts.use_link(visitor.grant)

    # -- who it is -----------------------------------------------------------------------------

    def _with_link(self, request: StreamingRequest, action: Action, path: str | None, goes_on: bool) -> Visitor:
        gives_rights = b"rights" in request.fields
        method = action.upper() if gives_rights and action in _RIGHTFUL else _LINKED.get(action)
        if method is None or (b"bucket" in request.fields and not gives_rights):
            raise LinkOutOfScope("a link only allows to store or read what it names")
        target = request.path.decode("ascii", "replace") if path is None else path
        try:
            grant = self._accounts.grant_of(method, target, request.fields, goes_on)
        except LinkTampered:
            self.refusals.link(request.address)
            raise
        link = ""
        if grant.rights is not None:
            names = [name for name in LINK_PARAMETERS if name in request.fields and name != b"prefix"]
            link = urlencode([(name, request.fields[name]) for name in names])
        return Visitor(None, "link", grant=grant, link=link)

    def _known(self, request: StreamingRequest) -> Visitor:
        credentials = request.requestHeaders.getRawHeaders(b"Authorization")
        if credentials:
            # A client that sends a key means it: a wrong one is refused, not replaced by a session or a certificate.
            key_id = ""
            try:
                key_id, secret = _key_in(credentials)
                return Visitor(self._accounts.user_of_key(key_id, secret), "key")
            except SignInRefused:
                self.refusals.key(request.address, key_id)
                raise
        cookies = self.cookies_of(request)
        for cookie in cookies.values():
            try:
                session = self._accounts.session_of(cookie)
            except NotSignedIn:
                pass  # perhaps there is another one, or a certificate
            else:
                return Visitor(session.user, "session", session)
        name = self._common_name(request.channel.transport)
        if name:
            try:
                return Visitor(self._accounts.user_of_certificate(name), "certificate")
            except SignInRefused:
                self.refusals.certificate(request.address, name)
                raise
        raise NotSignedIn(
            "sign in, or use an access key: curl -u KEY-ID:SECRET"
            if not cookies
            else "the session is over: sign in again"
        )

    def check_origin(self, request: StreamingRequest) -> None:
        """
        Browsers send cookies and certificates with requests that any page makes, and name the page's origin; programs
        do not.

        @raise ForgedRequest: if a page of another site has the request made, or a proxy has changed the Host field and the
            browser is an old one.
        """
        headers = request.requestHeaders
        sites = {value.lower() for value in headers.getRawHeaders(b"Sec-Fetch-Site") or []}
        if sites - {b"none", b"same-origin"}:
            raise ForgedRequest("the request was made by a page of another site")
        if sites == {b"same-origin"}:
            # The browser's own word: no page can write it, and no proxy's idea of the Host field changes it.
            return
        base = urlsplit(self._base_url())
        ours = {b"https://" + host.lower() for host in headers.getRawHeaders(b"Host") or []}
        if base.netloc:
            ours.add(f"{base.scheme}://{base.netloc}".lower().encode())
        for origin in headers.getRawHeaders(b"Origin") or []:
            # With its scheme: an attacker on the network can serve a page at http:// of the same host.
            if origin.lower() not in ours:
                host = (headers.getRawHeaders(b"Host") or [b""])[0]
                self.refusals.origin(request.address, origin, host)
                raise ForgedRequest(
                    f"the request was made by a page of {shown_name(origin)}, and this server is called "
                    f"{shown_name(host)}: if that is one site, a proxy has changed the Host field; it must pass the "
                    "field on, or the server needs its name by --https-url"
                )

    async def _is_public(self, bucket: str) -> bool:
        try:
            found: Any = await self._store.get_bucket(bucket)
        except (NoSuchBucket, BadRequest):
            return False
        return "read" in found.metadata.get("public", ())


def _place(request: StreamingRequest) -> str:
    """The first component of the path: what follows may be a secret, as at C{/sign-in}."""
    return "/" + request.path[1:].partition(b"/")[0].decode("ascii", "replace")


def check_query(request: StreamingRequest) -> None:
    """@raise BadRequest: if the query has a field, but for those of a link."""
    check_fields(request, frozenset(LINK_PARAMETERS if b"signature" in request.fields else ()))


def _cookies_in(request: StreamingRequest, names: Sequence[bytes]) -> dict[bytes, bytes]:
    """The values of these cookies, of those that are there. Others are not kept: anybody can send thousands of them."""
    found = {}
    for field in request.requestHeaders.getRawHeaders(b"Cookie") or []:
        for pair in field.split(b";") if COOKIE in field else ():
            name, _, value = pair.strip().partition(b"=")
            if name in names:
                found[name] = value
    return found


def _key_in(credentials: Sequence[bytes]) -> tuple[str, str]:
    """An access key and its secret from the field Authorization: Basic, or Bearer with a dot between them."""
    scheme, _, value = credentials[0].strip().partition(b" ")
    if scheme.lower() == b"basic":
        try:
            text = b64decode(value.strip(), validate=True).decode()
        except (BadBase64, UnicodeDecodeError):
            text = ""
        key_id, found, secret = text.partition(":")
    elif scheme.lower() == b"bearer":
        key_id, found, secret = value.strip().decode("latin-1").partition(".")
    else:
        raise SignInRefused("Authorization must be Basic or Bearer")
    if len(credentials) > 1 or not found:
        raise SignInRefused("Authorization does not have a key ID and its secret")
    return key_id, secret
