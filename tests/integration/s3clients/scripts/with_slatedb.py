"""SlateDB, a database on a bucket, whose writers shut each other out by puts of what is not there: C{with_slatedb.py}."""

import asyncio
import os
from typing import Any

from slatedb.uniffi import CloseReason, DbBuilder, Error, KeyRange, ObjectStoreBuilder, ObjectStoreType, WriteBatch

# Some 25 MiB, since its binding for Python takes bytes one by one; each is written twice, and read several times.
ROWS = 2_500
WIDTH = 10_000

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
    """Rows are written and read again, and writers shut each other out."""
    bucket = store()
    first = await DbBuilder("db", bucket).build()
    kept = {}
    for start in range(0, ROWS, 100):
        batch = WriteBatch()
        for number in range(start, start + 100):
            key, value = b"%08d" % number, os.urandom(WIDTH)
            batch.put(key, value)
            kept[key] = value
        await (await first.write(batch)).await_durable()
    writer, turns = first, 4
    for turn in range(turns):
        # A writer that opens it shuts out the one before, and is shut out in turn.
        other = await DbBuilder("db", bucket).build()
        name = b"turn %d" % turn
        await (await other.put(name, b"was here")).await_durable()
        kept[name] = b"was here"
        try:
            await (await writer.put(b"shut out", name)).await_durable()
        except Error.Closed as error:
            assert error.reason == CloseReason.FENCED, error
        else:
            raise AssertionError("two writers")
        writer = other
    check(await rows_of(writer), kept)
    await writer.shutdown()
    last = await DbBuilder("db", bucket).build()
    check(await rows_of(last), kept)
    await last.shutdown()


asyncio.run(main())
