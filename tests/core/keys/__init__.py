"""Tests of storehouse.core.keys."""
