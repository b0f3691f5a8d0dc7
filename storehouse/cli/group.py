"""The group of verbs: imports a verb on demand, and makes the process a good neighbour in a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from storehouse.cli.output import silence_stdout

__all__ = ["BROKEN_PIPE", "INTERRUPTED", "VerbGroup"]

#: The exit status after Ctrl-C, as shells have it: 128 and the signal's number.
INTERRUPTED = 130

#: The exit status when the reader of standard output has left.
BROKEN_PIPE = 141


class VerbGroup(click.Group):
    """
    Commands that are imported when they are used.

    @param verbs: name of a verb to where it is and what it does in a few words, so that the help of the group imports none of
        them. It is in a module, as C{command} or what a colon and its name say.
    """

    def __init__(self, *args: object, verbs: Mapping[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._verbs = dict(verbs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the verbs, in the order given."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        if cmd_name not in self._verbs:
            return None
        module, _, name = self._verbs[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name or "command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs, as the help has them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._verbs.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb. Ctrl-C and a reader that has left end the process without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            silence_stdout()
            ctx.exit(BROKEN_PIPE)
