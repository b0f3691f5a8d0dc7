"""Tests of the measurements' own machinery."""
