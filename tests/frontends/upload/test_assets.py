"""Tests of L{storehouse.frontends.upload.assets}."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.upload import assets
from storehouse.frontends.upload.assets import StaticFiles, load_assets
from tests.frontends.http.wire import Answer, Connection, make_site, request, split_answers

FOLDER = Path(assets.__file__).parent / "static"


class LoadTests(SynchronousTestCase):
    """What is in the package."""

    def test_names_have_a_hash(self) -> None:
        loaded = load_assets()
        self.assertLessEqual({"upload.js", "listing.js", "stats.js", "style.css", "icon.svg"}, set(loaded.names))
        for name, served in loaded.names.items():
            stem, _, suffix = name.rpartition(".")
            digest = hashlib.sha256(loaded.files[served].content).hexdigest()[:12]
            self.assertEqual(served, f"{stem}-{digest}.{suffix}")
            self.assertEqual(loaded.url(name), f"/static/{served}")

    def test_nothing_is_left_over(self) -> None:
        expected = {*load_assets().files, "manifest.json", "LICENSES.txt"}
        self.assertEqual({path.name for path in FOLDER.iterdir()}, expected)

    def test_licences(self) -> None:
        text = (FOLDER / "LICENSES.txt").read_text(encoding="utf-8")
        for package in ("tus-js-client 4", "@noble/hashes 2"):
            self.assertIn(f"\n{package}", text)
        self.assertIn("Permission is hereby granted", text)

    def test_size(self) -> None:
        """A page is there at once also where the network is slow."""
        scripts = [asset for name, asset in load_assets().files.items() if name.endswith(".js")]
        self.assertLess(sum(len(asset.content) for asset in scripts), 150_000)
        self.assertLess(sum(len(asset.packed) for asset in scripts), 45_000)

    def test_policy(self) -> None:
        """Nothing that the policy of the pages forbids, or that comes from elsewhere."""
        for name, asset in load_assets().files.items():
            for word in (b"eval(", b"new Function(", b"innerHTML", b"@import", b"document.write"):
                self.assertNotIn(word, asset.content, name)


class StaticFilesTests(SynchronousTestCase):
    """C{/static/}."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "a-1.js").write_bytes(b"let a;" * 100)
        (folder / "b-2.css").write_bytes(b"b {}")
        (folder / "secret.txt").write_bytes(b"not in the manifest")
        (folder / "manifest.json").write_text(json.dumps({"a.js": "a-1.js", "b.css": "b-2.css"}))
        self.site = make_site(Clock(), static=StaticFiles(load_assets(folder)))

    def get(self, path: str, *fields: str, method: str = "GET") -> Answer:
        connection = Connection(self.site)
        connection.send(request(f"{method} /static/{path}", None, *fields))
        (answer,) = split_answers(connection.received, [method])
        return answer

    def test_file(self) -> None:
        answer = self.get("a-1.js")
        self.assertEqual((answer.status, answer.body), (200, b"let a;" * 100))
        self.assertEqual(answer.fields["content-type"], "text/javascript; charset=utf-8")
        self.assertEqual(answer.fields["cache-control"], "public, max-age=31536000, immutable")
        self.assertEqual(answer.fields["vary"], "Accept-Encoding")
        self.assertNotIn("content-encoding", answer.fields)
        self.assertEqual(self.get("b-2.css").fields["content-type"], "text/css; charset=utf-8")

    def test_head(self) -> None:
        answer = self.get("a-1.js", method="HEAD")
        self.assertEqual((answer.status, answer.fields["content-length"], answer.body), (200, "600", b""))

    def test_packed(self) -> None:
        for accepted in ("gzip", "br, gzip;q=0.8", "deflate, gzip;q=0.05"):
            answer = self.get("a-1.js", f"Accept-Encoding: {accepted}")
            self.assertEqual(answer.fields["content-encoding"], "gzip", accepted)
            self.assertEqual(gzip.decompress(answer.body), b"let a;" * 100)
        for accepted in ("br", "gzip;q=0", "gzip; q=0.0", "xgzip"):
            self.assertNotIn("content-encoding", self.get("a-1.js", f"Accept-Encoding: {accepted}").fields, accepted)

    def test_known_already(self) -> None:
        tag = self.get("a-1.js").fields["etag"]
        for given in (tag, f"W/{tag}", f'"x", {tag}'):
            answer = self.get("a-1.js", f"If-None-Match: {given}")
            self.assertEqual((answer.status, answer.body), (304, b""), given)
            self.assertNotIn("content-length", answer.fields)
        self.assertEqual(self.get("a-1.js", 'If-None-Match: "x"').status, 200)

    def test_nothing_else(self) -> None:
        for path in ("", "a.js", "manifest.json", "secret.txt", "../assets.py", "..%2fassets.py", "a-1.js/", "%ff"):
            self.assertEqual(self.get(path).status, 404, path)
        self.assertEqual(self.get("a-1.js", method="DELETE").status, 405)
