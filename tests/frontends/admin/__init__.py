"""Tests of storehouse: frontends/admin."""
