"""Tests of storehouse.core.fast."""
