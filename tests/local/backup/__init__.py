"""Tests of L{storehouse.local.backup}."""
