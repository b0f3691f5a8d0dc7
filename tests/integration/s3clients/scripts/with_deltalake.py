"""Delta Lake, whose commits are puts of what is not there: C{with_deltalake.py}."""

import os
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

ROWS = 200_000


def main() -> None:
    """Commits of some 100 MiB one after the other, at the same time, and what is read of them."""
    options = {"aws_virtual_hosted_style_request": "false", "aws_conditional_put": "etag"}
    if not os.environ["AWS_ENDPOINT_URL"].startswith("https:"):
        options["aws_allow_http"] = "true"
    url = "s3://box/table"

    def rows(number: int) -> pa.Table:
        random = Random(number)
        noise = {
            f"noise {each}": pa.Array.from_buffers(pa.int64(), ROWS, [None, pa.py_buffer(random.randbytes(8 * ROWS))])
            for each in range(6)
        }
        return pa.table({"writer": [number] * ROWS, "n": list(range(ROWS)), **noise})

    write_deltalake(url, rows(0), storage_options=options)
    write_deltalake(url, rows(1), mode="append", storage_options=options)

    def append(number: int) -> None:
        write_deltalake(url, rows(number), mode="append", storage_options=options)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(append, range(2, 10)))
    table = DeltaTable(url, storage_options=options)
    assert table.version() == 9, table.version()
    counted = table.to_pyarrow_table(columns=["writer"])["writer"].value_counts()
    assert {each["values"].as_py(): each["counts"].as_py() for each in counted} == dict.fromkeys(range(10), ROWS)
    first = DeltaTable(url, version=0, storage_options=options).to_pyarrow_table()
    assert first.sort_by("n").equals(rows(0)), first
    table.delete("writer = 3")
    table.optimize.compact()
    table.create_checkpoint()
    removed = table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    assert removed, removed
    again = DeltaTable(url, storage_options=options).to_pyarrow_table()
    assert again.num_rows == 9 * ROWS, again.num_rows


main()
