"""SlateDB, a database on a bucket, whose second writer shuts the first one out by puts of what is not there: C{with_slatedb.py}."""

import asyncio
import os
from typing import Any

from slatedb.uniffi import CloseReason, DbBuilder, Error, KeyRange, ObjectStoreBuilder, ObjectStoreType, WriteBatch

ROWS = 5_000
WIDTH = 4000

ALL = KeyRange(start=None, start_inclusive=False, end=None, end_inclusive=False)


def store() -> Any:
    """The bucket."""
    builder = ObjectStoreBuilder.from_env(ObjectStoreType.S3)
    given = {"bucket": "box", "endpoint": os.environ["AWS_ENDPOINT_URL"], "virtual_hosted_style_request": "false"}
    given["conditional_put"] = "etag"
    if not os.environ["AWS_ENDPOINT_URL"].startswith("https:"):
        given["allow_http"] = "true"
    for name, value in given.items():
        builder.with_config(name, value)
    return builder.build()


async def rows_of(db: Any) -> dict[bytes, bytes]:
    """All of them."""
    found = {}
    rows = await db.scan(ALL)
    while (row := await rows.next()) is not None:
        found[bytes(row.key)] = bytes(row.value)
    return found


def check(found: dict[bytes, bytes], kept: dict[bytes, bytes]) -> None:
    """Nothing is missing, nothing else is there, and all is as it was written."""
    assert found == kept, (len(found), len(kept), sorted(found.keys() ^ kept.keys())[:10])


async def main() -> None:
    """Rows written and read again, and a writer that is shut out."""
    bucket = store()
    first = await DbBuilder("db", bucket).build()
    kept = {}
    for start in range(0, ROWS, 1000):
        batch = WriteBatch()
        for number in range(start, start + 1000):
            key, value = b"%08d" % number, os.urandom(WIDTH)
            batch.put(key, value)
            kept[key] = value
        await (await first.write(batch)).await_durable()
    second = await DbBuilder("db", bucket).build()
    await (await second.put(b"second", b"was here")).await_durable()
    try:
        await first.put(b"first", b"was here")
        await first.flush()
    except Error.Closed as error:
        assert error.reason == CloseReason.FENCED, error
    else:
        raise AssertionError("two writers")
    kept[b"second"] = b"was here"
    check(await rows_of(second), kept)
    await second.shutdown()
    third = await DbBuilder("db", bucket).build()
    check(await rows_of(third), kept)
    await third.shutdown()


asyncio.run(main())
