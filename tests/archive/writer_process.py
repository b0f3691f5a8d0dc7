"""
A writer to be killed: C{python writer_process.py DIRECTORY KIND SYNC FIRST}.

It writes records and prints the number of each that was acknowledged, until it is killed.
"""

from __future__ import annotations

import os
import random
import sys

from storehouse.archive.roll_manager import WritingRollManager
from tests.archive.rig import KINDS

__all__ = ["payload_of"]


def payload_of(number: int) -> bytes:
    """What record N holds: it can be told whole from cut."""
    return random.Random(number).randbytes(random.Random(-number).choice((0, 10, 300, 5000)))


def _main(directory: str, kind: str, sync: str, first: int) -> None:
    how = dict(KINDS[kind])
    if sync == "no buffer":
        how |= {"sync": "os", "buffer_size": 0}
    else:
        how |= {"sync": sync}
    manager = WritingRollManager(
        "a_%f.ev", {"class": "records", "roll_records": 20}, directory, callbacks=["compress"], **how
    )
    print("ready", flush=True)
    number = first
    while True:
        manager.write({"number": str(number)}, payload_of(number))
        if sync in ("roll", "os"):
            # Acknowledged when a flush returns.
            if number % 10 == 9:
                manager.flush()
                os.write(1, b"%d\n" % number)
        else:
            os.write(1, b"%d\n" % number)
        number += 1


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
