"""Tests of L{storehouse.frontends.upload}."""
