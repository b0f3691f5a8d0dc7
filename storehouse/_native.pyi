from collections.abc import Sequence
from typing import Final

IMPLEMENTATIONS: Final[tuple[str, ...]]
CRC32C_IMPLEMENTATIONS: Final[tuple[str, ...]]

def highwayhash256(
    key: bytes | bytearray | memoryview, data: bytes | bytearray | memoryview, implementation: str | None = None, /
) -> bytes: ...
def crc32c(data: bytes | bytearray | memoryview, crc: int, implementation: str, /) -> int: ...
def encode_appends(appends: Sequence[tuple[bytes, int]], offset: int, time: int, /) -> tuple[bytes, bytes]: ...
def encode_entries(
    payloads: Sequence[bytes], offset: int, time: int, hash: int, is_last: bool, /
) -> tuple[bytes, tuple[int, ...]]: ...
