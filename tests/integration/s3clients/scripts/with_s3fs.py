"""s3fs: C{with_s3fs.py TREE BACK}."""

import sys
from pathlib import Path

import s3fs


def main(tree: Path, back: Path) -> None:
    """A tree there and back, and files as if they were on a disk."""
    box = s3fs.S3FileSystem()
    box.mkdir("box")
    box.put(f"{tree}/", "box/tree/", recursive=True)
    box.invalidate_cache()
    files = {str(path.relative_to(tree)): path.stat().st_size for path in sorted(tree.rglob("*")) if path.is_file()}
    found = {name.removeprefix("box/tree/"): size for name, size in box.du("box/tree", total=False).items()}
    assert found == files, found
    box.get("box/tree/", f"{back}/", recursive=True)

    data = (tree / "large.bin").read_bytes()
    with box.open("box/tree/large.bin", block_size=1 << 20) as file:
        file.seek(-1000, 2)
        assert file.read() == data[-1000:]
        file.seek(17 << 20)
        assert file.read(3 << 20) == data[17 << 20 : 20 << 20]
    with box.open("box/written", "wb", block_size=5 << 20) as file:
        for start in range(0, 22 << 20, 1 << 20):
            file.write(data[start : start + (1 << 20)])
    assert box.cat("box/written") == data[: 22 << 20]
    with box.open("box/text", "w") as file:
        file.write("käse")
    box.setxattr("box/text", copy_kwargs={"ContentType": "text/plain"}, kind="cheese")
    assert box.getxattr("box/text", "kind") == "cheese"
    box.copy("box/written", "box/copied")
    box.mv("box/copied", "box/moved")
    assert box.exists("box/moved") and not box.exists("box/copied")
    assert box.glob("box/tree/small/00/*3.txt") == ["box/tree/small/00/0003.txt"]
    with box.open("box/only", "xb") as file:
        file.write(b"once")
    try:
        with box.open("box/only", "xb") as file:
            file.write(b"twice")
    except FileExistsError:
        pass
    else:
        raise AssertionError("it was replaced")
    assert box.cat("box/only") == b"once"
    box.rm("box", recursive=True)
    assert not box.exists("box"), box.ls("")


main(Path(sys.argv[1]), Path(sys.argv[2]))
