"""
An object store that is another server's, any that speaks S3: its requests (base.py), errors (refusals.py), bodies on their way there and
back (bodies.py), what is said of objects in header fields (fields.py), and the store (store.py).
"""

from __future__ import annotations

from storehouse.clients.s3.store import S3ObjectStore
from storehouse.core.sigv4 import Signer

__all__ = ["S3ObjectStore", "Signer"]
