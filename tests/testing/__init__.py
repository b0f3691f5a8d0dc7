"""Tests of storehouse.testing: what is there for tests does what it stands for."""
