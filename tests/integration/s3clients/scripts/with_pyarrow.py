"""pyarrow: C{with_pyarrow.py TREE}."""

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs


def main(tree: Path) -> None:
    """Files, folders and tables."""
    endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    given = {"tls_ca_file_path": os.environ["CERTIFICATE"]} if endpoint.scheme == "https" else {}
    box = fs.S3FileSystem(
        endpoint_override=endpoint.netloc, scheme=endpoint.scheme, region=os.environ["AWS_REGION"], allow_bucket_creation=True,
        allow_bucket_deletion=True, **given,
    )  # fmt: skip
    box.create_dir("box")
    fs.copy_files(str(tree), "box/tree", source_filesystem=fs.LocalFileSystem(), destination_filesystem=box)
    found = box.get_file_info(fs.FileSelector("box/tree", recursive=True))
    sizes = {each.path.removeprefix("box/tree/"): each.size for each in found if each.type == fs.FileType.File}
    files = {str(path.relative_to(tree)): path for path in sorted(tree.rglob("*")) if path.is_file()}
    assert sizes == {name: path.stat().st_size for name, path in files.items()}, sizes
    for name, path in files.items():
        with box.open_input_file(f"box/tree/{name}") as file:
            assert file.read() == path.read_bytes(), name
    with box.open_input_file("box/tree/large.bin") as file:
        assert file.read_at(1000, 5 << 20) == files["large.bin"].read_bytes()[5 << 20 :][:1000]

    count = 1_500_000
    table = pa.table(
        {
            "number": range(count),
            "half": pc.divide(pa.array(range(count), pa.float64()), 2.0),
            "part": [each % 5 for each in range(count)],
        }
    )
    pq.write_table(table, "box/table.parquet", filesystem=box, compression="none")
    assert pq.read_table("box/table.parquet", filesystem=box).equals(table)
    ds.write_dataset(
        table, "box/set", filesystem=box, format="parquet", partitioning=["part"], partitioning_flavor="hive"
    )
    read = ds.dataset("box/set", filesystem=box, format="parquet", partitioning="hive")
    assert read.count_rows() == count
    assert pc.sum(read.to_table(filter=ds.field("part") == 3)["number"]).as_py() == sum(range(3, count, 5))
    box.copy_file("box/table.parquet", "box/copy.parquet")
    box.move("box/copy.parquet", "box/moved.parquet")
    assert box.get_file_info("box/copy.parquet").type == fs.FileType.NotFound
    assert pq.read_metadata("box/moved.parquet", filesystem=box).num_rows == count
    with box.open_output_stream("box/streamed", metadata={"Content-Type": "text/plain"}) as file:
        for _ in range(30):
            file.write(b"x" * (1 << 20))
    assert box.get_file_info("box/streamed").size == 30 << 20
    box.delete_dir("box/set")
    box.delete_dir_contents("box")
    box.delete_dir("box")
    assert box.get_file_info("box").type == fs.FileType.NotFound


main(Path(sys.argv[1]))
