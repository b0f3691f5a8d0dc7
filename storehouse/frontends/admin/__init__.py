"""The admin door: health, readiness, metrics and versions over HTTP, for operators."""
