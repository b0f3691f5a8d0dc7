"""Tests of C{storehouse config}."""

from __future__ import annotations

import json
import os

from click.testing import CliRunner

from storehouse.cli.config import command
from storehouse.config import Settings, load_settings, options
from storehouse.core.keys.masterkey import VARIABLE
from tests.cli.case import CommandCase


class _Case(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(os, "environ", {name: value for name, value in os.environ.items() if name != VARIABLE})

    def file(self, text: str) -> str:
        """A configuration file."""
        path = os.path.abspath(self.mktemp())
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path


class ShowTests(_Case):
    """C{config show}."""

    def test_origins(self) -> None:
        path = self.file(
            'root = "/x"\nappend-wal-size = "8MiB"\n[archive]\nendpoint = "tcp:9"\n[archive.streams.notes]\n'
        )
        shown = self.run_command("config", "show", "-c", path, "--append-sync", "os", "--allow-anonymous").stdout
        lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in shown.splitlines()[:-1]}
        self.assertEqual(list(lines), [option.name for option in options()])
        for name, value, origin in (
            ("root", "/x", f"{path}:1"),
            ("append-dir", "/x/append", "default"),
            ("append-wal-size", "8MiB", f"{path}:2"),
            ("archive", "tcp:9", f"{path}:4 [archive]"),
            ("append-sync", "os", "command line"),
            ("allow-anonymous", "on", "command line"),
            ("idle-timeout", "1m", "default"),
        ):
            self.assertEqual(lines[name], [value, origin])
        self.assertEqual(shown.splitlines()[-1], "[archive.streams.notes]")

    def test_json(self) -> None:
        os.environ["PW"] = "s3cr3t"
        path = self.file(
            'memory = "1GiB"\nallowed-host = ["b", "a"]\n[destinations.far]\nkind = "swift"\nauth_url = "http://x"\nuser = "u"\npassword_env = "PW"\n'
        )
        text = self.run_command("config", "show", "--json", "--config", path).stdout
        shown = json.loads(text)
        self.assertEqual(shown["memory"], {"value": 1 << 30, "origin": {"source": "file", "file": path, "line": 1}})
        self.assertEqual(shown["allowed-host"]["value"], ["a", "b"])
        self.assertEqual(shown["root"], {"value": "storehouse-data", "origin": {"source": "default"}})
        self.assertEqual(shown["destinations"], {"far": "swift"})
        self.assertNotIn("s3cr3t", text)

    def test_master_key(self) -> None:
        """That there is one is shown, and never the key."""
        os.environ[VARIABLE] = "s3cr3t"
        for words in ([], ["--json"]):
            shown = self.run_command("config", "show", *words).stdout
            self.assertIn("environment", shown)
            self.assertNotIn("s3cr3t", shown)

    def test_refused(self) -> None:
        path = self.file("buckets = 3\n")
        self.assertIn("is now append-buckets", self.run_command("config", "show", "-c", path, status=2).stderr)
        self.assertIn("is now --append-buckets", self.run_command("config", "show", "--buckets", "3", status=2).stderr)

    def test_values_can_be_written(self) -> None:
        """What is shown of a value means it."""
        for given in (
            {
                "memory": "128MiB",
                "append-max-record": 5,
                "idle-timeout": "90s",
                "head-timeout": 0.25,
                "fast-lane": False,
            },
            {"objects-scrub-rate": 0, "https-upload-expiry": "36h", "allowed-host": "b,a", "append-wal-size": 1048577},
        ):
            settings = load_settings(given)
            for option in options():
                if option.name in given:
                    again = load_settings({option.name: option.text(option.value_in(settings))})
                    self.assertEqual(option.value_in(again), option.value_in(settings), option.name)
        for option in options():
            self.assertTrue(option.text(option.value_in(Settings())), option.name)


class CheckTests(_Case):
    """C{config check}."""

    def problems(self, *words: str) -> list[str]:
        result = CliRunner().invoke(command, ["check", *words])
        self.assertEqual((result.exit_code, result.stdout), (1, ""), result.stderr)
        return result.stderr.splitlines()

    def test_good(self) -> None:
        root = os.path.abspath(self.mktemp())
        said = self.run_command("config", "check", "--root", root, "--admin", "off").stdout
        self.assertTrue(said.startswith("no problems found; doors: append tcp:8001"), said)
        self.assertNotIn("admin", said)
        self.assertFalse(os.path.exists(root))

    def test_all_are_named(self) -> None:
        path = self.file("append-buckets = 0\nmax-batch = 1\nappend-snyc = 'os'\n")
        self.assertEqual(
            self.problems("-c", path, "--objects-sync", "never"),
            [
                f"append-buckets in {path}:1 cannot be 0: it must be at least 1 and at most 65535",
                "objects-sync cannot be 'never': it must be disk or os",
                f"max-batch in {path}:2 is now append-max-batch",
                f"'append-snyc' in {path}:3 is not the name of a setting: did you mean append-sync?",
            ],
        )
        self.assertIn("No such file", self.problems("-c", self.mktemp())[0])
        self.assertIn("is not TOML", self.problems("-c", self.file("x"))[0])

    def test_files_and_endpoints(self) -> None:
        """What only those who use a setting know."""
        for words, said in (
            (["--append", "tcp:0"], "--allow-anonymous"),
            (["--append", "tcp:x"], "append cannot be 'tcp:x'"),
            (["--https-cert", "/no/such/file"], "/no/such/file"),
            (["--https-client-ca", "/no/such/file"], "/no/such/file"),
            (["--sfsp", "ssl:0:privateKey=/no/such/file"], "/no/such/file"),
            (["--master-key-file", "/no/such/file"], "/no/such/file"),
            (["-c", self.file("[archive.streams.a]\nroll = [{checker = 'sise'}]\n")], "[archive.streams.a]: roll"),
        ):
            (problem,) = self.problems(*words)
            self.assertIn(said, problem)

    def test_usage(self) -> None:
        for words, said in (
            (["--idle-timeout", "3"], "set idle-timeout in the configuration file"),
            (["--append-snyc", "os"], "did you mean --append-sync"),
            (["extra"], "unexpected extra argument"),
        ):
            self.assertIn(said, self.run_command("config", "check", *words, status=2).stderr)
