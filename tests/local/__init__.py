"""Tests of L{storehouse.local}."""
