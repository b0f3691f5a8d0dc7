"""
C{twistd storehouse}: from the command line to a service.

This module and the .tac files are the only ones that use the reactor of the process; everything else is given
one.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Sequence
from typing import cast

from twisted.application.service import Application, IService
from twisted.internet.interfaces import IReactorCore
from twisted.python import usage
from twisted.python.components import Componentized

from storehouse import __version__
from storehouse.config import load_settings, options, unknown_option
from storehouse.core.exits import Exits
from storehouse.core.keys.masterkey import take_master_key
from storehouse.core.platform import keep_freed_memory
from storehouse.core.root import make_room
from storehouse.core.turns import Reactor
from storehouse.errors import StorehouseError

__all__ = ["Options", "makeService", "make_application"]

#: What the command line takes.
_taken = [each for each in options() if each.on_command_line]

#: What getopt says of a name that it does not know.
_unknown = re.compile(r"option --(\S+) not recognized")

_examples = """\

Examples:
  twistd -n storehouse
      Keep everything under ./storehouse-data, listen on this machine only, log to the terminal.
      Then, from another terminal:
          curl -d 'some text' 'http://127.0.0.1:8001/append?id=some_identifier'
          curl 'http://127.0.0.1:8001/get?id=some_identifier&offset=0'
          curl 'http://127.0.0.1:8002/readyz'
  twistd -n --reactor=storehouse storehouse
      The same on the fastest reactor there is for it.
  twistd --pidfile=/run/storehouse.pid --logfile=/var/log/storehouse.log storehouse --root /srv/storehouse
      In the background. Stop it with: kill $(cat /run/storehouse.pid)
  twistd -n storehouse --append unix:/run/storehouse/append.sock --admin off
      The append log on a socket file, and no admin door.
  twistd -n storehouse --config storehouse.toml
      Settings from a file; the options above are its names: append-sync = "os". The command line wins.

An endpoint says where a door listens: tcp:8001:interface=127.0.0.1, tcp6:8001:interface=\\:\\:1, unix:/path/to/socket
(for the user of the process alone; unix:/path/to/socket:mode=660 for its group, too),
ssl:8443:privateKey=key.pem:certKey=cert.pem:interface=127.0.0.1, or any other of Twisted's.
"""


class Options(usage.Options):
    """The options of C{twistd storehouse}: those settings that the command line takes, and C{--config}."""

    synopsis = "[options]"

    longdesc = (
        "storehouse takes in bytes, keeps them safely and gives them back fast. The append log (--append) takes records over HTTP "
        "and answers each with its offset; ask for the offset to get the record back. Files come and go over HTTPS (--https), chunks by "
        "SFSP (--sfsp). The admin door (--admin) serves health, readiness, metrics and version. Without any option all listen on this "
        "machine only. Sizes are bytes or have a unit: 64KiB, 16MiB, 1GiB. More settings can be given in the file that --config names; "
        "docs/settings.rst has them all, and 'storehouse config show' prints them."
    )

    optParameters = [
        ["config", "c", None, "A TOML file with settings, these among them, by their names"],
        *([each.name, None, None, f"{each.help} [default: {each.shown}]"] for each in _taken if not each.is_flag),
    ]

    optFlags = [[each.name, None, each.help] for each in _taken if each.is_flag]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Take the arguments.

        @raise usage.UsageError: for one that is not known, with the name that it has now, or the nearest ones.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            unknown = _unknown.fullmatch(str(error))
            raise (error if unknown is None else usage.UsageError(unknown_option(unknown[1]))) from None

    def opt_version(self) -> None:
        """Print the version of storehouse and exit."""
        print(f"storehouse {__version__}")
        raise SystemExit(0)

    def getUsage(self, width: int | None = None) -> str:
        """The help, with examples."""
        return super().getUsage(width) + _examples

    @property
    def given(self) -> dict[str, object]:
        """The settings that were given, by name."""
        return {
            each.name: bool(self[each.name]) if each.is_flag else self[each.name]
            for each in _taken
            if self[each.name] not in (None, 0)
        }


def makeService(options: Options) -> IService:
    """
    Make the service for C{twistd}.

    @raise SystemExit: with one line for the user when a setting cannot be used.
    """
    # What is imported stays: to look through all of it for garbage, even once at the end, would take a tenth of the start.
    gc.disable()
    try:
        return _make(options)
    finally:
        gc.freeze()
        gc.enable()


def _make(options: Options) -> IService:
    from twisted.internet import reactor

    from storehouse.app.service import make_service

    keep_freed_memory()
    # What libraries make, too, is for the user of the process alone. twistd's own --umask comes after this, and wins.
    os.umask(0o077)
    exits = Exits()
    try:
        settings = load_settings(options.given, options["config"])
        make_room(settings.root)
        service = make_service(
            settings, cast(Reactor, reactor), exits, take_master_key(os.environ, settings.master_key_file)
        )
    except StorehouseError as error:
        raise SystemExit(f"storehouse: {error.detail}") from None
    exits.install()
    core = cast(IReactorCore, reactor)
    core.callWhenRunning(exits.started)
    core.callWhenRunning(_settle_memory)
    return service


def _settle_memory() -> None:
    """
    Take what the start has made out of the garbage collector's sight, as what was imported was before.

    Looking through all of it again and again costs 20 ms each time: the slowest requests would take five times as
    long.
    """
    gc.collect()
    gc.freeze()


def make_application(arguments: Sequence[str], name: str = "storehouse") -> Componentized:
    """
    Make an application for a .tac file.

    @param arguments: as on the command line behind C{twistd storehouse}.
    @raise SystemExit: with one line for the user when they cannot be used.
    """
    options = Options()  # type: ignore[no-untyped-call]
    application: Componentized = Application(name)
    try:
        options.parseOptions(list(arguments))
        makeService(options).setServiceParent(application)
    except (usage.UsageError, StorehouseError) as error:
        raise SystemExit(f"storehouse: {error}") from None
    return application
