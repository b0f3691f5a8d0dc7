"""Tests of L{storehouse.core.tls.certificates} and L{storehouse.core.tls.server}, by the clock."""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import stat
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from storehouse.core.jobs import InlineDisk
from storehouse.core.tls.certificates import (
    GivenFiles,
    Pair,
    SelfSigned,
    host_names,
    make_self_signed,
    read_pair,
)
from storehouse.core.tls.server import OfEndpoint, ServerTLS, choose_source
from storehouse.errors import InvalidSetting
from tests.core.tls.certificates import Authority

DAY = 86400.0
NOW = datetime.datetime(2031, 5, 6, 12, 0, tzinfo=datetime.UTC)


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


class MakingTests(SynchronousTestCase):
    """L{make_self_signed} and L{host_names}."""

    def test_what_it_says(self) -> None:
        names = {"localhost", "127.0.0.1", "::1", "files.example.org"}
        pair = make_self_signed({*names, "no_name", "-x.org", "", "a b", "ö.example"}, NOW)
        certificate = pair.certificate
        self.assertEqual(pair.names, names)
        self.assertTrue(pair.is_self_signed)
        self.assertIsInstance(certificate.public_key(), ec.EllipticCurvePublicKey)
        self.assertEqual(certificate.public_key().curve.name, "secp256r1")  # type: ignore[union-attr]
        self.assertLessEqual(pair.ends - certificate.not_valid_before_utc, datetime.timedelta(days=397))
        self.assertGreater(pair.ends - NOW, datetime.timedelta(days=300))
        self.assertLess(certificate.not_valid_before_utc, NOW)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(usage), [ExtendedKeyUsageOID.SERVER_AUTH])
        self.assertFalse(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
        (common,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        self.assertEqual(common.value, "files.example.org")
        certificate.verify_directly_issued_by(certificate)
        self.assertRegex(pair.fingerprint, r"\A([0-9A-F]{2}:){31}[0-9A-F]{2}\Z")
        self.assertNotIn("PrivateKey", repr(pair))

    def test_no_two_alike(self) -> None:
        one, two = (make_self_signed({"localhost"}, NOW) for _ in range(2))
        self.assertNotEqual(one.fingerprint, two.fingerprint)
        self.assertNotEqual(one.certificate.serial_number, two.certificate.serial_number)

    def test_long_names(self) -> None:
        """A common name has 64 characters at most."""
        long = ".".join(["a" * 60] * 3)
        pair = make_self_signed({"localhost", long}, NOW)
        self.assertEqual(pair.names, {"localhost", long})

    def test_host_names(self) -> None:
        self.assertLessEqual({"localhost", "127.0.0.1", "::1"}, host_names())
        self.patch(socket, "gethostname", lambda: "box.example.org")
        self.assertLessEqual({"box.example.org", "box"}, host_names())
        self.patch(socket, "gethostname", lambda: "what_ever")
        self.assertEqual(host_names(), {"localhost", "127.0.0.1", "::1"})


class SelfSignedTests(SynchronousTestCase):
    """L{SelfSigned}."""

    def setUp(self) -> None:
        self.directory = os.path.join(self.mktemp(), "tls")
        self.names = {"localhost"}
        self.source = SelfSigned(self.directory, lambda: self.names)
        self.path = os.path.join(self.directory, "self-signed.pem")

    def test_made_once(self) -> None:
        first = self.source.load(NOW)
        self.assertEqual(SelfSigned(self.directory, lambda: self.names).load(NOW), first)
        self.assertEqual(read_pair(self.path, self.path).chain, first.chain)

    def test_nobody_else_reads_it(self) -> None:
        # What a killed process left.
        os.makedirs(self.directory, 0o700)
        with open(self.path + ".new", "wb") as left:
            os.fchmod(left.fileno(), 0o666)
        self.source.load(NOW)
        self.assertEqual((mode(self.directory), mode(self.path)), (0o700, 0o600))
        self.assertEqual(sorted(os.listdir(self.directory)), ["certificate.pem", "self-signed.pem"])

    def test_directory_is_ours(self) -> None:
        self.source.load(NOW)
        self.assertEqual(mode(self.directory), 0o700)

    def test_copy_has_no_key(self) -> None:
        pair = self.source.load(NOW)
        with open(self.source.where, "rb") as file:
            data = file.read()
        self.assertEqual(data, pair.certificate.public_bytes(serialization.Encoding.PEM))
        os.unlink(self.source.where)
        self.source.load(NOW)
        self.assertTrue(os.path.exists(self.source.where))

    def test_renewed(self) -> None:
        """Well before it ends, when it is over, and when a clock was set back."""
        first = self.source.load(NOW)
        self.assertEqual(self.source.load(NOW + datetime.timedelta(days=300)), first)
        soon = NOW + datetime.timedelta(days=380)
        second = self.source.load(soon)
        self.assertNotEqual(second, first)
        self.assertGreater(second.ends, first.ends)
        self.assertEqual(self.source.load(soon), second)
        third = self.source.load(soon + datetime.timedelta(days=4000))
        self.assertNotEqual(third, second)
        self.assertNotEqual(self.source.load(NOW), third)

    def test_new_name(self) -> None:
        first = self.source.load(NOW)
        self.names.add("box")
        second = self.source.load(NOW)
        self.assertEqual(second.names, {"localhost", "box"})
        # One name less does no harm, and a name that no certificate can have is not waited for.
        self.names.discard("localhost")
        self.names.add("no_name")
        self.assertEqual(self.source.load(NOW), second)
        self.assertNotEqual(first, second)

    def test_broken(self) -> None:
        self.source.load(NOW)
        for data in (b"", b"nonsense"):
            with open(self.path, "wb") as file:
                file.write(data)
            with capturedLogs() as events:
                pair = self.source.load(NOW)
            self.assertIn(self.path, formatEvent(events[0]))
            self.assertEqual(self.source.load(NOW), pair)

    def test_cannot_be_written(self) -> None:
        with open(self.mktemp(), "wb") as file:
            pass
        error = self.assertRaises(ValueError, SelfSigned(os.path.join(file.name, "tls")).load, NOW)
        self.assertIn(file.name, str(error))


class GivenTests(SynchronousTestCase):
    """L{GivenFiles} and L{read_pair}."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        self.authority = Authority(self.directory)
        self.both = self.authority.sign("server")

    def write(self, name: str, data: bytes) -> str:
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def parts(self) -> tuple[bytes, bytes]:
        with open(self.both, "rb") as file:
            data = file.read()
        at = data.index(b"-----BEGIN PRIVATE")
        return data[:at], data[at:]

    def test_ways(self) -> None:
        """One file, two files, a directory; in any order, with those that signed it."""
        certificate, key = self.parts()
        with open(self.authority.path, "rb") as file:
            signer = file.read()
        expected = GivenFiles(self.both).load(NOW).certificate
        two = GivenFiles(self.write("c.pem", certificate + signer), self.write("k.pem", key))
        self.assertEqual(two.load(NOW).certificate, expected)
        self.assertEqual(len(two.load(NOW).chain), 2)
        self.assertFalse(two.load(NOW).is_self_signed)
        backwards = GivenFiles(self.write("b.pem", b"text\n" + key + b"text\n" + certificate))
        self.assertEqual(backwards.load(NOW).certificate, expected)
        self.write("fullchain.pem", certificate)
        self.write("privkey.pem", key)
        directory = GivenFiles(self.directory)
        self.assertEqual(directory.load(NOW).certificate, expected)
        self.assertEqual([os.path.basename(path) for path in directory.files], ["fullchain.pem", "privkey.pem"])

    def test_other_keys(self) -> None:
        certificate, _ = self.parts()
        for other in (
            rsa.generate_private_key(65537, 2048).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            ),
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            ),
        ):
            self.refused(self.write("x.pem", certificate), self.write("k.pem", other), "k.pem does not match", "x.pem")

    def refused(self, certificate: str, key: str, *words: str) -> None:
        error = self.assertRaises(ValueError, GivenFiles(certificate, key).load, NOW)
        self.assertNotIn("\n", str(error))
        for word in words:
            self.assertIn(word, str(error))

    def test_refused(self) -> None:
        """Which file, and why."""
        certificate, key = self.parts()
        c, k = self.write("c.pem", certificate), self.write("k.pem", key)
        missing = os.path.join(self.directory, "missing")
        self.refused(missing, k, missing, "No such file")
        self.refused(c, missing, missing, "No such file")
        self.refused(k, k, k, "no certificate")
        self.refused(c, c, c, "no private key")
        self.refused(c, "", c, "no private key")
        begin, end = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
        for inside in (b"AAAA\n", b"?\n", b"\n", b"A" * 64 + b"\n"):
            bad = self.write("bad.pem", begin + inside + end)
            self.refused(bad, k, bad, "cannot be used")
        bad = self.write("bad.pem", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        self.refused(c, bad, bad, "cannot be used")
        locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
        bad = self.write("locked.pem", locked)
        self.refused(c, bad, bad, "encrypted")
        self.refused(self.write("empty.pem", b""), k, "empty.pem")
        os.mkdir(os.path.join(self.directory, "acme"))
        self.refused(os.path.join(self.directory, "acme"), "", "fullchain.pem", "No such file")


class ServerTLSTests(SynchronousTestCase):
    """L{ServerTLS}: renewed and read again while it runs."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        self.authority = Authority(self.directory)
        self.clock = Clock()
        self.clock.rightNow = datetime.datetime.now(datetime.UTC).timestamp()
        self.path = os.path.join(self.directory, "given.pem")

    def give(self, name: str, days: int = 90) -> None:
        """Replace the file, as its owner does."""
        shutil.copy(self.authority.sign(name, days), self.path + ".new")
        os.chmod(self.path + ".new", 0o600)
        os.rename(self.path + ".new", self.path)

    def serve(self, source: Any = None, client_ca: str = "", disk: Any = None) -> ServerTLS:
        tls = ServerTLS(source or GivenFiles(self.path), self.clock, disk or InlineDisk(), client_ca)
        tls.check()
        tls.start()
        self.addCleanup(tls.stop)
        return tls

    def common_name(self, tls: ServerTLS) -> Any:
        assert tls.pair is not None
        return tls.pair.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value

    def texts(self, events: Any, level: Any = None) -> list[str]:
        return [formatEvent(event) for event in events if level in (None, event["log_level"])]

    def test_interface(self) -> None:
        self.give("one")
        tls = self.serve()
        verifyObject(IOpenSSLServerConnectionCreator, tls)
        self.assertIsInstance(tls.serverConnectionForTLS(None), SSL.Connection)

    def test_read_again(self) -> None:
        """When the file changes; those who came before keep what they have."""
        self.give("one")
        tls = self.serve()
        before = tls.serverConnectionForTLS(None).get_context()
        self.clock.advance(6)
        self.assertIs(tls.serverConnectionForTLS(None).get_context(), before)
        self.give("two")
        with capturedLogs() as events:
            self.clock.advance(6)
        self.assertEqual(self.common_name(tls), "two")
        self.assertIsNot(tls.serverConnectionForTLS(None).get_context(), before)
        assert tls.pair is not None
        self.assertIn(tls.pair.fingerprint, "\n".join(self.texts(events)))

    def test_link(self) -> None:
        """What an ACME client keeps is links, which it turns to new files."""
        live, archive = os.path.join(self.directory, "live"), os.path.join(self.directory, "archive")
        os.mkdir(live)
        os.mkdir(archive)
        for name in ("one", "two"):
            shutil.copy(self.authority.sign(name, 90), os.path.join(archive, f"{name}.pem"))

        def turn(name: str) -> None:
            for link in ("fullchain.pem", "privkey.pem"):
                os.symlink(os.path.join(archive, f"{name}.pem"), os.path.join(live, "new"))
                os.rename(os.path.join(live, "new"), os.path.join(live, link))

        turn("one")
        tls = self.serve(GivenFiles(live))
        turn("two")
        self.clock.advance(6)
        self.assertEqual(self.common_name(tls), "two")

    def test_broken_one_is_not_taken(self) -> None:
        """It is said once; the old one stays until there is a good one."""
        self.give("one")
        tls = self.serve()
        context = tls.serverConnectionForTLS(None).get_context()
        with open(self.path, "wb") as file:
            file.write(b"half")
        with capturedLogs() as events:
            self.clock.pump([6] * 5)
        errors = self.texts(events, LogLevel.error)
        self.assertEqual(len(errors), 1)
        self.assertIn(self.path, errors[0])
        os.unlink(self.path)
        with capturedLogs() as events:
            self.clock.pump([6] * 5)
        self.assertEqual(len(self.texts(events, LogLevel.error)), 1)
        self.assertIs(tls.serverConnectionForTLS(None).get_context(), context)
        self.give("three")
        self.clock.advance(6)
        self.assertEqual(self.common_name(tls), "three")

    def test_clients_authorities_are_read_again(self) -> None:
        self.give("one")
        roots = os.path.join(self.directory, "roots.pem")
        shutil.copy(self.authority.path, roots)
        tls = self.serve(client_ca=roots)
        context = tls.serverConnectionForTLS(None).get_context()
        shutil.copy(Authority(self.directory, "other").path, roots)
        self.clock.advance(6)
        self.assertIsNot(tls.serverConnectionForTLS(None).get_context(), context)

    def test_self_signed_is_renewed(self) -> None:
        """While it runs, by the clock; and when the machine gets another name."""
        names = {"localhost"}
        tls = self.serve(SelfSigned(os.path.join(self.directory, "tls"), lambda: names))
        first = tls.pair
        assert first is not None
        self.clock.pump([DAY / 4] * 4)
        self.assertEqual(tls.pair, first)
        # It looks every few seconds, and at the certificate of ours every hour.
        self.clock.rightNow += 370 * DAY
        for _ in range(1800):
            self.clock.advance(2)
        second = tls.pair
        assert second is not None
        self.assertGreater(second.ends, first.ends)
        names.add("box")
        for _ in range(1800):
            self.clock.advance(2)
        assert tls.pair is not None
        self.assertIn("box", tls.pair.names)

    def test_nothing_before_it_is_ours(self) -> None:
        """The root is not touched before the service has it."""
        directory = os.path.join(self.directory, "tls")
        tls = ServerTLS(SelfSigned(directory), self.clock, InlineDisk())
        tls.check()
        self.assertFalse(os.path.exists(directory))
        with capturedLogs() as events:
            tls.start()
        self.addCleanup(tls.stop)
        assert tls.pair is not None
        said = "\n".join(self.texts(events))
        self.assertIn(tls.pair.fingerprint, said)
        self.assertIn(directory, said)
        self.assertIn("self-signed", said)

    def test_what_is_told_of_it(self) -> None:
        tls = self.serve(SelfSigned(os.path.join(self.directory, "tls"), lambda: {"localhost", "box"}))
        self.assertTrue(tls.is_self_signed)
        self.assertFalse(tls.wants_https_only)
        self.assertTrue(os.path.exists(tls.certificate_file))
        (family,) = tls.collect()
        assert tls.pair is not None
        self.assertEqual(family.samples[0].value, tls.pair.ends.timestamp())
        self.give("one")
        tls = self.serve()
        self.assertFalse(tls.is_self_signed)
        self.assertEqual(tls.certificate_file, "")
        # It is for the loopback address only.
        self.assertFalse(tls.wants_https_only)
        self.assertEqual(list(ServerTLS(GivenFiles(self.path), self.clock, InlineDisk()).collect()), [])

    def test_warnings(self) -> None:
        """It is over, or soon will be, or all can read the key."""
        for days, text in ((-1, "ended on"), (3, "ends soon")):
            self.give("one", days)
            with capturedLogs() as events:
                self.serve()
            (warning,) = self.texts(events, LogLevel.warn)
            self.assertIn(text, warning)
            self.assertIn(self.path, warning)
        self.give("one")
        os.chmod(self.path, 0o644)
        with capturedLogs() as events:
            self.serve()
        (warning,) = self.texts(events, LogLevel.warn)
        self.assertIn("all users", warning)
        self.clock.rightNow -= 100 * DAY
        os.chmod(self.path, 0o600)
        with capturedLogs() as events:
            self.serve()
        (warning,) = self.texts(events, LogLevel.warn)
        self.assertIn("is not valid before", warning)

    def test_refused(self) -> None:
        tls = ServerTLS(GivenFiles(self.path), self.clock, InlineDisk())
        self.assertIn(self.path, str(self.assertRaises(InvalidSetting, tls.check)))
        self.give("one")
        missing = os.path.join(self.directory, "missing.pem")
        tls = ServerTLS(GivenFiles(self.path), self.clock, InlineDisk(), missing)
        self.assertIn(missing, str(self.assertRaises(InvalidSetting, tls.check)))
        # A key that OpenSSL thinks too weak.
        tls = ServerTLS(Weak(), self.clock, InlineDisk())
        self.assertIn("too small", str(self.assertRaises(InvalidSetting, tls.check)))

    def test_slow_disk(self) -> None:
        """One look at a time; the end waits for it."""
        self.give("one")
        disk = SlowDisk()
        tls = self.serve(disk=disk)
        self.give("two")
        self.clock.pump([6] * 3)
        self.assertEqual(len(disk.waiting), 1)
        stopped = tls.stop()
        self.assertNoResult(stopped)
        disk.go_on()
        disk.go_on()
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.common_name(tls), "two")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_sources(self) -> None:
        """Which certificate is meant."""
        self.give("one")
        self.assertIsInstance(choose_source("tcp:1", "d", self.path), GivenFiles)
        for endpoint, url, expected in (
            ("tcp:1:interface=192.0.2.7", "https://files.example.org:8443/x", {"files.example.org", "192.0.2.7"}),
            ("tcp6:1:interface=\\:\\:", "", {"localhost"}),
            ("unix:" + self.mktemp(), "https://[2001:db8::1]", {"2001:db8::1"}),
        ):
            own = choose_source(endpoint, self.mktemp(), url=url)
            self.assertIsInstance(own, SelfSigned)
            self.assertEqual(own.load(NOW).names, host_names() | expected)
        given = choose_source(f"ssl:1:privateKey={self.path}:certKey={self.path}", "d")
        self.assertIsInstance(given, OfEndpoint)
        self.assertEqual(given.load(NOW).chain, read_pair(self.path, self.path).chain)
        self.serve(given)
        tls = ServerTLS(choose_source("ssl:1:privateKey=missing.pem", "d"), self.clock, InlineDisk())
        self.assertIn("missing.pem", str(self.assertRaises(InvalidSetting, tls.check)))


class Weak:
    """A source of a certificate with a key that is too short."""

    is_given = True
    files: tuple[str, ...] = ()
    where = "weak"

    def load(self, now: datetime.datetime) -> Pair:
        key = rsa.generate_private_key(65537, 1024)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak")])
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        return Pair((builder.sign(key, hashes.SHA256()),), key)


class SlowDisk:
    """Does what it is given when a test says so."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def run(self, f: Any, *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, f, args))
        return done

    def go_on(self) -> None:
        done, f, args = self.waiting.pop(0)
        done.callback(f(*args))
