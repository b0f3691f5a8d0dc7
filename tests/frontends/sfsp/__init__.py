"""Tests of L{storehouse.frontends.sfsp}."""
