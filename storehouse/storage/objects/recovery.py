"""Recovery of what a crash left between bytes and keys, before anything else is done."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.jobs import finished
from storehouse.errors import Damaged, InvalidName, NoSuchBucket, NoSuchObject, StorehouseError
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects.pair import Pair
from storehouse.storage.objects.tags import decode_entry

__all__ = ["begin", "recover"]

_log = Logger()


def begin(pair: Pair, tidy: bool) -> Deferred[None]:
    """
    L{recover}, and then look, beside all else, for bytes that have no name.

    @param tidy: whether to do the second.
    @return: fires, always, when the first is done.
    """
    recovering = Deferred.fromCoroutine(recover(pair))
    recovering.addErrback(lambda failure: _log.failure("while recovering", failure=failure))

    def recovered(result: None) -> None:
        if tidy:
            pair.removing.tidy()

    return recovering.addCallback(recovered)


async def recover(pair: Pair) -> None:
    """
    An upload that was being completed becomes the object that it was to be, since its parts are nowhere else any more.
    Other bytes that have no key are left to L{Removing<storehouse.storage.objects.removing.Removing>}.
    """
    if pair.notices is not None:
        # First of all: what keys have now is what they had when the process ended.
        await finished(pair.notices.recover(pair.names))
    never_published = set(pair.names.unpublished)
    for id in list(pair.names.unsettled):
        if id in never_published:
            try:
                metadata = await finished(pair.space.get_metadata(id))
            except NoSuchObject:
                pair.names.settle([id])
                continue
            except StorehouseError as error:
                _log.warn("{id} has no key and cannot be read: {error}", id=id, error=str(error))
                metadata = {}
            if await _complete(pair, id, metadata):
                pair.metrics.completed += 1
                continue
        pair.removing.leftovers([id])


async def _complete(pair: Pair, id: str, metadata: dict[str, list[str]]) -> bool:
    if "complete" not in metadata or not metadata.get("key"):
        return False
    bucket, _, key = metadata["key"][0].partition("/")
    try:
        entry = decode_entry(metadata["complete"][0])
        if entry.id != id:
            return False
        reader = await finished(pair.space.get(id, 0, 0, expected=Part(0, "", entry.size)))
        reader.close()
        await pair.publish(bucket, key, attrs.evolve(entry, tag=reader.etag), by="CompleteMultipartUpload")
    except (ValueError, IndexError, NoSuchBucket, InvalidName, Damaged) as error:
        _log.warn(
            "the upload for {bucket}/{key} cannot be completed: {error}", bucket=bucket, key=key, error=str(error)
        )
        return False
    for upload_id in metadata.get("upload", []):
        try:
            await finished(pair.space.abort_upload(upload_id))
        except StorehouseError:
            pass  # it ended, or expires
    _log.info("completed the upload for {bucket}/{key}, which a crash had interrupted", bucket=bucket, key=key)
    return True
