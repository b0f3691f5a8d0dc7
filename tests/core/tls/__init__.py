"""Tests of storehouse.core.tls.contexts."""
