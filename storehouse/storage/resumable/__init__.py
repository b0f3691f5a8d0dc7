"""Uploads that can be gone on with after a break, whatever the protocol."""
