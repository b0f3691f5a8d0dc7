"""ClientHellos made by hand, for what no program offers any more (RFC 5246, 7.4.1.2)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable

from tests.integration.process import PATIENCE

__all__ = ["ALL_SUITES", "SSL3", "TLS10", "TLS11", "TLS12", "accepted_suites", "offer"]

SSL3, TLS10, TLS11, TLS12 = 0x0300, 0x0301, 0x0302, 0x0303

#: The numbers that IANA gave to cipher suites of TLS 1.2 and before, and some around them.
ALL_SUITES = (*range(0x0001, 0x00C8), *range(0xC001, 0xC0B6), *range(0xCCA8, 0xCCAF), *range(0xD001, 0xD006))

_GROUPS = (0x001D, 0x0017, 0x0018, 0x0019, 0x0100)
_SIGNATURES = (0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201)


def _extension(kind: int, data: bytes) -> bytes:
    return struct.pack("!HH", kind, len(data)) + data


def _numbers(numbers: Iterable[int]) -> bytes:
    packed = b"".join(struct.pack("!H", number) for number in numbers)
    return struct.pack("!H", len(packed)) + packed


def hello(version: int, suites: Iterable[int]) -> bytes:
    """A ClientHello in its record."""
    body = struct.pack("!H", version) + os.urandom(32) + b"\0"
    # The last says that renegotiation would be secure (RFC 5746).
    body += _numbers((*suites, 0x00FF)) + b"\x01\x00"
    if version > SSL3:
        extensions = _extension(10, _numbers(_GROUPS)) + _extension(11, b"\x01\x00")
        if version >= TLS12:
            extensions += _extension(13, _numbers(_SIGNATURES))
        body += struct.pack("!H", len(extensions)) + extensions
    message = b"\x01" + struct.pack("!I", len(body))[1:] + body
    return b"\x16" + struct.pack("!HH", min(version, TLS10), len(message)) + message


def offer(port: int, version: int, suites: Iterable[int]) -> tuple[int, int] | None:
    """
    Offer these to a server.

    @return: the version and the suite that it chose; C{None} if it took none.
    """
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(hello(version, suites))
        data = b""
        while len(data) < 5 or len(data) < 5 + struct.unpack("!H", data[3:5])[0]:
            more = connection.recv(4096)
            if not more:
                return None
            data += more
    if data[0] == 0x15:
        return None
    assert data[0] == 0x16 and data[5] == 0x02, data[:20]
    chosen, session = struct.unpack("!H", data[9:11])[0], data[43]
    return chosen, struct.unpack("!H", data[44 + session : 46 + session])[0]


def accepted_suites(port: int, version: int) -> list[int]:
    """All suites that a server accepts at this version, in its own order: it is offered all but those it chose."""
    accepted: list[int] = []
    while True:
        chosen = offer(port, version, [suite for suite in ALL_SUITES if suite not in accepted])
        if chosen is None:
            return accepted
        assert chosen[0] == version, chosen
        accepted.append(chosen[1])
