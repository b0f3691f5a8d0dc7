"""The namespace: buckets and their keys, each with the ID of its bytes and metadata (docs/formats/namespace.md)."""
