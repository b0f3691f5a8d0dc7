"""Where the master key comes from: the environment, or a file that only its owner can read."""

from __future__ import annotations

import os
import stat
from collections.abc import MutableMapping

from storehouse.errors import InvalidSetting

__all__ = ["VARIABLE", "read_key_file", "take_master_key"]

#: The environment variable.
VARIABLE = "masterkey"

# Bytes of the longest key file.
_MOST = 4096


def take_master_key(
    environ: MutableMapping[str, str], path: str, variable: str = VARIABLE, option: str = "master-key-file"
) -> bytes | None:
    """
    The master key; the environment does not have it any more afterwards, so that children do not inherit it.

    @param path: of a key file; empty for none.
    @param variable: its name in the environment.
    @param option: the name of what names the file, for errors.
    @return: C{None} if there is none.
    @raise InvalidSetting: if it is in both places, empty, or in a file that cannot be read or that others can read.
    """
    text = environ.pop(variable, None)
    if text is not None and path:
        raise InvalidSetting(f"the master key is given twice: by {variable} in the environment, and by {option} {path}")
    if text is None:
        return read_key_file(path) if path else None
    if not text:
        raise InvalidSetting(f"{variable} in the environment is empty: set it to the master key, or unset it")
    return os.fsencode(text)


def read_key_file(path: str) -> bytes:
    """
    The key that is in a file: all of its bytes but for a newline at the end.

    @raise InvalidSetting: if it cannot be read, if others than its owner can read it, or if it is empty or too long.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MOST + 1)
    except OSError as error:
        raise InvalidSetting(f"the key file {path} cannot be read: {error.strerror or error}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise InvalidSetting(f"the key file {path} can be read by others: chmod 600 {path}")
    if len(data) > _MOST:
        raise InvalidSetting(f"the key file {path} has more than {_MOST} bytes")
    key = data.removesuffix(b"\n").removesuffix(b"\r")
    if not key:
        raise InvalidSetting(f"the key file {path} is empty")
    return key
