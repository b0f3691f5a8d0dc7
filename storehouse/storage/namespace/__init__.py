"""The namespace: from bucket and key to an ID and metadata."""
