"""Tests of L{storehouse.frontends.s3}."""
