"""Tests of L{storehouse.storage.dataspace}."""
