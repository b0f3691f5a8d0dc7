"""
Run trial, show what it prints, and write its counts down in one plain line.

    python trial.py SUMMARY COMMAND...

runs COMMAND, which is trial in some form, and writes C{N passed, N failed, N skipped} to the file SUMMARY.  It ends
with trial's own status.
"""

from __future__ import annotations

import re
import subprocess
import sys

_last_line = re.compile(r"^(PASSED|FAILED)(?: \((.*)\))?\s*$")
_failures = ("failures", "errors", "unexpectedSuccesses")


def count(line: str) -> str | None:
    """The counts in trial's last line, or L{None} if this is another line."""
    found = _last_line.match(line)
    if found is None:
        return None
    counts = {
        name: int(number) for name, _, number in (part.partition("=") for part in (found[2] or "").split(", ") if part)
    }
    passed = counts.get("successes", 0) + counts.get("expectedFailures", 0)
    failed = sum(counts.get(name, 0) for name in _failures)
    return f"{passed} passed, {failed} failed, {counts.get('skips', 0)} skipped"


def main(summary: str, command: list[str]) -> int:
    """Do it."""
    counted = None
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="backslashreplace"
    ) as trial:
        assert trial.stdout is not None
        for line in trial.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            counted = count(line) or counted
    with open(summary, "w", encoding="utf-8") as file:
        file.write((counted or "0 passed, 1 failed, 0 skipped") + "\n")
    return trial.returncode if trial.returncode >= 0 else 128 - trial.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
