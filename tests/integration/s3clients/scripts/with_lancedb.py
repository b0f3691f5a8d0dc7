"""LanceDB, whose commits are puts of what is not there: C{with_lancedb.py}."""

import os
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import lancedb
import pyarrow as pa

ROWS, WIDTH = 10_000, 320

WRITERS, CHANGES = 4, 4


def connect() -> Any:
    """A connection of its own."""
    options = {"endpoint": os.environ["AWS_ENDPOINT_URL"], "aws_virtual_hosted_style_request": "false"}
    if not os.environ["AWS_ENDPOINT_URL"].startswith("https:"):
        options["allow_http"] = "true"
    return lancedb.connect("s3://box/lance", storage_options=options)


def rows(number: int) -> Any:
    """Some 12 MiB of vectors."""
    values = pa.Array.from_buffers(
        pa.int32(), ROWS * WIDTH, [None, pa.py_buffer(Random(number).randbytes(4 * ROWS * WIDTH))]
    )
    vectors = pa.FixedSizeListArray.from_arrays(values, WIDTH)
    return pa.table({"writer": [number] * ROWS, "n": list(range(ROWS)), "count": [0] * ROWS, "data": vectors})


def main() -> None:
    """Concurrent writers that add rows, and that change the same row."""
    table = connect().create_table("rows", rows(0))

    def add(number: int) -> None:
        connect().open_table("rows").add(rows(number))

    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(add, range(1, 8)))
    table.checkout_latest()
    found = table.to_arrow()
    assert found.num_rows == 8 * ROWS, found.num_rows
    for number in range(8):
        mine = found.filter(pa.compute.equal(found["writer"], number)).sort_by("n")
        assert mine.equals(rows(number)), number

    def change(writer: int) -> int:
        """Each reads one row and adds to it; a writer that was overtaken tries again, or fails."""
        mine, done = connect().open_table("rows"), 0
        for _ in range(CHANGES):
            try:
                mine.update(where="writer = 3 AND n = 7", values_sql={"count": "count + 1"})
            except RuntimeError as error:
                assert "conflict" in str(error).lower() or "retry" in str(error).lower(), error
            else:
                done += 1
            mine.checkout_latest()
        return done

    with ThreadPoolExecutor(WRITERS) as threads:
        done = sum(threads.map(change, range(WRITERS)))
    table.checkout_latest()
    counted = table.search().where("writer = 3 AND n = 7").select(["count"]).to_arrow()["count"].to_pylist()
    assert counted == [done] and done >= CHANGES, (counted, done)
    versions = [each["version"] for each in table.list_versions()]
    assert versions == list(range(1, 9 + done)), (versions, done)
    assert table.count_rows() == 8 * ROWS
    table.delete("writer = 5")
    table.optimize()
    assert connect().open_table("rows").count_rows() == 7 * ROWS


main()
