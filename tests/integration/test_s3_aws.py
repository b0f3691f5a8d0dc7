"""The S3 door and the aws command, version 2, as it comes."""

from __future__ import annotations

import hashlib
import json
import ssl
from base64 import b64encode
from urllib.request import urlopen

from tests.integration.s3clients.case import S3Case
from tests.integration.s3clients.data import MIB, digest, make_tree, tree_of
from tests.integration.s3clients.environment import aws


class AwsTests(S3Case):
    """Over plain HTTP, where it signs no bodies."""

    def aws(self, *words: object, status: int = 0, given: bytes | None = None) -> str:
        """The command."""
        return self.run_client(aws(), *words, status=status, given=given)

    def test_files(self) -> None:
        """Trees and single files, in both directions and from one key to another."""
        tree = make_tree(self.home / "tree")
        self.aws("s3", "mb", "s3://box")
        self.aws("s3", "sync", "tree", "s3://box/tree")
        listed = self.aws("s3", "ls", "--recursive", "s3://box/tree/").splitlines()
        self.assertEqual(
            {line[31:].removeprefix("tree/"): int(line[19:31]) for line in listed},
            {name: int(about.split()[1]) for name, about in tree.items()},
        )
        # Nothing is to be done the second time.
        self.assertEqual(self.aws("s3", "sync", "tree", "s3://box/tree"), "")
        self.aws("s3", "sync", "s3://box/tree", "back")
        self.assertEqual(tree_of(self.home / "back"), tree)
        # Copies, one of them in parts.
        self.aws("s3", "cp", "s3://box/tree/large.bin", "s3://box/copy/large.bin")
        self.aws("s3", "mv", "s3://box/tree/odd/with space", "s3://box/copy/moved+here")
        self.aws("s3", "cp", "--recursive", "s3://box/copy", "copied")
        self.assertEqual(
            tree_of(self.home / "copied"), {"large.bin": tree["large.bin"], "moved+here": tree["odd/with space"]}
        )
        # Of a length that nobody knows beforehand.
        streamed = (self.home / "tree" / "large.bin").read_bytes()[: 20 * MIB + 1]
        self.aws("s3", "cp", "-", "s3://box/streamed", given=streamed)
        self.aws("s3", "cp", "s3://box/streamed", "streamed")
        self.assertEqual((self.home / "streamed").read_bytes(), streamed)
        with urlopen(self.aws("s3", "presign", "s3://box/streamed").strip(), context=self.trust) as response:
            self.assertEqual(hashlib.sha256(response.read()).digest(), hashlib.sha256(streamed).digest())
        self.aws("s3", "rm", "--recursive", "s3://box/tree/small")
        self.assertEqual(self.aws("s3", "ls", "s3://box/tree/small/", status=1), "")
        self.aws("s3", "rb", "--force", "s3://box")
        self.assertEqual(self.aws("s3", "ls"), "")

    def test_operations(self) -> None:
        """What C{aws s3} does not use."""
        api = "s3api"
        place = ("--bucket", "box", "--key", "a/b c")
        (self.home / "body").write_bytes(b"some text")
        self.aws(api, "create-bucket", "--bucket", "box")
        words = ("put-object", *place, "--body", "body", "--if-none-match", "*", "--metadata", "who=me")
        self.aws(api, *words, "--checksum-algorithm", "SHA256", "--tagging", "colour=red")
        self.assertIn("PreconditionFailed", self.aws(api, *words, status=254))
        found = json.loads(self.aws(api, "head-object", *place, "--checksum-mode", "ENABLED"))
        self.assertEqual((found["ContentLength"], found["Metadata"]), (9, {"who": "me"}))
        self.assertEqual(found["ChecksumSHA256"], b64encode(hashlib.sha256(b"some text").digest()).decode())
        self.assertEqual(found["ETag"], f'"{hashlib.md5(b"some text").hexdigest()}"')
        found = json.loads(
            self.aws(
                api,
                "get-object-attributes",
                *place,
                "--object-attributes",
                "ETag",
                "ObjectSize",
                "Checksum",
                "ObjectParts",
            )
        )
        self.assertEqual(found["ObjectSize"], 9)
        self.assertEqual(
            json.loads(self.aws(api, "get-object-tagging", *place))["TagSet"], [{"Key": "colour", "Value": "red"}]
        )
        begun = json.loads(self.aws(api, "create-multipart-upload", "--bucket", "box", "--key", "p"))["UploadId"]
        part = ("--bucket", "box", "--key", "p", "--upload-id", begun)
        self.aws(api, "upload-part", *part, "--part-number", 1, "--body", "body")
        self.assertEqual(json.loads(self.aws(api, "list-parts", *part))["Parts"][0]["Size"], 9)
        uploads = json.loads(self.aws(api, "list-multipart-uploads", "--bucket", "box"))["Uploads"]
        self.assertEqual([each["Key"] for each in uploads], ["p"])
        self.aws(api, "abort-multipart-upload", *part)
        self.assertIn("NoSuchUpload", self.aws(api, "list-parts", *part, status=254))
        self.assertIn("NoSuchKey", self.aws(api, "get-object", "--bucket", "box", "--key", "none", "x", status=254))
        self.aws(api, "get-object", *place, "got")
        self.assertEqual(digest(self.home / "got"), digest(self.home / "body"))
        deleted = json.loads(
            self.aws(
                api, "delete-objects", "--bucket", "box", "--delete", '{"Objects": [{"Key": "a/b c"}, {"Key": "p"}]}'
            )
        )
        self.assertEqual({each["Key"] for each in deleted["Deleted"]}, {"a/b c", "p"})
        self.assertIn("NoSuchBucket", self.aws(api, "list-objects-v2", "--bucket", "nowhere", status=254))
        self.aws(api, "delete-bucket", "--bucket", "box")

    @property
    def trust(self) -> ssl.SSLContext:
        """For what is not the command."""
        return ssl.create_default_context(cafile=str(self.house.certificate) if self.secure else None)


class AwsTLSTests(AwsTests):
    """Over TLS."""

    secure = True
