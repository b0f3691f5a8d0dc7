"""Tests of storehouse.storage.shipping."""
