"""Tests of the C{storehouse} command."""
