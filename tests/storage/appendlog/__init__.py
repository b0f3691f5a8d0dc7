"""Tests of L{storehouse.storage.appendlog}."""
