"""Tests of storehouse.config."""
