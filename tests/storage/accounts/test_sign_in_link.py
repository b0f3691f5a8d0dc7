"""Tests of L{storehouse.storage.accounts.local.show_sign_in_link}."""

from __future__ import annotations

import io
import os
import re
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.jobs import InlineDisk
from storehouse.storage.accounts.local import LocalAccounts, show_sign_in_link


class Terminal(io.StringIO):
    """Where somebody looks."""

    def isatty(self) -> bool:
        return True


class FirstSignInTests(SynchronousTestCase):
    """L{show_sign_in_link}."""

    def setUp(self) -> None:
        self.events: list[Any] = []
        self.log = Logger(observer=self.events.append)
        self.accounts = LocalAccounts(os.path.abspath(self.mktemp()), InlineDisk())
        self.accounts.start()

    def tell(self, stream: Any) -> None:
        work = show_sign_in_link(self.accounts, "https://localhost:6445", stream, self.log)
        self.successResultOf(Deferred.fromCoroutine(work))

    def test_terminal(self) -> None:
        """The link is shown there, works, and is in no log; then nothing is shown any more."""
        for _ in range(2):
            terminal = Terminal()
            self.tell(terminal)
            found = re.search(r"^sign in once at https://localhost:6445/sign-in/(\S{43})$", terminal.getvalue(), re.M)
            assert found is not None, terminal.getvalue()
        self.assertEqual(self.events, [])
        session = self.successResultOf(self.accounts.sign_in_by_token(found[1]))
        self.assertEqual((session.user.name, session.user.is_admin), ("admin", True))
        terminal = Terminal()
        self.tell(terminal)
        self.assertEqual((terminal.getvalue(), self.events), ("", []))

    def test_standard_error(self) -> None:
        """The one that the process was given: what takes its place, as within twistd, is a log."""
        terminal, log = Terminal(), Terminal()
        self.patch(sys, "__stderr__", terminal)
        self.patch(sys, "stderr", log)
        self.tell(None)
        self.assertIn("sign in once", terminal.getvalue())
        self.assertEqual(log.getvalue(), "")
        self.patch(sys, "__stderr__", None)
        self.tell(None)
        self.assertEqual(len(self.events), 1)

    def test_no_terminal(self) -> None:
        """No link is made: the log says how to get one."""
        closed = io.StringIO()
        closed.close()
        for stream in (io.StringIO(), closed):
            self.events.clear()
            self.tell(stream)
            self.assertEqual(len(self.events), 1)
            self.assertIn("user sign-in", self.events[0]["log_format"])
            self.assertEqual(self.events[0]["name"], "admin")
        with open(os.path.join(self.accounts._directory.path, "users.json")) as file:
            self.assertIn('"tokens":[]', file.read())
