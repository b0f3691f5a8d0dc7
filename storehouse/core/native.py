"""
C{storehouse._native}, if there is one: a small extension that setup.py builds where there is a compiler.

Nothing needs it; each of its functions has a twin in Python.
"""

from __future__ import annotations

from types import ModuleType

__all__ = ["MISSING", "native"]

#: The module; L{None} without one.
native: ModuleType | None

#: Why there is none; empty if there is.
MISSING = ""

try:
    from storehouse import _native
except ImportError as error:
    native, MISSING = None, str(error)
else:
    native = _native
