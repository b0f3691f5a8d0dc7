"""Tests of storehouse: frontends."""
