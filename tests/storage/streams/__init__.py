"""Tests of L{storehouse.storage.streams}."""
