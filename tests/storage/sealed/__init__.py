"""Tests of L{storehouse.storage.sealed}."""
