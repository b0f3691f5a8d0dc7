"""Tests of L{storehouse.app.local.backup}."""
