"""DuckDB with httpfs: C{with_duckdb.py}."""

import os
from urllib.parse import urlsplit

import duckdb
from duckdb_extensions import import_extension


def main() -> None:
    """Tables that are written, read in pieces, and joined."""
    import_extension("httpfs")
    endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    db = duckdb.connect()
    db.execute("LOAD httpfs")
    if endpoint.scheme == "https":
        db.execute(f"SET ca_cert_file = '{os.environ['CERTIFICATE']}'")
        db.execute("SET enable_server_cert_verification = true")
    db.execute(
        "CREATE SECRET (TYPE s3, KEY_ID '{AWS_ACCESS_KEY_ID}', SECRET '{AWS_SECRET_ACCESS_KEY}', REGION '{AWS_REGION}', ".format(
            **os.environ
        )
        + f"ENDPOINT '{endpoint.netloc}', URL_STYLE 'path', USE_SSL {str(endpoint.scheme == 'https').lower()})"
    )
    rows = 5_000_000
    db.execute(f"CREATE TABLE numbers AS SELECT range AS n, hash(range) AS h, range % 7 AS part FROM range({rows})")
    whole = db.sql("SELECT count(*), sum(n), bit_xor(h) FROM numbers").fetchall()
    db.execute("COPY numbers TO 's3://box/one.parquet' (FORMAT parquet, COMPRESSION uncompressed)")
    db.execute("COPY numbers TO 's3://box/parts' (FORMAT parquet, PARTITION_BY (part))")
    db.execute("COPY (SELECT * FROM numbers LIMIT 1000) TO 's3://box/few rows+.csv'")
    for source in ("'s3://box/one.parquet'", "read_parquet('s3://box/parts/*/*.parquet', hive_partitioning = true)"):
        assert db.sql(f"SELECT count(*), sum(n), bit_xor(h) FROM {source}").fetchall() == whole, source
    ((size,),) = db.sql(
        "SELECT sum(total_compressed_size)::BIGINT FROM parquet_metadata('s3://box/one.parquet')"
    ).fetchall()
    assert size > 75 << 20, size
    found = db.sql("SELECT count(*) FROM 's3://box/parts/part=3/*.parquet'").fetchall()
    assert found == [(rows // 7 + (rows % 7 > 3),)], found
    assert db.sql("SELECT sum(n) FROM 's3://box/few rows+.csv'").fetchall() == [(sum(range(1000)),)]
    assert len(db.sql("FROM glob('s3://box/**')").fetchall()) >= 9


main()
