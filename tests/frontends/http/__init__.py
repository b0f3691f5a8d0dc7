"""Tests of L{storehouse.frontends.http}."""
