"""minio-py: C{with_minio.py TREE}."""

import hashlib
import io
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import urllib3
from minio import Minio, S3Error
from minio.commonconfig import ComposeSource, CopySource, Tags
from minio.datatypes import PostPolicy
from minio.deleteobjects import DeleteObject


def main(tree: Path) -> None:
    """Store, list, copy, join, sign, and remove."""
    endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    pool = urllib3.PoolManager(ca_certs=os.environ.get("CERTIFICATE"))
    client = Minio(
        endpoint.netloc,
        os.environ["AWS_ACCESS_KEY_ID"],
        os.environ["AWS_SECRET_ACCESS_KEY"],
        secure=endpoint.scheme == "https",
        http_client=pool,
    )
    client.make_bucket("box")
    assert client.bucket_exists("box") and not client.bucket_exists("none")
    files = {str(path.relative_to(tree)): path for path in sorted(tree.rglob("*")) if path.is_file()}
    for name, path in files.items():
        client.fput_object("box", name, str(path), metadata={"who": "me"}, part_size=5 << 20)
    listed = {each.object_name: each.size for each in client.list_objects("box", recursive=True)}
    assert listed == {name: path.stat().st_size for name, path in files.items()}, listed
    folders = [each.object_name for each in client.list_objects("box") if each.is_dir]
    assert folders == ["middle/", "odd/", "small/"], folders
    for name, path in files.items():
        got = client.get_object("box", name)
        assert got.read() == path.read_bytes(), name
        got.release_conn()
    stat = client.stat_object("box", "large.bin")
    assert stat.metadata["x-amz-meta-who"] == "me" and stat.etag.endswith(f"-{-(-stat.size // (5 << 20))}"), stat.etag
    got = client.get_object("box", "large.bin", offset=1 << 20, length=100)
    assert got.read() == files["large.bin"].read_bytes()[1 << 20 :][:100]
    got.release_conn()

    # Of a length that is not known.
    data = files["middle/eight"].read_bytes() + files["empty"].read_bytes()
    client.put_object("box", "streamed", io.BytesIO(data), -1, part_size=5 << 20)
    client.copy_object("box", "copied", CopySource("box", "streamed"))
    sources = [ComposeSource("box", "large.bin"), ComposeSource("box", "copied")]
    client.compose_object("box", "joined", sources)
    whole = hashlib.sha256(files["large.bin"].read_bytes() + data).hexdigest()
    signed = client.presigned_get_object("box", "joined", expires=timedelta(minutes=5))
    answer = pool.request("GET", signed)
    assert answer.status == 200 and hashlib.sha256(answer.data).hexdigest() == whole, answer.status
    signed = client.presigned_put_object("box", "signed", expires=timedelta(minutes=5))
    assert pool.request("PUT", signed, body=b"signed text").status == 200
    policy = PostPolicy("box", datetime.now(UTC) + timedelta(minutes=5))
    policy.add_equals_condition("key", "posted")
    policy.add_content_length_range_condition(1, 100)
    fields = {"key": "posted", **client.presigned_post_policy(policy), "file": ("x", b"posted text")}
    answer = pool.request("POST", f"{os.environ['AWS_ENDPOINT_URL']}/box", fields=fields)
    assert answer.status == 204, answer.data
    fields["file"] = ("x", b"x" * 101)
    assert b"EntityTooLarge" in pool.request("POST", f"{os.environ['AWS_ENDPOINT_URL']}/box", fields=fields).data
    for name, text in (("signed", b"signed text"), ("posted", b"posted text")):
        got = client.get_object("box", name)
        assert got.read() == text
        got.release_conn()

    tags = Tags.new_object_tags()
    tags["colour"] = "red + green"
    client.set_object_tags("box", "posted", tags)
    assert client.get_object_tags("box", "posted") == {"colour": "red + green"}
    client.delete_object_tags("box", "posted")
    try:
        client.get_object("box", "nothing")
    except S3Error as error:
        assert error.code == "NoSuchKey", error.code
    else:
        raise AssertionError("there is something")
    names = [each.object_name for each in client.list_objects("box", recursive=True)]
    assert not list(client.remove_objects("box", [DeleteObject(name) for name in names]))
    client.remove_bucket("box")
    assert not client.list_buckets()


main(Path(sys.argv[1]))
