"""Tests of storehouse: integration."""
