"""Tests of L{storehouse.config.shipping}: what is refused, and what is not shown."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from storehouse.config.shipping import Connecting, S3Settings, ShipperSettings, StoreSettings, SwiftSettings
from storehouse.errors import InvalidSetting


class SettingsTests(SynchronousTestCase):
    """Values."""

    def s3(self, **settings: Any) -> S3Settings:
        return S3Settings(**{"endpoint": "https://host", "access_key": "a", "secret_key": "hidden", **settings})

    def swift(self, **settings: Any) -> SwiftSettings:
        return SwiftSettings(**{"auth_url": "https://host/v3", "user": "u", "password": "hidden", **settings})

    def test_secrets(self) -> None:
        self.assertNotIn("hidden", repr(self.s3(session_token="hidden")))
        self.assertNotIn("hidden", repr(self.swift()))

    def test_refused(self) -> None:
        for make, settings in [
            (self.s3, {"endpoint": "host"}),
            (self.s3, {"endpoint": "ftp://host"}),
            (self.s3, {"endpoint": "https://host:99999"}),
            (self.s3, {"endpoint": "https://user:hidden@host"}),
            (self.s3, {"endpoint": "https://host/?a=hidden"}),
            (self.s3, {"secret_key": ""}),
            (self.s3, {"part_size": 1 << 20}),
            (self.s3, {"threshold": 0}),
            (self.s3, {"threshold": 6 << 30}),
            (self.swift, {"auth": "v2"}),
            (self.swift, {"interface": "private"}),
            (self.swift, {"storage_url": "host"}),
            (self.swift, {"segment_size": 0}),
            (self.swift, {"segment_size": (5 << 30) + 1}),
            (self.s3, {"bucket": "x/y"}),
            (self.s3, {"access_key": "a\n"}),
            (self.s3, {"secret_key": "hidden\r"}),
            (self.s3, {"session_token": "hidden\0"}),
            (ShipperSettings, {"directory": "d", "pause": 20, "longest_pause": 10}),
            (ShipperSettings, {"directory": "d", "longest_pause": 0}),
            (StoreSettings, {"bucket": ""}),
            (Connecting, {"timeout": 0}),
            (Connecting, {"tries": 0}),
            (ShipperSettings, {"directory": ""}),
            (ShipperSettings, {"directory": "d", "compression": "bzip2"}),
            (ShipperSettings, {"directory": "d", "level": 10}),
            (ShipperSettings, {"directory": "d", "compression": "zstd", "level": 23}),
            (ShipperSettings, {"directory": "d", "verify": "no"}),
            (ShipperSettings, {"directory": "d", "concurrency": 0}),
        ]:
            error = self.assertRaises(InvalidSetting, make, **settings)
            self.assertNotIn("hidden", str(error))

    def test_no_level(self) -> None:
        error = self.assertRaises(InvalidSetting, ShipperSettings, directory="d", compression="none", level=3)
        self.assertEqual(str(error), "level is 3; without compression there is none")

    def test_taken(self) -> None:
        self.s3(endpoint="http://127.0.0.1:7480/prefix/")
        self.s3(endpoint="https://[::1]:443")
        self.swift(auth="v3", storage_url="https://host/v1/AUTH_x")
        ShipperSettings(directory="d", compression="zstd", level=19)
