"""Tests of L{storehouse.clients.sfsp}."""
