"""Tests of L{storehouse.storage.resumable}."""
