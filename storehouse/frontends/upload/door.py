"""The upload door as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import attrs
from prometheus_client import CollectorRegistry
from twisted.internet.interfaces import IReactorTime

from storehouse.config.settings import HTTPSSettings
from storehouse.core.jobs import IDisk
from storehouse.errors import BadRequest, NotSignedIn
from storehouse.frontends.http.reply import Reply, error_reply
from storehouse.frontends.http.request import (
    DoorRequest,
    Leaf,
    Root,
    StreamingRequest,
    accepts_html,
    check_fields,
    is_browser,
)
from storehouse.frontends.upload import pages
from storehouse.frontends.upload.assets import StaticFiles, load_assets
from storehouse.frontends.upload.download import Downloads
from storehouse.frontends.upload.gate import Gate
from storehouse.frontends.upload.intake import Activity, Intake, UploadMemory
from storehouse.frontends.upload.links import Links
from storehouse.frontends.upload.listing import Listings
from storehouse.frontends.upload.open import OpenUploads
from storehouse.frontends.upload.resumable.ietf.door import IETFUploads
from storehouse.frontends.upload.resumable.tus import TusUploads
from storehouse.frontends.upload.sessions import SignIn, SignOut
from storehouse.frontends.upload.stats import DiskLeft, EventStream, Metrics, Overview, Stats
from storehouse.frontends.upload.upload import FormUpload, Upload
from storehouse.frontends.upload.users import Users
from storehouse.storage.accounts.interfaces import IAccounts
from storehouse.storage.objects.interfaces import IObjectStore
from storehouse.storage.resumable.interfaces import IResumableUploads

__all__ = ["UploadDoor"]


class UploadDoor:
    """
    Files in and out over HTTPS.

    @param memory: bytes of uploads that are held in memory, together.
    @param base_url: gives the URL of the door, without a slash at its end.
    @param directory: where objects are stored, to tell how much room there is.
    @param connections: gives how many connections to the door are open.
    @param registry: has the metrics of all of storehouse.
    @param clock: C{IReactorTime}.
    @param audit: gets authorization decisions, and changes of rights.
    @ivar resource: the top of its resource tree.
    @ivar collectors: what to register in C{registry}.
    """

    def __init__(
        self,
        store: IObjectStore,
        accounts: IAccounts,
        resumable: IResumableUploads,
        settings: HTTPSSettings,
        memory: int,
        base_url: Callable[[], str],
        directory: str,
        connections: Callable[[], int],
        registry: CollectorRegistry,
        disk: IDisk,
        clock: IReactorTime,
        audit: Callable[[object], object] = lambda event: None,
    ) -> None:
        gate = Gate(accounts, store, base_url=base_url, audit=audit)
        activity = Activity(clock)
        held = UploadMemory(memory, settings.max_uploads)
        intake = Intake(store, held, gate, activity, disk, settings.max_size, settings.names)
        overview = Overview(activity, held, DiskLeft(directory, disk, clock), connections)
        self._events = EventStream(overview, clock)
        ietf = IETFUploads(gate, resumable, intake, settings.max_size, settings.upload_expiry)
        form = FormUpload(gate, intake, settings.max_files)
        children: Mapping[bytes, Any] = {
            b"": Home(),
            b"upload": Upload(gate, form, intake, ietf, settings.link_lifetime),
            b"tus": TusUploads(gate, resumable, intake, settings.max_size),
            b"resumable": ietf,
            b"uploads": OpenUploads(gate, resumable),
            b"download": Downloads(store, gate, activity, Listings(store, gate, link_lifetime=settings.link_lifetime)),
            b"sign-in": SignIn(gate, accounts),
            b"sign-out": SignOut(gate, accounts),
            b"links": Links(gate, accounts, base_url, settings.link_lifetime),
            b"users": Users(gate, accounts),
            b"stats": Stats(gate, overview, self._events),
            b"metrics": Metrics(gate, registry),
            b"static": StaticFiles(load_assets()),
        }
        self.resource = Root(children)
        self.collectors = (held, activity)

    def explain(self, request: DoorRequest, error: BaseException) -> Reply:
        """The answer to a request that failed: a page for people, who are led to sign in if they have not."""
        reply = error_reply(error)
        if isinstance(error, NotSignedIn) and not is_browser(request):
            # First, since wget, urllib and "curl --anyauth" look for this one, and some of them at the first field alone.
            reply = attrs.evolve(reply, headers=(_BASIC, *reply.headers))
        try:
            is_page = accepts_html(request)
        except BadRequest:
            is_page = False
        if not is_page:
            return reply
        if isinstance(error, NotSignedIn) and request.method in (b"GET", b"HEAD"):
            return sent_on("/sign-in?next=" + quote(request.uri, safe=""))
        detail = getattr(error, "detail", "An unexpected failure; see the server's log.")
        return pages.error(reply.status, "", _sentence(detail), headers=reply.headers)

    def stop(self) -> None:
        """End responses that would never end by themselves."""
        self._events.stop()


#: A key is its ID and its secret: both are ASCII, and the field says so of the form they are sent in (RFC 7617).
_BASIC = (b"WWW-Authenticate", b'Basic realm="storehouse", charset="UTF-8"')


def sent_on(path: str) -> Reply:
    """
    Have a browser go elsewhere.

    @param path: a path of this door, with its query.
    """
    return Reply(303, b"", b"text/plain; charset=utf-8", ((b"Location", path.encode("ascii")),))


class Home(Leaf):
    """C{/}: leads to the page."""

    async def handle_GET(self, request: StreamingRequest) -> Reply:
        """Redirect to the first page."""
        check_fields(request, frozenset())
        return sent_on("/upload")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
