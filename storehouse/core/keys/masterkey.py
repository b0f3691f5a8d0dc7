"""Where the master key comes from: the environment, or a file that only its owner can read, as every file with a secret."""

from __future__ import annotations

import os
import stat
from collections.abc import MutableMapping

from storehouse.errors import InvalidSetting

__all__ = ["VARIABLE", "is_private", "read_key_file", "take_master_key"]

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


def is_private(fd: int, path: str) -> bool:
    """
    Whether other users than the owner of a file are kept from reading and changing it.

    @param path: where it was opened.
    """
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    # systemd lets the user of a service read its credentials by an ACL, which shows as a bit of the group; their directory
    # is closed to everybody else.
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    allowed = stat.S_IRGRP if credentials and os.path.dirname(os.path.abspath(path)) == credentials else 0
    return not mode & 0o077 & ~allowed


def read_key_file(path: str) -> bytes:
    """
    The key that is in a file: all of its bytes but for a newline at the end.

    @raise InvalidSetting: if it cannot be read, if others than its owner can read it, or if it is empty or too long.
    """
    try:
        with open(path, "rb") as file:
            private = is_private(file.fileno(), path)
            data = file.read(_MOST + 1)
    except OSError as error:
        raise InvalidSetting(f"the key file {path} cannot be read: {error.strerror or error}") from None
    if not private:
        raise InvalidSetting(f"the key file {path} can be read by others: chmod 600 {path}")
    if len(data) > _MOST:
        raise InvalidSetting(f"the key file {path} has more than {_MOST} bytes")
    key = data.removesuffix(b"\n").removesuffix(b"\r")
    if not key:
        raise InvalidSetting(f"the key file {path} is empty")
    return key
