"""How a namespace is kept."""

from __future__ import annotations

import attrs

from storehouse.storage.namespace.entries import MAX_METADATA

__all__ = ["NamespaceSettings"]


@attrs.frozen
class NamespaceSettings:
    """
    How a namespace is kept.

    @ivar directory: an absolute path; made if it is not there.
    @ivar durable: whether what is answered survives a power cut; it survives the process in any case.
    @ivar checkpoint_records: intents in the journal after which the index is synced and the journal begun anew.
    @ivar checkpoint_interval: seconds after which that is done if there are any.
    @ivar max_metadata: bytes of an entry's metadata.
    """

    directory: str
    durable: bool = True
    checkpoint_records: int = 4096
    checkpoint_interval: float = 30.0
    max_metadata: int = MAX_METADATA
