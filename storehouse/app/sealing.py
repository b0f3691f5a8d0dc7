"""
What is stored, encrypted or plain: the concrete classes of data space and namespace, put together as the settings and the
keyring say. For the service, and for commands on the files of a root.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from storehouse.config import Settings
from storehouse.core.files import read_regular
from storehouse.core.highwayhash import IS_FAST
from storehouse.core.jobs import IDisk
from storehouse.core.keys.keyring import Keyring
from storehouse.core.keys.vault import Vault
from storehouse.core.names import UPLOADS
from storehouse.core.stamps import STAMPS, Stamps
from storehouse.errors import InvalidSetting, StorehouseError
from storehouse.storage.dataspace.directory import Layout, names_in
from storehouse.storage.dataspace.formats import decode_object
from storehouse.storage.dataspace.values import Bounds
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.storage.namespace.tree import Tree
from storehouse.storage.objects.interfaces import IObjectStore
from storehouse.storage.resumable.local import LocalResumableUploads, ResumableSettings
from storehouse.storage.sealed.dataspace import SealedDataSpace
from storehouse.storage.sealed.formats import ACCOUNTS, BOUNDS, RESUMABLE, KeyringCipher, is_sealed
from storehouse.storage.sealed.namespace import SEALED_METADATA, SealedNamespace

if TYPE_CHECKING:
    from storehouse.storage.accounts.local import LocalAccounts

__all__ = [
    "hash_of",
    "make_accounts",
    "make_names",
    "make_resumable",
    "make_space",
    "make_stamps",
    "make_vault",
    "make_wormer",
]

#: Objects that are looked at to see whether a keyring is theirs, and the most bytes of what tells of one.
_SOME = 100
_MOST = 1 << 20

_Failed = Callable[[StorehouseError], None]


def make_vault(settings: Settings, master: bytes | None, follow: bool = False) -> Vault:
    """
    The keys of a root. To be started first, also if there is no master key: it then sees to it that nothing is encrypted.

    @param follow: for commands: go by what the keyring says of names, whatever the setting, and make no keyring.
    @raise InvalidSetting: if names are to be encrypted, and there is no master key.
    """
    if settings.seal_names and master is None:
        raise InvalidSetting("seal-names needs a master key")
    objects = os.path.abspath(settings.objects_directory)
    layout = Layout(objects)
    return Vault(
        os.path.join(os.path.abspath(settings.root), "keyring.json"),
        os.path.join(objects, "sealed"),
        master,
        settings.seal_names,
        lambda: _stored(settings),
        follow,
        # Not even a mark is made in objects of another store.
        before=make_stamps(settings).verify,
        contradicts=lambda keyring: _is_of_another(layout, keyring),
    )


def _is_of_another(layout: Layout, keyring: Keyring) -> bool:
    """Whether there are encrypted objects, and none of some is encrypted by keys of this keyring."""
    paths = (layout.object(id) for index in names_in(layout.data) for id in names_in(f"{layout.data}/{index}"))
    others = False
    for path in islice(paths, _SOME):
        try:
            metadata = decode_object(read_regular(f"{path}/data.json", _MOST)).metadata
            header = base64.b64decode(metadata["sealed"][0]) if is_sealed(metadata) else b""
        except (OSError, ValueError):
            continue  # damaged objects say nothing about the keyring; others decide
        if header and keyring.has_key_of(header):
            return False
        others = others or bool(header)
    return others


def _stored(settings: Settings) -> str:
    """What a root has that could be encrypted, or belong to what is, in words; empty if it has nothing."""
    objects = os.path.abspath(settings.objects_directory)
    if os.path.lexists(os.path.join(objects, "format.json")) or names_in(Layout(objects).data):
        return f"there already is a store of objects in {objects}"
    names = os.path.abspath(settings.namespace_directory)
    if os.path.isdir(names) and set(os.listdir(names)) - STAMPS:
        return f"there are buckets in {names} already"
    accounts = os.path.join(os.path.abspath(settings.root), "accounts")
    from storehouse.storage.accounts.local import needs_master_key  # as in L{make_accounts}

    if needs_master_key(accounts):
        return f"the secret of the accounts in {accounts} is encrypted"
    return ""


def make_stamps(settings: Settings) -> Stamps:
    """The stamps of namespace and data space. To be started after the keys, and before both."""
    layout = Layout(os.path.abspath(settings.objects_directory))
    reader = Tree(os.path.abspath(settings.namespace_directory))

    def has_objects() -> bool:
        return any(names_in(f"{layout.data}/{index}") for index in names_in(layout.data))

    return Stamps(
        reader.directory,
        layout.root,
        reader.some_ids,
        lambda id: os.path.isdir(layout.object(id)),
        has_objects,
        lambda: bool(reader.bucket_names()),
        settings.objects.sync == "disk",
    )


def hash_of(settings: Settings, sealed: bool) -> str:
    """
    The name of the hash of blocks. What is encrypted is authenticated frame by frame when it is read: there a block's hash
    has only to find damage, by those who have no key, and costs the more the stronger it is. Without the native module
    HighwayHash256 is too slow for new objects.
    """
    if settings.objects.hash == "auto":
        return "CRC32C" if sealed else "HighwayHash256" if IS_FAST else "BLAKE3"
    return settings.objects.hash


def make_wormer(
    settings: Settings, disk: IDisk, sealed: bool, on_failure: _Failed = lambda error: None
) -> WormerDataSpace:
    """The store on disk. Nothing is opened."""
    return WormerDataSpace(
        WormerSettings(
            directory=os.path.abspath(settings.objects_directory),
            hash=hash_of(settings, sealed),
            block_size=settings.objects.block_size,
            durable=settings.objects.sync == "disk",
            memory=_memory(settings, sealed),
            bounds=BOUNDS if sealed else Bounds(),
            recovered=os.path.join(os.path.abspath(settings.root), "recovered"),
        ),
        disk,
        on_failure=on_failure,
    )


def make_space(settings: Settings, wormer: WormerDataSpace, vault: Vault, disk: IDisk) -> SealedDataSpace:
    """What encrypts, on top of the store on disk."""
    return SealedDataSpace(wormer, vault, disk, _memory(settings, True))


def _memory(settings: Settings, sealed: bool) -> int:
    """
    Bytes for one direction, of what is divided by them: objects come and go, and those that are encrypted are held once
    more, by what encrypts.
    """
    return settings.shares.objects // (4 if sealed else 2)


def make_names(
    settings: Settings,
    reactor: IReactorTime,
    disk: IDisk,
    vault: Vault,
    sealed: bool,
    on_failure: _Failed = lambda error: None,
) -> LocalNamespace | SealedNamespace:
    """
    The namespace.

    @param sealed: whether its names are encrypted.
    """
    directory = os.path.abspath(settings.namespace_directory)
    durable = settings.objects.sync == "disk"
    if not sealed:
        return LocalNamespace(NamespaceSettings(directory, durable=durable), reactor, disk, on_failure=on_failure)
    kept = NamespaceSettings(directory, durable=durable, max_metadata=SEALED_METADATA)
    return SealedNamespace(LocalNamespace(kept, reactor, disk, on_failure=on_failure), vault, disk)


def make_accounts(settings: Settings, disk: IDisk, keyring: Callable[[], Keyring] | None) -> LocalAccounts:
    """
    The users of a root.

    @param keyring: gives the keys by which their secret is encrypted; C{None} to leave it plain.
    """
    # Imported here: a service without the door of uploads, and most commands, need none.
    from storehouse.storage.accounts.local import LocalAccounts

    cipher = None if keyring is None else KeyringCipher(keyring, ACCOUNTS)
    return LocalAccounts(os.path.join(os.path.abspath(settings.root), "accounts"), disk, settings.https, cipher)


def make_resumable(
    settings: Settings, reactor: IReactorTime, disk: IDisk, objects: IObjectStore, vault: Vault | None
) -> LocalResumableUploads:
    """
    Resumable uploads.

    @param vault: the keys by which their states are encrypted; C{None} to leave them plain.
    """
    kept = ResumableSettings(
        os.path.join(settings.root, "resumable"),
        UPLOADS,
        settings.https.names,
        settings.https.max_size,
        settings.https.upload_expiry,
        durable=settings.objects.sync == "disk",
    )
    cipher = None if vault is None else KeyringCipher(lambda: vault.keyring, RESUMABLE)
    return LocalResumableUploads(objects, disk, reactor, kept, cipher=cipher)
