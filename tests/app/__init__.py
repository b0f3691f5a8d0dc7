"""Tests of storehouse.app."""
