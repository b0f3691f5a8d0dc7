"""polars: C{with_polars.py}."""

import os
from typing import Any

import polars as pl

ROWS = 2_500_000


def main() -> None:
    """Frames of some 100 MiB, written and read whole and in pieces."""
    options: Any = {"aws_virtual_hosted_style_request": "false"}
    if not os.environ["AWS_ENDPOINT_URL"].startswith("https:"):
        options["aws_allow_http"] = "true"
    numbers = pl.Series("n", range(ROWS), dtype=pl.UInt64)
    frame = pl.DataFrame([numbers, *(numbers.hash(seed).alias(f"h{seed}") for seed in range(5))]).with_columns(
        part=pl.col("n") % 5
    )
    frame.write_parquet("s3://box/one.parquet", compression="uncompressed", storage_options=options)
    read = pl.read_parquet("s3://box/one.parquet", storage_options=options)
    assert read.equals(frame), read
    frame.lazy().sink_parquet(
        "s3://box/two.parquet", compression="lz4", row_group_size=100_000, storage_options=options
    )
    scanned = pl.scan_parquet("s3://box/*.parquet", storage_options=options)
    found: Any = scanned.filter(pl.col("n") == ROWS - 7).select("h4").collect()
    assert found["h4"].to_list() == [frame["h4"][ROWS - 7]] * 2, found
    found = scanned.group_by("part").agg(pl.len(), pl.col("n").sum()).sort("part").collect()
    assert found["len"].to_list() == [2 * ROWS // 5] * 5, found
    assert found["n"].sum() == ROWS * (ROWS - 1), found
    frame.head(1000).write_csv("s3://box/few rows+.csv", storage_options=options)
    assert pl.read_csv("s3://box/few rows+.csv", storage_options=options)["n"].sum() == sum(range(1000))


main()
