"""Tests of L{storehouse.storage}."""
