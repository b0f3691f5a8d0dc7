"""
The tests of storehouse; they mirror its packages.

Warnings that our own code causes are errors: trial collects the warnings of a test and gives them out again when it ends, and here it is decided what becomes of them.
"""

import os
import warnings

_here = os.path.dirname(os.path.abspath(__file__))

for _kind in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning, RuntimeWarning, SyntaxWarning, UserWarning, BytesWarning):
    warnings.filterwarnings("error", category=_kind, module=r"(storehouse|tests)(\.|$)")
    warnings.filterwarnings("error", category=_kind, module=r".*/(storehouse|tests)/")
