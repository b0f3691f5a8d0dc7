"""A tree of files to store and to get back."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from random import Random

__all__ = ["MIB", "digest", "make_tree", "tree_of"]

MIB = 1 << 20

#: Bytes of what is large: several parts for every client, and not a whole number of them.
_LARGE = 52 * MIB + 12_345

#: Names that are hard to sign, to encode, or to list.
_ODD = ("with space", "plus+and&amp;", "per%20cent", "grüße/käse €.txt", "quote'\"x", "tilde~a=b,c;d", "(1) [2] {3}")


#: The trees of this process, with their digests.
_made: dict[tuple[int, int], tuple[Path, dict[str, str]]] = {}


def make_tree(place: Path, large: int = _LARGE, small: int = 200) -> dict[str, str]:
    """
    Files of some 100 MiB: large ones, some of a few MiB, many small ones, an empty one, and such with odd names.

    @param large: bytes of the largest; another has 3/5 of that. 0 for none of both.
    @return: their digests by their paths in C{place}.
    """
    if (large, small) not in _made:
        # Where trial runs, which is in memory if there is enough; it goes with all that is there.
        made = Path(f"s3-tree-{len(_made)}").resolve()
        _write_tree(made, large, small)
        _made[large, small] = made, tree_of(made)
    made, digests = _made[large, small]
    shutil.copytree(made, place)
    return dict(digests)


def _write_tree(place: Path, large: int, small: int) -> None:
    random = Random(large + small)
    sizes = {"empty": 0, "middle/eight": 8 * MIB, "middle/five.bin": 5 * MIB + 1}
    if large:
        sizes |= {"large.bin": large, "middle/second": large * 3 // 5}
    sizes |= {f"small/{number // 10:02d}/{number:04d}.txt": random.randrange(1, 20_000) for number in range(small)}
    sizes |= {f"odd/{name}": 1000 + number for number, name in enumerate(_ODD)}
    for name, size in sizes.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.randbytes(size))
        # Of long ago: what clients compare by time is older than what they have just stored.
        os.utime(path, (1_000_000_000, 1_000_000_000 + size))


def tree_of(place: Path) -> dict[str, str]:
    """The digests of all files, by their paths in a directory."""
    return {str(path.relative_to(place)): digest(path) for path in sorted(place.rglob("*")) if path.is_file()}


def digest(path: Path) -> str:
    """SHA-256 of a file, and its size."""
    with path.open("rb") as file:
        return f"{hashlib.file_digest(file, 'sha256').hexdigest()} {path.stat().st_size}"
