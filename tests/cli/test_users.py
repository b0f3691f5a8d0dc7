"""C{storehouse user} and C{storehouse sign}."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from urllib.parse import urlsplit

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from storehouse.cli import main
from storehouse.core.jobs import InlineDisk
from storehouse.core.keys.keyring import Derivation
from storehouse.core.keys.vault import Vault
from storehouse.core.root import RootLock
from storehouse.errors import LinkUsed, NotSignedIn, SignInRefused
from storehouse.frontends.http.request import parse_query
from storehouse.storage.accounts.interfaces import Grant, Rights
from storehouse.storage.accounts.local import LocalAccounts
from storehouse.storage.sealed.formats import ACCOUNTS, KeyringCipher
from tests.integration.process import Storehouse

QUICK = Derivation(64, 1, 1)


class UsersCase(SynchronousTestCase):
    """Runs commands on the users of a root."""

    def setUp(self) -> None:
        self.root = Path(os.path.abspath(self.mktemp()))

    def run_command(self, *args: str, status: int = 0, masterkey: str | None = None) -> Result:
        """Run one, with --root, and check the exit status."""
        arguments = [*args, "--root", str(self.root)]
        result = CliRunner().invoke(main, arguments, prog_name="storehouse", env={"masterkey": masterkey})
        self.assertEqual(result.exit_code, status, (result.stderr, result.exception))
        if status == 1:
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
            self.assertTrue(result.stderr.startswith("Error: "), result.stderr)
        return result

    def add(self, *args: str) -> tuple[str, str]:
        """Add a user. @return: the ID and the secret of the key."""
        return self.key_in(self.run_command("user", "add", *args))

    def key_in(self, result: Result) -> tuple[str, str]:
        """What was printed of a key, alone on standard output."""
        found = re.fullmatch(r"key ID  (SH[A-Z2-7]{18})\nsecret  ([A-Za-z0-9_-]{40})\n", result.stdout)
        assert found is not None, result.stdout
        self.assertIn("shown only once", result.stderr)
        return found[1], found[2]

    def check_session(self) -> tuple[str, str]:
        """Make temporary keys, in both forms. @return: the ID and the token of the first."""
        self.add("sue")
        lines = self.run_command("user", "session", "sue", "--put-new", "notes/in/", "--duration", "15m").stdout
        values = dict(line.split("=", 1) for line in lines.splitlines())
        self.assertEqual(
            list(values),
            ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CREDENTIAL_EXPIRATION"],
        )
        policy = Path(self.mktemp())
        policy.write_text('{"Version": "2012-10-17", "Statement": []}')
        how = ("--policy", str(policy), "--session-name", "ci", "--format", "process")
        told = json.loads(self.run_command("user", "session", "sue", *how).stdout)
        self.assertEqual(list(told), ["Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"])
        self.assertIn("900", self.run_command("user", "session", "sue", "--duration", "5", status=1).stderr)
        self.assertIn("no user 'eve'", self.run_command("user", "session", "eve", status=1).stderr)
        policy.write_text("[]")
        self.assertIn("policy", self.run_command("user", "session", "sue", "--policy", str(policy), status=2).stderr)
        return values["AWS_ACCESS_KEY_ID"], values["AWS_SESSION_TOKEN"]

    def service(self) -> LocalAccounts:
        """The accounts, as a service has them, that runs on the root."""
        lock = RootLock(str(self.root))
        lock.acquire()
        self.addCleanup(lock.release)
        accounts = LocalAccounts(str(self.root / "accounts"), InlineDisk())
        accounts.start()
        return accounts


class UserTests(UsersCase):
    """C{storehouse user}."""

    def test_add(self) -> None:
        """Without a root and a service; then with them."""
        ann = self.add("ann")
        self.assertEqual(stat.S_IMODE((self.root / "accounts").stat().st_mode), 0o700)
        service = self.service()
        self.assertEqual(service.user_of_key(*ann).name, "ann")
        bob = self.add("bob", "--admin")
        self.assertTrue(service.user_of_key(*bob).is_admin)
        told = json.loads(self.run_command("user", "add", "carl", "--json").stdout)
        self.assertEqual(service.user_of_key(told["key_id"], told["secret"]).name, "carl")

    def test_add_refused(self) -> None:
        self.add("ann")
        self.assertIn("'ann'", self.run_command("user", "add", "ann", status=1).stderr)
        self.assertIn("a-z", self.run_command("user", "add", "Ann", status=1).stderr)

    def test_list(self) -> None:
        key_id, secret = self.add("bob")
        self.add("ann", "--admin")
        self.run_command("user", "disable", "ann")
        lines = self.run_command("user", "list").stdout.splitlines()
        self.assertEqual(lines[0].split(), ["NAME", "KEY", "ID", "ROLE", "STATE", "CREATED", "KEY", "MADE"])
        self.assertRegex(lines[1], r"^ann   SH\w{18}  admin  disabled  2\S+Z  2\S+Z$")
        self.assertRegex(lines[2], rf"^bob   {key_id}  user   enabled   2\S+Z  2\S+Z$")
        told = [json.loads(line) for line in self.run_command("user", "list", "--json").stdout.splitlines()]
        self.assertEqual([(user["name"], user["is_disabled"]) for user in told], [("ann", True), ("bob", False)])
        self.assertNotIn(secret, json.dumps(told))

    def test_disable_and_enable(self) -> None:
        key = self.add("ann")
        service = self.service()
        session = service.begin_session(service.user_of_key(*key))
        self.assertEqual(self.run_command("user", "disable", "ann").stderr, "ann is disabled\n")
        self.assertRaises(SignInRefused, service.user_of_key, *key)
        self.assertEqual(self.run_command("user", "enable", "ann").stderr, "ann is enabled\n")
        self.assertEqual(service.user_of_key(*key).name, "ann")
        self.assertRaises(NotSignedIn, service.session_of, session.cookie)
        for verb in ("disable", "enable", "rotate", "sign-in"):
            self.assertIn("no user 'bob'", self.run_command("user", verb, "bob", status=1).stderr)

    def test_rotate(self) -> None:
        key = self.add("ann")
        service = self.service()
        new = self.key_in(self.run_command("user", "rotate", "ann"))
        self.assertRaises(SignInRefused, service.user_of_key, *key)
        self.assertEqual(service.user_of_key(*new).name, "ann")

    def test_sign_in(self) -> None:
        self.add("ann")
        service = self.service()
        for options, base in (
            ((), "https://localhost:6445"),
            (("--url", "https://files.example.org/"), "https://files.example.org"),
        ):
            url = self.run_command("user", "sign-in", "ann", *options).stdout
            self.assertTrue(url.startswith(f"{base}/sign-in/"), url)
            session = self.successResultOf(service.sign_in_by_token(url.rstrip("\n").rpartition("/")[2]))
            self.assertEqual(session.user.name, "ann")
        self.assertIn(
            "not a duration", self.run_command("user", "sign-in", "ann", "--expires", "soon", status=2).stderr
        )
        self.run_command("user", "disable", "ann")
        self.assertIn("disabled", self.run_command("user", "sign-in", "ann", status=1).stderr)

    def test_rights(self) -> None:
        """Granted, shown and revoked."""
        self.add("ann")
        service = self.service()
        shown = self.run_command(
            "user", "grant", "ann", "read,list", "put-new", "--bucket", "photos", "--prefix", "2026/"
        )
        self.assertIn("right    read, list, put-new on the bucket photos, keys 2026/*\n", shown.stdout)
        self.assertTrue(service.user_named("ann").may("put-new", "photos", "2026/a", "bob"))
        self.run_command("user", "revoke", "ann", "put-new", "--bucket", "photos", "--prefix", "2026/")
        self.assertFalse(service.user_named("ann").may("put-new", "photos", "2026/a", "bob"))
        told = json.loads(self.run_command("user", "show", "ann", "--json").stdout)
        self.assertIn({"permissions": ["read", "list"], "bucket": "photos", "prefix": "2026/"}, told["rights"])
        self.assertIn(
            "no right", self.run_command("user", "revoke", "ann", "read", "--bucket", "other", status=1).stderr
        )
        self.assertNotIn("right ", self.run_command("user", "revoke", "ann", "--all").stdout)
        self.assertEqual(service.user_named("ann").rights, ())
        self.run_command("user", "grant", "ann", "all", "--bucket", "b*")
        self.assertTrue(service.user_named("ann").may("create", "bb"))
        for arguments in (("revoke", "ann"), ("revoke", "ann", "--all", "read"), ("grant", "ann", "--bucket", "b")):
            self.run_command("user", *arguments, status=2)
        self.assertIn(
            "not a permission", self.run_command("user", "grant", "ann", "x", "--bucket", "b", status=1).stderr
        )
        self.assertIn("no user", self.run_command("user", "show", "bob", status=1).stderr)

    def test_further_keys(self) -> None:
        """Added with limits, listed and removed."""
        self.add("ann")
        service = self.service()
        added = self.key_in(
            self.run_command("user", "key", "add", "ann", "--append-only", "--bucket", "backups", "--note", "laptop")
        )
        limited = service.user_of_key(*added)
        self.assertFalse(limited.may("overwrite", "backups", "a", "ann"))
        self.assertTrue(limited.may("put-new", "backups", "a", "ann"))
        self.assertFalse(limited.may("put-new", "uploads", "a"))
        told = json.loads(self.run_command("user", "key", "add", "ann", "--only", "read", "--json").stdout)
        self.assertTrue(service.user_of_key(told["key_id"], told["secret"]).may("read", "uploads", "a"))
        self.assertIsNone(service.user_of_key(*self.key_in(self.run_command("user", "key", "add", "ann"))).limits)
        lines = self.run_command("user", "key", "list", "ann").stdout.splitlines()
        self.assertEqual(len(lines), 5)
        self.assertRegex(lines[2], rf"^{added[0]}  2\S+Z  put-new on the bucket backups  laptop$")
        self.assertEqual(len(self.run_command("user", "key", "list", "ann", "--json").stdout.splitlines()), 4)
        self.run_command("user", "key", "remove", "ann", added[0])
        self.assertRaises(SignInRefused, service.user_of_key, *added)
        self.run_command("user", "key", "remove", "ann", added[0], status=1)
        self.run_command("user", "key", "add", "ann", "--append-only", "--only", "read", status=2)

    def test_session(self) -> None:
        found, _ = self.service().user_of_temporary(*self.check_session())
        assert found.temporary is not None
        self.assertEqual(found.name, "sue")
        self.assertEqual(found.temporary.rights, ((Rights(("put-new",), "notes", "in/"),),))

    def test_no_root(self) -> None:
        for arguments in (("user", "list"), ("user", "disable", "ann"), ("sign", "--get", "a")):
            self.assertIn("there are no users", self.run_command(*arguments, status=2).stderr)
        self.assertFalse(self.root.exists())

    def test_damaged(self) -> None:
        self.add("ann")
        (self.root / "accounts" / "users.json").write_bytes(b"x")
        self.assertIn("damaged", self.run_command("user", "list", status=1).stderr)

    def test_master_key(self) -> None:
        """What needs the secret of an encrypted root needs the master key; what does not works without."""
        self.add("ann")
        marker = str(self.root / "objects" / "sealed")
        vault = Vault(str(self.root / "keyring.json"), marker, b"open sesame", False, str, derivation=QUICK)
        vault.start()
        accounts = LocalAccounts(
            str(self.root / "accounts"), InlineDisk(), cipher=KeyringCipher(lambda: vault.keyring, ACCOUNTS)
        )
        accounts.start()
        for arguments in (("user", "add", "bob"), ("user", "rotate", "ann"), ("sign", "--get", "a", "--as", "ann")):
            self.assertIn("masterkey", self.run_command(*arguments, status=1).stderr)
            self.assertIn("does not open", self.run_command(*arguments, status=1, masterkey="sesame").stderr)
        key = self.key_in(self.run_command("user", "rotate", "ann", masterkey="open sesame"))
        self.assertEqual(accounts.user_of_key(*key).name, "ann")
        path = Path(self.mktemp())
        path.write_text("open sesame\n")
        path.chmod(0o600)
        self.run_command("sign", "--get", "a", "--as", "ann", "--master-key-file", str(path))
        path.chmod(0o644)
        self.assertIn("chmod 600", self.run_command("user", "list", "--master-key-file", str(path), status=2).stderr)
        for verb in ("disable", "enable", "sign-in"):
            self.run_command("user", verb, "ann")
        self.run_command("user", "list")

    def test_master_key_before_the_first_start(self) -> None:
        """The keyring is the service's to make; until then the secret is not sealed."""
        key = self.key_in(self.run_command("user", "add", "ann", masterkey="open sesame"))
        self.assertEqual(self.service().user_of_key(*key).name, "ann")

    def test_config(self) -> None:
        """The root of the configuration file."""
        self.add("ann")
        path = Path(self.mktemp())
        path.write_text(f'root = "{self.root}"\n')
        result = CliRunner().invoke(main, ["user", "list", "--config", str(path)])
        self.assertIn("ann", result.stdout)

    def test_help(self) -> None:
        for arguments in (["user"], ["sign"], *(["user", verb] for verb in ("add", "list", "rotate", "sign-in"))):
            result = CliRunner().invoke(main, [*arguments, "--help"])
            self.assertEqual(result.exit_code, 0)
            self.assertIn("Example", result.output)


class ServiceTests(UsersCase):
    """An encrypted root on which a service runs: it has the master key, and nobody else needs it."""

    def setUp(self) -> None:
        self.server = Storehouse(self.mktemp())
        self.server.environment["masterkey"] = "open sesame"
        self.addCleanup(self.server.kill)
        self.server.start()
        self.root = Path(self.server.directory, "storehouse-data")

    def test_all(self) -> None:
        """Also without a door of uploads, and without the key once more when the service has stopped."""
        ann = self.add("ann", "--admin")
        link = urlsplit(self.run_command("sign", "--put", "a", "--max-bytes", "9").stdout.rstrip("\n"))
        new = self.key_in(self.run_command("user", "rotate", "ann"))
        token = self.run_command("user", "sign-in", "ann").stdout.rstrip("\n").rpartition("/")[2]
        self.add("bob")
        self.run_command("user", "disable", "bob")
        self.assertIn("'ann'", self.run_command("user", "add", "ann", status=1).stderr)
        self.assertIn("no user 'eve'", self.run_command("sign", "--get", "a", "--as", "eve", status=1).stderr)
        self.assertIn("disabled", self.run_command("sign", "--get", "a", "--as", "bob", status=1).stderr)
        self.assertIn("Unicode", self.run_command("sign", "--get", "a\udc80", status=1).stderr)
        temporary = self.check_session()
        listed = self.run_command("user", "list").stdout
        self.server.stop()
        self.assertEqual(self.run_command("user", "list").stdout, listed)
        self.assertIn("masterkey", self.run_command("user", "rotate", "ann", status=1).stderr)
        vault = Vault(str(self.root / "keyring.json"), "", b"open sesame", False, str)
        keyring, _ = vault.open(vault.read() or b"", b"open sesame")
        accounts = LocalAccounts(
            str(self.root / "accounts"), InlineDisk(), cipher=KeyringCipher(lambda: keyring, ACCOUNTS)
        )
        accounts.start()
        self.assertRaises(SignInRefused, accounts.user_of_key, *ann)
        self.assertEqual(accounts.user_of_key(*new).name, "ann")
        self.assertEqual(accounts.user_of_temporary(*temporary)[0].name, "sue")
        self.assertEqual(self.successResultOf(accounts.sign_in_by_token(token)).user.name, "ann")
        grant = accounts.grant_of("PUT", link.path, parse_query(link.query.encode("ascii")))
        self.assertEqual((grant.user, grant.max_bytes), ("ann", 9))


class SignTests(UsersCase):
    """C{storehouse sign}."""

    def setUp(self) -> None:
        UsersCase.setUp(self)
        self.add("ann")
        self.add("ops", "--admin")
        self.accounts = self.service()

    def grant(self, link: str, method: str, path: str | None = None) -> Grant:
        """What a link allows, at its own path or another one."""
        url = urlsplit(link.rstrip("\n"))
        return self.accounts.grant_of(method, path or url.path, parse_query(url.query.encode("ascii")))

    def sign(self, *args: str) -> str:
        result = self.run_command("sign", *args)
        self.assertEqual(result.stderr, "")
        self.assertRegex(result.stdout, r"\A[!-~]+\n\Z")
        return result.stdout

    def test_put(self) -> None:
        link = self.sign("--put", "a b/ä+%.txt", "--max-bytes", "1GiB", "--once", "--expires", "2h")
        self.assertTrue(link.startswith("https://localhost:6445/upload/a%20b/%C3%A4%2B%25.txt?"), link)
        grant = self.grant(link, "PUT")
        self.assertEqual((grant.max_bytes, grant.once, grant.user, grant.is_prefix), (1 << 30, True, "ops", False))
        self.successResultOf(self.accounts.use_link(grant))
        self.assertRaises(LinkUsed, self.grant, link, "PUT")

    def test_get(self) -> None:
        grant = self.grant(self.sign("--get", "a.txt", "--as", "ann"), "GET")
        self.assertEqual((grant.path, grant.user, grant.max_bytes), ("/download/a.txt", "ann", None))

    def test_expires(self) -> None:
        soon, late = (self.grant(self.sign("--get", "a", "--expires", time), "GET") for time in ("90", "7d"))
        self.assertLess(abs(late.expires - soon.expires - (7 * 86400 - 90)), 30)
        usual = self.grant(self.sign("--get", "a"), "GET")
        self.assertLess(abs(usual.expires - soon.expires - (900 - 90)), 30)

    def test_prefix(self) -> None:
        for name in ("inbox", "inbox/", "/inbox/"):
            link = self.sign("--put", name, "--prefix")
            self.assertEqual(urlsplit(link).path, "/upload/inbox/")
            self.assertEqual(self.grant(link, "PUT", "/upload/inbox/a").path, "/upload/inbox/")
        everything = self.sign("--get", "", "--prefix")
        self.grant(everything, "GET", "/download/a/b")

    def test_rights(self) -> None:
        """A link to a folder, and one that only adds."""
        link = self.sign("--allow", "read", "--allow", "list", "--below", "a b/", "--as", "ann")
        self.assertTrue(link.startswith("https://localhost:6445/download?prefix=a%20b/&rights=read,list&"), link)
        grant = self.grant(link, "GET", "/any")
        self.assertEqual((grant.rights, grant.user), (Rights(("read", "list"), "uploads", "a b/"), "ann"))
        link = self.sign("--append-only", "--below", "in/", "--max-bytes", "5", "--once")
        self.assertTrue(link.startswith("https://localhost:6445/upload/in/?rights=put-new&"), link)
        grant = self.grant(link, "PUT")
        self.assertEqual((grant.max_bytes, grant.once), (5, True))
        link = self.sign("--allow", "read", "--bucket", "photos")
        self.assertTrue(link.startswith("https://localhost:6445/download/?bucket=photos&rights=read&"), link)
        all_of_it = self.grant(self.sign("--allow", "all"), "GET").rights
        assert all_of_it is not None
        self.assertEqual(all_of_it.permissions, ("read", "list", "put-new", "overwrite", "delete"))

    def test_url(self) -> None:
        """The one that was given, or that a service has kept."""
        self.successResultOf(self.accounts.write_url("https://box:7000"))
        self.assertTrue(self.sign("--get", "a").startswith("https://box:7000/download/a?"))
        self.assertTrue(self.sign("--get", "a", "--url", "https://x/").startswith("https://x/download/a?"))

    def test_wrong_usage(self) -> None:
        for arguments, said in (
            ((), "Give one of"),
            (("--put", "a", "--get", "b"), "Give one of"),
            (("--put", "a", "--allow", "read"), "Give one of"),
            (("--allow", "read", "--append-only"), "give one of them"),
            (("--allow", "read", "--prefix"), "--below"),
            (("--put", "a", "--below", "b"), "are for --allow"),
            (("--put", "a", "--bucket", "b"), "are for --allow"),
            (("--get", "a", "--max-bytes", "5"), "--max-bytes is for --put"),
            (("--put", ""), "empty"),
            (("--put", "a", "--expires", "0"), "more than 0"),
            (("--put", "a", "--expires", "-5m"), "not a duration"),
            (("--put", "a", "--max-bytes", "much"), "size"),
            (("--put", "a", "--max-bytes", "0"), "must be 1 or more"),
            (("--put", "a", "--url", "box:7000"), "https://HOST"),
            (("--put", "a", "--url", "https://x/?y"), "https://HOST"),
        ):
            self.assertIn(said, self.run_command("sign", *arguments, status=2).stderr)

    def test_refused(self) -> None:
        for arguments, said in (
            (("--put", "../a"), ". and .."),
            (("--put", "a//b"), "empty segment"),
            (("--put", "a\\b"), "backslashes"),
            (("--put", "a\nb"), "control characters"),
            (("--put", "a\udc80"), "Unicode"),
            (("--put", "a", "--expires", "8d"), "within the next 604800 seconds"),
            (("--put", "a", "--as", "nobody"), "no user 'nobody'"),
            (("--allow", "write"), "is not a permission"),
            (("--allow", "create"), "one or more of"),
            (("--allow", "read", "--bucket", "*"), "one bucket"),
            (("--allow", "put-new", "--bucket", "photos"), "alone"),
            (("--allow", "list", "--once"), "works once"),
            (("--allow", "read", "--below", "a\udc80"), "Unicode"),
        ):
            self.assertIn(said, self.run_command("sign", *arguments, status=1).stderr)
        self.run_command("user", "disable", "ops")
        self.assertIn("--as", self.run_command("sign", "--put", "a", status=1).stderr)
        self.run_command("user", "disable", "ann")
        self.assertIn("disabled", self.run_command("sign", "--put", "a", "--as", "ann", status=1).stderr)
