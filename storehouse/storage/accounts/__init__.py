"""Accounts: users with access keys, sessions, and signed links (docs/accounts.rst)."""
