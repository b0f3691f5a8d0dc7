"""The settings of the upload door, of who may use it, and of encryption."""

from __future__ import annotations

import attrs

from storehouse.config.option import option
from storehouse.core.values import (
    MIB,
    OFF,
    counted,
    one_of,
    or_off,
    parse_flag,
    parse_path_or_off,
    parse_text,
    parse_url,
    seconds,
    sized,
)

__all__ = ["UploadSettings"]


@attrs.frozen(kw_only=True)
class UploadSettings:
    """A part of L{Settings<storehouse.config.Settings>}."""

    https: str = option(
        "tcp:6445:interface=127.0.0.1",
        parse_text,
        "Where uploads are taken over HTTPS, a Twisted endpoint: one such as tcp:6445, to which TLS is added, or an ssl: endpoint with its own certificate; off opens no such door",
    )
    https_cert: str = option(
        "",
        parse_path_or_off,
        "A PEM file with the certificate for https, and those that signed it; or a directory with fullchain.pem and privkey.pem, as ACME clients keep it. Read again when it changes",
        shown="one for this machine is made",
    )
    https_key: str = option(
        "", parse_path_or_off, "A PEM file with the key of https-cert", shown="in the file of https-cert"
    )
    client_ca: str = option(
        "",
        parse_path_or_off,
        "A PEM file of certificates: clients of https that have a certificate which one of them has signed are signed in by it, as the user of its common name; off asks nobody",
        shown="off",
    )
    https_url: str = option(
        "",
        parse_url,
        "The URL by which others reach https, for links; needed behind a proxy",
        shown="that of the endpoint",
    )
    master_key_file: str = option(
        "",
        parse_path_or_off,
        "A file with the master key, by which all objects are encrypted; the environment variable masterkey does the same; off encrypts nothing",
        shown="off",
    )
    seal_names: bool = option(
        False,
        parse_flag,
        "With a master key, encrypt the names of objects and what is known of them, too. To be decided before the first object is stored",
        flag=True,
    )
    upload_memory: int = option(
        64 * MIB,
        sized(MIB),
        "Bytes of uploads that are held in memory together, before they are written",
        shown="64MiB",
    )
    upload_sessions: int = option(
        1024, counted(), "Uploads that are received at once; one more is answered 503, to be tried again later"
    )
    upload_max_size: int = option(
        0,
        or_off(sized(1, 1 << 60)),
        "Bytes that one upload may have; off sets no bound but the disk",
        shown=OFF,
    )
    upload_max_files: int = option(1000, counted(), "Files and fields that one form may have")
    upload_expiry: float = option(
        86400.0,
        or_off(seconds(allow_zero=True)),
        "Seconds after which a resumable upload that nobody goes on with is removed; off keeps them",
        shown="86400",
    )
    upload_names: str = option(
        "rename",
        one_of("rename", "replace", "refuse"),
        "What an upload does whose name is taken: rename, it gets a number behind its name; replace, it takes the place of the other; refuse, it is answered 409. PUT always replaces",
    )
    session_lifetime: float = option(
        43200.0, seconds(), "Seconds after which people who signed in have to do so again", shown="43200"
    )
    link_lifetime: float = option(
        604800.0, seconds(), "Seconds for which a signed link may be made to work, at most", shown="604800"
    )
