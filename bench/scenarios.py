"""
What bench/append.py has clients do, and how it makes sure that the server really did it.

A scenario belongs to one server.  For every visit C{prepare} sets the stage and says what to send; C{check} looks at
what is stored afterwards and raises L{BenchError} if that is not what was sent: a fast server that loses records must
not get a figure.
"""

from __future__ import annotations

import random
import struct
from typing import Protocol

from bench.appendlog import Client, bucket_of, frame
from bench.harness import BenchError
from bench.wrk import Load, Outcome, request_bytes

__all__ = ["Appends", "Batches", "Gets", "MultiGets", "Scenario"]

#: The records that are there to be read.
STORED = 10_000

_overhead = len(frame([b""]))
_probe = b"probe"


class Scenario(Protocol):
    """What the clients of one server do."""

    @property
    def writes(self) -> bool:
        """Whether it appends, so that the log has to be emptied after a visit."""

    def prepare(self, client: Client) -> Load:
        """Set the stage for a visit."""

    def check(self, client: Client, outcome: Outcome) -> None:
        """
        Look at what a visit left.

        @raise BenchError: if something is wrong with it.
        """


class Appends:
    """
    C{POST /append}: records of one size, their identifiers taken in turn.

    The bytes that bucket files grow by are counted: a record is four bytes longer there than its data, with ours as
    with the peer.
    """

    writes = True

    #: The records of one request.
    records = 1

    def __init__(self, connections: int, size: int, identifiers: int) -> None:
        self.connections = connections
        self.record = random.Random(size).randbytes(size)
        self.identifiers = [f"bench-{number}" for number in range(identifiers)]
        #: An identifier for every bucket file that is written to, and where the file ended before the load.
        self._starts: dict[str, int] = {}

    def prepare(self, client: Client) -> Load:
        """Append a probe to every file that will be used."""
        one_of_each = {bucket_of(identifier): identifier for identifier in self.identifiers}
        self._starts = {
            identifier: client.append(identifier, _probe) + _overhead + len(_probe)
            for identifier in one_of_each.values()
        }
        requests = [self.request(identifier, client.port) for identifier in self.identifiers]
        return Load(requests, self.connections, self.records)

    def request(self, identifier: str, port: int) -> bytes:
        """The request that appends to an identifier."""
        return request_bytes("POST", f"/append?id={identifier}", port, self.record)

    def check(self, client: Client, outcome: Outcome) -> None:
        """
        Every answered append is stored, nothing is stored twice, and first and last record of every file read back
        right.
        """
        length = _overhead + len(self.record)
        grown = 0
        for identifier, start in self._starts.items():
            end = client.append(identifier, _probe)
            grown += end - start
            for offset in {start, end - length} if end > start else ():
                if client.get(identifier, offset) != self.record:
                    raise BenchError(f"the record of {identifier} at {offset} is not the one that was appended")
        stored, rest = divmod(grown, length)
        answered = outcome.requests * self.records
        # When the time is over each connection may have one more request under way, stored but not waited for.
        if rest or not answered <= stored <= answered + self.connections * self.records:
            raise BenchError(
                f"{answered} records were acknowledged, but the files grew by {grown} bytes, {stored} records"
            )


class Batches(Appends):
    """C{POST /appendMulti}: several records for one identifier in each request."""

    def __init__(self, connections: int, size: int, records: int) -> None:
        super().__init__(connections, size, 1)
        self.records = records

    def request(self, identifier: str, port: int) -> bytes:
        """The request that appends a batch."""
        return request_bytes("POST", f"/appendMulti?id={identifier}", port, frame([self.record] * self.records))


class _Reads:
    """
    Reading from L{STORED} records of 100 bytes, all different, in an order that is random but the same for every
    server.
    """

    writes = False

    def __init__(self, connections: int) -> None:
        self.connections = connections
        self.identifier = "bench-0"
        self.records = [b"%08d" % number + random.Random(number).randbytes(92) for number in range(STORED)]
        self.offsets: list[int] = []
        self.random = random.Random(STORED)

    def fill(self, client: Client) -> None:
        """Append the records, unless they are there already."""
        if not self.offsets:
            self.offsets = [client.append(self.identifier, record) for record in self.records]


class Gets(_Reads):
    """C{GET /get}: every stored record once, in random order, then again."""

    def prepare(self, client: Client) -> Load:
        """Fill the log."""
        self.fill(client)
        order = self.random.sample(self.offsets, len(self.offsets))
        requests = [request_bytes("GET", f"/get?id={self.identifier}&offset={offset}", client.port) for offset in order]
        return Load(requests, self.connections)

    def check(self, client: Client, outcome: Outcome) -> None:
        """A hundred records read back right."""
        for number in self.random.sample(range(STORED), 100):
            if client.get(self.identifier, self.offsets[number]) != self.records[number]:
                raise BenchError(f"record {number} at {self.offsets[number]} read back wrong")


class MultiGets(_Reads):
    """C{POST /getMulti}: random offsets, so many in a request."""

    def __init__(self, connections: int, offsets: int) -> None:
        super().__init__(connections)
        self.count = offsets

    def _body(self, numbers: list[int]) -> bytes:
        return struct.pack(f"<{len(numbers)}Q", *(self.offsets[number] for number in numbers))

    def prepare(self, client: Client) -> Load:
        """Fill the log."""
        self.fill(client)
        target = f"/getMulti?id={self.identifier}"
        bodies = [self._body(self.random.sample(range(STORED), self.count)) for _ in range(200)]
        return Load([request_bytes("POST", target, client.port, body) for body in bodies], self.connections, self.count)

    def check(self, client: Client, outcome: Outcome) -> None:
        """One request's records come in the order asked."""
        numbers = self.random.sample(range(STORED), self.count)
        answer = client.request("POST", f"/getMulti?id={self.identifier}", self._body(numbers))
        if answer != frame(self.records[number] for number in numbers):
            raise BenchError("/getMulti did not answer the records that were asked for")
