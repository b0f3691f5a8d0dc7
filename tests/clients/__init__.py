"""Tests of L{storehouse.clients}."""
