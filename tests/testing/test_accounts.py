"""Tests of L{storehouse.testing.accounts}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from storehouse.testing.accounts import MemoryAccounts
from tests.conformance.accounts import SETTINGS, AccountsTestsMixin


class MemoryAccountsTests(AccountsTestsMixin, SynchronousTestCase):
    """They do what accounts do."""

    def make_accounts(self) -> MemoryAccounts:
        return MemoryAccounts(SETTINGS, self.clock.seconds)
