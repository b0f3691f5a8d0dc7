"""The S3 door and clients to which each bucket is a host of its own, below the name of C{--s3-domain}."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

import boto3
from botocore.config import Config

from tests.integration.browser import Browser
from tests.integration.s3clients.case import REGION, S3Case
from tests.integration.s3clients.data import digest, make_tree, tree_of
from tests.integration.s3clients.environment import aws, program, python
from tests.integration.s3clients.proxy import Proxy

DOMAIN = "s3.example.test"


class HostTests(S3Case):
    """Over plain HTTP; names reach the door by a proxy."""

    options = ("--s3-domain", DOMAIN)

    def setUp(self) -> None:
        super().setUp()
        self.proxy = Proxy(self.house.s3_port)
        self.addCleanup(self.proxy.stop)
        self.host = f"{DOMAIN}:{self.house.s3_port}"
        self.house.endpoint = f"{'https' if self.secure else 'http'}://{self.host}"
        self.tree = make_tree(self.home / "tree", large=20 << 20, small=20)

    @property
    def variables(self) -> dict[str, str]:
        """With the proxy."""
        proxy = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), self.proxy.url)
        return {**super().variables, **proxy}

    def check_hosts(self, *buckets: str) -> None:
        """Connections were for the buckets' hosts, or for the domain; over HTTP those of a client serve all hosts in turn."""
        wanted = {f"{bucket}.{self.host}" for bucket in buckets}
        self.assertEqual(self.proxy.hosts | {self.host}, wanted | {self.host})

    def test_aws(self) -> None:
        """As its configuration file says."""
        (self.home / ".aws").mkdir()
        (self.home / ".aws" / "config").write_text("[default]\ns3 =\n  addressing_style = virtual\n")
        self.run_client(aws(), "s3", "mb", "s3://box")
        self.run_client(aws(), "s3", "sync", "tree", "s3://box/tree")
        self.run_client(aws(), "s3", "cp", "s3://box/tree/large.bin", "s3://box/tree/copy")
        self.run_client(aws(), "s3", "sync", "s3://box/tree", "back")
        self.assertEqual(tree_of(self.home / "back"), {**self.tree, "copy": self.tree["large.bin"]})
        self.run_client(aws(), "s3", "rb", "--force", "s3://box")
        self.check_hosts("box")

    def test_boto3(self) -> None:
        """Also URLs and forms of either version of signatures."""
        verify = str(self.house.certificate) if self.secure else None
        trust = HTTPSHandler(context=ssl.create_default_context(cafile=verify))
        ask = build_opener(ProxyHandler({"http": self.proxy.url, "https": self.proxy.url}), trust).open
        for number, version in enumerate((None, "s3v4")):
            client: Any = boto3.client(
                "s3",
                endpoint_url=self.house.endpoint,
                aws_access_key_id=self.house.key_id,
                aws_secret_access_key=self.house.secret,
                region_name=REGION,
                verify=verify,
                config=Config(
                    signature_version=version,
                    s3={"addressing_style": "virtual"},
                    proxies={"http": self.proxy.url, "https": self.proxy.url},
                ),
            )
            self.addCleanup(client.close)
            bucket = f"box-{number}"
            client.create_bucket(Bucket=bucket)
            for name in self.tree:
                client.upload_file(str(self.home / "tree" / name), bucket, name)
            listed = client.list_objects_v2(Bucket=bucket)["Contents"]
            self.assertEqual({each["Key"] for each in listed}, set(self.tree))
            client.copy({"Bucket": bucket, "Key": "large.bin"}, bucket, "copy")
            for name, about in {**self.tree, "copy": self.tree["large.bin"]}.items():
                client.download_file(bucket, name, str(self.home / "got"))
                self.assertEqual(digest(self.home / "got"), about, name)
            about = {"Bucket": bucket, "Key": "a/ä b"}
            url = client.generate_presigned_url("put_object", about)
            self.assertTrue(url.startswith(self.house.endpoint.replace("://", f"://{bucket}.") + "/a/"), url)
            ask(Request(url, b"text", {"Content-Type": ""}, method="PUT")).close()
            with ask(client.generate_presigned_url("get_object", about)) as response:
                self.assertEqual(response.read(), b"text")
            client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": name} for name in self.tree]})
            self.assertEqual(client.list_objects_v2(Bucket=bucket)["KeyCount"], 2)
            self.assertIn(bucket, [each["Name"] for each in client.list_buckets()["Buckets"]])
        self.check_hosts("box-0", "box-1")

    def test_rclone(self) -> None:
        remote = {"type": "s3", "provider": "Other", "endpoint": self.house.endpoint, "region": REGION}
        remote |= {"access_key_id": self.house.key_id, "secret_access_key": self.house.secret}
        remote["force_path_style"] = "false"
        variables = {f"RCLONE_CONFIG_S_{name.upper()}": value for name, value in remote.items()}

        def rclone(*words: object) -> str:
            return self.run_client(program("rclone"), *words, **variables)

        rclone("mkdir", "s:box")
        rclone("copy", "tree", "s:box/tree")
        rclone("check", "--download", "tree", "s:box/tree")
        rclone("copyto", "s:box/tree/large.bin", "s:box/copy")
        rclone("copy", "s:box", "back")
        self.assertEqual(tree_of(self.home / "back" / "tree"), self.tree)
        self.assertEqual(digest(self.home / "back" / "copy"), self.tree["large.bin"])
        rclone("purge", "s:box")
        self.assertEqual(rclone("lsd", "s:"), "")
        self.check_hosts("box")

    def test_s3cmd(self) -> None:
        """As it does by itself, with C{host_bucket}."""
        (self.home / ".s3cfg").write_text(
            f"[default]\nhost_base = {self.host}\nhost_bucket = %(bucket)s.{self.host}\nuse_https = {self.secure}\n"
            f"proxy_host = 127.0.0.1\nproxy_port = {self.proxy.url.rpartition(':')[2]}\n"
            f"access_key = {self.house.key_id}\nsecret_key = {self.house.secret}\n"
            + (f"ca_certs_file = {self.house.certificate}\n" if self.secure else "")
        )

        def s3cmd(*words: object) -> str:
            return self.run_client(python(), program("s3cmd"), "--no-progress", *words)

        s3cmd("mb", "s3://box")
        s3cmd("sync", "tree/", "s3://box/tree/")
        s3cmd("sync", "s3://box/tree/", "back/")
        self.assertEqual(tree_of(self.home / "back"), self.tree)
        s3cmd("rb", "--recursive", "--force", "s3://box")
        self.assertEqual(s3cmd("ls"), "")
        self.check_hosts("box")

    def test_restic(self) -> None:
        given = ["--cacert", self.house.certificate] if self.secure else []
        repository = ["--repo", f"s3:{self.house.endpoint}/backups", "--option", "s3.bucket-lookup=dns"]

        def restic(*words: object) -> None:
            self.run_client(program("restic"), "--no-cache", *repository, *given, *words, RESTIC_PASSWORD="not secret")

        restic("init")
        restic("backup", "tree")
        restic("check", "--read-data")
        restic("restore", "latest", "--target", "back")
        self.assertEqual(tree_of(self.home / "back" / "tree"), self.tree)
        # The bucket itself may have been made by its path.
        self.assertEqual(self.proxy.hosts | {self.host}, {self.host, f"backups.{self.host}"})


class HostTLSTests(HostTests):
    """Over TLS: the door's own certificate is good for the domain, and for every bucket below it."""

    secure = True


class BrowserHostTests(S3Case):
    """A browser, to which all below C{localhost} is this machine."""

    secure = True
    options = ("--s3-domain", "localhost")

    def test_public(self) -> None:
        """A public object has a simple address."""
        client: Any = boto3.client(
            "s3",
            endpoint_url=self.house.endpoint,
            aws_access_key_id=self.house.key_id,
            aws_secret_access_key=self.house.secret,
            region_name=REGION,
            verify=str(self.house.certificate),
        )
        self.addCleanup(client.close)
        client.create_bucket(Bucket="pages", ObjectOwnership="ObjectWriter")
        client.delete_public_access_block(Bucket="pages")
        page = "<!doctype html><title>A page</title>Good morning"
        client.put_object(Bucket="pages", Key="a/käse.html", Body=page, ContentType="text/html", ACL="public-read")
        browser = Browser(Path(self.mktemp()), self.house.certificate)
        self.addCleanup(browser.quit)
        browser.driver.get(f"https://pages.localhost:{self.house.s3_port}/a/käse.html")
        self.assertEqual(browser.text, "Good morning")
        browser.driver.get(f"https://pages.localhost:{self.house.s3_port}/a/other.html")
        self.assertIn("AccessDenied", browser.driver.page_source)
