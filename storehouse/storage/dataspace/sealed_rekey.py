"""The keys of all objects and uploads of a space, wrapped anew: their bytes are neither read nor written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from storehouse.core.keys.keyring import Keyring
from storehouse.errors import Damaged, NoSuchObject, NoSuchUpload
from storehouse.storage.dataspace.sealed_format import is_sealed, rewrapped_object, rewrapped_upload

__all__ = ["Rewrapped", "count", "rewrap"]


@attrs.define
class Rewrapped:
    """
    What was done.

    @ivar objects: objects whose keys were wrapped anew.
    @ivar uploads: uploads whose keys were.
    @ivar plain: objects and uploads that are not encrypted.
    @ivar damaged: IDs of what could not be read, with the reason.
    """

    objects: int = 0
    uploads: int = 0
    plain: int = 0
    damaged: list[tuple[str, str]] = attrs.Factory(list)


async def count(space: Any) -> int:
    """The objects of an C{IInventory}."""
    return sum([len(await space.list_ids(f"{number:02x}")) for number in range(256)])


async def rewrap(space: Any, keyring: Keyring, progress: Callable[[int], object]) -> Rewrapped:
    """
    Wrap by the current key what others have wrapped. What was done before is passed over, so this can be done again.

    @param space: an C{IDataSpace}, C{IUploads}, C{IInventory} and C{IDescribed}, such as the one below that which encrypts.
    @param progress: called with the number of objects that were looked at since the last call.
    """
    done = Rewrapped()
    for number in range(256):
        for id in await space.list_ids(f"{number:02x}"):
            try:
                metadata = await space.get_metadata(id)
                if not is_sealed(metadata):
                    done.plain += 1
                elif (new := rewrapped_object(keyring, id, metadata)) is not None:
                    await space.replace_metadata(id, new)
                    done.objects += 1
            except NoSuchObject:
                pass
            except (Damaged, ValueError) as error:
                done.damaged.append((id, str(error)))
            progress(1)
    for upload in await space.list_uploads():
        try:
            metadata = (await space.get_upload(upload.id)).metadata
            if not is_sealed(metadata):
                done.plain += 1
            elif (new := rewrapped_upload(keyring, upload.id, metadata)) is not None:
                await space.replace_upload_metadata(upload.id, new)
                done.uploads += 1
        except NoSuchUpload:
            pass
        except (Damaged, ValueError) as error:
            done.damaged.append((f"upload {upload.id}", str(error)))
    return done
