"""Streams of records: each a row of archives, here and where they were shipped to."""
