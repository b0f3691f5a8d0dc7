"""The rooms: one folder each, interfaces first, then one file an implementation."""
