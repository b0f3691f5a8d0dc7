"""TLS: contexts, certificates, and the TLS of a door."""
