"""Tests of L{storehouse.config.tables}, and of what is made of them."""

from __future__ import annotations

import os
from typing import Any

import attrs
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.app.service import make_service
from storehouse.config import Settings, load_settings
from storehouse.config.option import options_of
from storehouse.config.shipping import Connecting, S3Settings, ShipperSettings, StoreSettings, SwiftSettings
from storehouse.config.tables import Destination, Stream
from storehouse.errors import InvalidSetting
from storehouse.storage.shipping.s3 import S3Destination
from storehouse.storage.shipping.store import StoreDestination
from storehouse.storage.shipping.swift import SwiftDestination


class TablesCase(SynchronousTestCase):
    """Configuration files."""

    def file(self, text: str) -> str:
        path = os.path.abspath(self.mktemp())
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def secret(self, text: str = "secret\n", mode: int = 0o600) -> str:
        path = self.file(text)
        os.chmod(path, mode)
        return path

    def load(self, text: str, **given: Any) -> Settings:
        return load_settings(given, self.file(text))

    def refused(self, text: str, *words: str) -> None:
        """Not usable, and why."""
        said = str(self.assertRaises(InvalidSetting, self.load, text))
        for word in words:
            self.assertIn(word, said)
        self.assertNotIn("s3cr3t", said)


class StreamTests(TablesCase):
    """C{[archive.streams.NAME]}."""

    def test_defaults(self) -> None:
        settings = self.load("[archive.streams.a]\n")
        self.assertEqual(settings.tables.streams, (Stream(name="a"),))
        self.assertEqual(settings.doors["archive"], "tcp:8003:interface=127.0.0.1")
        self.assertNotIn("archive", Settings().doors)

    def test_only_door(self) -> None:
        """With streams it is a door like the others."""
        off = "".join(f"{name} = 'off'\n" for name in ("append", "sfsp", "https", "s3", "admin"))
        self.assertEqual(set(self.load(off + "[archive.streams.a]\n").doors), {"archive"})
        self.refused(
            f"{off}[archive]\nendpoint = 'off'\n[archive.streams.a]\n",
            "append, archive, sfsp, https, s3 and admin are all",
        )
        self.refused(off, "append, sfsp, https, s3 and admin are all", "archive needs streams")

    def test_all(self) -> None:
        settings = self.load(
            """
            archive-max-record = "1MiB"
            [archive]
            endpoint = "tcp:9000"
            [archive.streams.notes]
            template = "n_%c.events"
            directory = "/srv/notes"
            roll = [{checker = "size", roll_size_mb = 10}, {checker = "time", roll_minutes = 5}]
            callbacks = [{callback = "compress", method = "zstd", level = 9}]
            compression = "zstd"
            level = 3
            sync = "os"
            ship = "own"
            keep_local = false
            [destinations.own]
            kind = "store"
            bucket = "box"
            shipping = {compression = "none", attempts = 3}
            """
        )
        self.assertEqual((settings.archive.endpoint, settings.archive.max_record), ("tcp:9000", 1 << 20))
        (stream,) = settings.tables.streams
        self.assertEqual(
            stream,
            Stream(
                name="notes",
                template="n_%c.events",
                directory="/srv/notes",
                roll=({"class": "size", "roll_size_mb": 10}, {"class": "time", "roll_minutes": 5}),
                callbacks=({"class": "compress", "method": "zstd", "level": 9},),
                compression="zstd",
                level=3,
                sync="os",
                ship="own",
                keep_local=False,
            ),
        )
        self.assertEqual(
            settings.tables.destinations,
            (
                Destination(
                    name="own",
                    kind="store",
                    settings=StoreSettings(bucket="box"),
                    shipping={"compression": "none", "attempts": 3},
                ),
            ),
        )
        # The command line wins.
        self.assertEqual(
            self.load('[archive]\nendpoint = "x"\n[archive.streams.a]', archive="tcp:1").archive.endpoint, "tcp:1"
        )
        self.assertEqual(self.load('archive = "tcp:1"').archive.endpoint, "tcp:1")

    def test_refused(self) -> None:
        table = "[archive.streams.a]\n"
        for text, *words in [
            (table + "rol = 1", "[archive.streams.a]", "'rol'"),
            (table + 'sync = "roll"', "sync in [archive.streams.a]", "'roll'", "record or os"),
            (table + 'compression = "gzip"', "compression", "none or zstd"),
            (table + "roll = []", "roll", "one is needed"),
            (table + 'roll = "size"', "roll", "list of tables"),
            (table + "roll = [{roll_size_mb = 1}]", "must have a checker"),
            (table + 'keep_local = "perhaps"', "keep_local", "on or off"),
            (table + 'ship = "there"', "ship", "no [destinations.there]"),
            (table + 'directory = ""', "directory"),
            ('[archive.streams."a/b"]', "cannot be named 'a/b'"),
            ('[archive.streams.".a"]', "cannot be named"),
            ("[archive]\nstream = 1", "'stream'"),
            ("[archive]\nstreams = 1", "tables of tables"),
            ("[archive.streams]\na = 1", "must be a table"),
            ("append-ship = 'there'", "append-ship", "[destinations.there]"),
        ]:
            self.refused(text, *words)

    def test_made(self) -> None:
        """What only the classes themselves can tell is said with its table as well."""
        for text, *words in [
            ('roll = [{checker = "sise"}]', "[archive.streams.a]: roll", "sise"),
            ('roll = [{checker = "size", roll_size_mb = 0}]', "roll", "roll_size_mb"),
            ('roll = [{checker = "size", size = 1}]', "roll", "size"),
            ('callbacks = [{callback = "compress", method = "rar"}]', "callbacks", "rar"),
            (
                'callbacks = [{callback = "compress"}, {callback = "extension"}, {callback = "compress", method = "zstd"}]',
                "callbacks",
                "two callbacks compress",
            ),
            (f'template = "{"x" * 300}"', "template", "300 bytes"),
            ('directory = "x"\n[archive.streams.b]\ndirectory = "x"', "[archive.streams.b]", "directory of a"),
            ('callbacks = [{callback = "delete"}]\nship = "o"\n[destinations.o]\nkind = "store"', "keep_local"),
        ]:
            said = str(
                self.assertRaises(
                    InvalidSetting,
                    lambda text=text: make_service(self.load("[archive.streams.a]\n" + text), MemoryReactorClock()),
                )
            )
            for word in words:
                self.assertIn(word, said)


class DestinationTests(TablesCase):
    """C{[destinations.NAME]}."""

    def test_defaults_can_be_written(self) -> None:
        """The defaults that users are shown mean the defaults."""
        for kind in (Stream, StoreSettings, S3Settings, SwiftSettings, Connecting, ShipperSettings):
            defaults = {field.name: field.default for field in attrs.fields(kind)}
            for option in options_of(kind):
                in_words = " " in option.shown or option.shown in ("none", "any", "ROOT/archives/NAME")
                if not option.is_needed and not in_words:
                    key = option.path[-1]
                    self.assertEqual(option.parse(option.shown), defaults[key], key)

    def test_kinds(self) -> None:
        self.patch(os, "environ", {**os.environ, "STOREHOUSE_TEST": "s3cr3t"})
        settings = self.load(
            f"""
            [archive.streams.a]
            ship = "far"
            [destinations.own]
            kind = "store"
            [destinations.far]
            kind = "s3"
            endpoint = "https://s3.example"
            access_key = "me"
            secret_key_file = "{self.secret()}"
            part_size = "8MiB"
            timeout = 5
            [destinations.further.shipping]
            verify = "tag"
            [destinations.further]
            kind = "swift"
            auth_url = "http://swift.example/auth/v1.0"
            user = "a:b"
            password_env = "STOREHOUSE_TEST"
            """
        )
        _, far, further = (each.settings for each in settings.tables.destinations)
        assert isinstance(far, S3Settings) and isinstance(further, SwiftSettings)
        self.assertEqual((far.part_size, far.connecting), (8 << 20, Connecting(timeout=5.0)))
        self.assertEqual(far.secret_key, "secret")
        self.assertEqual(further.password, "s3cr3t")
        self.assertNotIn("s3cr3t", repr(settings))
        service = make_service(settings, MemoryReactorClock())
        shipping: Any = service.stores["shipping"]
        self.assertEqual(
            {name: type(each) for name, each in shipping.destinations.items()},
            {"own": StoreDestination, "far": S3Destination, "further": SwiftDestination},
        )
        stores = list(service.stores)
        self.assertLess(stores.index("objects"), stores.index("shipping"))
        self.assertLess(stores.index("shipping"), stores.index("streams"))
        self.assertTrue(list(shipping.collect()))

    def test_refused(self) -> None:
        table = "[destinations.a]\n"
        s3 = table + 'kind = "s3"\nendpoint = "http://x"\naccess_key = "me"\n'
        for text, *words in [
            (table, "kind", "store or s3 or swift"),
            (table + 'kind = "ftp"', "kind", "'ftp'"),
            (table + 'kind = "store"\nbuckets = 1', "'buckets'"),
            (table + 'kind = "store"\ntimeout = 1', "'timeout'"),
            (s3, "lacks the secret", "secret_key_file"),
            (s3 + 'secret_key = "s3cr3t"', "secret_key must not be in"),
            (s3 + 'secret_key_env = "NO_SUCH_VARIABLE"', "secret_key_env", "NO_SUCH_VARIABLE"),
            (s3 + f'secret_key_file = "{self.secret("s3cr3t", 0o644)}"', "secret_key_file", "others can read it"),
            (s3 + f'secret_key_file = "{self.secret("")}"', "is empty"),
            (s3 + 'secret_key_file = "/no/such/file"', "No such file"),
            (s3 + 'secret_key_file = "x"\nsecret_key_env = "x"', "both"),
            (table + 'kind = "store"\nshipping = {compression = "rar"}', "[destinations.a.shipping]", "'rar'"),
            (table + 'kind = "s3"\naccess_key = "me"\nsecret_key_env = "HOME"', "lacks endpoint"),
            ("destinations = 1", "tables of tables"),
        ]:
            self.refused(text, *words)
        self.refused(s3 + 'part_size = 1\nsecret_key_env = "HOME"', "[destinations.a]", "part_size is 1")
        settings = self.load(table + 'kind = "store"\nbucket = "a/b"')
        said = str(self.assertRaises(InvalidSetting, make_service, settings, MemoryReactorClock()))
        self.assertIn("[destinations.a]: 'a/b' is not a name of a bucket", said)
