"""Tests of storehouse: core."""
