"""Closed files on their way to where they stay: compressed, uploaded, verified, and only then removed here."""
