"""Object stores: from a bucket and a key to bytes."""
