"""
Many uploads that take their time, in a process of its own: C{python -m bench.uploads_load '{"url": ..., "count": ...}'}.

Each is a form with one file, over a TLS connection of its own, and sends a piece of it now and then.  C{begun} is
printed when each has sent its first piece; the end is that each was answered 2xx.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

__all__ = ["form", "main"]

_BOUNDARY = "slow-but-steady"

#: Handshakes at once.
_AT_ONCE = 20

#: Pieces that each upload is sent in.
_PIECES = 40


def form(url: str, key: str, number: int, size: int) -> tuple[bytes, bytes, bytes]:
    """
    A request with a form that has one file of C{size} bytes.

    @param key: an access key, as C{ID:SECRET}.
    @return: what comes before the file, the file, and what comes after it.
    """
    parts = urlsplit(url)
    disposition = f'Content-Disposition: form-data; name="file"; filename="slow-{number}"'
    before = f"--{_BOUNDARY}\r\n{disposition}\r\n\r\n".encode()
    after = f"\r\n--{_BOUNDARY}--\r\n".encode()
    head = [
        f"POST {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Accept: application/json",
        "Authorization: Basic " + base64.b64encode(key.encode()).decode(),
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}",
        f"Content-Length: {len(before) + size + len(after)}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + before, bytes([number % 256]) * size, after


async def _upload(
    url: str,
    key: str,
    number: int,
    size: int,
    seconds: float,
    context: ssl.SSLContext,
    turns: asyncio.Semaphore,
    begun: asyncio.Barrier,
) -> None:
    parts = urlsplit(url)
    async with turns:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=context)
    before, data, after = form(url, key, number, size)
    step = -(-size // _PIECES)
    writer.write(before + data[:step])
    await writer.drain()
    await begun.wait()
    for at in range(step, size, step):
        await asyncio.sleep(seconds / _PIECES)
        writer.write(data[at : at + step])
        await writer.drain()
    writer.write(after)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 2"):
        raise ValueError(f"upload {number} was answered {answer[:500]!r}")


async def _uploads(url: str, certificate: str, key: str, count: int, size: int, seconds: float) -> None:
    context = ssl.create_default_context(cafile=certificate)
    turns, begun = asyncio.Semaphore(_AT_ONCE), asyncio.Barrier(count + 1)
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(_upload(url, key, number, size, seconds, context, turns, begun))
        await begun.wait()
        print("begun", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    (text,) = arguments
    asyncio.run(_uploads(**json.loads(text)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
