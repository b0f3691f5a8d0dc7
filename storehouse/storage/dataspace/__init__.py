"""Data spaces: from an ID to bytes that are written once."""
