"""
The tests of storehouse; they mirror its packages.

Warnings that our own code causes are errors: trial collects the warnings of a test and gives them out again when it
ends, and here it is decided what becomes of them.
"""

import os
import re
import sys
import warnings

import storehouse

_kinds = (
    DeprecationWarning,
    PendingDeprecationWarning,
    ResourceWarning,
    RuntimeWarning,
    SyntaxWarning,
    UserWarning,
    BytesWarning,
)

for _package in (storehouse.__file__, __file__):
    # What trial gives out names the file as its module.
    _folder = os.path.dirname(os.path.abspath(_package))
    for _module in (re.escape(os.path.basename(_folder)) + r"(\.|$)", re.escape(_folder + os.sep)):
        for _kind in _kinds:
            warnings.filterwarnings("error", category=_kind, module=_module)

# Stores that tests kill leave their databases to the garbage collector, of which Python 3.13 warns. And children of tests that
# are forked end by os._exit, and take no lock of another thread, of which Python 3.12 warns.
warnings.filterwarnings("ignore", "unclosed database in", ResourceWarning)
warnings.filterwarnings("ignore", "This process .* is multi-threaded, use of fork", DeprecationWarning)

# Hypothesis' own limits of time fail on a busy machine, and say nothing about the code. Not in the processes that tests start:
# they have no use for it, and it takes long to import.
if "twisted.trial" in sys.modules:
    from hypothesis import HealthCheck, settings

    from tests.around import watch_tests

    settings.register_profile("storehouse", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("storehouse")
    watch_tests()
