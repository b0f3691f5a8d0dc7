"""
The settings of a storehouse: L{Settings} declares them, L{load_settings} reads them.

A setting has one name everywhere: C{append-sync} is C{append-sync = "os"} in the configuration file, C{--append-sync} on
the command line, if it can be given there, and C{settings.append.sync} in code. What there may be any number of has tables
in the file: L{storehouse.config.tables}.
"""

from storehouse.config.loading import Loaded, find_problems, load, load_settings, options, unknown_option
from storehouse.config.option import Option
from storehouse.config.settings import Settings
from storehouse.core.values import OFF

__all__ = ["OFF", "Loaded", "Option", "Settings", "find_problems", "load", "load_settings", "options", "unknown_option"]
