"""The S3 door and a browser: presigned requests of a page of another origin, by CORS, and a form."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.integration.browser import Browser
from tests.integration.s3clients.case import REGION, S3Case
from tests.integration.s3clients.data import MIB

#: Sends and gets a body, as scripts of pages do; gives the status and what of the response the page may see.
_SEND = """
const [method, url, size, done] = arguments;
const body = method === "PUT" ? new Uint8Array(size).map((_, at) => at % 251) : undefined;
fetch(url, {method, body, headers: method === "PUT" ? {"content-type": "image/png"} : {}}).then(async (response) => {
  const got = new Uint8Array(await response.arrayBuffer());
  done([response.status, response.headers.get("etag"), got.length, got.every((each, at) => each === at % 251)]);
}).catch((error) => done(String(error)));
"""

_FORM = """
<!doctype html><meta charset="utf-8"><title>A form</title>
<form method="post" enctype="multipart/form-data" action="{url}">{fields}<input type="file" name="file"><button>Send</button></form>
"""


class _Quiet(SimpleHTTPRequestHandler):
    """Serves pages, and says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


class BrowserTests(S3Case):
    """Over TLS, as pages want it."""

    secure = True

    def setUp(self) -> None:
        super().setUp()
        # By the name that its certificate has.
        self.endpoint = f"https://localhost:{self.house.s3_port}"
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.house.key_id,
            aws_secret_access_key=self.house.secret,
            region_name=REGION,
            verify=str(self.house.certificate),
            config=Config(signature_version="s3v4"),
        )
        self.addCleanup(self.client.close)
        self.client.create_bucket(Bucket="box")
        self.pages = self.place / "pages"
        self.pages.mkdir()
        (self.pages / "index.html").write_text("<!doctype html><title>A page</title>")
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(self.pages)))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for each in (server.server_close, thread.join, server.shutdown):
            self.addCleanup(each)
        self.origin = f"http://localhost:{server.server_port}"
        self.browser = Browser(Path(self.mktemp()), self.house.certificate)
        self.addCleanup(self.browser.quit)
        self.browser.driver.set_script_timeout(120)

    def send(self, method: str, size: int = 0) -> Any:
        """What the page gets."""
        operation = {"PUT": "put_object", "GET": "get_object"}[method]
        url = self.client.generate_presigned_url(operation, {"Bucket": "box", "Key": "from a page.png"})
        return self.browser.driver.execute_async_script(_SEND, method, url, size)

    def test_presigned(self) -> None:
        """Only once the bucket lets the page's origin."""
        size = 60 * MIB
        self.browser.driver.get(self.origin)
        self.assertIn("TypeError", self.send("PUT", size))
        self.assertEqual(self.client.list_objects_v2(Bucket="box")["KeyCount"], 0)
        rule = {"AllowedOrigins": [self.origin], "AllowedMethods": ["PUT", "GET"], "AllowedHeaders": ["*"]}
        rules = {"CORSRules": [{**rule, "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 60}]}
        self.client.put_bucket_cors(Bucket="box", CORSConfiguration=rules)
        status, etag, *_ = self.send("PUT", size)
        found = self.client.head_object(Bucket="box", Key="from a page.png")
        self.assertEqual((status, etag), (200, found["ETag"]))
        self.assertEqual((found["ContentLength"], found["ContentType"]), (size, "image/png"))
        self.assertEqual(self.send("GET"), [200, etag, size, True])

    def test_form(self) -> None:
        """A form that the page's server has signed; the browser is sent on when it is stored."""
        done = f"{self.origin}/done.html"
        (self.pages / "done.html").write_text("<!doctype html><title>Done</title>Thank you")
        fields = {"success_action_redirect": done, "Content-Type": "text/plain"}
        conditions = [{name: value} for name, value in fields.items()]
        form = self.client.generate_presigned_post(
            "box", "forms/${filename}", Fields=fields, Conditions=[*conditions, ["starts-with", "$key", "forms/"]]
        )
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{value}">' for name, value in form["fields"].items()
        )
        (self.pages / "form.html").write_text(_FORM.format(url=form["url"], fields=hidden))
        sent = self.home / "käse &.txt"
        sent.write_bytes(b"some text" * 4_660_000)
        self.browser.driver.get(f"{self.origin}/form.html")
        self.browser.choose(sent, within="input[type=file]")
        self.browser.button("Send").click()
        self.browser.wait(lambda: "Thank you" in self.browser.text, "the page behind the form")
        got = self.client.get_object(Bucket="box", Key="forms/käse &.txt")
        self.assertEqual((got["Body"].read(), got["ContentType"]), (sent.read_bytes(), "text/plain"))
        self.assertIn("key=forms", self.browser.driver.current_url)
