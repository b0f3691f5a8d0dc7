"""
Run trial, show what it prints, and say what took long.

    python trial.py SUMMARY COMMAND...

runs COMMAND, which is trial in some form, writes C{N passed, N failed, N skipped} to the file SUMMARY, below it what trial
reports of the tests that failed, and prints the twenty slowest tests. It ends with trial's own status. The tests' files are in
memory if there is enough of it, and go when all pass.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import deque

_last_line = re.compile(r"^(PASSED|FAILED)(?: \((.*)\))?\s*$")
_failures = ("failures", "errors", "unexpectedSuccesses")

#: Where files are in memory, and how many bytes have to be free there: what tests that run at the same time need.
_MEMORY = "/dev/shm"
_ENOUGH = 2 << 30

_SLOWEST = 20

#: How many of the last lines of trial's reports of failed tests are kept.
_REPORTED = 400


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


def memory_directory() -> str:
    """Where this checkout's tests keep their files in memory; empty if there is not enough."""
    try:
        found = os.statvfs(_MEMORY)
    except OSError:
        return ""
    if found.f_bavail * found.f_frsize < _ENOUGH or not os.access(_MEMORY, os.W_OK):
        return ""
    name = re.sub(r"\W+", "-", os.getcwd()).strip("-")
    return os.path.join(_MEMORY, f"storehouse-tests-{os.getuid()}-{name}")


def slowest(times: str) -> list[str]:
    """Lines that tell of the tests that took longest, from what tests/around.py has written."""
    found = []
    with open(times, encoding="utf-8") as file:
        for line in file:
            wall, cpu, name = line.split()
            found.append((float(wall), float(cpu), name))
    if not found:
        return []
    whole = f"{len(found)} tests took {sum(cpu for _, cpu, _ in found):.0f} s of CPU; the slowest, with their seconds of CPU:"
    return [whole, *(f"{wall:8.1f} {cpu:6.1f}  {name}" for wall, cpu, name in sorted(found, reverse=True)[:_SLOWEST])]


def main(summary: str, command: list[str]) -> int:
    """Do it."""
    directory = memory_directory()
    if directory and "twisted.trial" in command:
        os.makedirs(directory, exist_ok=True)
        at = command.index("twisted.trial") + 1
        command = [*command[:at], f"--temp-directory={directory}/trial", *command[at:]]
    times = summary + "-times"
    open(times, "w").close()
    counted = None
    reports: deque[str] = deque(maxlen=_REPORTED)
    reporting = False
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        env={**os.environ, "STOREHOUSE_TEST_TIMES": os.path.abspath(times)},
    ) as trial:
        assert trial.stdout is not None
        for line in trial.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            counted = count(line) or counted
            # A report of each test that failed comes after all tests, below a line of "=", the last above a line of "-".
            reporting = line.startswith("=" * 70) or (reporting and not line.startswith("-" * 70))
            if reporting:
                reports.append(line)
    print(*slowest(times), sep="\n")
    os.unlink(times)
    with open(summary, "w", encoding="utf-8") as file:
        file.write((counted or "0 passed, 1 failed, 0 skipped") + "\n")
        # Reports of tests that are skipped look alike.
        if trial.returncode:
            file.writelines(reports)
    if directory:
        if trial.returncode:
            print(f"the files of the tests that failed are in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return trial.returncode if trial.returncode >= 0 else 128 - trial.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
