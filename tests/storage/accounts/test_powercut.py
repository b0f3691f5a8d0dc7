"""What accounts have acknowledged survives a power cut at any moment, and what was used up stays so."""

from __future__ import annotations

import os
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.errors import LinkUsed, NotSignedIn, SignInRefused
from storehouse.storage.accounts import local
from storehouse.storage.accounts.interfaces import Grant, NewKey
from storehouse.storage.accounts.local import LocalAccounts
from tests.conformance.accounts import NOW, SETTINGS, fields_of
from tests.crash.explorer import Broken, Explorer
from tests.crash.recording import Recorder, RecordingFiles


@attrs.define
class Promised:
    """What was acknowledged."""

    keys: dict[str, NewKey] = attrs.field(factory=dict)
    used: list[Grant] = attrs.field(factory=list)
    cookies: list[str] = attrs.field(factory=list)
    tokens: list[str] = attrs.field(factory=list)
    changing: set[str] = attrs.field(factory=set)

    def clone(self) -> Promised:
        return Promised(dict(self.keys), list(self.used), list(self.cookies), list(self.tokens), set(self.changing))

    def take(self, note: Any) -> None:
        kind, value = note
        if kind == "key":
            self.keys[value.user.name] = value
            self.changing.discard(value.user.name)
        elif kind == "changing":
            self.changing.add(value)
        else:
            getattr(self, kind).append(value)


class Life:
    """Accounts on recorded files."""

    def __init__(self, top: str, recorder: Recorder) -> None:
        clock = Clock()
        clock.rightNow = NOW
        self.recorder = recorder
        self.files = RecordingFiles(top, recorder)
        self.accounts = LocalAccounts(
            os.path.join(top, "accounts"), InlineDisk(), SETTINGS, files=self.files, clock=clock.seconds
        )

    def start(self) -> None:
        self.accounts.start()

    def abandon(self) -> None:
        self.files.abandon()

    def wait(self, work: Any) -> Any:
        """What has come of something."""
        outcome: list[Any] = []
        work.addBoth(outcome.append)
        if hasattr(outcome[0], "raiseException"):
            outcome[0].raiseException()
        return outcome[0]

    def use(self, names: tuple[str, ...], links: int) -> None:
        """Add users, use links up, sign in and out, give another key."""
        for name in names:
            self.recorder.note("adding", ("changing", name))
            key = self.wait(self.accounts.add_user(name))
            self.recorder.note("added", ("key", key))
        self.use_links(key, links)
        token = self.wait(self.accounts.make_sign_in_token(key.user.name, 60))
        session = self.wait(self.accounts.sign_in_by_token(token))
        self.recorder.note("signed in", ("tokens", token))
        self.wait(self.accounts.end_session(session))
        self.recorder.note("signed out", ("cookies", session.cookie))
        self.recorder.note("rotating", ("changing", key.user.name))
        self.recorder.note("rotated", ("key", self.wait(self.accounts.rotate_key(key.user.name))))

    def use_links(self, key: NewKey, links: int) -> None:
        """Make links that work once, and use them."""
        for number in range(links):
            query = self.accounts.sign_link(key.user, "PUT", f"/upload/{number}", NOW + 60, once=True)
            grant = self.accounts.grant_of("PUT", f"/upload/{number}", fields_of(query))
            self.wait(self.accounts.use_link(grant))
            self.recorder.note("used", ("used", grant))


class AccountsExplorer(Explorer[Life, Promised]):
    """Cuts histories of accounts."""

    def session(self, recorder: Recorder, top: str, **options: Any) -> Life:
        return Life(top, recorder)

    def ledger(self) -> Promised:
        return Promised()

    def live_on(self, recorder: Recorder, top: str, ledger: Promised) -> None:
        life = self.session(recorder, top)
        life.start()
        for key in ledger.keys.values():
            if key.user.name not in ledger.changing:
                self.same(life.accounts.user_of_key(key.user.key_id, key.secret), key.user)
        for grant in ledger.used:
            self.refused(LinkUsed, lambda grant=grant: life.wait(life.accounts.use_link(grant)))
        for cookie in ledger.cookies:
            self.refused(NotSignedIn, lambda cookie=cookie: life.accounts.session_of(cookie))
        for token in ledger.tokens:
            self.refused(SignInRefused, lambda token=token: life.wait(life.accounts.sign_in_by_token(token)))
        life.use((f"later{len(ledger.used)}-{self._number}",), 2)

    def same(self, found: object, promised: object) -> None:
        if found != promised:
            raise Broken(f"{found} is not {promised}")

    def refused(self, kind: type[Exception], call: Any) -> None:
        try:
            call()
        except kind:
            return
        raise Broken(f"something works again: no {kind.__name__}")


class PowerCutTests(SynchronousTestCase):
    """Cut everywhere."""

    def test_power_cuts(self) -> None:
        # So that files are written anew meanwhile.
        self.patch(local, "_SMALL", 2)
        explorer = AccountsExplorer(self.mktemp(), 20261121)
        top, recorder = explorer.fresh()
        life = explorer.session(recorder, top)
        life.start()
        life.use(("ann", "bob"), 4)
        explorer.cut_everywhere(recorder, samples=2, nested=0.1)
        self.assertGreater(explorer.states[0], 100)
        self.assertGreater(explorer.states[1], 0)

    def test_lost_log(self) -> None:
        """One that is made anew beside users has its name on disk before anything in it counts."""
        explorer = AccountsExplorer(self.mktemp(), 20261122)
        top, recorder = explorer.fresh()
        life = explorer.session(recorder, top)
        life.start()
        key = life.wait(life.accounts.add_user("ann"))
        life.files.unlink(os.path.join(top, "accounts", "spent.log"))
        life.files.sync_directory(os.path.join(top, "accounts"))
        again = explorer.session(recorder, top)
        again.start()
        first = len(recorder.events)
        again.use_links(key, 2)
        explorer.cut_everywhere(recorder, samples=2, first=first)
        self.assertGreater(explorer.states[0], 5)
