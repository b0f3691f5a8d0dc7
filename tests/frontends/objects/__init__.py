"""Tests of L{storehouse.frontends.objects}."""
