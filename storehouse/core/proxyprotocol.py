"""
The head that a proxy sends before the bytes of a connection, to tell whose they are: the PROXY protocol, versions 1 and 2
(https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).

Version 1 is a line of at most 107 bytes::

    PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\\r\\n
    PROXY UNKNOWN\\r\\n

Version 2, of which the numbers are big-endian::

    12 bytes   0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A
     1 byte    version (2) in the upper half; command in the lower: 0 LOCAL, 1 PROXY
     1 byte    family in the upper half: 1 IPv4, 2 IPv6, 3 UNIX, 0 unknown; transport in the lower: 1 stream
     2 bytes   length of what follows
               source address, destination address, source port, destination port; further fields, which are not looked at
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address as V4
from ipaddress import IPv6Address as V6

from twisted.internet.address import IPv4Address, IPv6Address

from storehouse.errors import InvalidRequest

__all__ = ["Decoded", "decode_proxy"]

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_HEAD = 16
_WORD = b"PROXY "

#: Bytes of a line of version 1, at most, and of what follows the head of version 2.
_MOST_LINE = 107
_MOST_FIELDS = 2048

_line = re.compile(rb"PROXY (TCP4|TCP6) ([0-9a-fA-F.:]{2,45}) ([0-9a-fA-F.:]{2,45}) ([0-9]{1,5}) ([0-9]{1,5})\Z").match

#: How many bytes there were of a head, and the address that it names: C{None} for that of the connection.
Decoded = tuple[int, "IPv4Address | IPv6Address | None"]


def decode_proxy(data: bytes) -> Decoded | None:
    """
    Read the head of a connection, of which some bytes have come.

    @return: C{(0, None)} if it is none, and the bytes are the client's; C{None} if more must come to tell.
    @raise InvalidRequest: if it begins as one, and is not well-formed.
    """
    if data.startswith(_SIGNATURE):
        return _decode_2(data)
    if data.startswith(_WORD):
        return _decode_1(data)
    if _SIGNATURE.startswith(data) or _WORD.startswith(data):
        return None
    return 0, None


def _decode_1(data: bytes) -> Decoded | None:
    end = data.find(b"\r\n", 0, _MOST_LINE)
    if end < 0:
        if len(data) >= _MOST_LINE or b"\n" in data:
            raise InvalidRequest("the line of the PROXY protocol has no end")
        return None
    line = data[:end]
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return end + 2, None
    found = _line(line)
    if found is None:
        raise InvalidRequest("the line of the PROXY protocol is not well-formed")
    family, source, destination, *ports = found.groups()
    kind, made = (V4, IPv4Address) if family == b"TCP4" else (V6, IPv6Address)
    try:
        kind(destination.decode("ascii"))
        address = str(kind(source.decode("ascii")))
        numbers = [int(port) for port in ports]
    except ValueError as error:
        raise InvalidRequest(f"the line of the PROXY protocol has no address: {error}") from None
    if max(numbers) > 65535:
        raise InvalidRequest("the line of the PROXY protocol has a port beyond 65535")
    return end + 2, made("TCP", address, numbers[0])


def _decode_2(data: bytes) -> Decoded | None:
    if len(data) < _HEAD:
        return None
    version, command = data[12] >> 4, data[12] & 15
    length = int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1:
        raise InvalidRequest("the head of the PROXY protocol is of another version, or has an unknown command")
    if length > _MOST_FIELDS:
        raise InvalidRequest(f"the head of the PROXY protocol has more than {_MOST_FIELDS} bytes")
    end = _HEAD + length
    if len(data) < end:
        return None
    if command == 0:
        return end, None
    family, transport = data[13] >> 4, data[13] & 15
    if family not in (1, 2):
        return end, None  # a socket file, or unknown
    size, name, made = (4, socket.AF_INET, IPv4Address) if family == 1 else (16, socket.AF_INET6, IPv6Address)
    if transport != 1 or length < 2 * size + 4:
        raise InvalidRequest("the head of the PROXY protocol is too short for its addresses, or of no stream")
    ports = _HEAD + 2 * size
    port = int.from_bytes(data[ports : ports + 2], "big")
    return end, made("TCP", socket.inet_ntop(name, data[_HEAD : _HEAD + size]), port)
