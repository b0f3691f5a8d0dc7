"""The append log as a command sees it: one method a request. Source: docs/append.rst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import attrs

from storehouse.cli.client import Body, Client, Response, Server
from storehouse.cli.errors import CommandError
from storehouse.cli.frames import FrameParser, MalformedFrame, Piece, encode_offsets, encode_records

__all__ = ["Appended", "LogClient"]


@attrs.frozen
class Appended:
    """
    Where records went.

    @ivar offsets: the offset of each, in the order sent.
    @ivar file: the bucket file that holds them, as the server names it.
    """

    offsets: tuple[int, ...]
    file: str


class LogClient:
    """
    The append log of one server, under one prefix. A context manager: leaving it closes the connection.

    Every method raises L{CommandError} if the server cannot be reached, refuses, or responds with what is invalid.

    @param prefix: the storage prefix; C{None} for the server's default.
    @param timeout: the seconds that the server may be silent.
    """

    def __init__(self, server: Server, prefix: str | None, timeout: float) -> None:
        self._client = Client(server, timeout)
        self._prefix = [] if prefix is None else [("storagePrefix", prefix)]

    def __enter__(self) -> LogClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def append(self, id: str, body: Body, durability: str | None = None) -> Appended:
        """Append one record of any size."""
        response = self._post("/append", id, body, durability).json("response")
        return _appended([response.get("offset")], response.get("file"), 1)

    def append_many(self, id: str, records: Sequence[bytes], durability: str | None = None) -> Appended:
        """
        Append some records, all or none.

        One alone goes as itself, since a record may be larger than the server lets a batch be.
        """
        if len(records) == 1:
            return self.append(id, Body.of(records[0]), durability)
        response = self._post("/appendMulti", id, Body.of(encode_records(records)), durability).json("response")
        return _appended(response.get("offsets"), response.get("file"), len(records))

    def get(self, id: str, offset: int) -> Response:
        """The record at an offset, as it is."""
        return self._client.request("GET", "/get", [*self._prefix, ("id", id), ("offset", offset)])

    def get_many(self, id: str, offsets: Sequence[int]) -> Iterator[Piece]:
        """
        The records at some offsets, in the order asked.

        Those before one that fails are given before the error is raised.
        """
        parser = FrameParser(offsets=False)
        yield from _parsed(parser, self._post("/getMulti", id, Body.of(encode_offsets(offsets)), None))
        if parser.records != len(offsets):
            raise MalformedFrame(f"{len(offsets)} records were requested, {parser.records} received")

    def scan(
        self, of: tuple[str, str | int], start: int | None = None, limit: int | None = None, follow: bool = False
    ) -> Iterator[Sequence[Piece]]:
        """
        The records of an identifier or a bucket, as they come in: a list is what is there without waiting.

        @param of: C{("id", ID)} or C{("bucket", NUMBER)}.
        @param start: begin at the first record at or after this offset.
        @param follow: continue as records arrive.
        """
        query: list[tuple[str, str | int]] = [*self._prefix, of]
        if start is not None:
            query.append(("offset", start))
        if limit is not None:
            query.append(("limit", limit))
        if follow:
            query.append(("follow", 1))
        response = self._client.request("GET", "/scan", query, patient=follow)
        parser = FrameParser(offsets=True)
        for data in response.pieces():
            batch: list[Piece] = []
            try:
                batch.extend(parser.feed(data))
            except MalformedFrame:
                yield batch
                raise
            yield batch
        parser.finish()

    def stat(self) -> dict[str, object]:
        """The sizes of the prefix, or of all prefixes when none was named, as the server gives them."""
        return self._client.request("GET", "/stat", self._prefix).json("response")

    def _post(self, path: str, id: str, body: Body, durability: str | None) -> Response:
        headers = {"Content-Type": "application/octet-stream"}
        if durability is not None:
            headers["Durability"] = durability
        return self._client.request("POST", path, [*self._prefix, ("id", id)], body, headers)


def _parsed(parser: FrameParser, response: Response) -> Iterator[Piece]:
    for data in response.pieces():
        yield from parser.feed(data)
    parser.finish()


def _appended(offsets: Any, file: Any, count: int) -> Appended:
    """Check the response to an append."""
    if not isinstance(offsets, list) or len(offsets) != count or not isinstance(file, str):
        raise CommandError("the server's response names no offset; is it a storehouse server?")
    if not all(type(offset) is int for offset in offsets):
        raise CommandError("the server's response names an offset that is not a number; is it a storehouse server?")
    return Appended(tuple(offsets), file)
