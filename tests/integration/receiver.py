"""An HTTP endpoint that takes events, in threads of the test's process, and may be stubborn."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["SECRET", "Receiver", "write_secret"]

SECRET = b"a secret of the tests"


def write_secret(directory: str) -> None:
    """Write the secret of the endpoint C{hooks}, for C{notify-secrets}."""
    os.makedirs(directory, 0o700, exist_ok=True)
    with open(os.open(f"{directory}/hooks", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(SECRET)


class Receiver:
    """
    @param mood: called for each request: C{take}, C{refuse} (500), C{hang} (no response for a while), C{half} of one; what it has
        by then it keeps in any case.
    @ivar arrived: each message, in the order of arrival: its ID, and the document.
    @ivar wrong: requests whose signature is not right.
    """

    def __init__(self, mood: Callable[[], str] = lambda: "take") -> None:
        self.arrived: list[tuple[str, dict[str, Any]]] = []
        self.wrong: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                id, timestamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
                digest = hmac.new(
                    SECRET, b"%s.%s.%s" % (id.encode(), timestamp.encode(), body), hashlib.sha256
                ).digest()
                if self.headers["webhook-signature"] != f"v1,{base64.b64encode(digest).decode()}":
                    receiver.wrong.append(id)
                what = mood()
                if what == "refuse":
                    self.send_response(500)
                else:
                    receiver.arrived.append((id, json.loads(body)))
                    if what == "hang":
                        time.sleep(3)
                        self.close_connection = True
                        return
                    self.send_response(200)
                    if what == "half":
                        self.send_header("Content-Length", "10")
                        self.end_headers()
                        self.wfile.write(b"hal")
                        self.close_connection = True
                        return
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def stop(self) -> None:
        """Stop taking requests."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def records(self) -> list[dict[str, Any]]:
        """What arrived, without test events."""
        return [record for _, document in list(self.arrived) for record in document.get("Records", ())]

    @property
    def names(self) -> list[str]:
        """Each event as C{NAME BUCKET/KEY}."""
        return [
            f"{each['eventName']} {each['s3']['bucket']['name']}/{each['s3']['object']['key']}" for each in self.records
        ]
