"""Uploads that can be resumed: tus, and the IETF's draft."""
