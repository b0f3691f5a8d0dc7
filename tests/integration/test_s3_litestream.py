"""The S3 door and litestream, which copies a database of SQLite while it is written to."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
from contextlib import closing
from typing import Any

from tests.integration.process import PATIENCE, wait_for
from tests.integration.s3clients.case import REGION, S3Case
from tests.integration.s3clients.environment import program


class LitestreamTests(S3Case):
    """Over plain HTTP."""

    def test_replica(self) -> None:
        """What is restored is the database, with the rows that were added while it was copied."""
        self.house.command_line("mb", "box", "--root", str(self.house.root))
        database, restored = self.home / "app.db", self.home / "restored.db"
        configuration = self.home / "litestream.yml"
        replica = {
            "type": "s3",
            "bucket": "box",
            "path": "app",
            "endpoint": self.house.endpoint,
            "region": REGION,
            "force-path-style": True,
            "sync-interval": "100ms",
        }
        # YAML takes JSON.
        configuration.write_text(json.dumps({"dbs": [{"path": str(database), "replica": replica}]}))
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=wal")
            connection.execute("CREATE TABLE rows (n INTEGER PRIMARY KEY, data BLOB)")
            self.insert(connection, 0)
            litestream = subprocess.Popen(
                [program("litestream"), "replicate", "-config", str(configuration)],
                env=self.trusting,
                cwd=self.home,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            assert litestream.stdout is not None
            for each in (litestream.stdout.close, litestream.wait, litestream.kill):
                self.addCleanup(each)
            for number in range(1, 10):
                self.insert(connection, number)
            wait_for(lambda: bool(self.stored()), "the first objects")
            # It copies what is left, and ends.
            litestream.send_signal(signal.SIGINT)
            said, _ = litestream.communicate(timeout=PATIENCE)
            self.assertEqual(litestream.returncode, 0, said)
            words = ("restore", "-config", configuration, "-o", restored, database)
            self.run_client(program("litestream"), *words, variables=self.trusting)
            with closing(sqlite3.connect(restored)) as other:
                self.assertEqual(other.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
                query = "SELECT n, data FROM rows ORDER BY n"
                self.assertEqual(other.execute(query).fetchall(), connection.execute(query).fetchall())

    @property
    def trusting(self) -> dict[str, str]:
        """It trusts in what all programs in Go do, and refuses to start with the variable of other SDKs."""
        return {name: value for name, value in self.variables.items() if name != "AWS_CA_BUNDLE"}

    def insert(self, connection: Any, number: int) -> None:
        """Some 10 MiB of rows that cannot be compressed."""
        rows = [(number * 2500 + each, random.randbytes(4000)) for each in range(2500)]
        connection.executemany("INSERT INTO rows VALUES (?, ?)", rows)
        connection.commit()

    def stored(self) -> str:
        """What is in the bucket."""
        return self.house.command_line("ls", "box", "--root", str(self.house.root))


class LitestreamTLSTests(LitestreamTests):
    """Over TLS."""

    secure = True
