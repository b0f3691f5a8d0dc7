"""Streams of records over HTTP."""
