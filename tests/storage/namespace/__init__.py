"""Tests of the namespace."""
