"""Tests of L{storehouse.config}."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given, settings, strategies
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config import Settings, load_settings, options, read_file
from storehouse.core.values import parse_flag, parse_size
from storehouse.errors import InvalidSetting
from storehouse.storage.dataspace.hashes import HASHES


class ValueTests(SynchronousTestCase):
    """How values are written."""

    def test_sizes(self) -> None:
        for text, size in [
            ("0", 0),
            ("4096", 4096),
            (4096, 4096),
            ("64KiB", 65536),
            ("64 kib", 65536),
            ("1GiB", 1 << 30),
            ("8M", 8 << 20),
            ("64k", 65536),
            ("2MB", 2000000),
            ("7b", 7),
        ]:
            self.assertEqual(parse_size(text), size)

    def test_no_sizes(self) -> None:
        for text in ["", "-1", "1.5MiB", "64P", "MiB", "1 2", "٣", True, 1.5, None, "9" * 19]:
            self.assertRaises(ValueError, parse_size, text)

    def test_flags(self) -> None:
        for text in ["on", "true", "YES", True]:
            self.assertIs(parse_flag(text), True)
        for text in ["off", "False", "no", False]:
            self.assertIs(parse_flag(text), False)
        for text in ["", "1", "maybe", None]:
            self.assertRaises(ValueError, parse_flag, text)

    @settings(max_examples=200, deadline=None)
    @given(
        strategies.sampled_from(options()),
        strategies.one_of(strategies.text(), strategies.integers(), strategies.floats(), strategies.booleans()),
    )
    def test_any_value(self, option: Any, value: Any) -> None:
        """Whatever is written, a setting takes it or says why not."""
        try:
            load_settings({option.name: value})
        except InvalidSetting as error:
            self.assertIn(option.name, str(error))


class SettingsTests(SynchronousTestCase):
    """How settings come together."""

    def file(self, text: str) -> str:
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def refused(self, command_line: dict[str, Any], file: str | None = None) -> str:
        return str(self.assertRaises(InvalidSetting, load_settings, command_line, file))

    def test_defaults(self) -> None:
        self.assertEqual(load_settings({}), Settings())
        self.assertEqual(Settings().append_directory, os.path.join("storehouse-data", "append"))
        self.assertEqual(Settings().objects_directory, os.path.join("storehouse-data", "objects"))
        self.assertEqual(set(Settings().doors), {"append", "sfsp", "https", "admin"})

    def test_defaults_can_be_written(self) -> None:
        """The default that the help shows means the default."""
        defaults = Settings()
        no_words = ("append-dir", "objects-dir", "log-file", "https-cert", "https-key", "https-url")
        for option in options():
            _, found, shown = option.help.rpartition("[default: ")
            if found and option.name not in no_words:
                value = getattr(load_settings({option.name: shown.rstrip("]")}), option.field)
                expected = getattr(defaults, option.field)
                self.assertEqual(os.path.normpath(value) if option.name == "root" else value, expected, option.name)

    def test_command_line_wins(self) -> None:
        path = self.file(
            'append-sync = "os"\nbuckets = 10\nmax-record = "1MiB"\nallow-anonymous = true\nidle-timeout = 2.5\nfast-lane = false\n'
        )
        got = load_settings({"buckets": "20"}, path)
        self.assertEqual((got.append_sync, got.buckets, got.max_record, got.idle_timeout), ("os", 20, 1 << 20, 2.5))
        self.assertTrue(got.allow_anonymous)
        self.assertFalse(got.fast_lane)

    def test_unknown_name(self) -> None:
        path = self.file("bukets = 10\n")
        text = self.refused({}, path)
        self.assertIn(path, text)
        self.assertIn("'bukets'", text)
        self.assertIn("'nonsense'", self.refused({"nonsense": 1}))

    def test_value_in_file(self) -> None:
        path = self.file("buckets = 0\n")
        self.assertEqual(
            self.refused({}, path), f"buckets in {path} cannot be 0: it must be at least 1 and at most 65535"
        )

    def test_not_toml(self) -> None:
        self.assertIn("is not TOML", self.refused({}, self.file("buckets 10")))
        self.assertIn("No such file", self.refused({}, self.mktemp()))
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b'root = "\xff"')
        self.assertRaises(InvalidSetting, read_file, path)

    def test_bounds(self) -> None:
        for name, value in [
            ("buckets", "65536"),
            ("buckets", "many"),
            ("append-wal-size", "1023KiB"),
            ("max-record", "0"),
            ("max-record", "2GiB"),
            ("append-sync", "never"),
            ("append-sync-interval", "0"),
            ("idle-timeout", "nan"),
            ("idle-timeout", "-1"),
            ("shutdown-timeout", "soon"),
            ("root", ""),
            ("log-format", "xml"),
            ("allowed-host", "a b"),
            ("allowed-host", "http://a"),
            ("https-url", "files.example.com"),
            ("https-url", "ftp://a"),
            ("https-url", "//a"),
            ("https-url", "https://"),
            ("https-url", "https://a:99999"),
            ("https-url", "https://a b"),
            ("https-url", "https://a/?b"),
            ("https-url", "https://a@b"),
            ("allowed-host", "*"),
            ("allowed-host", "a,*.b.*"),
            ("objects-hash", "MD5"),
            ("objects-block-size", "0"),
            ("objects-block-size", "65MiB"),
            ("objects-sync", "never"),
            ("objects-memory", "1KiB"),
            ("objects-scrub-rate", "-1"),
            ("objects-scrub-pause", "0"),
            ("objects-upload-expiry", "never"),
        ]:
            text = self.refused({name: value})
            self.assertTrue(text.startswith(f"{name} cannot be {value!r}: "), text)

    def test_together(self) -> None:
        self.assertIn("max-record", self.refused({"memory": "1MiB"}))
        self.assertIn("log-format", self.refused({"log-file": "x"}))
        self.assertIn("needs an ssl: endpoint", self.refused({"sfsp-client-ca": "ca.pem"}))
        self.assertIn("no door", self.refused({"append": "off", "sfsp": "off", "https": "off", "admin": "off"}))
        self.assertIn("https-cert", self.refused({"https-key": "key.pem"}))
        self.assertIn("https-cert", self.refused({"https-cert": "x.pem", "https": "ssl:1:privateKey=x.pem"}))

    def test_doors(self) -> None:
        self.assertEqual(set(load_settings({"admin": "off"}).doors), {"append", "sfsp", "https"})
        self.assertEqual(set(load_settings({"https": "off"}).doors), {"append", "sfsp", "admin"})
        self.assertEqual(load_settings({"append-dir": "/x"}).append_directory, "/x")

    def test_objects(self) -> None:
        got = load_settings({"objects-hash": "blake3", "objects-block-size": "10485760", "objects-dir": "/x"})
        self.assertEqual((got.objects_hash, got.objects_block_size, got.objects_directory), ("BLAKE3", 10485760, "/x"))
        for name in HASHES:
            self.assertEqual(load_settings({"objects-hash": name.upper()}).objects_hash, name)
        for value in ("off", "0", 0, "OFF", False):
            got = load_settings({"objects-scrub-rate": value, "objects-upload-expiry": value})
            self.assertEqual((got.objects_scrub_rate, got.objects_upload_expiry), (0, 0))
        got = load_settings({"objects-scrub-rate": "1MiB", "objects-upload-expiry": 60, "objects-scrub-pause": "1.5"})
        self.assertEqual(
            (got.objects_scrub_rate, got.objects_upload_expiry, got.objects_scrub_pause), (1 << 20, 60.0, 1.5)
        )

    def test_url(self) -> None:
        for value in ("https://files.example.com", "https://[::1]:6445/", "http://a/files"):
            self.assertEqual(load_settings({"https-url": value}).https_url, value)

    def test_hosts(self) -> None:
        for value in ("Files.example.com., *.b.example,", ["files.example.com", "*.b.example"]):
            found = load_settings({"allowed-host": value}).allowed_host
            self.assertEqual(found, {"files.example.com", "*.b.example"})

    def test_zero_shutdown_timeout(self) -> None:
        self.assertEqual(load_settings({"shutdown-timeout": "0"}).shutdown_timeout, 0.0)
