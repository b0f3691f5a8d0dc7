"""Tests of L{storehouse.frontends.append}."""
