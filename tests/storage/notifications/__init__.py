"""Tests of L{storehouse.storage.notifications}."""
