"""Uploads that can continue after a break, whatever the protocol."""
