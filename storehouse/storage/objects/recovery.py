"""What a crash left between bytes and keys, made good before anything else is done."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storehouse.core.jobs import finished
from storehouse.errors import Damaged, InvalidName, NoSuchBucket, NoSuchObject, StorehouseError
from storehouse.storage.dataspace.interfaces import Part
from storehouse.storage.objects.base import Base
from storehouse.storage.objects.uploads import decode_entry

__all__ = ["begin", "recover"]

_log = Logger()


def begin(base: Base, tidy: bool) -> Deferred[None]:
    """
    L{recover}, and then look, beside all else, for bytes that have no name.

    @param tidy: whether to do the second.
    @return: fires, always, when the first is done.
    """
    recovering = Deferred.fromCoroutine(recover(base))
    recovering.addErrback(lambda failure: _log.failure("while recovering", failure=failure))

    def recovered(result: None) -> None:
        if tidy:
            base.removing.tidy()

    return recovering.addCallback(recovered)


async def recover(base: Base) -> None:
    """
    An upload that was being completed becomes the object that it was to be, since its parts are nowhere else any more.
    Other bytes that have no key are left to L{Removing<storehouse.storage.objects.removing.Removing>}.
    """
    never_published = set(base.names.unpublished)
    for id in list(base.names.unsettled):
        if id in never_published:
            try:
                metadata = await finished(base.space.get_metadata(id))
            except NoSuchObject:
                base.names.settle([id])
                continue
            except StorehouseError as error:
                _log.warn("{id} has no key and cannot be read: {error}", id=id, error=str(error))
                metadata = {}
            if await _complete(base, id, metadata):
                base.metrics.completed += 1
                continue
        base.removing.leftovers([id])


async def _complete(base: Base, id: str, metadata: dict[str, list[str]]) -> bool:
    if "complete" not in metadata or not metadata.get("key"):
        return False
    bucket, _, key = metadata["key"][0].partition("/")
    try:
        entry = decode_entry(metadata["complete"][0])
        if entry.id != id:
            return False
        reader = await finished(base.space.get(id, 0, 0, expected=Part(0, "", entry.size)))
        reader.close()
        await base.publish(bucket, key, attrs.evolve(entry, tag=reader.etag))
    except (ValueError, IndexError, NoSuchBucket, InvalidName, Damaged) as error:
        _log.warn(
            "the upload for {bucket}/{key} cannot be completed: {error}", bucket=bucket, key=key, error=str(error)
        )
        return False
    _log.info("completed the upload for {bucket}/{key}, which a crash had interrupted", bucket=bucket, key=key)
    return True
