"""What tests of encrypted spaces share: keys that are quickly derived, and spaces on top of others."""

from __future__ import annotations

import os
from typing import Any

from storehouse.core.keys.keyring import Derivation
from storehouse.core.keys.vault import Vault

__all__ = ["LIGHT", "MASTER", "vault_in"]

#: Derives in no time.
LIGHT = Derivation(memory=8, iterations=1, lanes=1)

MASTER = b"a master key"


def vault_in(directory: str, master: bytes | None = MASTER, **options: Any) -> Vault:
    """A vault of a root, not started."""
    os.makedirs(directory, exist_ok=True)
    given = {"seal_names": False, "stored": str, **options}
    return Vault(
        os.path.join(directory, "keyring.json"),
        os.path.join(directory, "objects", "sealed"),
        master,
        derivation=LIGHT,
        **given,
    )
