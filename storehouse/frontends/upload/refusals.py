"""Log lines about those who could not show who they are: enough to see an attack, too few for one to fill the log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from storehouse.frontends.http.shown import shown_name
from storehouse.frontends.upload.attempts import Attempts

__all__ = ["RefusalLog"]

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
            "request from {peer} refused, since a page of {origin} made it and this server is called {host}; if a proxy"
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
