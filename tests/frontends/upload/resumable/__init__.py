"""Tests of storehouse.frontends.upload.resumable."""
