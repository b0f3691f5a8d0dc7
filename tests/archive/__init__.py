"""Tests of the archive library."""
