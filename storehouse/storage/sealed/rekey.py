"""Another master key: the keys of all objects and uploads are wrapped anew. Their bytes are neither read nor written."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from storehouse.core.jobs import IDisk, whole
from storehouse.core.keys.keyring import Derivation, Keyring
from storehouse.core.keys.vault import Vault
from storehouse.errors import Conflict, Damaged, NoSuchObject, NoSuchUpload
from storehouse.storage.dataspace.interfaces import IDescribed
from storehouse.storage.sealed.formats import is_sealed, rewrapped_object, rewrapped_upload

__all__ = ["Rekeying", "Rewrapped", "count", "rewrap"]


@attrs.define
class Rewrapped:
    """
    What L{rewrap} did.

    @ivar objects: objects whose keys were wrapped anew.
    @ivar uploads: uploads whose keys were wrapped anew.
    @ivar plain: objects and uploads that are not encrypted.
    @ivar damaged: IDs of what could not be read, with the reason.
    """

    objects: int = 0
    uploads: int = 0
    plain: int = 0
    damaged: list[tuple[str, str]] = attrs.Factory(list)


class Rekeying:
    """
    Another master key for a store that is open.

    Objects and uploads are stored meanwhile. Their keys are wrapped by the current key of the vault, no earlier than when an
    operation of the space below begins: so all that the old key wraps is there once the operations are over that ran when the
    new one became current. Only then are they listed.

    @param vault: the keys, open.
    @param space: the space below the one that encrypts.
    @param is_held: whether a backup of the store is being made: its keyring and objects would not be of one moment.
    @ivar is_running: whether keys are wrapped anew.
    """

    def __init__(self, vault: Vault, space: IDescribed, disk: IDisk, is_held: Callable[[], bool]) -> None:
        self.is_running = False
        self._vault = vault
        self._space = space
        self._disk = disk
        self._is_held = is_held

    async def rekey(
        self,
        new_master: bytes | None,
        on_total: Callable[[int], object],
        on_progress: Callable[[int], object],
        derivation: Derivation | None = None,
    ) -> Rewrapped:
        """
        Encrypt the keyring by another master key, and wrap the keys of all objects and open uploads by a new key. It may be
        interrupted at any moment: done again, it continues.

        @param new_master: the new master key; C{None} to continue a change that was begun.
        @param on_total: called with the number of objects.
        @param on_progress: called with the number of objects that were looked at since the last call.
        @return: what was done. If anything is damaged the old key stays in the keyring.
        @raise Conflict: if a backup is being made, or the master key is being changed already.
        @raise StorehouseError: as L{Vault.begin_rekey<storehouse.core.keys.vault.Vault.begin_rekey>}.
        """
        if self.is_running:
            raise Conflict("the master key is being changed already")
        if self._is_held():
            raise Conflict("a backup is running: its keyring and objects must be of one moment; try again later")
        self.is_running = True
        try:
            keyring, protector = await whole(self._disk, self._vault.begin_rekey, new_master, derivation)
            self._vault.adopt(keyring, new_master)
            if not keyring.unfinished:
                return Rewrapped()
            await self._space.passed()
            on_total(await count(self._space))
            done = await rewrap(self._space, keyring, on_progress)
            if not done.damaged:
                # In memory the old key stays until the next start, for readers of metadata that it wrapped just now.
                finished = keyring.finished(plain=keyring.plain and done.plain > 0)
                await whole(self._disk, self._vault.write, finished, protector)
            return done
        finally:
            self.is_running = False


async def count(space: IDescribed) -> int:
    """How many objects a data space has."""
    return sum([len(await space.list_ids(index)) for index in await space.list_indexes()])


async def rewrap(space: IDescribed, keyring: Keyring, progress: Callable[[int], object]) -> Rewrapped:
    """
    Wrap by the current key all keys that others wrap. Keys that it wraps already are left, so this can be done again.

    @param space: the space below the one that encrypts.
    @param progress: called with the number of objects that were looked at since the last call.
    """
    done = Rewrapped()
    for index in await space.list_indexes():
        for id in await space.list_ids(index):
            try:
                metadata = await space.get_metadata(id)
                if not is_sealed(metadata):
                    done.plain += 1
                elif (new := rewrapped_object(keyring, id, metadata)) is not None:
                    await space.replace_metadata(id, new)
                    done.objects += 1
            except NoSuchObject:
                pass  # removed since it was listed: the service runs meanwhile
            except (Damaged, ValueError) as error:
                done.damaged.append((id, str(error)))
            progress(1)
    for upload in await space.list_uploads():
        try:
            stored = (await space.get_upload(upload.id)).metadata
            if not is_sealed(stored):
                done.plain += 1
            elif (new := rewrapped_upload(keyring, upload.id, stored)) is not None:
                await space.replace_upload_metadata(upload.id, new)
                done.uploads += 1
        except NoSuchUpload:
            pass  # completed or aborted since it was listed
        except (Damaged, ValueError) as error:
            done.damaged.append((f"upload {upload.id}", str(error)))
    return done
