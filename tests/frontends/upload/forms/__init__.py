"""Tests of storehouse.frontends.upload.forms."""
