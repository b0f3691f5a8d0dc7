from typing import Final

IMPLEMENTATIONS: Final[tuple[str, ...]]

def highwayhash256(
    key: bytes | bytearray | memoryview, data: bytes | bytearray | memoryview, implementation: str | None = None, /
) -> bytes: ...
