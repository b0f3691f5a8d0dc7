"""Tests of L{storehouse.frontends.archive}."""
