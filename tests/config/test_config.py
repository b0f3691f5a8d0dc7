"""Tests of L{storehouse.config}."""

from __future__ import annotations

import os
from operator import attrgetter
from typing import Any

import attrs
from hypothesis import given, settings, strategies
from twisted.trial.unittest import SynchronousTestCase

from storehouse.config import Settings, find_problems, load, load_settings, options, unknown_option
from storehouse.core.times import parse_duration, write_duration
from storehouse.core.values import parse_flag, parse_size, sized, write_size
from storehouse.errors import InvalidSetting
from storehouse.storage.dataspace.formats import HASHES


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

    def test_written_sizes(self) -> None:
        for size, text in [(0, "0"), (7, "7"), (1025, "1025"), (1536, "1536"), (65536, "64KiB"), (3 << 40, "3TiB")]:
            self.assertEqual((write_size(size), parse_size(text)), (text, size))
        self.assertEqual(
            self.assertRaises(ValueError, sized(1024, 1 << 30), "3").args[0],
            "it must be at least 1KiB and at most 1GiB",
        )

    def test_written_durations(self) -> None:
        for seconds, text in [(0.0, "0s"), (0.5, "0.5s"), (90, "90s"), (900.0, "15m"), (5400, "90m"), (604800, "7d")]:
            self.assertEqual(write_duration(seconds), text)
            self.assertEqual(parse_duration(text, at_least=0), seconds)

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
        self.assertEqual(set(Settings().doors), {"append", "sfsp", "https", "s3", "admin"})

    def test_defaults_can_be_written(self) -> None:
        """The default that the help shows means the default."""
        defaults = Settings()
        in_words = ("s3", "append-dir", "objects-dir", "log-file", "https-cert", "https-key", "https-url")
        for option in options():
            if option.name not in in_words:
                value = attrgetter(".".join(option.path))(load_settings({option.name: option.shown}))
                expected = attrgetter(".".join(option.path))(defaults)
                self.assertEqual(os.path.normpath(value) if option.name == "root" else value, expected, option.name)

    def test_command_line_wins(self) -> None:
        path = self.file(
            'append-sync = "os"\nappend-buckets = 10\nappend-max-record = "1MiB"\nallow-anonymous = true\nidle-timeout = 2.5\nfast-lane = false\n'
        )
        got = load_settings({"append-buckets": "20"}, path)
        append = got.append
        self.assertEqual((append.sync, append.buckets, append.max_record), ("os", 20, 1 << 20))
        self.assertEqual(got.connections.idle_timeout, 2.5)
        self.assertTrue(got.allow_anonymous)
        self.assertFalse(got.fast_lane)

    def test_unknown_name(self) -> None:
        path = self.file("\nappend_buckts = 10\n")
        self.assertEqual(
            self.refused({}, path),
            f"'append_buckts' in {path}:2 is not the name of a setting: did you mean append-buckets?",
        )
        self.assertEqual(self.refused({"nonsense": 1}), "'nonsense' is not the name of a setting")
        self.assertIn("did you mean destinations", self.refused({}, self.file("[destination.a]\nkind = 'store'\n")))

    def test_old_name(self) -> None:
        """Each is refused with the name that it has now."""
        path = self.file("max-record = 10\n")
        self.assertEqual(self.refused({}, path), f"max-record in {path}:1 is now append-max-record")
        self.assertEqual(self.refused({"sfsp-memory": 1}), "sfsp-memory is now a share of memory")
        for option in options():
            for old in option.old_names:
                self.assertIn(option.name, self.refused({old: "1"}))
                self.assertIn(option.name, unknown_option(old))

    def test_not_an_option(self) -> None:
        """What the command line does not take."""
        for name, said in (
            ("buckets", "--buckets is now --append-buckets"),
            ("max-batch", "--max-batch is now append-max-batch, and is set in the configuration file"),
            ("upload-memory", "--upload-memory is now a share of --memory"),
            ("idle-timeout", "--idle-timeout is not an option: set idle-timeout in the configuration file"),
            ("append-snyc", "--append-snyc is not an option: did you mean --append-sync?"),
        ):
            self.assertIn(said, unknown_option(name))
        self.assertEqual(unknown_option("xyz"), "--xyz is not an option")

    def test_table_of_a_door(self) -> None:
        """Settings are no tables: the message shows how they are written."""
        path = self.file("[append]\nbuckets = 10\n")
        self.assertEqual(
            self.refused({}, path),
            f"append in {path}:1 cannot be {{'buckets': 10}}: it is not a table: its settings have whole names, such as "
            "append-dir",
        )

    def test_all_problems(self) -> None:
        path = self.file("memory = 1\nbuckets = 2\nhttps-kei = 'x'\n")
        problems = find_problems({"append-sync": "never"}, path)
        for start in (
            "append-sync cannot be 'never'",
            f"memory in {path}:1 cannot",
            f"buckets in {path}:2 is now",
            "'https-kei'",
        ):
            self.assertEqual(len([each for each in problems if each.startswith(start)]), 1, start)
        self.assertEqual(len(problems), 4)
        self.assertEqual(
            find_problems({}, self.file("memory = '16MiB'\nhttps-key = 'x'\n"))[-1:],
            ["https-key needs https-cert, the certificate that it is the key of"],
        )
        self.assertEqual(find_problems({}, None), [])
        path = self.file("buckets = 2\n[archive.streams.a]\nrol = []\n[destinations.a]\nkind = 'store'\n")
        self.assertEqual(
            find_problems({}, path),
            [
                f"[archive.streams.a] in {path} has an unknown setting 'rol': did you mean roll?",
                f"buckets in {path}:1 is now append-buckets",
            ],
        )

    def test_origins(self) -> None:
        path = self.file(
            'root = "/x"\n\nappend-sync = "os"\n[archive]\n# where\nendpoint = "tcp:1"\n[archive.streams.a]\n'
        )
        origins = load({"root": "/y"}, path).origins
        self.assertEqual(
            {name: str(origin) for name, origin in origins.items()},
            {"root": "command line", "append-sync": f"{path}:3", "archive": f"{path}:6 [archive]"},
        )

    def test_memory(self) -> None:
        """Its shares are all of it."""
        for memory in ("512MiB", "16MiB"):
            given = {"memory": memory, "append-max-record": 1, "append-max-batch": 1}
            settings = load_settings({**given, "archive-max-record": 1, "archive-max-batch": 1})
            self.assertEqual(sum(attrs.astuple(settings.shares)), settings.memory)

    def test_declared(self) -> None:
        """Names follow the doors, none is there twice, and the command line takes what people set."""
        names = [option.name for option in options()]
        self.assertEqual(len(names), len(set(names)))
        old = [name for option in options() for name in option.old_names]
        self.assertEqual(set(old) & set(names), set())
        for option in options():
            if len(option.path) == 2 and option.path[0] not in ("connections", "log"):
                self.assertEqual(option.name.partition("-")[0], option.path[0])
        self.assertLess(sum(option.on_command_line for option in options()), 35)

    def test_value_in_file(self) -> None:
        path = self.file("append-buckets = 0\n")
        self.assertEqual(
            self.refused({}, path), f"append-buckets in {path}:1 cannot be 0: it must be at least 1 and at most 65535"
        )

    def test_not_toml(self) -> None:
        self.assertIn("is not TOML", self.refused({}, self.file("buckets 10")))
        self.assertIn("No such file", self.refused({}, self.mktemp()))
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b'root = "\xff"')
        self.refused({}, path)

    def test_bounds(self) -> None:
        for name, value in [
            ("append-buckets", "65536"),
            ("append-buckets", "many"),
            ("append-wal-size", "1023KiB"),
            ("append-max-record", "0"),
            ("append-max-record", "2GiB"),
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
            ("notify", "hooks"),
            ("notify", "a b=https://a/"),
            ("notify", "a=https://a/,a=https://b/"),
            ("notify", "a=ftp://a/"),
            ("notify", "a=https:///b"),
            ("notify", "a=https://user:password@b/"),
            ("notify", "a=append:events"),
            ("notify", "a=archive:"),
            ("notify-spool", "1KiB"),
            ("notify-concurrency", "0"),
            ("objects-hash", "MD5"),
            ("objects-block-size", "0"),
            ("objects-block-size", "65MiB"),
            ("objects-sync", "never"),
            ("memory", "1KiB"),
            ("objects-scrub-rate", "-1"),
            ("objects-scrub-pause", "0"),
            ("objects-upload-expiry", "never"),
        ]:
            text = self.refused({name: value})
            self.assertTrue(text.startswith(f"{name} cannot be {value!r}: "), text)

    def test_together(self) -> None:
        self.assertIn("append-max-record", self.refused({"memory": "64MiB"}))
        self.assertIn("log-format", self.refused({"log-file": "x"}))
        self.assertIn("needs an ssl: endpoint", self.refused({"sfsp-client-ca": "ca.pem"}))
        self.assertIn(
            "no door", self.refused({"append": "off", "sfsp": "off", "https": "off", "s3": "off", "admin": "off"})
        )
        self.assertIn("https-cert", self.refused({"https-key": "key.pem"}))
        self.assertIn("us-east-1", self.refused({"s3-region": "<x>"}))
        self.assertIn("s3-tls", self.refused({"s3-tls": "on", "s3": "ssl:1:privateKey=x.pem"}))
        self.assertIn("https-cert", self.refused({"https-cert": "x.pem", "https": "ssl:1:privateKey=x.pem"}))

    def test_doors(self) -> None:
        self.assertEqual(set(load_settings({"admin": "off"}).doors), {"append", "sfsp", "https", "s3"})
        self.assertEqual(set(load_settings({"https": "off"}).doors), {"append", "sfsp", "s3", "admin"})
        self.assertEqual(load_settings({"append-dir": "/x"}).append_directory, "/x")

    def test_objects(self) -> None:
        got = load_settings({"objects-hash": "blake3", "objects-block-size": "10485760", "objects-dir": "/x"})
        self.assertEqual((got.objects.hash, got.objects.block_size, got.objects_directory), ("BLAKE3", 10485760, "/x"))
        for name in HASHES:
            self.assertEqual(load_settings({"objects-hash": name.upper()}).objects.hash, name)
        for value in ("off", "0", 0, "OFF", False):
            got = load_settings({"objects-scrub-rate": value, "objects-upload-expiry": value})
            self.assertEqual((got.objects.scrub_rate, got.objects.upload_expiry), (0, 0))
        got = load_settings({"objects-scrub-rate": "1MiB", "objects-upload-expiry": 60, "objects-scrub-pause": "1.5"})
        self.assertEqual(
            (got.objects.scrub_rate, got.objects.upload_expiry, got.objects.scrub_pause), (1 << 20, 60.0, 1.5)
        )

    def test_url(self) -> None:
        for value in ("https://files.example.com", "https://[::1]:6445/", "http://a/files"):
            self.assertEqual(load_settings({"https-url": value}).https.url, value)

    def test_hosts(self) -> None:
        for value in ("Files.example.com., *.b.example,", ["files.example.com", "*.b.example"]):
            found = load_settings({"allowed-host": value}).allowed_host
            self.assertEqual(found, {"files.example.com", "*.b.example"})

    def test_destinations(self) -> None:
        expected = (("hooks", "https://a.example/b?c"), ("log", "append:events/s3"), ("s", "archive:x"))
        for value in (
            "hooks=https://a.example/b?c, log=append:events/s3,s=archive:x",
            ["hooks=https://a.example/b?c", "log=append:events/s3", "s=archive:x"],
        ):
            self.assertEqual(load_settings({"notify": value}).notify.destinations, expected)
        for nothing in ("off", False, []):
            self.assertEqual(load_settings({"notify": nothing}).notify.destinations, ())
        (option,) = [each for each in options() if each.name == "notify"]
        self.assertEqual(option.text(expected), "hooks=https://a.example/b?c,log=append:events/s3,s=archive:x")
        self.assertEqual(option.text(()), "off")

    def test_zero_shutdown_timeout(self) -> None:
        self.assertEqual(load_settings({"shutdown-timeout": "0"}).shutdown_timeout, 0.0)
