"""The keys of a root: master key, keyring, vault."""
