"""Processes that are killed while they change accounts: nothing that was answered is undone, and nothing works twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.core.files import Files
from storehouse.core.jobs import InlineDisk
from storehouse.errors import LinkUsed, SignInRefused
from storehouse.storage.accounts.interfaces import NewKey
from storehouse.storage.accounts.local import LocalAccounts
from tests.conformance.accounts import NOW, SETTINGS, fields_of

#: More calls than any change makes.
_MOST_CALLS = 40


class DeadlyFiles(Files):
    """
    Files that kill their process before call number C{at}; a write is then half done. A kill leaves the system's memory as
    it is, so nothing need be brought to disk.
    """

    def __init__(self, at: int) -> None:
        self.left = at

    def _count(self) -> bool:
        self.left -= 1
        return self.left < 0

    def open(self, path: str, flags: int) -> int:
        if self._count():
            _die()
        return super().open(path, flags)

    def write_at(self, fd: int, pieces: Sequence[bytes], offset: int) -> None:
        if self._count():
            data = b"".join(pieces)
            os.pwrite(fd, data[: len(data) // 2], offset)
            _die()
        super().write_at(fd, pieces, offset)

    def write_synced(self, fd: int, data: bytes, offset: int) -> None:
        if self._count():
            os.pwrite(fd, data[: len(data) // 2], offset)
            _die()
        super().write_at(fd, (data,), offset)

    def sync_data(self, fd: int) -> None:
        if self._count():
            _die()

    def sync_directory(self, path: str) -> None:
        if self._count():
            _die()

    def rename(self, source: str, target: str) -> None:
        if self._count():
            _die()
        super().rename(source, target)

    def close(self, fd: int) -> None:
        if self._count():
            _die()
        super().close(fd)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class CrashTests(SynchronousTestCase):
    """Each change, killed before each of its calls."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.rightNow = NOW

    def open(self, directory: str, files: Files | None = None) -> LocalAccounts:
        accounts = LocalAccounts(directory, InlineDisk(), SETTINGS, files=files, clock=self.clock.seconds)
        accounts.start()
        return accounts

    def in_child(self, work: Callable[[], object]) -> str:
        """Do something in a process of its own. @return: C{killed}, C{done} or C{refused}."""
        child = os.fork()
        if not child:
            status = 1
            try:
                work()
                status = 0
            except (LinkUsed, SignInRefused):
                status = 2
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return "killed"
        outcome = {0: "done", 2: "refused"}.get(os.WEXITSTATUS(status))
        self.assertIsNotNone(outcome, "the child has failed")
        return str(outcome)

    def explore(
        self, prepare: Callable[[LocalAccounts], Any], change: Callable[[LocalAccounts, Any], object]
    ) -> list[tuple[str, LocalAccounts, Any]]:
        """
        A change, killed before its first call, its second, and so on, each on a root of its own, until it is not killed.

        @return: for each how it ended, what was found then, and what C{prepare} gave.
        """
        ends = []
        for at in range(_MOST_CALLS):
            directory = os.path.abspath(self.mktemp())
            files = DeadlyFiles(10**9)
            accounts = self.open(directory, files)
            prepared = prepare(accounts)
            files.left = at
            outcome = self.in_child(lambda accounts=accounts, prepared=prepared: change(accounts, prepared))
            ends.append((outcome, self.open(directory), prepared))
            if outcome != "killed":
                return ends
        raise AssertionError("it makes more calls than were expected")

    def result(self, work: Any) -> Any:
        return self.successResultOf(work)

    def test_link_that_works_once(self) -> None:
        """Killed anywhere between use and answer, it works once at most, and once it was answered no more."""

        def prepare(accounts: LocalAccounts) -> Any:
            user = self.result(accounts.add_user("ann")).user
            fields = fields_of(accounts.sign_link(user, "PUT", "/upload/a", NOW + 60, once=True))
            return accounts.grant_of("PUT", "/upload/a", fields)

        def use(accounts: LocalAccounts, grant: Any) -> None:
            used: list[Any] = []
            accounts.use_link(grant).addBoth(used.append)
            if used != [None]:
                used[0].raiseException()

        ends = self.explore(prepare, use)
        self.assertEqual([outcome for outcome, _, _ in ends], ["killed"] * (len(ends) - 1) + ["done"])
        self.assertGreater(len(ends), 4)
        found = []
        for _, accounts, grant in ends:
            worked = accounts.use_link(grant)
            failed: list[Any] = []
            worked.addErrback(failed.append)
            found.append(not failed)
            for failure in failed:
                failure.trap(LinkUsed)
            self.failureResultOf(accounts.use_link(grant), LinkUsed)
        self.assertEqual(found, sorted(found, reverse=True), "what was used up has come back")
        self.assertTrue(found[0])
        self.assertFalse(found[-1])

    def test_token_that_works_once(self) -> None:
        def prepare(accounts: LocalAccounts) -> str:
            self.result(accounts.add_user("ann"))
            return str(self.result(accounts.make_sign_in_token("ann", 60)))

        ends = self.explore(prepare, lambda accounts, token: self.result(accounts.sign_in_by_token(token)))
        found = []
        for _, accounts, token in ends:
            worked: list[Any] = []
            accounts.sign_in_by_token(token).addBoth(worked.append)
            found.append(not hasattr(worked[0], "trap"))
            self.failureResultOf(accounts.sign_in_by_token(token), SignInRefused)
        self.assertEqual(found, sorted(found, reverse=True))
        self.assertEqual((found[0], found[-1]), (True, False))

    def test_users(self) -> None:
        """Either the old key or the new one, and every other user as before."""

        def prepare(accounts: LocalAccounts) -> tuple[NewKey, NewKey]:
            return self.result(accounts.add_user("ann")), self.result(accounts.add_user("bob"))

        ends = self.explore(prepare, lambda accounts, keys: self.result(accounts.rotate_key("ann")))
        rotated = []
        for _, accounts, (ann, bob) in ends:
            users = self.result(accounts.list_users())
            self.assertEqual([user.name for user in users], ["ann", "bob"])
            self.assertEqual(accounts.user_of_key(bob.user.key_id, bob.secret), bob.user)
            rotated.append(users[0].key_id != ann.user.key_id)
            self.result(accounts.add_user("carl"))
        self.assertEqual(rotated, sorted(rotated))
        self.assertEqual((rotated[0], rotated[-1]), (False, True))

    def test_first_start(self) -> None:
        """What a start that was killed has left can be started."""
        for at in range(_MOST_CALLS):
            directory = os.path.abspath(self.mktemp())

            def start(directory: str = directory, at: int = at) -> None:
                accounts = self.open(directory, DeadlyFiles(at))
                self.result(accounts.ensure_administrator())

            outcome = self.in_child(start)
            accounts = self.open(directory)
            self.assertEqual(self.result(accounts.ensure_administrator()), "admin")
            self.assertEqual(len(self.result(accounts.list_users())), 1)
            if outcome == "done":
                return
        raise AssertionError("it makes more calls than were expected")
